#include "stage/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stage/reader.h"

struct stage {
    const struct model *model;
    const struct kernels *k;
    struct device *device;
    const struct plan_rank *plan;
    enum dtype dtype;
    int vocab;
    char *arena;
    char *host; /* [parked] hidden states */
    int places; /* of these, that were used */
    struct shard_reader shard;
    uint64_t read; /* resident weights */
    struct weight embed, head;
    const float *norm;
    struct layer_weights *resident;       /* [last - first]; a streamed layer's is not used */
    struct reader *reader;                /* NULL when nothing is streamed */
    const struct layer_weights *acquired; /* of the layer being computed */
    struct batch batch;          /* of the current microbatch */
    int64_t microbatch;
    int32_t *flags; /* host [layers + 1]: zeros */
    struct stage_fault fault;
};

/* Rotary tables as Hugging Face makes them (design N2): the angle is the f32 product of an f32
 * inv_freq and the position, then cos and sin of that f32 angle. */
static enum status load_rope(struct stage *s, int len, struct err *e)
{
    int half = s->model->head_dim / 2;
    float *inv_freq = malloc((size_t)half * sizeof *inv_freq);
    float *row = malloc((size_t)half * 2 * sizeof *row);
    enum status st = inv_freq && row ? OK : fail(e, ERR_FIT, "no memory for rotary tables");
    double factor = 0;

    if (st == OK)
        factor = rope_inv_freq(&s->model->rope, s->model->head_dim, inv_freq);
    for (int p = 0; st == OK && p < len; p++) {
        size_t at = (size_t)p * (size_t)half * sizeof(float), bytes = (size_t)half * sizeof(float);

        for (int i = 0; i < half; i++) {
            float angle = inv_freq[i] * (float)p;

            row[i] = (float)(cos((double)angle) * factor);
            row[half + i] = (float)(sin((double)angle) * factor);
        }
        st = s->k->upload(s->device, s->arena + s->plan->map.cos + at, row, bytes, e);
        if (st == OK)
            st = s->k->upload(s->device, s->arena + s->plan->map.sin + at, row + half, bytes, e);
        if (st == OK)
            st = s->k->sync(s->device, e);
    }
    free(inv_freq);
    free(row);
    return st;
}

static enum status load_weights(struct stage *s, const struct stage_request *q, struct err *e)
{
    const struct plan_map *map = &s->plan->map;
    uint64_t at = map->layers;

    if (s->plan->embed)
        TRY(shard_load_linear(&s->shard, &q->model->embed, s->arena + map->embed, &s->embed, e));
    if (s->plan->head && s->plan->embed && map->head == map->embed)
        s->head = s->embed;
    else if (s->plan->head)
        TRY(shard_load_linear(&s->shard, &q->model->head, s->arena + map->head, &s->head, e));
    if (s->plan->head)
        TRY(shard_load_vector(&s->shard, q->model->norm, s->arena + map->norm, &s->norm, e));
    for (int i = s->plan->first; i < s->plan->last; i++) {
        struct layer_weights *to = &s->resident[i - s->plan->first];

        if (plan_streams(s->plan, i))
            continue;
        if (shard_load_layer(&s->shard, i, s->arena + at, to, e) != OK)
            return fail_in(e, "layer %d", i);
        at += shard_layer_bytes(&q->model->layer[i]).arena;
        if (q->on_load)
            q->on_load(q->context, s->shard.read, s->plan->owned - s->plan->streamed_bytes);
    }
    s->read = s->shard.read;
    CHECK(q->blank || s->read == s->plan->owned - s->plan->streamed_bytes);
    return OK;
}

/* The thread that reads streamed layers; the first of them is there when this returns. */
static enum status start_reader(struct stage *s, const struct stage_request *q, struct err *e)
{
    struct reader_request r = {.shard = &s->shard,
                               .plan = q->plan,
                               .rank = q->rank,
                               .arena = s->arena,
                               .read_limit = q->read_limit};

    if (s->plan->streamed == 0)
        return OK;
    TRY(reader_open(&r, &s->reader, e));
    return reader_wait_first(s->reader, e);
}

/* Touches all but the weights (reading touches those): what the plan says is taken at once, so that
 * memory that is not there is missed now and not in the middle of the run. */
