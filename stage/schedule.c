#include "stage/schedule.h"

#include <stdio.h>
#include <stdlib.h>

#include "spec/clock.h"

enum { TRANSFERS_AHEAD = 16 }; /* hidden states under way at a time, each direction: what the
                                  transport has tickets for, whatever the size of a wave */

/* One microbatch on the host, and the transfers under way. */
struct pipeline {
    const struct schedule_request *q;
    const struct plan_rank *me;
    int32_t *start;       /* [windows + 1] */
    int32_t *ids;         /* [T] */
    int32_t *row, *target; /* [T] */
    double *nll[2];       /* [T] each: last rank, being sent and being made; rank 0 receives in [0] */
    struct comm_ticket *receive, *send; /* [n_hidden] */
    struct comm_ticket nll_ticket[2];
    int64_t receiving, entered; /* microbatches whose receive was started, and was waited for */
    int64_t scored;       /* rank 0: microbatches whose nll is in */
    struct schedule_times times;
};

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
    double before = clock_seconds();
    enum status st;

    snprintf(text, sizeof text, "%s of microbatch %lld of %lld", what, (long long)microbatch + 1,
             (long long)p->q->plan->microbatches);
    st = p->q->comm->ops->wait(p->q->comm, t, text, e);
    p->times.wait += clock_seconds() - before;
    return st;
}

static int slot_of(const struct pipeline *p, int64_t microbatch)
{
    return (int)(microbatch % p->me->n_hidden);
}

/* Starts every receive whose buffer is free: what was in it before has been sent on. `done` is the
 * first microbatch whose buffer is still in use. */
static enum status start_receives(struct pipeline *p, int64_t done, struct err *e)
{
    struct comm *c = p->q->comm;

    while (!p->me->embed && p->receiving < p->q->plan->microbatches &&
           p->receiving < done + p->me->n_hidden &&
           p->receiving < p->entered + TRANSFERS_AHEAD) {
        int slot = slot_of(p, p->receiving);
        bool sent;

        TRY(c->ops->test(c, &p->send[slot], &sent, e));
        if (!sent)
            return OK;
        TRY(c->ops->recv(c, c->rank - 1, COMM_HIDDEN, stage_hidden(p->q->stage, slot),
                         hidden_bytes(p, p->receiving), &p->receive[slot], e));
        p->receiving++;
    }
    return OK;
}

