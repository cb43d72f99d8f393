#include "stage/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* One microbatch on the host, and the transfers under way. */
struct pipeline {
    const struct schedule_request *q;
    const struct plan_rank *me;
    int32_t *start;       /* [windows + 1] */
    int32_t *ids;         /* [T] */
    int32_t *row, *target; /* [T] */
    double *nll[2];       /* [T] each: last rank, being sent and being made; rank 0 receives in [0] */
    struct comm_ticket receive, send[PLAN_HIDDEN_MAX], nll_ticket[2];
    int64_t scored;       /* rank 0: microbatches whose nll is in */
    struct schedule_times times;
};

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int64_t first_window(const struct pipeline *p, int64_t microbatch)
{
    return microbatch * p->q->plan->microbatch;
}

static int windows_in(const struct pipeline *p, int64_t microbatch)
{
    int64_t left = p->q->windows->count - first_window(p, microbatch);

    return (int)(left < p->q->plan->microbatch ? left : p->q->plan->microbatch);
}

/* start[] of a microbatch; returns its tokens. */
static int fill_start(struct pipeline *p, int64_t microbatch)
{
    int n = windows_in(p, microbatch);

    p->start[0] = 0;
    for (int i = 0; i < n; i++)
        p->start[i + 1] =
            p->start[i] + windows_get(p->q->windows, first_window(p, microbatch) + i).len - 1;
    return p->start[n];
}

static void fill_ids(struct pipeline *p, int64_t microbatch)
{
    for (int i = 0; i < windows_in(p, microbatch); i++) {
        struct window v = windows_get(p->q->windows, first_window(p, microbatch) + i);

        for (int t = 0; t < v.len - 1; t++)
            p->ids[p->start[i] + t] = windows_token(p->q->windows, &v, t);
    }
}

/* The head's rows: position p of a window is predicted from token p - 1. Returns how many. */
static int fill_targets(struct pipeline *p, int64_t microbatch)
{
    int n = 0;

    for (int i = 0; i < windows_in(p, microbatch); i++) {
        struct window v = windows_get(p->q->windows, first_window(p, microbatch) + i);

        for (int t = v.score_from; t < v.len; t++, n++) {
            p->row[n] = p->start[i] + t - 1;
            p->target[n] = windows_token(p->q->windows, &v, t);
        }
    }
    return n;
}

static int scored_rows(const struct pipeline *p, int64_t microbatch)
{
    int n = 0;

    for (int i = 0; i < windows_in(p, microbatch); i++) {
        struct window v = windows_get(p->q->windows, first_window(p, microbatch) + i);

        n += v.len - v.score_from;
    }
    return n;
}

static size_t hidden_bytes(const struct pipeline *p, int64_t microbatch)
{
    size_t tokens = 0;

    for (int i = 0; i < windows_in(p, microbatch); i++)
        tokens += (size_t)windows_get(p->q->windows, first_window(p, microbatch) + i).len - 1;
    return tokens * (size_t)p->q->hidden * dtype_bytes(p->q->dtype);
}

static enum status wait_for(struct pipeline *p, struct comm_ticket *t, const char *what,
                            int64_t microbatch, struct err *e)
{
    char text[96];
    double before = seconds();
    enum status st;

    snprintf(text, sizeof text, "%s of microbatch %lld of %lld", what, (long long)microbatch + 1,
             (long long)p->q->plan->microbatches);
    st = p->q->comm->ops->wait(p->q->comm, t, text, e);
    p->times.wait += seconds() - before;
    return st;
}

/* Starts receiving a microbatch; its buffer must have been sent on before. */
static enum status start_receive(struct pipeline *p, int64_t microbatch, struct err *e)
{
    int slot = (int)(microbatch % p->me->n_hidden);

    if (p->me->embed || microbatch >= p->q->plan->microbatches)
        return OK;
    TRY(wait_for(p, &p->send[slot], "hand-over", microbatch - p->me->n_hidden, e));
    return p->q->comm->ops->recv(p->q->comm, p->q->comm->rank - 1, COMM_HIDDEN,
                                 stage_hidden(p->q->stage, slot), hidden_bytes(p, microbatch),
                                 &p->receive, e);
}

static void score_windows(struct pipeline *p, int64_t microbatch, const double *nll)
{
    for (int i = 0; i < windows_in(p, microbatch); i++) {
        int64_t w = first_window(p, microbatch) + i;
        struct window v = windows_get(p->q->windows, w);

        score_add(p->q->score, w, nll);
        nll += v.len - v.score_from;
    }
    if (p->q->on_score)
        p->q->on_score(p->q->context, p->q->score);
}

