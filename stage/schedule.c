#include "stage/schedule.h"

#include <stdio.h>
#include <stdlib.h>

#include "spec/clock.h"
#include "stage/microbatch.h"

/* What the transport has tickets for, whatever the size of a wave and the number of replicas. */
enum {
    TRANSFERS_AHEAD = 16, /* hidden states under way at a time, each direction */
    INBOXES_OPEN = 24     /* inboxes that receive at a time; the others take their turns */
};

/* What comes to rank 0 from the last stage of a replica, in that replica's order. */
struct inbox {
    int replica;
    double *nll; /* [T] */
    struct comm_ticket ticket;
    int64_t scored; /* microbatches of the replica whose nll is in */
};

/* The transfers under way. Microbatches are counted within this rank's replica, but for those of an
 * inbox; in_text gives their number among all. */
struct pipeline {
    const struct schedule_request *q;
    const struct plan_rank *me;
    struct microbatches *of;
    double *nll[2];       /* [T] each: last stage, being sent and being made */
    struct comm_ticket *receive, *send; /* [n_hidden] */
    struct comm_ticket nll_ticket[2];
    struct inbox *inbox;  /* [n_inbox] rank 0: of the replicas whose last stage is another rank */
    int n_inbox, n_receiving, turn; /* how many receive now; which is first to be looked at */
    int64_t receiving, entered; /* microbatches whose receive was started, and was waited for */
    struct schedule_times times;
};

static int64_t in_text(const struct pipeline *p, int replica, int64_t k)
{
    return k * p->q->plan->replicas + replica;
}

static int64_t mine(const struct pipeline *p, int64_t k)
{
    return in_text(p, p->me->replica, k);
}

static size_t hidden_bytes(const struct pipeline *p, int64_t k)
{
    return (size_t)microbatch_tokens(p->of, mine(p, k)) * (size_t)p->q->hidden *
           dtype_bytes(p->q->dtype);
}

/* `what` of a microbatch, which goes by its number among all. */
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

    while (!p->me->embed && p->receiving < p->me->microbatches &&
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

/* Rank 0: the nll of a microbatch, by its number among all. */
static void score_windows(struct pipeline *p, int64_t microbatch, const double *nll)
{
    for (int i = 0; i < microbatch_windows(p->of, microbatch); i++) {
        int64_t place;
        struct window v = microbatch_window(p->of, microbatch, i, &place);

        score_add(p->q->score, windows_index(p->q->windows, place), nll);
        nll += v.len - v.score_from;
    }
    if (p->q->on_score)
        p->q->on_score(p->q->context, p->q->score);
}

/* The next microbatch of one replica, if there is one and a place to receive it: scored when its nll
 * has come, with `wait` once it comes. */
static enum status take_in(struct pipeline *p, struct inbox *b, bool wait, struct err *e)
{
    struct comm *c = p->q->comm;
    int64_t microbatch = in_text(p, b->replica, b->scored);
    int from = (b->replica + 1) * p->q->plan->stages - 1;
    bool done = true;

    if (b->scored == p->q->plan->rank[from].microbatches)
        return OK;
    if (b->ticket.slot == 0) {
        if (!wait && p->n_receiving == INBOXES_OPEN)
            return OK;
        TRY(c->ops->recv(c, from, COMM_NLL, b->nll,
                         (size_t)microbatch_scored(p->of, microbatch) * sizeof(double), &b->ticket,
                         e));
        p->n_receiving++;
    }
    if (wait)
        TRY(wait_for(p, &b->ticket, "nll", microbatch, e));
    else
        TRY(c->ops->test(c, &b->ticket, &done, e));
    if (done) {
        score_windows(p, microbatch, b->nll);
        b->scored++;
        p->n_receiving--;
    }
    return OK;
}

/* Takes in what has come by now, and receives what comes next. */
static enum status collect(struct pipeline *p, struct err *e)
{
    for (int i = 0; i < p->n_inbox; i++)
        TRY(take_in(p, &p->inbox[(p->turn + i) % p->n_inbox], false, e));
    p->turn = p->n_inbox ? (p->turn + 1) % p->n_inbox : 0;
    return OK;
}

/* Waits for the rest, replicas in turns: none is held up for long by the messages that it may send
 * ahead. */
static enum status collect_rest(struct pipeline *p, struct err *e)
{
    bool left = p->n_inbox > 0;

    while (left) {
        left = false;
        for (int i = 0; i < p->n_inbox; i++) {
            int64_t before = p->inbox[i].scored;

            TRY(take_in(p, &p->inbox[i], true, e));
            left = left || p->inbox[i].scored > before;
        }
    }
    return OK;
}

/* The last stage: head, and the nll on its way to rank 0. */
static enum status finish(struct pipeline *p, int64_t microbatch, struct err *e)
{
    struct comm *c = p->q->comm;
    int i = (int)(microbatch % 2), rows = microbatch_targets(p->of, mine(p, microbatch));
    double before;

    TRY(wait_for(p, &p->nll_ticket[i], "nll", mine(p, microbatch - 2), e));
    before = clock_seconds();
    TRY(stage_head(p->q->stage, slot_of(p, microbatch), p->of->row, p->of->target, rows, p->nll[i],
                   e));
    p->times.compute += clock_seconds() - before;
    if (c->rank == 0) {
        score_windows(p, mine(p, microbatch), p->nll[i]);
        return OK;
    }
    return c->ops->send(c, 0, COMM_NLL, p->nll[i], (size_t)rows * sizeof(double),
                        &p->nll_ticket[i], e);
}

/* Makes a microbatch the current one of the stage. */
static enum status begin(struct pipeline *p, int64_t microbatch, struct err *e)
{
    int64_t k = mine(p, microbatch);

    comm_note(p->q->comm, "computing microbatch", k + 1);
    microbatch_start(p->of, k);
    return stage_begin(p->q->stage, k, p->of->start, microbatch_windows(p->of, k), e);
}

/* Hidden states of a microbatch come in: from the embedding or from the rank before. */
static enum status enter(struct pipeline *p, int64_t microbatch, struct err *e)
{
    int slot = slot_of(p, microbatch);

    if (!p->me->embed) {
        while (p->receiving <= microbatch) { /* only its buffer can hold it up */
            int64_t before = microbatch - p->me->n_hidden;

            TRY(wait_for(p, &p->send[slot], "hand-over", mine(p, before), e));
            TRY(start_receives(p, microbatch, e));
        }
        p->entered++;
        return wait_for(p, &p->receive[slot], "hidden states", mine(p, microbatch), e);
    }
    TRY(wait_for(p, &p->send[slot], "hand-over", mine(p, microbatch - p->me->n_hidden), e));
    TRY(begin(p, microbatch, e));
    microbatch_ids(p->of, mine(p, microbatch));
    return stage_embed(p->q->stage, slot, p->of->ids, e);
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
                     mine(p, microbatch - TRANSFERS_AHEAD), e));
    return c->ops->send(c, c->rank + 1, COMM_HIDDEN, stage_hidden(p->q->stage, slot),
                        hidden_bytes(p, microbatch), &p->send[slot], e);
}

