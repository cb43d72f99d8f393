#include "launch/rates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "spec/clock.h"
#include "stage/shard.h"
#include "stage/stage.h"

enum {
    TOKENS_FIRST = 64, /* computed first, to see how many the time allows */
    MATRICES = 5       /* of a layer, that are read */
};

static const double compute_s = 0.9, read_s = 0.4; /* of measuring */

struct plan_rates rates_nominal(void)
{
    return (struct plan_rates){.flops = 1e12, .read = 1e9, .park = 4e9};
}

struct plan_rates rates_given(const struct spec_rates *spec, struct plan_rates other)
{
    return (struct plan_rates){.flops = spec->compute > 0 ? spec->compute : other.flops,
                               .read = spec->read > 0 ? spec->read : other.read,
                               .park = spec->copy > 0 ? spec->copy : other.park};
}

/* A stage of one layer between two without any: its plan and what it is made of. */
struct trial {
    struct model model; /* with only this layer */
    struct plan_request request;
    struct plan_cap cap[3];
    struct plan *plan;
    struct stage *stage;
    int32_t *start; /* [windows + 1] */
};

enum { TRIAL_STAGE = 1 };

static void trial_close(struct trial *t)
{
    stage_close(t->stage);
    plan_free(t->plan);
    free(t->start);
}

/* Microbatches as in the plan; smaller ones where a stage of one layer does not fit otherwise. */
static enum status trial_open(const struct plan_request *q, const struct plan *p, int rank,
                              struct device *d, struct trial *t, struct err *e)
{
    static const int by_hand[] = {0, 1, 0};
    const struct plan_cap any = {.bytes = UINT64_MAX / 4};
    struct stage_request s = {.model = &t->model, .kernels = q->kernels, .device = d,
                              .rank = TRIAL_STAGE, .dtype = q->dtype, .len_max = q->len_max,
                              .vocab = q->model->vocab, .blank = true};
    enum status st = ERR_FIT;

    *t = (struct trial){.model = *q->model, .request = *q, .cap = {any, q->cap[rank], any}};
    t->model.layer += p->rank[rank].first < q->model->n_layers ? p->rank[rank].first : 0;
    t->model.n_layers = 1;
    t->request.model = &t->model;
    t->request.stream = STREAM_NEVER;
    t->request.ranks = t->request.n_by_hand = 3;
    t->request.stages = 0;
    t->request.by_hand = by_hand;
    t->request.cap = t->cap;
    for (int windows = p->microbatch; windows > 0 && st == ERR_FIT; windows /= 2) {
        t->request.windows = t->request.microbatch = windows;
        st = plan_make(&t->request, &t->plan, e);
    }
    TRY(st);
    s.plan = t->plan;
    t->start = malloc(((size_t)t->plan->microbatch + 1) * sizeof *t->start);
    if (!t->start)
        return fail(e, ERR_FIT, "no memory to measure rates");
    return stage_open(&s, &t->stage, e);
}

/* The least seconds that `windows` of `len` tokens take through the layer, tried for `limit`
 * seconds, at least twice: the first time, everything is new. */
static enum status run_layer(struct trial *t, int windows, int len, double limit, double *seconds,
                             struct err *e)
{
    double until = clock_seconds() + limit;

    *seconds = INFINITY;
    for (int i = 0; i <= windows; i++)
        t->start[i] = i * len;
    TRY(stage_begin(t->stage, 0, t->start, windows, e));
    TRY(stage_acquire(t->stage, 0, e));
    for (int i = 0; i < 2 || clock_seconds() < until; i++) {
        double before = clock_seconds();

        TRY(stage_layer(t->stage, 0, 0, e));
        *seconds = fmin(*seconds, clock_seconds() - before);
    }
    stage_release(t->stage, 0);
    return OK;
}

/* The shape of a microbatch, or what of it the time allows by the rate of a first few tokens. */
static enum status compute_rate(struct trial *t, double *rate, struct err *e)
{
    int most = t->plan->microbatch, len = t->request.len_max - 1;
    int few = len < TOKENS_FIRST ? len : TOKENS_FIRST;
    double seconds = 0, tokens;

    TRY(run_layer(t, 1, few, compute_s / 8, &seconds, e));
    tokens = few * compute_s / 3 / seconds; /* once, and then twice */
    if (tokens < len)
        len = tokens > few ? (int)tokens : few;
    if (most > tokens / len)
        most = tokens > len ? (int)(tokens / len) : 1;
    TRY(run_layer(t, most, len, compute_s, &seconds, e));
    *rate = (double)most * len * plan_layer_flops(&t->model, &t->model.layer[0], len) / seconds;
    return OK;
}