/* Rank 0 of several: takes in what the last rank has sent; with `all`, waits for the rest. */
static enum status collect(struct pipeline *p, bool all, struct err *e)
{
    struct comm *c = p->q->comm;

    while (p->scored < p->q->plan->microbatches) {
        bool done = true;

        if (p->nll_ticket[0].slot == 0)
            TRY(c->ops->recv(c, c->ranks - 1, COMM_NLL, p->nll[0],
                             (size_t)scored_rows(p, p->scored) * sizeof(double),
                             &p->nll_ticket[0], e));
        if (all)
            TRY(wait_for(p, &p->nll_ticket[0], "nll", p->scored, e));
        else
            TRY(c->ops->test(c, &p->nll_ticket[0], &done, e));
        if (!done)
            return OK;
        score_windows(p, p->scored++, p->nll[0]);
    }
    return OK;
}

/* The last rank: head, and the nll on its way to rank 0. */
static enum status finish(struct pipeline *p, int64_t microbatch, int slot, struct err *e)
{
    struct comm *c = p->q->comm;
    int i = (int)(microbatch % 2), rows = fill_targets(p, microbatch);
    double before;

    TRY(wait_for(p, &p->nll_ticket[i], "nll", microbatch - 2, e));
    before = seconds();
    TRY(stage_head(p->q->stage, slot, p->row, p->target, rows, p->nll[i], e));
    p->times.compute += seconds() - before;
    if (p->me->embed) {
        score_windows(p, microbatch, p->nll[i]);
        return OK;
    }
    return c->ops->send(c, 0, COMM_NLL, p->nll[i], (size_t)rows * sizeof(double),
                        &p->nll_ticket[i], e);
}

static enum status step(struct pipeline *p, int64_t microbatch, struct err *e)
{
    struct comm *c = p->q->comm;
    int slot = (int)(microbatch % p->me->n_hidden);
    double before;

    fill_start(p, microbatch);
    TRY(stage_begin(p->q->stage, microbatch, p->start, windows_in(p, microbatch), e));
    if (p->me->embed) {
        fill_ids(p, microbatch);
        TRY(wait_for(p, &p->send[slot], "hand-over", microbatch - p->me->n_hidden, e));
        TRY(stage_embed(p->q->stage, slot, p->ids, e));
    } else {
        TRY(wait_for(p, &p->receive, "hidden states", microbatch, e));
        TRY(start_receive(p, microbatch + 1, e));
    }
    before = seconds();
    TRY(stage_layers(p->q->stage, slot, e));
    p->times.compute += seconds() - before;
    if (p->me->head)
        return finish(p, microbatch, slot, e);
    return c->ops->send(c, c->rank + 1, COMM_HIDDEN, stage_hidden(p->q->stage, slot),
                        hidden_bytes(p, microbatch), &p->send[slot], e);
}

static enum status run(struct pipeline *p, struct err *e)
{
    int64_t n = p->q->plan->microbatches;
    bool collects = p->me->embed && !p->me->head;

    TRY(start_receive(p, 0, e));
    for (int64_t k = 0; k < n; k++) {
        TRY(step(p, k, e));
        if (collects)
            TRY(collect(p, false, e));
    }
    if (collects)
        TRY(collect(p, true, e));
    for (int i = 0; i < p->me->n_hidden; i++)
        TRY(wait_for(p, &p->send[i], "hand-over", n - 1, e));
    for (int i = 0; i < 2; i++)
        TRY(wait_for(p, &p->nll_ticket[i], "nll", n - 1, e));
    return OK;
}

enum status schedule_run(const struct schedule_request *q, struct schedule_times *times,
                         struct err *e)
{
    struct pipeline p = {.q = q, .me = &q->plan->rank[q->comm->rank]};
    size_t T = (size_t)q->plan->tokens;
    enum status st;

    p.start = malloc(((size_t)q->plan->microbatch + 1) * sizeof *p.start);
    p.ids = malloc(T * sizeof *p.ids);
    p.row = malloc(T * sizeof *p.row);
    p.target = malloc(T * sizeof *p.target);
    p.nll[0] = malloc(T * sizeof *p.nll[0]);
    p.nll[1] = malloc(T * sizeof *p.nll[1]);
    if (!p.start || !p.ids || !p.row || !p.target || !p.nll[0] || !p.nll[1])
        st = fail(e, ERR_FIT, "no memory for a microbatch of %zu tokens", T);
    else
        st = run(&p, e);
    *times = p.times;
    free(p.start);
    free(p.ids);
    free(p.row);
    free(p.target);
    free(p.nll[0]);
    free(p.nll[1]);
    return st;
}