static void take_now(struct stage *s, bool blank)
{
    uint64_t from = blank ? 0 : s->plan->weights;

    if (s->k->arena_is_host)
        memset(s->arena + from, 0, s->plan->map.bytes - from);
}

/* Host memory for parked hidden states, taken at once, as the arena is. */
static enum status take_host(struct stage *s, struct err *e)
{
    size_t bytes = s->plan->parked_bytes;
    void *host = NULL;

    if (bytes == 0)
        return OK;
    if (s->k->pin(s->device, bytes, &host, e) != OK)
        return fail_in(e, "parking hidden states");
    s->host = memset(host, 0, bytes);
    return OK;
}

enum status stage_open(const struct stage_request *q, struct stage **out, struct err *e)
{
    struct stage *s = calloc(1, sizeof *s);
    const struct plan_rank *plan = &q->plan->rank[q->rank];
    size_t layers = (size_t)(plan->last - plan->first);
    void *base = NULL;
    enum status st = OK;

    if (!s)
        return fail(e, ERR_FIT, "no memory for a stage");
    *s = (struct stage){.model = q->model,
                        .k = q->kernels,
                        .device = q->device,
                        .shard = {.model = q->model, .kernels = q->kernels, .device = q->device},
                        .plan = plan,
                        .dtype = q->dtype,
                        .vocab = q->vocab,
                        .fault = {.microbatch = -1}};
    s->resident = calloc(layers + 1, sizeof *s->resident);
    s->flags = calloc(layers + 1, sizeof *s->flags);
    if (!s->resident || !s->flags)
        st = fail(e, ERR_FIT, "no memory for %zu layers", layers);
    if (st == OK)
        st = s->k->arena(s->device, plan->map.bytes, &base, e);
    if (st == OK) {
        s->arena = base;
        take_now(s, q->blank);
        s->k->use_scratch(s->device, s->arena + plan->map.scratch, plan->map.scratch_bytes);
        st = s->k->upload(s->device, s->arena + plan->map.flags, s->flags,
                          (layers + 1) * sizeof *s->flags, e);
    }
    if (st == OK)
        st = take_host(s, e);
    if (st == OK && layers > 0)
        st = load_rope(s, q->len_max - 1, e);
    if (st == OK && !q->blank)
        st = shard_reader_open(&s->shard, q->model, q->kernels, q->device, &q->files, e);
    if (st == OK)
        st = load_weights(s, q, e);
    if (st == OK)
        st = start_reader(s, q, e);
    if (st != OK) {
        stage_close(s);
        return st;
    }
    *out = s;
    return OK;
}

void stage_close(struct stage *s)
{
    if (!s)
        return;
    reader_close(s->reader);
    shard_reader_close(&s->shard);
    s->k->unpin(s->device, s->host, s->plan->parked_bytes);
    free(s->resident);
    free(s->flags);
    free(s);
}

void *stage_hidden(const struct stage *s, int slot)
{
    CHECK(slot >= 0 && slot < s->plan->n_hidden);
    return s->arena + s->plan->map.hidden + (uint64_t)slot * s->plan->map.hidden_bytes;
}

uint64_t stage_bytes_read(const struct stage *s)
{
    return s->read + (s->reader ? reader_bytes(s->reader) : 0);
}

uint64_t stage_parked(const struct stage *s)
{
    return (uint64_t)s->places * s->plan->map.hidden_bytes;
}

double stage_stall(const struct stage *s)
{
    return s->reader ? reader_stall(s->reader) : 0;
}

struct stage_fault stage_first_fault(const struct stage *s)
{
    return s->fault;
}

static int32_t *flag(const struct stage *s, int i)
{
    return (int32_t *)(s->arena + s->plan->map.flags) + i;
}

/* Remembers where hidden states are not finite: `flag` 0 is the embedding, 1 + i layer first + i.
 * Waits for the result, so the hidden states may be handed on afterwards. */
static enum status check_hidden(struct stage *s, int slot, int i, struct err *e)
{
    size_t n = (size_t)s->batch.tokens * (size_t)s->model->hidden;
    int layer = i == 0 ? -1 : s->plan->first + i - 1;
    int32_t bad = 0;
    bool earlier;

