#include "comm/staged.h"

#include <stdlib.h>
#include <string.h>

#include "comm/poll.h"
#include "comm/wrap.h"

enum direction { SEND, RECEIVE, DIRECTIONS };
enum transfer_state { TRANSFER_FREE, TRANSFER_QUEUED, TRANSFER_MOVING, TRANSFER_DONE };

struct transfer {
    enum transfer_state state;
    enum direction direction;
    int peer;
    void *device;
    size_t bytes;
    int buffer;               /* of its direction; while MOVING */
    struct comm_ticket inner; /* likewise */
};

struct staged {
    struct comm base;
    struct comm_device device;
    size_t bytes; /* of a buffer */
    void *buffer[DIRECTIONS][STAGED_BUFFERS];
    bool taken[DIRECTIONS][STAGED_BUFFERS];
    struct transfer transfer[COMM_TICKETS];
    int queue[DIRECTIONS][COMM_TICKETS], n_queued[DIRECTIONS]; /* without a buffer, oldest first */
};

static int free_buffer(const struct staged *s, enum direction d)
{
    for (int i = 0; i < STAGED_BUFFERS; i++)
        if (!s->taken[d][i])
            return i;
    return -1;
}

/* Gives the transfer a buffer and hands it to the transport inside. */
static enum status begin(struct staged *s, struct transfer *t, int buffer, struct err *e)
{
    struct comm *c = s->base.inner;
    void *host = s->buffer[t->direction][buffer];

    t->state = TRANSFER_MOVING;
    t->buffer = buffer;
    s->taken[t->direction][buffer] = true;
    if (t->direction == RECEIVE)
        return c->ops->recv(c, t->peer, COMM_HIDDEN, host, t->bytes, &t->inner, e);
    TRY(s->device.to_host(s->device.context, host, t->device, t->bytes, e));
    return c->ops->send(c, t->peer, COMM_HIDDEN, host, t->bytes, &t->inner, e);
}

static enum status end(struct staged *s, struct transfer *t, struct err *e)
{
    const void *host = s->buffer[t->direction][t->buffer];

    if (t->direction == RECEIVE)
        TRY(s->device.to_device(s->device.context, t->device, host, t->bytes, e));
    s->taken[t->direction][t->buffer] = false;
    t->state = TRANSFER_DONE;
    return OK;
}

/* Everything moves on as far as it can, whichever transfer was asked for: no direction ever waits
 * for the caller to ask for the other. */
static enum status progress(struct staged *s, struct err *e)
{
    struct comm *c = s->base.inner;

    for (int i = 0; i < COMM_TICKETS; i++) {
        struct transfer *t = &s->transfer[i];
        bool done;

        if (t->state != TRANSFER_MOVING)
            continue;
        TRY(c->ops->test(c, &t->inner, &done, e));
        if (done)
            TRY(end(s, t, e));
    }
    for (int d = 0; d < DIRECTIONS; d++)
        for (int b; s->n_queued[d] > 0 && (b = free_buffer(s, d)) >= 0;) {
            struct transfer *t = &s->transfer[s->queue[d][0]];

            memmove(s->queue[d], s->queue[d] + 1, (size_t)--s->n_queued[d] * sizeof s->queue[d][0]);
            TRY(begin(s, t, b, e));
        }
    return OK;
}

static enum status start(struct comm *c, enum direction d, int peer, void *device, size_t bytes,
                         struct comm_ticket *ticket, struct err *e)
{
    struct staged *s = (struct staged *)c;
    int i = 0;

    CHECK(ticket->slot == 0 && bytes <= s->bytes && s->buffer[d][0]);
    while (i < COMM_TICKETS && s->transfer[i].state != TRANSFER_FREE)
        i++;
    if (i == COMM_TICKETS)
        return fail(e, ERR_INTERNAL, "hidden states: more than %d transfers under way",
                    COMM_TICKETS);
    s->transfer[i] = (struct transfer){TRANSFER_QUEUED, d, peer, device, bytes, 0, {0}};
    s->queue[d][s->n_queued[d]++] = i;
    *ticket = wrap_ticket(i);
    return progress(s, e);
}

static enum status staged_send(struct comm *c, int peer, enum comm_channel ch, const void *buf,
                               size_t bytes, struct comm_ticket *t, struct err *e)
{
    struct comm *inner = c->inner;

    if (ch != COMM_HIDDEN)
        return inner->ops->send(inner, peer, ch, buf, bytes, t, e);
    return start(c, SEND, peer, (void *)buf, bytes, t, e);
}

