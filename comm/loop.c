/* loop.c - the transport of a job of one process: the k-th send on a channel meets the k-th receive
 * on it, and whichever starts second copies the bytes. Nothing ever waits: what has not met when it
 * is waited for never will. */
#include "comm/comm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum half_state { HALF_FREE, HALF_ALONE, HALF_MET };

struct half { /* a send or a receive */
    enum half_state state;
    bool is_send;
    enum comm_channel channel;
    uint64_t order; /* counts all starts: the oldest half of a channel is met first */
    void *buf;
    size_t bytes, bytes_met; /* its own count; the other side's */
};

struct loop {
    struct comm base;
    uint64_t started;
    struct half half[COMM_TICKETS];
};

static struct half *oldest_alone(struct loop *l, bool is_send, enum comm_channel channel)
{
    struct half *oldest = NULL;

    for (int i = 0; i < COMM_TICKETS; i++) {
        struct half *h = &l->half[i];

        if (h->state == HALF_ALONE && h->is_send == is_send && h->channel == channel &&
            (!oldest || h->order < oldest->order))
            oldest = h;
    }
    return oldest;
}

static void meet(struct half *send, struct half *recv)
{
    if (send->bytes == recv->bytes && send->bytes > 0)
        memcpy(recv->buf, send->buf, recv->bytes);
    send->bytes_met = recv->bytes;
    recv->bytes_met = send->bytes;
    send->state = recv->state = HALF_MET;
}

static enum status start(struct loop *l, bool is_send, int peer, enum comm_channel channel,
                         void *buf, size_t bytes, struct comm_ticket *t, struct err *e)
{
    struct half *mine = NULL, *other;

    CHECK(peer == 0 && (unsigned)channel < COMM_CHANNELS && t->slot == 0);
    for (int i = 0; i < COMM_TICKETS && !mine; i++)
        if (l->half[i].state == HALF_FREE)
            mine = &l->half[i];
    if (!mine)
        return fail(e, ERR_INTERNAL, "%s: more than %d transfers under way",
                    comm_channel_name(channel), COMM_TICKETS);
    other = oldest_alone(l, !is_send, channel);
    *mine = (struct half){HALF_ALONE, is_send, channel, l->started++, buf, bytes, 0};
    if (other)
        meet(is_send ? mine : other, is_send ? other : mine);
    t->slot = (int)(mine - l->half) + 1;
    return OK;
}

static enum status loop_send(struct comm *c, int peer, enum comm_channel ch, const void *buf,
                             size_t bytes, struct comm_ticket *t, struct err *e)
{
    return start((struct loop *)c, true, peer, ch, (void *)buf, bytes, t, e);
}

static enum status loop_recv(struct comm *c, int peer, enum comm_channel ch, void *buf,
                             size_t bytes, struct comm_ticket *t, struct err *e)
{
    return start((struct loop *)c, false, peer, ch, buf, bytes, t, e);
}

static enum status finish(struct half *h, const char *what, struct comm_ticket *t, struct err *e)
{
    size_t sent = h->is_send ? h->bytes : h->bytes_met;
    size_t wanted = h->is_send ? h->bytes_met : h->bytes;

    h->state = HALF_FREE;
    t->slot = 0;
    if (sent != wanted)
        return fail(e, ERR_INTERRUPTED, "%s: rank 0 sent %zu bytes, rank 0 wants %zu", what, sent,
                    wanted);
    return OK;
}

static enum status loop_test(struct comm *c, struct comm_ticket *t, bool *done, struct err *e)
{
    struct half *h;

    *done = true;
    if (t->slot == 0)
        return OK;
    h = &((struct loop *)c)->half[t->slot - 1];
    CHECK(h->state != HALF_FREE);
    *done = h->state == HALF_MET;
    return *done ? finish(h, comm_channel_name(h->channel), t, e) : OK;
}

static enum status loop_wait(struct comm *c, struct comm_ticket *t, const char *what, struct err *e)
{
    struct half *h;

    if (t->slot == 0)
        return OK;
    h = &((struct loop *)c)->half[t->slot - 1];
    CHECK(h->state != HALF_FREE);
    if (h->state == HALF_ALONE)
        return fail(e, ERR_INTERRUPTED, "%s: rank 0 %s itself, but never started the other side",
                    what, h->is_send ? "sends to" : "receives from");
    return finish(h, what, t, e);
}

static enum status loop_broadcast(struct comm *c, int root, void *buf, size_t bytes, struct err *e)
{
    (void)c, (void)buf, (void)bytes, (void)e;
    CHECK(root == 0);
    return OK;
}

static enum status loop_gather(struct comm *c, const void *mine, void *all, size_t bytes,
                               struct err *e)
{
    (void)c, (void)e;
    if (bytes > 0)
        memmove(all, mine, bytes);
    return OK;
}

static void loop_close(struct comm *c)
{
    free(c);
}

static __attribute__((noreturn)) void loop_abort(struct comm *c, int code)
{
    (void)c;
    _exit(code);
}

static const struct comm_ops loop_ops = {
    .name = "loop",
    .send = loop_send,
    .recv = loop_recv,
    .test = loop_test,
    .wait = loop_wait,
    .broadcast = loop_broadcast,
    .gather = loop_gather,
    .close = loop_close,
    .abort = loop_abort,
};

enum status comm_open_loop(struct comm **out, struct err *e)
{
    struct loop *l = calloc(1, sizeof *l);

    *out = NULL;
    if (!l)
        return fail(e, ERR_FIT, "loop transport: out of memory");
    l->base = (struct comm){
        .ops = &loop_ops, .ranks = 1, .local_ranks = 1, .stall_timeout = 600,
        .overhead_bytes = sizeof *l};
    if (gethostname(l->base.host, sizeof l->base.host - 1) != 0)
        strcpy(l->base.host, "unknown");
    *out = &l->base;
    return OK;
}
