#include "comm/nccl/nccl.h"

#include <stdlib.h>

#include "comm/nccl/links.h"
#include "comm/poll.h"
#include "comm/wrap.h"

enum { TRY_OUT_BYTES = 256 }; /* of the first message on each way */

struct transfer {
    bool used, is_send, moved; /* moved: its event has come */
    int peer;
    cudaEvent_t event;
    size_t bytes;
    uint64_t bytes_sent; /* the sender's count, by the transport inside */
    struct comm_ticket length;
};

struct nccl {
    struct comm base;
    struct links links;
    struct transfer transfer[COMM_TICKETS];
};

static struct link *link_to(struct nccl *n, bool is_send, int peer)
{
    struct link *k = &n->links.link[is_send ? LINK_AFTER : LINK_BEFORE];

    CHECK(peer == k->peer); /* hidden states go from a rank to the next */
    return k;
}

static enum status start(struct comm *c, bool is_send, int peer, void *buf, size_t bytes,
                         struct comm_ticket *ticket, struct err *e)
{
    struct nccl *n = (struct nccl *)c;
    struct comm *inner = n->base.inner;
    struct link *k = link_to(n, is_send, peer);
    struct transfer *t;
    int i = 0;

    CHECK(ticket->slot == 0);
    while (i < COMM_TICKETS && n->transfer[i].used)
        i++;
    if (i == COMM_TICKETS)
        return fail(e, ERR_INTERNAL, "hidden states: more than %d transfers under way",
                    COMM_TICKETS);
    t = &n->transfer[i];
    *t = (struct transfer){.used = true, .is_send = is_send, .peer = peer, .event = t->event,
                           .bytes = bytes, .bytes_sent = bytes};
    *ticket = wrap_ticket(i);
    if (is_send) {
        TRY(inner->ops->send(inner, peer, COMM_HIDDEN, &t->bytes_sent, sizeof t->bytes_sent,
                             &t->length, e));
        return links_send(&n->links, k, buf, bytes, t->event, e);
    }
    TRY(inner->ops->recv(inner, peer, COMM_HIDDEN, &t->bytes_sent, sizeof t->bytes_sent, &t->length,
                         e));
    return links_recv(&n->links, k, buf, bytes, t->event, e);
}

static enum status nccl_send(struct comm *c, int peer, enum comm_channel ch, const void *buf,
                             size_t bytes, struct comm_ticket *t, struct err *e)
{
    struct comm *inner = c->inner;

    if (ch != COMM_HIDDEN)
        return inner->ops->send(inner, peer, ch, buf, bytes, t, e);
    return start(c, true, peer, (void *)buf, bytes, t, e);
}

static enum status nccl_recv(struct comm *c, int peer, enum comm_channel ch, void *buf,
                             size_t bytes, struct comm_ticket *t, struct err *e)
{
    struct comm *inner = c->inner;

    if (ch != COMM_HIDDEN)
        return inner->ops->recv(inner, peer, ch, buf, bytes, t, e);
    return start(c, false, peer, buf, bytes, t, e);
}

static enum status check_length(struct nccl *n, struct transfer *t, struct err *e)
{
    struct comm *inner = n->base.inner;
    bool known;

    TRY(inner->ops->test(inner, &t->length, &known, e));
    if (!known || t->bytes_sent == t->bytes)
        return OK;
    links_abort(&n->links);
    return fail(e, ERR_INTERRUPTED, "hidden states: rank %d sent %llu bytes, rank %d wants %zu",
                t->peer, (unsigned long long)t->bytes_sent, inner->rank, t->bytes);
}

/* Whether it is done; fails also when a communicator is broken. */
static enum status look(struct nccl *n, struct transfer *t, bool *done, struct err *e)
{
    TRY(check_length(n, t, e));
    if (!t->moved)
        TRY(links_test(&n->links, t->event, &t->moved, e));
    *done = t->moved && t->length.slot == 0;
    return OK;
}

static enum status nccl_test(struct comm *c, struct comm_ticket *ticket, bool *done, struct err *e)
{
    struct nccl *n = (struct nccl *)c;
    struct transfer *t;

    if (!wrap_owns(ticket))
        return c->inner->ops->test(c->inner, ticket, done, e);
    t = &n->transfer[wrap_index(ticket)];
    CHECK(t->used);
    TRY(look(n, t, done, e));
    if (*done) {
        t->used = false;
        ticket->slot = 0;
    }
    return OK;
}

