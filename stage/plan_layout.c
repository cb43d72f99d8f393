#include <math.h>
#include <stdlib.h>

#include "stage/plan_parts.h"
#include "stage/shard.h"

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static double linear_flops(const struct linear *l)
{
    return 2.0 * l->N * l->K;
}

double plan_layer_flops(const struct model *m, const struct layer *l, int len)
{
    double context = (len + 1) / 2.0;

    if (l->window > 0 && l->window < len) /* the first `window` tokens see less */
        context = l->window - (double)l->window * (l->window - 1) / (2.0 * len);
    return linear_flops(&l->q) + linear_flops(&l->k) + linear_flops(&l->v) + linear_flops(&l->o) +
           linear_flops(&l->gate) + linear_flops(&l->up) + linear_flops(&l->down) +
           4.0 * m->heads * m->head_dim * context;
}

void plan_sizes_free(struct plan_sizes *s)
{
    free(s->bytes);
    free(s->flops);
    free(s->base);
    free(s->cap);
}

enum status plan_sizes_make(const struct plan_request *q, int stages, struct plan_sizes *s,
                            struct err *e)
{
    const struct model *m = q->model;
    size_t n = (size_t)m->n_layers + 1;

    *s = (struct plan_sizes){.q = q,
                             .stages = stages,
                             .replicas = q->ranks / stages,
                             .head_flops = linear_flops(&m->head)};
    s->bytes = calloc(n, sizeof *s->bytes);
    s->flops = calloc(n, sizeof *s->flops);
    s->base = calloc((size_t)stages, sizeof *s->base);
    s->cap = calloc((size_t)stages, sizeof *s->cap);
    if (!s->bytes || !s->flops || !s->base || !s->cap) {
        plan_sizes_free(s);
        return fail(e, ERR_FIT, "no memory to plan %d layers on %d ranks", m->n_layers, q->ranks);
    }
    for (int r = 0; r < q->ranks; r++) {
        struct plan_cap *least = &s->cap[r % stages];
        uint64_t park = r < stages || q->cap[r].park < least->park ? q->cap[r].park : least->park;

        if (r < stages || q->cap[r].bytes < least->bytes)
            *least = q->cap[r];
        least->park = park;
    }
    for (int i = 0; i < m->n_layers; i++) {
        s->bytes[i + 1] = s->bytes[i] + shard_layer_bytes(&m->layer[i]).arena;
        s->flops[i + 1] = s->flops[i] + plan_layer_flops(m, &m->layer[i], q->len_max - 1);
    }
    return OK;
}

/* One flag for what enters, and one a layer. */
static uint64_t flags_bytes(int layers)
{
    return shard_align(((uint64_t)layers + 1) * sizeof(int32_t));
}

/* What a stage takes with so many resident layers: the first replica scores, the others are alike. */
static uint64_t most_of_replicas(const struct plan_sizes *s, int stage, int layers)
{
    const struct plan_shape resident = {.wave = 1};
    uint64_t most = plan_lay_out(s, stage, 0, layers, resident).total, other = 0;

    if (s->replicas > 1)
        other = plan_lay_out(s, s->stages + stage, 0, layers, resident).total;
    return other > most ? other : most;
}

void plan_sizes_set(struct plan_sizes *s, int microbatch, bool streaming)
{
    uint64_t one = s->bytes[1] - s->bytes[0];

    s->microbatch = microbatch;
    s->microbatches = (s->q->windows + microbatch - 1) / microbatch;
    s->tokens = microbatch * (s->q->len_max - 1);
    s->streaming = streaming;
    s->hidden =
        shard_align((uint64_t)s->tokens * (uint64_t)s->q->model->hidden * dtype_bytes(s->q->dtype));
    for (int i = 0; i < s->stages; i++) {
        s->base[i][0] = most_of_replicas(s, i, 0) - flags_bytes(0);
        s->base[i][1] = most_of_replicas(s, i, 1) - flags_bytes(1) - one;
    }
}

static uint64_t layer_bytes(const struct plan_sizes *s, int i)
{
    return s->bytes[i + 1] - s->bytes[i];
}

/* Arena bytes of the resident layers, and of the largest streamed one. */
static uint64_t resident_bytes(const struct plan_sizes *s, const struct plan_rank *r, uint64_t *slot)
{
    uint64_t sum = 0;

    *slot = 0;
    for (int i = r->first; i < r->last; i++)
        if (!plan_streams(r, i))
            sum += layer_bytes(s, i);
        else if (layer_bytes(s, i) > *slot)
            *slot = layer_bytes(s, i);
    return sum;
}

