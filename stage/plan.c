#include "stage/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "spec/size.h"
#include "stage/plan_parts.h"

enum {
    TOKENS_STREAMED = 2048, /* wanted of a streamed plan in any case */
    TOKENS_ENOUGH = 512,
    TOKENS_MAX = 1 << 20, /* of a microbatch: tokens x heads stays inside an int */
    MICROBATCHES_PER_RANK = 16
};

/* Windows of `wanted` tokens, or less: enough for the matrices to run at speed (`least`), more where
 * it does no harm (`most`): with several ranks there must be enough microbatches to keep them all
 * busy, one for each replica at least. */
static void wanted_microbatch(const struct plan_sizes *s, int wanted, int *least, int *most)
{
    const struct plan_request *q = s->q;
    int64_t len = q->len_max - 1, high = wanted / len, low = (TOKENS_ENOUGH + len - 1) / len;
    int64_t limit = TOKENS_MAX / len > 1 ? TOKENS_MAX / len : 1;

    if (q->ranks > 1 && high > q->windows / (MICROBATCHES_PER_RANK * q->ranks))
        high = q->windows / (MICROBATCHES_PER_RANK * q->ranks);
    if (q->microbatch)
        low = high = q->microbatch;
    if (limit > q->windows / s->replicas && !q->microbatch)
        limit = q->windows >= s->replicas ? q->windows / s->replicas : 1;
    if (limit > q->windows)
        limit = q->windows;
    if (low > limit)
        low = limit;
    if (high > limit)
        high = limit;
    *least = (int)low;
    *most = (int)(high > low ? high : low);
}

/* The largest microbatch in [least, most] whose split fits; 0 = none. Bytes only grow with it. */
static enum status largest_microbatch(struct plan_sizes *s, bool streaming, int least, int most,
                                      int *cut, int *microbatch, struct err *e)
{
    int low = least - 1, high = most + 1, try = most; /* the largest first: it mostly fits */
    bool fit;

    while (high - low > 1) {
        plan_sizes_set(s, try, streaming);
        TRY(plan_split(s, cut, &fit, e));
        if (fit)
            low = try;
        else
            high = try;
        try = low + (high - low) / 2;
    }
    *microbatch = low >= least ? low : 0;
    if (*microbatch == 0)
        return OK;
    plan_sizes_set(s, low, streaming);
    return plan_split(s, cut, &fit, e);
}

static double slowest_stage(const struct plan_sizes *s, const int *cut)
{
    double seconds = 0;

    for (int r = 0; r < s->stages; r++)
        seconds = fmax(seconds, plan_range_shape(s, r, cut[r], cut[r + 1]).seconds);
    return seconds;
}

/* Large microbatches leave less memory for resident layers and for waves: they are taken as far as
 * that does not make the run longer. */
static enum status streamed_microbatch(struct plan_sizes *s, int *cut, int *microbatch,
                                       struct err *e)
{
    double best = INFINITY, seconds;
    int wanted = s->q->kernels->tokens_wanted, chosen = 0, least, most;

    for (int tokens = TOKENS_STREAMED; tokens <= wanted; tokens *= 2) {
        wanted_microbatch(s, tokens, &least, &most);
        TRY(largest_microbatch(s, true, s->q->microbatch ? least : 1, most, cut, microbatch, e));
        if (!*microbatch)
            continue;
        seconds = slowest_stage(s, cut);
        if (seconds <= best) {
            best = seconds;
            chosen = *microbatch;
        }
    }
    if (!chosen || *microbatch == chosen)
        return OK;
    return largest_microbatch(s, true, chosen, chosen, cut, microbatch, e);
}

/* Resident in microbatches of a good size; else streamed; else resident in whatever size fits. */
static enum status choose(struct plan_sizes *s, int *cut, int *microbatch, struct err *e)
{
    enum stream_kind stream = s->q->stream;
    int least, most;

    wanted_microbatch(s, s->q->kernels->tokens_wanted, &least, &most);
    *microbatch = 0;
    if (stream != STREAM_ALWAYS)
        TRY(largest_microbatch(s, false, least, most, cut, microbatch, e));
    if (!*microbatch && stream != STREAM_NEVER)
        TRY(streamed_microbatch(s, cut, microbatch, e));
    if (!*microbatch && stream != STREAM_ALWAYS && !s->q->microbatch)
        TRY(largest_microbatch(s, false, 1, least, cut, microbatch, e));
    return OK;
}

