#include "stage/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* The transfers under way. Microbatches are counted among those that this rank has to do, but for those
 * of an inbox: among those of its replica. `mine` and plan_in_text give their number among all. */
struct pipeline {
    const struct schedule_request *q;
    const struct plan_rank *me;
    struct microbatches *of;
    double *nll[2];       /* [T] each: last stage, being sent and being made */
    struct comm_ticket *receive, *send; /* [n_hidden] by buffer */
    int *buffer;         /* [wave] of microbatch k of the wave, mod that; PARKED: on the host */
    int *arriving;       /* [n_hidden] buffers that are received into, in turns from `oldest` on */
    int oldest, ahead;   /* receives that are started and not waited for */
    int *unused, n_unused; /* [n_hidden] buffers, the longest unused first; some are still sent from */
    int sent[TRANSFERS_AHEAD]; /* buffers of the last microbatches that left */
    int passing;         /* buffers that parked microbatches have now */
    int parking;         /* buffer that one is being copied to the host from; NONE */
    struct comm_ticket nll_ticket[2];
    struct inbox *inbox;  /* [n_inbox] rank 0: of the replicas whose last stage is another rank */
    int n_inbox, n_receiving, turn; /* how many receive now; which is first to be looked at */
    int64_t to_do;       /* microbatches of this rank */
    int64_t entered;     /* of them: they have come in, or were restored */
    int64_t receiving;   /* the one to be received next */
    struct schedule_times times;
};