/* Every replicas-th microbatch, from the replica's number on; the last of all may be short. */
static int64_t replica_microbatches(const struct plan_sizes *s, int replica)
{
    return (s->microbatches - replica + s->replicas - 1) / s->replicas;
}

static int64_t replica_windows(const struct plan_sizes *s, int replica)
{
    int64_t missing = s->microbatches * s->microbatch - s->q->windows;
    bool has_last = (s->microbatches - 1) % s->replicas == replica;

    return replica_microbatches(s, replica) * s->microbatch - (has_last ? missing : 0);
}

/* Of a whole run. */
static double range_flops(const struct plan_sizes *s, int replica, int stage, int first, int last)
{
    double flops = s->flops[last] - s->flops[first];

    if (stage == s->stages - 1)
        flops += s->head_flops;
    return flops * (double)replica_windows(s, replica) * (s->q->len_max - 1);
}

/* The first replica has the most to do. */
static double range_seconds(const struct plan_sizes *s, int stage, int first, int last)
{
    return range_flops(s, 0, stage, first, last) / s->q->rates.flops;
}

/* How many buffers parked microbatches pass through: a second one is worth its memory where copies run
 * beside computing. */
static int passing(const struct plan_sizes *s, int64_t room)
{
    return s->q->kernels->arena_is_host || room < 2 ? 1 : 2;
}

/* In so many waves, with room in the arena for `room` hidden states of a wave: none of the waves much
 * shorter than the others, and what has no room is parked. */
static struct plan_shape waves_shape(const struct plan_sizes *s, struct plan_rank *r, int stage,
                                     int64_t waves, int64_t room)
{
    int64_t microbatches = replica_microbatches(s, 0);
    double compute = range_seconds(s, stage, r->first, r->last), read;

    r->wave = (int)((microbatches + waves - 1) / waves);
    waves = (microbatches + r->wave - 1) / r->wave;
    r->passing = r->wave > room ? passing(s, room) : 0;
    r->parked = r->wave > room ? r->wave - (int)room + r->passing : 0;
    for (int i = r->first; i < r->last; i++)
        compute += plan_park_seconds(s, r, i) * (double)waves;
    read = (double)r->streamed_bytes * (double)waves / s->q->rates.read;
    r->seconds = fmax(compute, read);
    r->microbatches = microbatches;
    return (struct plan_shape){r->streamed, r->wave, r->parked, r->passing, r->seconds,
                               r->seconds + (s->stages - 1) * plan_lag(r)};
}

/* With `streamed` layers streamed: the wave that takes the least time of those that fit. That is the
 * largest one without parking, the largest one with it, or one just large enough to hide the reading:
 * a pipeline fills and drains wave by wave. */
static struct plan_shape streamed_shape(const struct plan_sizes *s, int stage, int first, int last,
                                        int streamed)
{
    struct plan_rank r = {.first = first, .last = last, .streamed = streamed};
    int64_t microbatches = replica_microbatches(s, 0), room, most, places;
    uint64_t slot, resident = resident_bytes(s, &r, &slot), cap = s->cap[stage].bytes;
    uint64_t need = s->base[stage][1] + resident + PLAN_SLOTS * slot + flags_bytes(last - first);
    struct plan_shape best = {streamed, 1, 0, 0, INFINITY, INFINITY};
    int64_t hides; /* waves, at most, that hide the reading */

    if (need > cap)
        return best;
    r.streamed_bytes = s->bytes[last] - s->bytes[first] - resident;
    room = 1 + (int64_t)((cap - need) / s->hidden);
    most = room;
    places = (int64_t)(s->cap[stage].park / s->hidden);
    if (last - first > 1 && places > passing(s, room)) /* which takes of the room */
        most += places - passing(s, room);
    hides = (int64_t)fmin(fmax(range_seconds(s, stage, first, last) * s->q->rates.read /
                                   (double)r.streamed_bytes,
                               1),
                          (double)microbatches);
    for (int i = 0; i < 3; i++) {
        int64_t wave = i == 0 ? room : i == 1 ? most : (microbatches + hides - 1) / hides;
        struct plan_shape shape;

        wave = wave < most ? wave : most;
        shape = waves_shape(s, &r, stage, (microbatches + wave - 1) / wave, room);
        best = shape.cost < best.cost ? shape : best;
    }
    return best;
}