static enum status staged_recv(struct comm *c, int peer, enum comm_channel ch, void *buf,
                               size_t bytes, struct comm_ticket *t, struct err *e)
{
    struct comm *inner = c->inner;

    if (ch != COMM_HIDDEN)
        return inner->ops->recv(inner, peer, ch, buf, bytes, t, e);
    return start(c, RECEIVE, peer, buf, bytes, t, e);
}

static enum status staged_test(struct comm *c, struct comm_ticket *ticket, bool *done,
                               struct err *e)
{
    struct staged *s = (struct staged *)c;
    struct transfer *t;

    if (!wrap_owns(ticket)) {
        TRY(progress(s, e)); /* a caller that asks for nll only must not hold up hidden states */
        return s->base.inner->ops->test(s->base.inner, ticket, done, e);
    }
    t = &s->transfer[wrap_index(ticket)];
    CHECK(t->state != TRANSFER_FREE);
    TRY(progress(s, e));
    *done = t->state == TRANSFER_DONE;
    if (*done) {
        t->state = TRANSFER_FREE;
        ticket->slot = 0;
    }
    return OK;
}

static bool busy(const struct staged *s)
{
    for (int i = 0; i < COMM_TICKETS; i++)
        if (s->transfer[i].state == TRANSFER_QUEUED || s->transfer[i].state == TRANSFER_MOVING)
            return true;
    return false;
}

/* Of the transport inside; but as long as hidden states are under way, they must move on. */
static enum status wait_inner(struct staged *s, struct comm_ticket *ticket, const char *what,
                              struct err *e)
{
    struct poll p = poll_begin(s->base.stall_timeout);
    bool done;

    while (busy(s)) {
        TRY(staged_test(&s->base, ticket, &done, e));
        if (done)
            return OK;
        if (!poll_again(&p))
            break;
    }
    return s->base.inner->ops->wait(s->base.inner, ticket, what, e);
}

static enum status staged_wait(struct comm *c, struct comm_ticket *ticket, const char *what,
                               struct err *e)
{
    struct staged *s = (struct staged *)c;
    struct poll p = poll_begin(c->stall_timeout);
    const struct transfer *t;
    bool done;

    if (!wrap_owns(ticket))
        return wait_inner(s, ticket, what, e);
    t = &s->transfer[wrap_index(ticket)];
    do {
        if (staged_test(c, ticket, &done, e) != OK)
            return fail_in(e, "%s", what);
        if (done)
            return OK;
    } while (poll_again(&p));
    return wrap_stalled(c, t->direction == SEND, t->peer, what, e);
}

static void staged_close(struct comm *c)
{
    struct staged *s = (struct staged *)c;

    for (int d = 0; d < DIRECTIONS; d++)
        for (int i = 0; i < STAGED_BUFFERS; i++)
            s->device.unpin(s->device.context, s->buffer[d][i], s->bytes);
    free(s);
}

static const struct comm_ops staged_ops = {
    .name = "mpi",
    .send = staged_send,
    .recv = staged_recv,
    .test = staged_test,
    .wait = staged_wait,
    .broadcast = wrap_broadcast,
    .gather = wrap_gather,
    .close = staged_close,
    .abort = wrap_abort,
};

size_t comm_staged_bytes(const struct staged_request *q)
{
    return ((size_t)q->sends + (size_t)q->receives) * STAGED_BUFFERS * q->bytes;
}

enum status comm_open_staged(const struct staged_request *q, struct comm **out, struct err *e)
{
    const bool wanted[DIRECTIONS] = {[SEND] = q->sends, [RECEIVE] = q->receives};
    struct staged *s = calloc(1, sizeof *s);
    enum status st = OK;

    *out = NULL;
    if (!s)
        return fail(e, ERR_FIT, "staging of hidden states: out of memory");
    wrap_init(&s->base, &staged_ops, q->inner);
    s->base.overhead_bytes = comm_staged_bytes(q);
    s->device = q->device;
    s->bytes = q->bytes;
    for (int d = 0; d < DIRECTIONS; d++)
        for (int i = 0; wanted[d] && i < STAGED_BUFFERS && st == OK; i++)
            st = s->device.pin(s->device.context, s->bytes, &s->buffer[d][i], e);
    if (st != OK) {
        staged_close(&s->base);
        return fail_in(e, "staging of hidden states");
    }
    *out = &s->base;
    return OK;
}