static int64_t mine(const struct pipeline *p, int64_t k)
{
    const struct plan *plan = p->q->plan;

    return plan_in_text(plan, p->me->replica, plan_microbatch(plan, p->q->comm->rank, k));
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

enum { PARKED = -1, NONE = -1 };

static int *buffer_of(const struct pipeline *p, int64_t k)
{
    return &p->buffer[k % p->me->wave];
}

/* Place on the host of a microbatch of the wave that begins at `from`; negative: it stays in the
 * arena. */
static int place_of(const struct pipeline *p, int64_t from, int64_t k)
{
    return (int)(k - from) - (p->me->wave - p->me->parked);
}

/* The buffer that is unused for longest, which nothing is sent from any more. */
static int pop_buffer(struct pipeline *p)
{
    int buffer = p->unused[0];

    CHECK(p->n_unused > 0);
    p->n_unused--;
    memmove(p->unused, p->unused + 1, (size_t)p->n_unused * sizeof *p->unused);
    return buffer;
}

/* Until copies to the host and from it are done. */
static enum status copied(struct pipeline *p, struct err *e)
{
    p->parking = NONE;
    return stage_copied(p->q->stage, e);
}

/* The same once that is so. Microbatch k waits for it. */
static enum status take_buffer(struct pipeline *p, int64_t k, int *buffer, struct err *e)
{
    CHECK(p->n_unused > 0);
    TRY(wait_for(p, &p->send[p->unused[0]], "hand-over of an earlier one", mine(p, k), e));
    if (p->unused[0] == p->parking)
        TRY(copied(p, e));
    *buffer = pop_buffer(p);
    return OK;
}

static void return_buffer(struct pipeline *p, int64_t k)
{
    p->unused[p->n_unused++] = *buffer_of(p, k);
    *buffer_of(p, k) = PARKED;
}

/* May a microbatch be received now? Buffers are kept for parked ones to pass through, and for those that
 * come before it by what was kept. */
static bool may_receive(const struct pipeline *p)
{
    int keep = p->me->passing - p->passing;

    return !p->me->embed && p->receiving < p->to_do && p->receiving == p->entered + p->ahead &&
           p->n_unused > keep && p->unused[0] != p->parking && p->ahead < TRANSFERS_AHEAD;
}

static enum status receive(struct pipeline *p, int buffer, struct err *e)
{
    struct comm *c = p->q->comm;

    TRY(c->ops->recv(c, c->rank - 1, COMM_HIDDEN, stage_hidden(p->q->stage, buffer),
                     hidden_bytes(p, p->receiving), &p->receive[buffer], e));
    p->receiving = plan_next_arrival(p->q->plan, c->rank, p->receiving + 1);
    p->arriving[(p->oldest + p->ahead) % p->me->n_hidden] = buffer;
    p->ahead++;
    return OK;
}

/* Starts every receive that there is a buffer for: what was in it before has been sent on. */
static enum status start_receives(struct pipeline *p, struct err *e)
{
    struct comm *c = p->q->comm;

    while (may_receive(p)) {
        bool sent;

        TRY(c->ops->test(c, &p->send[p->unused[0]], &sent, e));
        if (!sent)
            return OK;
        TRY(receive(p, pop_buffer(p), e));
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
    int64_t microbatch = plan_in_text(p->q->plan, b->replica, b->scored);
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
    TRY(stage_head(p->q->stage, *buffer_of(p, microbatch), p->of->row, p->of->target, rows, p->nll[i],
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
    int *buffer = buffer_of(p, microbatch);

    p->entered++;
    if (p->me->embed) {
        TRY(take_buffer(p, microbatch, buffer, e));
        TRY(begin(p, microbatch, e));
        microbatch_ids(p->of, mine(p, microbatch));
        return stage_embed(p->q->stage, *buffer, p->of->ids, e);
    }
    if (p->ahead == 0) { /* only a buffer can have held it up */
        TRY(take_buffer(p, microbatch, buffer, e));
        TRY(receive(p, *buffer, e));
    }
    *buffer = p->arriving[p->oldest];
    p->oldest = (p->oldest + 1) % p->me->n_hidden;
    p->ahead--;
    return wait_for(p, &p->receive[*buffer], "hidden states", mine(p, microbatch), e);
}

/* They leave: to the head or to the rank after. */
static enum status leave(struct pipeline *p, int64_t microbatch, struct err *e)
{
    struct comm *c = p->q->comm;
    int *oldest = &p->sent[microbatch % TRANSFERS_AHEAD], buffer = *buffer_of(p, microbatch);

    if (p->me->head) {
        TRY(begin(p, microbatch, e));
        TRY(finish(p, microbatch, e));
    } else {
        if (microbatch >= TRANSFERS_AHEAD)
            TRY(wait_for(p, &p->send[*oldest], "hand-over", mine(p, microbatch - TRANSFERS_AHEAD),
                         e));
        *oldest = buffer;
        TRY(c->ops->send(c, c->rank + 1, COMM_HIDDEN, stage_hidden(p->q->stage, buffer),
                         hidden_bytes(p, microbatch), &p->send[buffer], e));
    }
    return_buffer(p, microbatch);
    return OK;
}

/* What else moves while a rank computes: receives for free buffers, nll that has come in. */
static enum status keep_moving(struct pipeline *p, struct err *e)
{
    TRY(start_receives(p, e));
    return collect(p, e);
}

/* Begins to fetch a parked microbatch into the buffer that is unused for longest; what is still copied
 * out of that comes first. */
static enum status fetch(struct pipeline *p, int64_t from, int64_t k, struct err *e)
{
    *buffer_of(p, k) = pop_buffer(p);
    p->passing++;
    return stage_fetch(p->q->stage, *buffer_of(p, k), place_of(p, from, k),
                       microbatch_tokens(p->of, mine(p, k)), e);
}

/* The same for the one that is computed next, if there is a buffer for it now. */
static enum status fetch_next(struct pipeline *p, int layer, struct plan_wave wave, int64_t k,
                              struct err *e)
{
    struct comm *c = p->q->comm;
    int64_t next = k + 1 < wave.to ? k + 1 : wave.from;
    bool sent = false;

    layer += next == wave.from;
    if (layer == p->me->first || layer == p->me->last || *buffer_of(p, next) != PARKED ||
        p->passing == p->me->passing)
        return OK;
    TRY(c->ops->test(c, &p->send[p->unused[0]], &sent, e));
    return sent ? fetch(p, wave.from, next, e) : OK;
}

/* A microbatch that is there, through a layer, and what is copied meanwhile. */
static enum status compute(struct pipeline *p, int layer, struct plan_wave wave, int64_t k,
                           struct err *e)
{
    double before = clock_seconds();

    TRY(begin(p, k, e));
    if (p->me->parked)
        TRY(fetch_next(p, layer, wave, k, e));
    TRY(stage_layer(p->q->stage, layer, *buffer_of(p, k), e));
    if (p->me->parked)
        TRY(copied(p, e));
    p->times.compute += clock_seconds() - before;
    return OK;
}

/* Makes a microbatch be in a buffer before a layer: it enters, is fetched, or is there. */
static enum status bring(struct pipeline *p, int layer, int64_t from, int64_t k, struct err *e)
{
    if (layer == p->me->first) {
        p->passing += place_of(p, from, k) >= 0;
        return enter(p, k, e);
    }
    if (*buffer_of(p, k) != PARKED)
        return OK;
    CHECK(p->n_unused > 0);
    TRY(wait_for(p, &p->send[p->unused[0]], "hand-over of an earlier one", mine(p, k), e));
    TRY(fetch(p, from, k, e));
    return copied(p, e);
}

/* After a layer a parked microbatch goes back to the host. */
static enum status park(struct pipeline *p, int64_t from, int64_t k, struct err *e)
{
    p->parking = *buffer_of(p, k);
    return_buffer(p, k);
    return stage_park(p->q->stage, p->parking, place_of(p, from, k),
                      microbatch_tokens(p->of, mine(p, k)), e);
}

/* One microbatch of a wave through one layer. */
static enum status run_layer(struct pipeline *p, int layer, struct plan_wave wave, int64_t k,
                             struct err *e)
{
    bool parked = place_of(p, wave.from, k) >= 0;

    TRY(bring(p, layer, wave.from, k, e));
    TRY(keep_moving(p, e));
    TRY(compute(p, layer, wave, k, e));
    if (layer == p->me->last - 1)
        TRY(leave(p, k, e));
    else if (parked)
        TRY(park(p, wave.from, k, e));
    p->passing -= parked;
    return OK;
}

/* Between layers: in its buffer, or on the host. */
static struct stage_place where_is(const struct pipeline *p, int64_t from, int64_t k)
{
    return (struct stage_place){.slot = *buffer_of(p, k), .parked = place_of(p, from, k)};
}

static uint64_t row_bytes(const struct pipeline *p)
{
    return (uint64_t)p->q->hidden * dtype_bytes(p->q->dtype);
}

/* A wave as it was kept, instead of through the layers before. */
static enum status restore(struct pipeline *p, struct plan_wave wave, struct err *e)
{
    for (int64_t k = wave.from; k < wave.to; k++) {
        p->entered++;
        *buffer_of(p, k) = PARKED;
        if (place_of(p, wave.from, k) < 0)
            TRY(take_buffer(p, k, buffer_of(p, k), e));
        TRY(wave_restore(p->q->store, wave.begin, p->q->stage, p->of, mine(p, k),
                         where_is(p, wave.from, k), row_bytes(p), e));
    }
    return OK;
}

/* Is the wave to be kept as layer `layer` will find it? Not one that is not finite: where that began
 * is only known to who has seen it. */
static bool is_due(const struct pipeline *p, int layer)
{
    const struct plan_rank *me = p->me;

    return p->q->store && me->keep && layer < me->last && (layer - me->first) % me->keep == 0 &&
           stage_first_fault(p->q->stage).microbatch < 0;
}

static enum status keep(struct pipeline *p, int layer, struct plan_wave wave, struct err *e)
{
    const struct wave_store *store = p->q->store;
    double before = clock_seconds();
    int64_t windows = 0, first;
    bool going;

    comm_note(p->q->comm, "keeping the wave before layer", layer);
    TRY(copied(p, e)); /* the last one may be on its way to the host, the first one back */
    microbatch_window(p->of, mine(p, wave.from), 0, &first);
    for (int64_t k = wave.from; k < wave.to; k++)
        windows += microbatch_windows(p->of, mine(p, k));
    going = store->begin(store->context, layer, windows_index(p->q->windows, first), windows);
    for (int64_t k = wave.from; k < wave.to && going; k++)
        TRY(wave_keep(store, p->q->stage, p->of, mine(p, k), where_is(p, wave.from, k),
                      row_bytes(p), &going, e));
    if (going)
        store->end(store->context);
    p->times.keep += clock_seconds() - before;
    p->times.kept += going;
    return OK;
}

/* A wave through this rank, layer by layer. Its microbatches enter at the first layer, unless they were
 * kept, and leave after the last, each as soon as it can. */
static enum status run_wave(struct pipeline *p, struct plan_wave wave, struct err *e)
{
    const struct plan_rank *me = p->me;

    if (wave.begin > me->first)
        TRY(restore(p, wave, e));
    for (int layer = wave.begin; layer < me->last; layer++) {
        TRY(stage_acquire(p->q->stage, layer, e));
        for (int64_t k = wave.from; k < wave.to; k++)
            TRY(run_layer(p, layer, wave, k, e));
        stage_release(p->q->stage, layer);
        if (is_due(p, layer + 1))
            TRY(keep(p, layer + 1, wave, e));
    }
    for (int64_t k = wave.from; k < wave.to && me->first == me->last; k++) { /* a rank without layers */
        TRY(enter(p, k, e));
        TRY(keep_moving(p, e));
        TRY(leave(p, k, e));
    }
    return OK;
}

static enum status run(struct pipeline *p, struct err *e)
{
    int64_t n = p->to_do;
    struct plan_wave wave = {0};

    while (plan_next_wave(p->q->plan, p->q->comm->rank, &wave))
        TRY(run_wave(p, wave, e));
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
    free(p->buffer);
    free(p->arriving);
    free(p->unused);
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
    p->buffer = calloc((size_t)p->me->wave, sizeof *p->buffer);
    p->arriving = calloc(slots, sizeof *p->arriving);
    p->unused = calloc(slots, sizeof *p->unused);
    if (!p->nll[0] || !p->nll[1] || !p->receive || !p->send || !p->buffer || !p->arriving ||
        !p->unused || !open_inboxes(p))
        return fail(e, ERR_FIT, "no memory for the nll of %zu tokens", T);
    for (p->n_unused = 0; p->n_unused < p->me->n_hidden; p->n_unused++)
        p->unused[p->n_unused] = p->n_unused;
    p->to_do = plan_to_do(plan, p->q->comm->rank);
    p->receiving = plan_next_arrival(plan, p->q->comm->rank, 0);
    return OK;
}

enum status schedule_run(const struct schedule_request *q, struct schedule_times *times,
                         struct err *e)
{
    struct pipeline p = {.q = q, .me = &q->plan->rank[q->comm->rank], .parking = NONE};
    enum status st = pipeline_open(&p, e);
    bool under_way = st == OK && q->comm->ranks > 1;

    if (st == OK)
        st = run(&p, e);
    *times = p.times;
    if (st == OK || !under_way)
        pipeline_close(&p);
    return st;
}
