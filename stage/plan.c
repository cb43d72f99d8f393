#include "stage/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/size.h"
#include "stage/shard.h"

enum {
    TOKENS_WANTED = 2048,
    TOKENS_ENOUGH = 512,
    TOKENS_MAX = 1 << 20, /* of a microbatch: tokens x heads stays inside an int */
    MICROBATCHES_PER_RANK = 16
};

/* What planning one microbatch size needs again and again. */
struct sizes {
    const struct plan_request *q;
    int tokens;           /* T */
    uint64_t *layer;      /* [n_layers + 1] arena bytes of the layers before */
    double *flops;        /* [n_layers + 1] FLOPs of one token in the layers before */
    double head_flops;    /* of one token */
};

static double linear_flops(const struct linear *l)
{
    return 2.0 * l->N * l->K;
}

/* Of one token, attention at the mean context of its window. */
static double layer_flops(const struct model *m, const struct layer *l, int len)
{
    double context = (len + 1) / 2.0;

    if (l->window > 0 && l->window < len) /* the first `window` tokens see less */
        context = l->window - (double)l->window * (l->window - 1) / (2.0 * len);
    return linear_flops(&l->q) + linear_flops(&l->k) + linear_flops(&l->v) + linear_flops(&l->o) +
           linear_flops(&l->gate) + linear_flops(&l->up) + linear_flops(&l->down) +
           4.0 * m->heads * m->head_dim * context;
}

static void sizes_free(struct sizes *s)
{
    free(s->layer);
    free(s->flops);
}

static enum status sizes_make(const struct plan_request *q, struct sizes *s, struct err *e)
{
    const struct model *m = q->model;
    size_t n = (size_t)m->n_layers + 1;

    *s = (struct sizes){.q = q, .head_flops = linear_flops(&m->head)};
    s->layer = calloc(n, sizeof *s->layer);
    s->flops = calloc(n, sizeof *s->flops);
    if (!s->layer || !s->flops) {
        sizes_free(s);
        return fail(e, ERR_FIT, "no memory to plan %d layers", m->n_layers);
    }
    for (int i = 0; i < m->n_layers; i++) {
        s->layer[i + 1] = s->layer[i] + shard_layer_bytes(&m->layer[i]).arena;
        s->flops[i + 1] = s->flops[i] + layer_flops(m, &m->layer[i], q->len_max - 1);
    }
    return OK;
}