/* The plan itself, once the cuts are known. */
static void fill(struct plan *p, const struct plan_sizes *s, const int *cut)
{
    double slowest = 0;

    p->ranks = s->q->ranks;
    p->stages = s->stages;
    p->replicas = s->replicas;
    p->microbatch = s->microbatch;
    p->tokens = s->tokens;
    p->microbatches = s->microbatches;
    for (int r = 0; r < p->ranks; r++) {
        int i = r % s->stages;
        struct plan_shape shape = plan_range_shape(s, i, cut[i], cut[i + 1]);
        struct plan_rank *k = &p->rank[r];

        *k = plan_lay_out(s, r, cut[i], cut[i + 1], shape);
        CHECK(k->total <= k->cap.bytes);
        CHECK(k->parked_bytes <= k->cap.park);
        plan_predict(s, k);
        p->flops += k->flops;
        slowest = fmax(slowest, k->flops);
    }
    plan_keep(s, p);
    p->seconds = plan_pipeline_seconds(p);
    p->balance = p->flops / p->ranks / slowest;
}

/* The plan with so many stages, or *out = NULL when it does not fit. */
static enum status plan_stages(const struct plan_request *q, int stages, struct plan **out,
                               struct err *e)
{
    struct plan *p = calloc(1, sizeof *p);
    struct plan_sizes s = {0};
    int *cut = malloc(((size_t)stages + 1) * sizeof *cut), microbatch = 0;
    enum status st = OK;

    *out = NULL;
    if (p)
        p->rank = calloc((size_t)q->ranks, sizeof *p->rank);
    if (!p || !p->rank || !cut)
        st = fail(e, ERR_FIT, "no memory to plan %d ranks", q->ranks);
    if (st == OK)
        st = plan_sizes_make(q, stages, &s, e);
    if (st == OK) {
        st = choose(&s, cut, &microbatch, e);
        if (st == OK && microbatch > 0) {
            fill(p, &s, cut);
            *out = p;
            p = NULL;
        }
        plan_sizes_free(&s);
    }
    plan_free(p);
    free(cut);
    return st;
}

bool plan_has_streams(const struct plan *p)
{
    for (int r = 0; r < p->ranks; r++)
        if (p->rank[r].streamed)
            return true;
    return false;
}

static bool has_stalls(const struct plan *p)
{
    for (int r = 0; r < p->ranks; r++)
        if (p->rank[r].stall > 1e-3 * p->rank[r].seconds)
            return true;
    return false;
}

/* Is `a`, of fewer stages, to be kept before `b`? */
static bool better(const struct plan *a, const struct plan *b)
{
    if (plan_has_streams(a) != plan_has_streams(b))
        return plan_has_streams(b);
    if (has_stalls(a) != has_stalls(b))
        return has_stalls(b);
    return !has_stalls(a) || a->seconds <= b->seconds;
}

/* May the ranks form pipelines of so many stages? No replica goes without a microbatch, unless so
 * many are asked for. */
static bool may_have_stages(const struct plan_request *q, int stages)
{
    int wanted = q->n_by_hand ? q->n_by_hand : q->stages, least = q->microbatch ? q->microbatch : 1;

    if (wanted)
        return stages == wanted;
    return q->ranks % stages == 0 && q->ranks / stages <= (q->windows + least - 1) / least;
}

/* The plan, or *out = NULL when none fits. */
static enum status try_plan(const struct plan_request *q, struct plan **out, struct err *e)
{
    struct plan *best = NULL;

    *out = NULL;
    for (int stages = 1; stages <= q->ranks && !(best && !plan_has_streams(best)); stages++) {
        struct plan *p = NULL;

        if (!may_have_stages(q, stages))
            continue;
        if (plan_stages(q, stages, &p, e) != OK) {
            plan_free(best);
            return e->code;
        }
        if (p && best && better(best, p)) {
            plan_free(p);
        } else if (p) {
            plan_free(best);
            best = p;
        }
    }
    *out = best;
    return OK;
}

static enum status holds(const struct plan_request *q, bool *fit, bool *stalls, struct err *e)
{
    struct plan *p = NULL;