static const struct linear *matrix_of(const struct layer *l, int i)
{
    const struct linear *matrix[MATRICES] = {&l->down, &l->gate, &l->up, &l->o, &l->q};

    return matrix[i];
}

/* `bytes` from the arena to the host and back, twice: the first time, everything is new. */
static enum status park_rate(const struct plan_request *q, struct device *d, void *base,
                             uint64_t bytes, double *rate, struct err *e)
{
    const struct kernels *k = q->kernels;
    void *host = NULL;
    double before = 0;
    enum status st = OK;

    TRY(k->pin(d, bytes, &host, e));
    for (int i = 0; st == OK && i < 2; i++) {
        before = clock_seconds();
        st = k->copy(d, COPY_HIDDEN, host, base, bytes, e);
        if (st == OK)
            st = k->copy(d, COPY_HIDDEN, base, host, bytes, e);
        if (st == OK)
            st = k->copy_wait(d, COPY_HIDDEN, e);
    }
    *rate = 2 * (double)bytes / (clock_seconds() - before);
    k->unpin(d, host, bytes);
    return st;
}

static uint64_t largest_matrix(const struct model *m)
{
    uint64_t most = 0;

    for (int i = 0; i < m->n_layers * MATRICES; i++) {
        const struct linear *l = matrix_of(&m->layer[i % m->n_layers], i / m->n_layers);

        most = shard_linear_bytes(l).arena > most ? shard_linear_bytes(l).arena : most;
    }
    return most;
}

/* Matrices of one layer after another, until the time is over. */
static enum status read_rate(const struct plan_request *q, struct shard_reader *r,
                             struct plan_rates *out, struct err *e)
{
    int n_layers = q->model->n_layers;
    uint64_t most = largest_matrix(q->model);
    double begin;
    void *base = NULL;

    TRY(q->kernels->arena(r->device, most, &base, e));
    if (q->kernels->arena_is_host)
        memset(base, 0, most); /* taking the memory is no part of reading */
    begin = clock_seconds();
    for (int i = 0; i == 0 || clock_seconds() - begin < read_s; i = (i + 1) % (n_layers * MATRICES)) {
        const struct linear *l = matrix_of(&q->model->layer[i % n_layers], i / n_layers);
        struct weight w;

        TRY(shard_load_linear(r, l, base, &w, e));
    }
    out->read = (double)r->read / (clock_seconds() - begin);
    TRY(park_rate(q, r->device, base, most, &out->park, e));
    return q->kernels->arena(r->device, 0, &base, e); /* what was touched is no part of the run */
}

/* For an arena. */
static uint64_t room(const struct plan_cap *cap)
{
    return cap->bytes - cap->overhead;
}

enum status rates_reserve(const struct plan_request *q, int rank, struct device *d,
                          struct plan_cap *cap, struct err *e)
{
    struct plan_request hungry = *q;
    struct plan *p = NULL;
    uint64_t most = largest_matrix(q->model);
    void *base;

    memcpy(cap, q->cap, (size_t)q->ranks * sizeof *cap);
    if (q->kernels->arena_is_host)
        return OK;
    hungry.rates = (struct plan_rates){.flops = 1e18, .read = 1};
    TRY(plan_make(&hungry, &p, e));
    for (int r = 0; r < q->ranks; r++) { /* a rank without layers reads, too */
        uint64_t reads = q->cap[r].overhead + most;

        cap[r].bytes = p->rank[r].total;
        if (cap[r].bytes < reads && reads <= q->cap[r].bytes)
            cap[r].bytes = reads;
    }
    plan_free(p);
    return q->kernels->arena(d, room(&cap[rank]), &base, e);
}

enum status rates_measure(const struct plan_request *q, const struct plan *p, int rank,
                          struct device *d, const struct file_reader_options *files,
                          struct plan_rates *out, struct err *e)
{
    struct shard_reader r;
    struct trial t;
    enum status st;

    *out = q->rates;
    st = trial_open(q, p, rank, d, &t, e);
    if (st == OK)
        st = compute_rate(&t, &out->flops, e);
    trial_close(&t);
    if (st != OK && st != ERR_FIT)
        return st;
    if (largest_matrix(q->model) > room(&q->cap[rank]))
        return OK;
    st = shard_reader_open(&r, q->model, q->kernels, d, files, e);
    if (st == OK)
        st = read_rate(q, &r, out, e);
    shard_reader_close(&r);
    return st;
}

void rates_settle(const struct plan_request *q, const struct plan_cap *reserved, struct plan *p)
{
    for (int r = 0; r < p->ranks; r++) {
        struct plan_rank *k = &p->rank[r];
        uint64_t rest = q->kernels->arena_is_host ? 0 : reserved[r].bytes - k->total;

        k->scratch += rest;
        k->total += rest;
        k->map.bytes += rest;
        k->cap = q->cap[r];
    }
}