static double range_flops(const struct sizes *s, int rank, int first, int last)
{
    return s->flops[last] - s->flops[first] + (rank == s->q->ranks - 1 ? s->head_flops : 0);
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static struct work_shape work_shape(const struct sizes *s, const struct plan_rank *r)
{
    const struct model *m = s->q->model;
    int q_dim = m->heads * m->head_dim, kv_dim = m->kv_heads * m->head_dim;

    return (struct work_shape){.tokens = s->tokens,
                               .len_max = s->q->len_max - 1,
                               .hidden = m->hidden,
                               .ffn = r->first < r->last ? m->ffn : 0,
                               .q_dim = r->first < r->last ? q_dim : 0,
                               .kv_dim = r->first < r->last ? kv_dim : 0,
                               .head_dim = r->first < r->last ? m->head_dim : 0,
                               .vocab = r->head ? m->vocab : 0,
                               .k_max = max_int(max_int(m->hidden, q_dim), m->ffn),
                               .n_max = max_int(max_int(m->hidden, q_dim), m->ffn),
                               .dtype = s->q->dtype,
                               .arithmetic = s->q->arithmetic,
                               .threads = s->q->threads};
}

/* Gives the next `bytes` of the arena to a buffer. */
static uint64_t take(struct plan_map *map, uint64_t bytes)
{
    uint64_t at = map->bytes;

    map->bytes += shard_align(bytes);
    return at;
}

static void map_weights(const struct sizes *s, struct plan_rank *r)
{
    const struct model *m = s->q->model;
    struct plan_map *map = &r->map;

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
    map->layers = take(map, s->layer[r->last] - s->layer[r->first]);
    for (int i = r->first; i < r->last; i++)
        r->owned += shard_layer_bytes(&m->layer[i]).file;
    r->weights = map->bytes;
}

static void map_activations(const struct sizes *s, struct plan_rank *r)
{
    const struct model *m = s->q->model;
    struct plan_map *map = &r->map;
    uint64_t T = (uint64_t)s->tokens, size = dtype_bytes(s->q->dtype), before = map->bytes;
    uint64_t q_dim = (uint64_t)m->heads * m->head_dim, kv_dim = (uint64_t)m->kv_heads * m->head_dim;
    uint64_t hidden = (uint64_t)m->hidden, ffn = (uint64_t)m->ffn;
    uint64_t tall = q_dim > hidden ? q_dim : hidden;
    uint64_t attention = tall + 2 * kv_dim, mlp = 2 * ffn;
    uint64_t table = (uint64_t)(s->q->len_max - 1) * (uint64_t)(m->head_dim / 2) * sizeof(float);
    bool layers = r->first < r->last;

    for (int i = 0; i < r->n_hidden; i++)
        map->hidden[i] = take(map, T * hidden * size);
    map->normed = take(map, layers ? T * tall * size : r->head ? T * hidden * size : 0);
    map->wide = take(map, layers ? T * (attention > mlp ? attention : mlp) * size : 0);
    map->cos = take(map, layers ? table : 0);
    map->sin = take(map, layers ? table : 0);
    map->start = take(map, ((uint64_t)s->tokens + 1) * sizeof(int32_t));
    map->flags = take(map, ((uint64_t)(r->last - r->first) + 1) * sizeof(int32_t));
    r->activations = map->bytes - before;
}

static void map_scoring(const struct sizes *s, struct plan_rank *r)
{
    struct plan_map *map = &r->map;
    uint64_t T = (uint64_t)s->tokens, before = map->bytes;

    map->ids = take(map, r->embed ? T * sizeof(int32_t) : 0);
    map->row = take(map, r->head ? T * sizeof(int32_t) : 0);
    map->target = take(map, r->head ? T * sizeof(int32_t) : 0);
    map->nll = take(map, r->head ? T * sizeof(double) : 0);
    r->scoring = map->bytes - before;
    if (r->embed) /* rank 0 keeps the nll of every position, and one flag a window */
        r->scoring += (uint64_t)s->q->windows * ((uint64_t)(s->q->len_max - 1) * sizeof(double) + 1);
}

/* Everything of one rank that holds layers [first, last). */
static struct plan_rank lay_out(const struct sizes *s, int rank, int first, int last)
{
    const struct plan_request *q = s->q;
    struct plan_rank r = {.first = first,
                          .last = last,
                          .embed = rank == 0,
                          .head = rank == q->ranks - 1,
                          .cap = q->cap[rank],
                          .flops = range_flops(s, rank, first, last)};
    int neighbours = (rank > 0) + (rank < q->ranks - 1);
    struct work_shape w;

    r.n_hidden = 1 + neighbours;
    map_weights(s, &r);
    map_activations(s, &r);
    map_scoring(s, &r);
    w = work_shape(s, &r);
    r.map.scratch_bytes = q->kernels->scratch_bytes(&w);
    r.map.scratch = take(&r.map, r.map.scratch_bytes);
    r.scratch = shard_align(r.map.scratch_bytes);
    if (q->ranks > 1 && (r.embed || r.head)) /* nll on its way to rank 0, two messages */
        r.comm = 2 * (uint64_t)s->tokens * sizeof(double);
    r.overhead = PLAN_OVERHEAD + (uint64_t)neighbours * PLAN_OVERHEAD_PEER;
    r.total = r.weights + r.activations + r.scoring + r.scratch + r.comm + r.overhead;
    return r;
}

/* Bytes of a rank without the layers themselves: base[0] when it has none, base[1] when some. */
static void base_bytes(const struct sizes *s, int rank, uint64_t base[2])
{
    struct plan_rank one = lay_out(s, rank, 0, 1);

    base[0] = lay_out(s, rank, 0, 0).total;
    base[1] = one.total - shard_align(s->layer[1]);
}

static bool range_fits(const struct sizes *s, int rank, const uint64_t base[2], int first, int last)
{
    uint64_t layers = s->layer[last] - s->layer[first];
    /* a flag per layer is the one thing else that grows with the range */
    uint64_t flags = shard_align((uint64_t)(last - first + 1) * sizeof(int32_t));

    return base[last > first] + layers + flags <= s->q->cap[rank].bytes;
}

/* Can the ranks take all layers with no stage above `bound` FLOPs? Each takes as many as it may;
 * taking more early never hurts later. */
static bool reachable(const struct sizes *s, const uint64_t (*base)[2], double bound)
{
    int n = s->q->model->n_layers, first = 0;

    for (int r = 0; r < s->q->ranks; r++) {
        int last = first;

        if (!range_fits(s, r, base[r], first, first) || range_flops(s, r, first, first) > bound)
            return false;
        while (last < n && range_fits(s, r, base[r], first, last + 1) &&
               range_flops(s, r, first, last + 1) <= bound)
            last++;
        first = last;
    }
    return first == n;
}

/* The lowest bound within one part in 10^9, or a negative number when nothing fits. */
static double lowest_bound(const struct sizes *s, const uint64_t (*base)[2])
{
    double low = 0, high = s->flops[s->q->model->n_layers] + s->head_flops;

    if (!reachable(s, base, high))
        return -1;
    while (high - low > high * 1e-9) {
        double middle = low + (high - low) / 2;

        if (reachable(s, base, middle))
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* Among the splits within `bound`, the one with the least sum of squares, so that the other stages
 * are even too. cut[r] = first layer of rank r. best[r][b]: the least sum of ranks < r holding
 * layers [0, b). */
static enum status even_split(const struct sizes *s, const uint64_t (*base)[2], double bound,
                              int *cut, struct err *e)
{
    int n = s->q->model->n_layers, ranks = s->q->ranks;
    size_t wide = (size_t)n + 1;
    double *best = malloc((size_t)(ranks + 1) * wide * sizeof *best);
    int *from = malloc((size_t)(ranks + 1) * wide * sizeof *from);

    if (!best || !from) {
        free(best);
        free(from);
        return fail(e, ERR_FIT, "no memory to plan %d layers on %d ranks", n, ranks);
    }
    for (size_t i = 0; i < (size_t)(ranks + 1) * wide; i++)
        best[i] = INFINITY;
    best[0] = 0;
    for (int r = 0; r < ranks; r++)
        for (int a = 0; a <= n; a++) {
            double so_far = best[(size_t)r * wide + (size_t)a];

            for (int b = a; b <= n && so_far < INFINITY; b++) {
                double work = range_flops(s, r, a, b), sum = so_far + work * work;
                size_t to = (size_t)(r + 1) * wide + (size_t)b;

                if (work > bound || !range_fits(s, r, base[r], a, b))
                    break;
                if (sum < best[to]) {
                    best[to] = sum;
                    from[to] = a;
                }
            }
        }
    CHECK(best[(size_t)ranks * wide + (size_t)n] < INFINITY);
    for (int r = ranks, b = n; r > 0; r--)
        cut[r - 1] = b = from[(size_t)r * wide + (size_t)b];
    cut[ranks] = n;
    free(best);
    free(from);
    return OK;
}

/* Layers of each rank by hand: cuts, and whether they fit. */
static bool cut_by_hand(const struct sizes *s, const uint64_t (*base)[2], int *cut)
{
    bool fit = true;

    cut[0] = 0;
    for (int r = 0; r < s->q->ranks; r++) {
        cut[r + 1] = cut[r] + s->q->by_hand[r];
        fit = fit && range_fits(s, r, base[r], cut[r], cut[r + 1]);
    }
    return fit;
}

/* Splits for microbatches of `windows`; *fit says whether the caps hold. cut [ranks + 1]. */
static enum status split(struct sizes *s, int windows, int *cut, bool *fit, struct err *e)
{
    int ranks = s->q->ranks;
    uint64_t(*base)[2] = malloc((size_t)ranks * sizeof *base);
    enum status st = OK;
    double bound;

    if (!base)
        return fail(e, ERR_FIT, "no memory to plan %d ranks", ranks);
    s->tokens = windows * (s->q->len_max - 1);
    for (int r = 0; r < ranks; r++)
        base_bytes(s, r, base[r]);
    if (s->q->n_by_hand) {
        *fit = cut_by_hand(s, (const uint64_t(*)[2])base, cut);
    } else {
        bound = lowest_bound(s, (const uint64_t(*)[2])base);
        *fit = bound >= 0;
        if (*fit)
            st = even_split(s, (const uint64_t(*)[2])base, bound, cut, e);
    }
    free(base);
    return st;
}

/* Enough tokens for the matrices to run at speed; with several ranks, enough microbatches to keep
 * them all busy. */
static int wanted_microbatch(const struct plan_request *q)
{
    int len = q->len_max - 1;
    int64_t most = max_int(TOKENS_WANTED / len, 1);
    int64_t least = (TOKENS_ENOUGH + len - 1) / len;

    if (q->microbatch)
        least = most = q->microbatch;
    else if (q->ranks > 1 && most > q->windows / (MICROBATCHES_PER_RANK * q->ranks))
        most = q->windows / (MICROBATCHES_PER_RANK * q->ranks);
    if (most < least)
        most = least;
    if (most > max_int(TOKENS_MAX / len, 1))
        most = max_int(TOKENS_MAX / len, 1);
    return (int)(most < q->windows ? most : q->windows);
}

/* The largest microbatch up to the wanted one whose plan fits; 0 = none. Bytes only grow with it. */
static enum status choose_microbatch(struct sizes *s, int *cut, int *microbatch, struct err *e)
{
    int low = 0, high = wanted_microbatch(s->q);
    bool fit;

    TRY(split(s, high, cut, &fit, e));
    if (fit)
        low = high;
    while (!s->q->microbatch && high - low > 1) {
        int middle = low + (high - low) / 2;

        TRY(split(s, middle, cut, &fit, e));
        if (fit)
            low = middle;
        else
            high = middle;
    }
    *microbatch = low;
    return low > 0 ? split(s, low, cut, &fit, e) : OK;
}

static enum status holds(const struct plan_request *q, bool *fit, struct err *e)
{
    struct sizes s;
    int microbatch = 0;
    int *cut = malloc(((size_t)q->ranks + 1) * sizeof *cut);
    enum status st;

    if (!cut)
        return fail(e, ERR_FIT, "no memory to plan %d ranks", q->ranks);
    st = sizes_make(q, &s, e);
    if (st == OK) {
        st = choose_microbatch(&s, cut, &microbatch, e);
        sizes_free(&s);
    }
    free(cut);
    *fit = microbatch > 0;
    return st;
}

/* The smallest value, in MiB, that is enough as the cap of every rank whose cap is lower. */
static enum status enough_cap(const struct plan_request *q, uint64_t *bytes, struct err *e)
{
    struct plan_request try = *q;
    struct plan_cap *cap = malloc((size_t)q->ranks * sizeof *cap);
    uint64_t low = 0, high = 1ull << 40; /* MiB */
    enum status st = OK;

    if (!cap)
        return fail(e, ERR_FIT, "no memory to plan %d ranks", q->ranks);
    try.cap = cap;
    while (st == OK && high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        bool fit = false;

        for (int r = 0; r < q->ranks; r++) {
            cap[r] = q->cap[r];
            if (cap[r].bytes < middle << 20)
                cap[r].bytes = middle << 20;
        }
        st = holds(&try, &fit, e);
        if (fit)
            high = middle;
        else
            low = middle;
    }
    free(cap);
    *bytes = high << 20;
    return st;
}

/* The largest len_max below the asked one whose plan fits with these caps; 0 = none. */
static enum status enough_len(const struct plan_request *q, int *len, struct err *e)
{
    struct plan_request try = *q;
    int low = 1, high = q->len_max; /* one token is no window */

    while (high - low > 1) {
        bool fit = false;

        try.len_max = low + (high - low) / 2;
        try.windows = q->windows * q->len_max / try.len_max + 1; /* shorter, so more of them */
        TRY(holds(&try, &fit, e));
        if (fit)
            low = try.len_max;
        else
            high = try.len_max;
    }
    *len = low > 1 ? low : 0;
    return OK;
}

static enum status refuse(const struct plan_request *q, struct err *e)
{
    char total[SIZE_TEXT], shorter[64] = "";
    uint64_t caps = 0, cap = 0;
    int len = 0;

    for (int r = 0; r < q->ranks; r++)
        caps += q->cap[r].bytes;
    TRY(enough_cap(q, &cap, e));
    TRY(enough_len(q, &len, e));
    if (len)
        snprintf(shorter, sizeof shorter, ", or eval_len %d would fit",
                 len - (q->len_max - q->eval_len));
    return fail(e, ERR_FIT,
                "plan refused: %d layers in windows of %d tokens do not fit %d rank%s with %s in "
                "all: a cap of %llu MiB%s would do%s",
                q->model->n_layers, q->eval_len, q->ranks, q->ranks == 1 ? "" : "s",
                size_format(caps, total), (unsigned long long)(cap >> 20),
                q->ranks == 1 ? "" : " for each rank that has less", shorter);
}

static enum status check_by_hand(const struct plan_request *q, struct err *e)
{
    int64_t sum = 0;

    if (!q->n_by_hand)
        return OK;
    for (int i = 0; i < q->n_by_hand; i++)
        sum += q->by_hand[i];
    if (q->n_by_hand != q->ranks)
        return fail(e, ERR_SPEC, "\"layers\" names %d ranks, but there are %d", q->n_by_hand,
                    q->ranks);
    if (sum != q->model->n_layers)
        return fail(e, ERR_SPEC, "\"layers\" adds up to %lld, but the model has %d layers",
                    (long long)sum, q->model->n_layers);
    return OK;
}

/* The plan itself, once the cuts are known. */
static void fill(struct plan *p, const struct sizes *s, const int *cut, int microbatch)
{
    double tokens = (double)s->q->windows * (s->q->len_max - 1), slowest = 0;

    p->ranks = s->q->ranks;
    p->microbatch = microbatch;
    p->tokens = s->tokens;
    p->microbatches = (s->q->windows + microbatch - 1) / microbatch;
    for (int r = 0; r < p->ranks; r++) {
        p->rank[r] = lay_out(s, r, cut[r], cut[r + 1]);
        CHECK(p->rank[r].total <= p->rank[r].cap.bytes);
        p->rank[r].flops *= tokens;
        p->flops += p->rank[r].flops;
        slowest = fmax(slowest, p->rank[r].flops);
    }
    p->balance = p->flops / p->ranks / slowest;
}

enum status plan_make(const struct plan_request *q, struct plan **out, struct err *e)
{
    struct plan *p = calloc(1, sizeof *p);
    struct sizes s = {0};
    int *cut = malloc(((size_t)q->ranks + 1) * sizeof *cut), microbatch = 0;
    enum status st;

    CHECK(q->ranks > 0 && q->len_max > 1 && q->windows > 0);
    if (p)
        p->rank = calloc((size_t)q->ranks, sizeof *p->rank);
    if (!p || !p->rank || !cut)
        st = fail(e, ERR_FIT, "no memory to plan %d ranks", q->ranks);
    else
        st = check_by_hand(q, e);
    if (st == OK)
        st = sizes_make(q, &s, e);
    if (st == OK)
        st = choose_microbatch(&s, cut, &microbatch, e);
    if (st == OK && microbatch > 0) {
        fill(p, &s, cut, microbatch);
        *out = p;
    } else {
        plan_free(p);
        st = st == OK ? refuse(q, e) : st;
    }
    sizes_free(&s);
    free(cut);
    return st;
}

void plan_free(struct plan *p)
{
    if (p)
        free(p->rank);
    free(p);
}