    TRY(s->k->nonfinite(s->device, flag(s, i), stage_hidden(s, slot), n, e));
    TRY(s->k->download(s->device, &bad, flag(s, i), sizeof bad, e));
    if (!bad)
        return OK;
    earlier = s->microbatch < s->fault.microbatch ||
              (s->microbatch == s->fault.microbatch && layer < s->fault.layer);
    if (s->fault.microbatch < 0 || earlier)
        s->fault = (struct stage_fault){s->microbatch, layer};
    return s->k->upload(s->device, flag(s, i), s->flags, sizeof *s->flags, e);
}

enum status stage_begin(struct stage *s, int64_t microbatch, const int32_t *start, int windows,
                        struct err *e)
{
    void *on_device = s->arena + s->plan->map.start;

    s->microbatch = microbatch;
    s->batch = (struct batch){.tokens = start[windows], .windows = windows, .start = on_device};
    for (int i = 0; i < windows; i++)
        if (start[i + 1] - start[i] > s->batch.len_max)
            s->batch.len_max = start[i + 1] - start[i];
    return s->k->upload(s->device, on_device, start, ((size_t)windows + 1) * sizeof *start, e);
}

enum status stage_embed(struct stage *s, int slot, const int32_t *ids, struct err *e)
{
    int32_t *on_device = (int32_t *)(s->arena + s->plan->map.ids);
    size_t bytes = (size_t)s->batch.tokens * sizeof *ids;

    TRY(s->k->upload(s->device, on_device, ids, bytes, e));
    TRY(s->k->embed(s->device, stage_hidden(s, slot), &s->embed, on_device, s->batch.tokens, e));
    return check_hidden(s, slot, 0, e);
}

/* x += attention(norm(x)) */
static enum status attention_block(struct stage *s, const struct layer_weights *w,
                                   const struct layer *l, void *x, struct err *e)
{
    const struct model *m = s->model;
    int T = s->batch.tokens, q_dim = m->heads * m->head_dim, kv_dim = m->kv_heads * m->head_dim;
    size_t size = dtype_bytes(s->dtype), tall = (size_t)(q_dim > m->hidden ? q_dim : m->hidden);
    char *normed = s->arena + s->plan->map.normed, *q = s->arena + s->plan->map.wide;
    char *k = q + (size_t)T * tall * size, *v = k + (size_t)T * (size_t)kv_dim * size;
    const float *cos = (const float *)(s->arena + s->plan->map.cos);
    const float *sin = (const float *)(s->arena + s->plan->map.sin);
    struct attention shape = {.heads = m->heads,
                              .kv_heads = m->kv_heads,
                              .head_dim = m->head_dim,
                              .window = l->window,
                              .scale = 1.0f / sqrtf((float)m->head_dim)};
    struct device *d = s->device;

    TRY(s->k->rms_norm(d, normed, x, w->attn_norm, T, m->hidden, m->norm_eps, e));
    TRY(s->k->linear(d, q, normed, &w->q, T, e));
    TRY(s->k->linear(d, k, normed, &w->k, T, e));
    TRY(s->k->linear(d, v, normed, &w->v, T, e));
    if (w->q_norm) {
        TRY(s->k->rms_norm(d, q, q, w->q_norm, T * m->heads, m->head_dim, m->norm_eps, e));
        TRY(s->k->rms_norm(d, k, k, w->k_norm, T * m->kv_heads, m->head_dim, m->norm_eps, e));
    }
    TRY(s->k->rope(d, q, m->heads, m->head_dim, cos, sin, &s->batch, e));
    TRY(s->k->rope(d, k, m->kv_heads, m->head_dim, cos, sin, &s->batch, e));
    TRY(s->k->attention(d, normed, q, k, v, &shape, &s->batch, e));
    TRY(s->k->linear(d, q, normed, &w->o, T, e)); /* q is free: its place takes the result */
    return s->k->add(d, x, q, (size_t)T * (size_t)m->hidden, e);
}

/* x += mlp(norm(x)) */
static enum status mlp_block(struct stage *s, const struct layer_weights *w, void *x, struct err *e)
{
    const struct model *m = s->model;
    int T = s->batch.tokens;
    size_t n = (size_t)T * (size_t)m->ffn;
    char *normed = s->arena + s->plan->map.normed, *gate = s->arena + s->plan->map.wide;
    char *up = gate + n * dtype_bytes(s->dtype);
    struct device *d = s->device;