struct plan_shape plan_range_shape(const struct plan_sizes *s, int stage, int first, int last)
{
    struct plan_shape best = {0, 1, 0, 0, INFINITY, INFINITY};
    int n = last - first, stride = 1 + n / 128; /* of many layers, not every number is tried */
    bool all = s->q->stream == STREAM_ALWAYS && s->streaming && n > 0;

    if (!all && s->base[stage][n > 0] + s->bytes[last] - s->bytes[first] + flags_bytes(n) <=
                    s->cap[stage].bytes)
        return (struct plan_shape){.wave = 1, .seconds = range_seconds(s, stage, first, last)};
    if (!s->streaming || n == 0)
        return best;
    for (int k = all ? n : 1; k <= n; k = k < n && k + stride > n ? n : k + stride) {
        struct plan_shape shape = streamed_shape(s, stage, first, last, k);

        if (shape.cost < best.cost)
            best = shape;
    }
    return best;
}

static struct work_shape work_shape(const struct plan_request *q, int tokens, bool layers, bool head)
{
    const struct model *m = q->model;
    int q_dim = m->heads * m->head_dim, kv_dim = m->kv_heads * m->head_dim;

    return (struct work_shape){.tokens = tokens,
                               .len_max = q->len_max - 1,
                               .hidden = m->hidden,
                               .ffn = layers ? m->ffn : 0,
                               .q_dim = layers ? q_dim : 0,
                               .kv_dim = layers ? kv_dim : 0,
                               .head_dim = layers ? m->head_dim : 0,
                               .vocab = head ? m->vocab : 0,
                               .k_max = layers ? max_int(max_int(m->hidden, q_dim), m->ffn)
                                               : m->hidden,
                               .n_max = layers ? max_int(max_int(m->hidden, q_dim), m->ffn) : 0,
                               .dtype = q->dtype,
                               .arithmetic = q->arithmetic,
                               .threads = q->threads};
}

struct work_shape plan_work_shape(const struct plan_request *q)
{
    return work_shape(q, q->len_max - 1, true, true);
}

/* Gives the next `bytes` of the arena to a buffer. */
static uint64_t take(struct plan_map *map, uint64_t bytes)
{
    uint64_t at = map->bytes;

    map->bytes += shard_align(bytes);
    return at;
}

static void map_weights(const struct plan_sizes *s, struct plan_rank *r)
{
    const struct model *m = s->q->model;
    struct plan_map *map = &r->map;
    uint64_t slot;

    if (r->embed) {
        map->embed = take(map, shard_linear_bytes(&m->embed).arena);
        r->owned += shard_linear_bytes(&m->embed).file;
    }
    if (r->head && m->head.data == m->embed.data && r->embed) {
        map->head = map->embed; /* tied, and both on this rank */
    } else if (r->head) {
        map->head = take(map, shard_linear_bytes(&m->head).arena);
        r->owned += shard_linear_bytes(&m->head).file;
    }
    if (r->head) {
        map->norm = take(map, shard_vector_bytes(m->norm).arena);
        r->owned += shard_vector_bytes(m->norm).file;
    }
    map->layers = take(map, resident_bytes(s, r, &slot));
    for (int i = 0; i < PLAN_SLOTS; i++)
        map->slot[i] = take(map, r->streamed ? slot : 0);
    for (int i = r->first; i < r->last; i++) {
        r->owned += shard_layer_bytes(&m->layer[i]).file;
        if (plan_streams(r, i))
            r->streamed_bytes += shard_layer_bytes(&m->layer[i]).file;
    }
    r->weights = map->bytes;
}