/* What else moves while a rank computes: receives for free buffers, nll that has come in. */
static enum status keep_moving(struct pipeline *p, int64_t in_use, struct err *e)
{
    TRY(start_receives(p, in_use, e));
    return collect(p, e);
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
    int64_t n = p->me->microbatches;

    for (int64_t k = 0; k < n; k += p->me->wave)
        TRY(run_wave(p, k, k + p->me->wave < n ? k + p->me->wave : n, e));
    TRY(collect_rest(p, e));
    for (int i = 0; i < p->me->n_hidden; i++)
        TRY(wait_for(p, &p->send[i], "hand-over", mine(p, n - 1), e));
    for (int i = 0; i < 2; i++)
        TRY(wait_for(p, &p->nll_ticket[i], "nll", mine(p, n - 1), e));
    return OK;
}

static void pipeline_close(struct pipeline *p)
{
    microbatches_close(p->of);
    free(p->nll[0]);
    free(p->nll[1]);
    free(p->receive);
    free(p->send);
    for (int i = 0; p->inbox && i < p->n_inbox; i++)
        free(p->inbox[i].nll);
    free(p->inbox);
}

/* Rank 0: an inbox for each replica whose last stage is another rank. */
static bool open_inboxes(struct pipeline *p)
{
    const struct plan *plan = p->q->plan;
    int first = plan->stages == 1; /* the first replica's is this rank itself */

    if (p->q->comm->rank != 0)
        return true;
    p->n_inbox = plan->replicas - first;
    p->inbox = calloc((size_t)p->n_inbox + 1, sizeof *p->inbox);
    for (int i = 0; p->inbox && i < p->n_inbox; i++) {
        p->inbox[i] = (struct inbox){.replica = first + i};
        p->inbox[i].nll = malloc((size_t)plan->tokens * sizeof(double));
        if (!p->inbox[i].nll)
            return false;
    }
    return p->inbox != NULL;
}

static enum status pipeline_open(struct pipeline *p, struct err *e)
{
    const struct plan *plan = p->q->plan;
    size_t T = (size_t)plan->tokens, slots = (size_t)p->me->n_hidden;

    TRY(microbatches_open(p->q->windows, plan->microbatch, plan->tokens, &p->of, e));
    p->nll[0] = malloc(T * sizeof *p->nll[0]);
    p->nll[1] = malloc(T * sizeof *p->nll[1]);
    p->receive = calloc(slots, sizeof *p->receive);
    p->send = calloc(slots, sizeof *p->send);
    if (!p->nll[0] || !p->nll[1] || !p->receive || !p->send || !open_inboxes(p))
        return fail(e, ERR_FIT, "no memory for the nll of %zu tokens", T);
    return OK;
}

enum status schedule_run(const struct schedule_request *q, struct schedule_times *times,
                         struct err *e)
{
    struct pipeline p = {.q = q, .me = &q->plan->rank[q->comm->rank]};
    enum status st = pipeline_open(&p, e);

    if (st == OK)
        st = run(&p, e);
    *times = p.times;
    pipeline_close(&p);
    return st;
}