    TRY(s->k->rms_norm(d, normed, x, w->mlp_norm, T, m->hidden, m->norm_eps, e));
    TRY(s->k->linear(d, gate, normed, &w->gate, T, e));
    TRY(s->k->linear(d, up, normed, &w->up, T, e));
    TRY(s->k->swiglu(d, gate, up, n, e));
    TRY(s->k->linear(d, normed, gate, &w->down, T, e));
    return s->k->add(d, x, normed, (size_t)T * (size_t)m->hidden, e);
}

enum status stage_acquire(struct stage *s, int layer, struct err *e)
{
    CHECK(layer >= s->plan->first && layer < s->plan->last);
    s->acquired = &s->resident[layer - s->plan->first];
    return plan_streams(s->plan, layer) ? reader_acquire(s->reader, layer, &s->acquired, e) : OK;
}

void stage_release(struct stage *s, int layer)
{
    if (plan_streams(s->plan, layer))
        reader_release(s->reader);
    s->acquired = NULL;
}

enum status stage_layer(struct stage *s, int layer, int slot, struct err *e)
{
    void *x = stage_hidden(s, slot);

    CHECK(s->acquired);
    if (attention_block(s, s->acquired, &s->model->layer[layer], x, e) != OK ||
        mlp_block(s, s->acquired, x, e) != OK ||
        check_hidden(s, slot, layer - s->plan->first + 1, e) != OK)
        return fail_in(e, "layer %d", layer);
    return OK;
}

static char *parked_at(const struct stage *s, int place)
{
    CHECK(place >= 0 && place < s->plan->parked);
    return s->host + (uint64_t)place * s->plan->map.hidden_bytes;
}

static size_t hidden_bytes(const struct stage *s, int tokens)
{
    return (size_t)tokens * (size_t)s->model->hidden * dtype_bytes(s->dtype);
}

enum status stage_park(struct stage *s, int slot, int place, int tokens, struct err *e)
{
    s->places = place >= s->places ? place + 1 : s->places;
    return s->k->copy(s->device, COPY_HIDDEN, parked_at(s, place), stage_hidden(s, slot),
                      hidden_bytes(s, tokens), e);
}

enum status stage_fetch(struct stage *s, int slot, int place, int tokens, struct err *e)
{
    return s->k->copy(s->device, COPY_HIDDEN, stage_hidden(s, slot), parked_at(s, place),
                      hidden_bytes(s, tokens), e);
}

enum status stage_copied(struct stage *s, struct err *e)
{
    return s->k->copy_wait(s->device, COPY_HIDDEN, e);
}

enum status stage_copy_out(struct stage *s, struct stage_place from, uint64_t at, void *to, size_t n,
                           struct err *e)
{
    if (from.slot < 0) {
        memcpy(to, parked_at(s, from.parked) + at, n);
        return OK;
    }
    return s->k->download(s->device, to, (char *)stage_hidden(s, from.slot) + at, n, e);
}

enum status stage_copy_in(struct stage *s, struct stage_place to, uint64_t at, const void *from,
                          size_t n, struct err *e)
{
    if (to.slot < 0) {
        s->places = to.parked >= s->places ? to.parked + 1 : s->places;
        memcpy(parked_at(s, to.parked) + at, from, n);
        return OK;
    }
    TRY(s->k->upload(s->device, (char *)stage_hidden(s, to.slot) + at, from, n, e));
    return s->k->sync(s->device, e); /* `from` is the caller's again */
}

enum status stage_head(struct stage *s, int slot, const int32_t *row, const int32_t *target,
                       int rows, double *nll, struct err *e)
{
    const struct plan_map *map = &s->plan->map;
    char *normed = s->arena + map->normed;
    int32_t *row_there = (int32_t *)(s->arena + map->row);
    int32_t *target_there = (int32_t *)(s->arena + map->target);
    double *nll_there = (double *)(s->arena + map->nll);

    TRY(s->k->upload(s->device, row_there, row, (size_t)rows * sizeof *row, e));
    TRY(s->k->upload(s->device, target_there, target, (size_t)rows * sizeof *target, e));
    TRY(s->k->rms_norm(s->device, normed, stage_hidden(s, slot), s->norm, s->batch.tokens,
                       s->model->hidden, s->model->norm_eps, e));
    TRY(s->k->head_nll(s->device, nll_there, normed, &s->head, row_there, target_there, rows,
                       s->vocab, e));
    return s->k->download(s->device, nll, nll_there, (size_t)rows * sizeof *nll, e);
}