static void map_activations(const struct plan_sizes *s, struct plan_rank *r)
{
    const struct model *m = s->q->model;
    struct plan_map *map = &r->map;
    uint64_t T = (uint64_t)s->tokens, size = dtype_bytes(s->q->dtype), before = map->bytes;
    uint64_t q_dim = (uint64_t)m->heads * (uint64_t)m->head_dim;
    uint64_t kv_dim = (uint64_t)m->kv_heads * (uint64_t)m->head_dim;
    uint64_t hidden = (uint64_t)m->hidden, ffn = (uint64_t)m->ffn;
    uint64_t tall = q_dim > hidden ? q_dim : hidden;
    uint64_t attention = tall + 2 * kv_dim, mlp = 2 * ffn;
    uint64_t table = (uint64_t)(s->q->len_max - 1) * (uint64_t)(m->head_dim / 2) * sizeof(float);
    bool layers = r->first < r->last;

    map->hidden_bytes = s->hidden;
    map->hidden = take(map, (uint64_t)r->n_hidden * s->hidden);
    map->normed = take(map, layers ? T * tall * size : r->head ? T * hidden * size : 0);
    map->wide = take(map, layers ? T * (attention > mlp ? attention : mlp) * size : 0);
    map->cos = take(map, layers ? table : 0);
    map->sin = take(map, layers ? table : 0);
    map->start = take(map, ((uint64_t)s->microbatch + 1) * sizeof(int32_t));
    map->flags = take(map, flags_bytes(r->last - r->first));
    r->activations = map->bytes - before;
}

static void map_scoring(const struct plan_sizes *s, struct plan_rank *r)
{
    struct plan_map *map = &r->map;
    uint64_t T = (uint64_t)s->tokens, before = map->bytes;

    map->ids = take(map, r->embed ? T * sizeof(int32_t) : 0);
    map->row = take(map, r->head ? T * sizeof(int32_t) : 0);
    map->target = take(map, r->head ? T * sizeof(int32_t) : 0);
    map->nll = take(map, r->head ? T * sizeof(double) : 0);
    r->scoring = map->bytes - before;
}

/* Last ranks other than the root send it nll; how many of those messages a rank holds at a time, and
 * with how many ranks that are no neighbours it has to do. */
static void nll_traffic(const struct plan_sizes *s, int rank, int *messages, int *others)
{
    int last = s->stages - 1; /* of the root's replica */

    *messages = *others = 0;
    if (rank == 0) {
        *messages = s->replicas - (last == 0);
        *others = s->replicas - 1 + (last > 1);
    } else if (rank % s->stages == last) {
        *messages = 2; /* one is sent while the next is made */
        *others = rank != last || last > 1;
    }
}

/* What a rank takes of the host beside its arena; it counts where that is host memory, too. */
static void add_host(const struct plan_sizes *s, struct plan_rank *r, int rank)
{
    int neighbours = !r->embed + !r->head, messages, others;

    nll_traffic(s, rank, &messages, &others);
    if (rank == 0) /* it keeps the nll of every position; a flag and the order of the windows */
        r->scoring += (uint64_t)s->q->windows *
                      ((uint64_t)(s->q->len_max - 1) * sizeof(double) + 1 + sizeof(int64_t));
    r->comm = (uint64_t)messages * (uint64_t)s->tokens * sizeof(double);
    r->overhead += PLAN_OVERHEAD + (uint64_t)(neighbours + others) * PLAN_OVERHEAD_PEER;
}

struct plan_rank plan_lay_out(const struct plan_sizes *s, int rank, int first, int last,
                              struct plan_shape shape)
{
    const struct plan_request *q = s->q;
    int replica = rank / s->stages, stage = rank % s->stages;
    int neighbours = (stage > 0) + (stage < s->stages - 1);
    struct plan_rank r = {.replica = replica,
                          .stage = stage,
                          .microbatches = replica_microbatches(s, replica),
                          .windows = replica_windows(s, replica),
                          .first = first,
                          .last = last,
                          .streamed = shape.streamed,
                          .wave = shape.wave,
                          .embed = stage == 0,
                          .head = stage == s->stages - 1,
                          .parked = shape.parked,
                          .passing = shape.passing,
                          .n_hidden = shape.wave - shape.parked + shape.passing + neighbours,
                          .parked_bytes = (uint64_t)shape.parked * s->hidden,
                          .cap = q->cap[rank],
                          .flops = range_flops(s, replica, stage, first, last),
                          .seconds = shape.seconds};
    struct work_shape w;

    map_weights(s, &r);
    map_activations(s, &r);
    map_scoring(s, &r);
    w = work_shape(q, s->tokens, first < last, r.head);
    r.map.scratch_bytes = q->kernels->scratch_bytes(&w);
    r.map.scratch = take(&r.map, r.map.scratch_bytes);
    r.scratch = shard_align(r.map.scratch_bytes);
    r.overhead = r.cap.overhead;
    if (q->kernels->arena_is_host)
        add_host(s, &r, rank);
    r.total = r.weights + r.activations + r.scoring + r.scratch + r.comm + r.overhead;
    return r;
}