/* Of the transport inside; but as long as hidden states are under way, a communicator that breaks
 * must not go unnoticed. */
static enum status wait_inner(struct nccl *n, struct comm_ticket *ticket, const char *what,
                              struct err *e)
{
    struct comm *inner = n->base.inner;
    struct poll p = poll_begin(n->base.stall_timeout);
    bool done, under_way;

    do {
        TRY(inner->ops->test(inner, ticket, &done, e));
        if (done)
            return OK;
        under_way = false;
        for (int i = 0; i < COMM_TICKETS; i++)
            if (n->transfer[i].used) {
                TRY(look(n, &n->transfer[i], &done, e));
                under_way = under_way || !done;
            }
    } while (under_way && poll_again(&p));
    return inner->ops->wait(inner, ticket, what, e);
}

static enum status nccl_wait(struct comm *c, struct comm_ticket *ticket, const char *what,
                             struct err *e)
{
    struct nccl *n = (struct nccl *)c;
    struct poll p = poll_begin(c->stall_timeout);
    const struct transfer *t;
    bool done;

    if (!wrap_owns(ticket))
        return wait_inner(n, ticket, what, e);
    t = &n->transfer[wrap_index(ticket)];
    do {
        if (nccl_test(c, ticket, &done, e) != OK)
            return fail_in(e, "%s", what);
        if (done)
            return OK;
    } while (poll_again(&p));
    links_abort(&n->links);
    return wrap_stalled(c, t->is_send, t->peer, what, e);
}

static void nccl_close(struct comm *c)
{
    struct nccl *n = (struct nccl *)c;

    links_close(&n->links);
    for (int i = 0; i < COMM_TICKETS; i++)
        if (n->transfer[i].event)
            cudaEventDestroy(n->transfer[i].event);
    free(n);
}

static const struct comm_ops nccl_ops = {
    .name = "nccl",
    .send = nccl_send,
    .recv = nccl_recv,
    .test = nccl_test,
    .wait = nccl_wait,
    .broadcast = wrap_broadcast,
    .gather = wrap_gather,
    .close = nccl_close,
    .abort = wrap_abort,
};

/* A message each way, so that NCCL connects and allocates now, and a way that is closed is known
 * before anything is computed. */
static enum status try_out(struct nccl *n, const struct nccl_request *q, struct err *e)
{
    struct comm *c = &n->base;
    size_t few = q->bytes < TRY_OUT_BYTES ? q->bytes : TRY_OUT_BYTES;
    struct comm_ticket t = {0};

    if (q->receives) {
        TRY(nccl_recv(c, c->rank - 1, COMM_HIDDEN, q->scratch, few, &t, e));
        TRY(nccl_wait(c, &t, "first message", e));
    }
    if (!q->sends)
        return OK;
    TRY(nccl_send(c, c->rank + 1, COMM_HIDDEN, q->scratch, few, &t, e));
    return nccl_wait(c, &t, "first message", e);
}

enum status comm_nccl_present(struct err *e)
{
    struct nccl_api api;

    TRY(nccl_load(&api, e));
    nccl_unload(&api);
    return OK;
}

/* What open took of the GPU; others may use it, too, so this is what can be known. */
static uint64_t memory_taken(size_t available_before)
{
    size_t available = 0, total = 0;

    if (cudaMemGetInfo(&available, &total) != cudaSuccess || available > available_before)
        return 0;
    return available_before - available;
}

enum status comm_open_nccl(const struct nccl_request *q, struct comm **out, struct err *e)
{
    struct nccl *n = calloc(1, sizeof *n);
    size_t available = 0, total = 0;
    enum status st;

    *out = NULL;
    if (!n)
        return fail(e, ERR_FIT, "nccl: out of memory");
    wrap_init(&n->base, &nccl_ops, q->inner);
    st = links_cuda_status(cudaMemGetInfo(&available, &total), "memory of the GPU", e);
    for (int i = 0; i < COMM_TICKETS && st == OK; i++)
        st = links_cuda_status(
            cudaEventCreateWithFlags(&n->transfer[i].event, cudaEventDisableTiming), "an event", e);
    if (st == OK)
        st = links_open(&n->links, q->inner, q->receives, q->sends, e);
    if (st == OK)
        st = try_out(n, q, e);
    if (st != OK) {
        nccl_close(&n->base);
        return st;
    }
    n->base.overhead_bytes = memory_taken(available);
    *out = &n->base;
    return OK;
}