    TRY(try_plan(q, &p, e));
    *fit = p != NULL;
    *stalls = p && has_stalls(p);
    plan_free(p);
    return OK;
}

/* Which ranks a trial cap is for. */
enum { EVERY_RANK = -1 };

/* The smallest multiple of `unit` that does as the cap of `rank` (then whatever it had), or of every
 * rank that has less; 0 = none up to 2^60. */
static enum status enough_cap(const struct plan_request *q, int rank, uint64_t unit,
                              bool without_stall, uint64_t *bytes, struct err *e)
{
    struct plan_request try = *q;
    struct plan_cap *cap = malloc((size_t)q->ranks * sizeof *cap);
    uint64_t low = 0, high = (1ull << 60) / unit;
    enum status st = OK;

    if (!cap)
        return fail(e, ERR_FIT, "no memory to plan %d ranks", q->ranks);
    try.cap = cap;
    *bytes = 0;
    for (uint64_t units = high; st == OK && high - low > 1; units = low + (high - low) / 2) {
        bool fit = false, stalls = false;

        for (int r = 0; r < q->ranks; r++) {
            cap[r] = q->cap[r];
            if (r == rank || (rank == EVERY_RANK && cap[r].bytes < units * unit))
                cap[r].bytes = units * unit;
        }
        st = holds(&try, &fit, &stalls, e);
        if (fit && !(without_stall && stalls)) {
            high = units;
            *bytes = units * unit;
        } else if (units == high) {
            break; /* not even without any limit */
        } else {
            low = units;
        }
    }
    free(cap);
    return st;
}

enum status plan_smallest_caps(const struct plan_request *q, struct plan_least *least,
                               struct err *e)
{
    enum { UNIT = 4096 };

    for (int r = 0; r < q->ranks; r++) {
        TRY(enough_cap(q, r, UNIT, false, &least[r].runs, e));
        TRY(enough_cap(q, r, UNIT, true, &least[r].without_stall, e));
    }
    return OK;
}

/* The largest len_max below the asked one whose plan fits with these caps; 0 = none. */
static enum status enough_len(const struct plan_request *q, int *len, struct err *e)
{
    struct plan_request try = *q;
    int low = 1, high = q->len_max; /* one token is no window */

    while (high - low > 1) {
        bool fit, stalls;

        try.len_max = low + (high - low) / 2;
        try.windows = q->windows * q->len_max / try.len_max + 1; /* shorter, so more of them */
        TRY(holds(&try, &fit, &stalls, e));
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
    TRY(enough_cap(q, EVERY_RANK, 1 << 20, false, &cap, e));
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

    if (q->stages && q->ranks % q->stages != 0)
        return fail(e, ERR_SPEC, "\"stages\" is %d, but %d ranks are no multiple of it", q->stages,
                    q->ranks);
    if (!q->n_by_hand)
        return OK;
    for (int i = 0; i < q->n_by_hand; i++)
        sum += q->by_hand[i];
    if (q->stages && q->stages != q->n_by_hand)
        return fail(e, ERR_SPEC, "\"layers\" names %d stages, but \"stages\" is %d", q->n_by_hand,
                    q->stages);
    if (q->ranks % q->n_by_hand != 0)
        return fail(e, ERR_SPEC, "\"layers\" names %d stages, but %d rank%s no multiple of it",
                    q->n_by_hand, q->ranks, q->ranks == 1 ? " is" : "s are");
    if (sum != q->model->n_layers)
        return fail(e, ERR_SPEC, "\"layers\" adds up to %lld, but the model has %d layers",
                    (long long)sum, q->model->n_layers);
    return OK;
}

enum status plan_make(const struct plan_request *q, struct plan **out, struct err *e)
{
    CHECK(q->ranks > 0 && q->len_max > 1 && q->windows > 0);
    CHECK(q->rates.flops > 0 && q->rates.read > 0);
    if (q->len_max - 1 > TOKENS_MAX)
        return fail(e, ERR_SPEC, "windows of %d tokens are too long (limit %d)", q->eval_len,
                    TOKENS_MAX);
    TRY(check_by_hand(q, e));
    TRY(try_plan(q, out, e));
    return *out ? OK : refuse(q, e);
}

void plan_free(struct plan *p)
{
    if (p) {
        free(p->rank);
        free(p->kept);
    }
    free(p);
}