static void score_windows(struct pipeline *p, int64_t microbatch, const double *nll)
{
    for (int i = 0; i < windows_in(p, microbatch); i++) {
        int64_t w = first_window(p, microbatch) + i;
        struct window v = windows_get(p->q->windows, w);

        score_add(p->q->score, windows_index(p->q->windows, w), nll);
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
static enum status finish(struct pipeline *p, int64_t microbatch, struct err *e)
{
    struct comm *c = p->q->comm;
    int i = (int)(microbatch % 2), rows = fill_targets(p, microbatch);
    double before;

    TRY(wait_for(p, &p->nll_ticket[i], "nll", microbatch - 2, e));
    before = clock_seconds();
    TRY(stage_head(p->q->stage, slot_of(p, microbatch), p->row, p->target, rows, p->nll[i], e));
    p->times.compute += clock_seconds() - before;
    if (p->me->embed) {
        score_windows(p, microbatch, p->nll[i]);
        return OK;
    }
    return c->ops->send(c, 0, COMM_NLL, p->nll[i], (size_t)rows * sizeof(double),
                        &p->nll_ticket[i], e);
}

/* Makes a microbatch the current one of the stage. */
static enum status begin(struct pipeline *p, int64_t microbatch, struct err *e)
{
    comm_note(p->q->comm, "computing microbatch", microbatch + 1);
    fill_start(p, microbatch);
    return stage_begin(p->q->stage, microbatch, p->start, windows_in(p, microbatch), e);
}

/* Hidden states of a microbatch come in: from the embedding or from the rank before. */
static enum status enter(struct pipeline *p, int64_t microbatch, struct err *e)
{
    int slot = slot_of(p, microbatch);

    if (!p->me->embed) {
        while (p->receiving <= microbatch) { /* only its buffer can hold it up */
            int64_t before = microbatch - p->me->n_hidden;

            TRY(wait_for(p, &p->send[slot], "hand-over", before, e));
            TRY(start_receives(p, microbatch, e));
        }
        p->entered++;
        return wait_for(p, &p->receive[slot], "hidden states", microbatch, e);
    }
    TRY(wait_for(p, &p->send[slot], "hand-over", microbatch - p->me->n_hidden, e));
    TRY(begin(p, microbatch, e));
    fill_ids(p, microbatch);
    return stage_embed(p->q->stage, slot, p->ids, e);
}

/* They leave: to the head or to the rank after. */
static enum status leave(struct pipeline *p, int64_t microbatch, struct err *e)
{
    struct comm *c = p->q->comm;
    int slot = slot_of(p, microbatch);

    if (p->me->head) {
        TRY(begin(p, microbatch, e));
        return finish(p, microbatch, e);
    }
    if (microbatch >= TRANSFERS_AHEAD && p->me->n_hidden > TRANSFERS_AHEAD)
        TRY(wait_for(p, &p->send[slot_of(p, microbatch - TRANSFERS_AHEAD)], "hand-over",
                     microbatch - TRANSFERS_AHEAD, e));
    return c->ops->send(c, c->rank + 1, COMM_HIDDEN, stage_hidden(p->q->stage, slot),
                        hidden_bytes(p, microbatch), &p->send[slot], e);
}

/* What else moves while a rank computes: receives for free buffers, nll that has come in. */
static enum status keep_moving(struct pipeline *p, int64_t in_use, struct err *e)
{
    TRY(start_receives(p, in_use, e));
    return p->me->embed && !p->me->head ? collect(p, false, e) : OK;
}

static enum status compute(struct pipeline *p, int layer, int64_t microbatch, struct err *e)
{
    double before = clock_seconds();

    TRY(begin(p, microbatch, e));
    TRY(stage_layer(p->q->stage, layer, slot_of(p, microbatch), e));
    p->times.compute += clock_seconds() - before;
    return OK;
}

/* Microbatches [from, to) through this rank, layer by layer. They enter at the first layer and leave
 * after the last, each as soon as it can. */
static enum status run_wave(struct pipeline *p, int64_t from, int64_t to, struct err *e)
{
    const struct plan_rank *me = p->me;

    for (int layer = me->first; layer < me->last; layer++) {
        TRY(stage_acquire(p->q->stage, layer, e));
        for (int64_t k = from; k < to; k++) {
            if (layer == me->first)
                TRY(enter(p, k, e));
            TRY(keep_moving(p, layer == me->last - 1 ? k : from, e));
            TRY(compute(p, layer, k, e));
            if (layer == me->last - 1)
                TRY(leave(p, k, e));
        }
        stage_release(p->q->stage, layer);
    }
    for (int64_t k = from; k < to && me->first == me->last; k++) { /* a rank without layers */
        TRY(enter(p, k, e));
        TRY(keep_moving(p, k, e));
        TRY(leave(p, k, e));
    }
    return OK;
}

static enum status run(struct pipeline *p, struct err *e)
{
    int64_t n = p->q->plan->microbatches;

    for (int64_t k = 0; k < n; k += p->me->wave)
        TRY(run_wave(p, k, k + p->me->wave < n ? k + p->me->wave : n, e));
    if (p->me->embed && !p->me->head)
        TRY(collect(p, true, e));
    for (int i = 0; i < p->me->n_hidden; i++)
        TRY(wait_for(p, &p->send[i], "hand-over", n - 1, e));
    for (int i = 0; i < 2; i++)
        TRY(wait_for(p, &p->nll_ticket[i], "nll", n - 1, e));
    return OK;
}

static void pipeline_free(struct pipeline *p)
{
    free(p->start);
    free(p->ids);
    free(p->row);
    free(p->target);
    free(p->nll[0]);
    free(p->nll[1]);
    free(p->receive);
    free(p->send);
}

enum status schedule_run(const struct schedule_request *q, struct schedule_times *times,
                         struct err *e)
{
    struct pipeline p = {.q = q, .me = &q->plan->rank[q->comm->rank]};
    size_t T = (size_t)q->plan->tokens, slots = (size_t)p.me->n_hidden;
    enum status st;

    p.start = malloc(((size_t)q->plan->microbatch + 1) * sizeof *p.start);
    p.ids = malloc(T * sizeof *p.ids);
    p.row = malloc(T * sizeof *p.row);
    p.target = malloc(T * sizeof *p.target);
    p.nll[0] = malloc(T * sizeof *p.nll[0]);
    p.nll[1] = malloc(T * sizeof *p.nll[1]);
    p.receive = calloc(slots, sizeof *p.receive);
    p.send = calloc(slots, sizeof *p.send);
    if (!p.start || !p.ids || !p.row || !p.target || !p.nll[0] || !p.nll[1] || !p.receive ||
        !p.send)
        st = fail(e, ERR_FIT, "no memory for a microbatch of %zu tokens", T);
    else
        st = run(&p, e);
    *times = p.times;
    pipeline_free(&p);
    return st;
}
