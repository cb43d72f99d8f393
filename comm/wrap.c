#include "comm/wrap.h"

#include <string.h>

void wrap_init(struct comm *outer, const struct comm_ops *ops, struct comm *inner)
{
    outer->ops = ops;
    outer->inner = inner;
    outer->rank = inner->rank;
    outer->ranks = inner->ranks;
    outer->local_rank = inner->local_rank;
    outer->local_ranks = inner->local_ranks;
    outer->stall_timeout = inner->stall_timeout;
    outer->lifeline = inner->lifeline;
    memcpy(outer->host, inner->host, sizeof outer->host);
}

enum status wrap_broadcast(struct comm *c, int root, void *buf, size_t bytes, struct err *e)
{
    return c->inner->ops->broadcast(c->inner, root, buf, bytes, e);
}

enum status wrap_gather(struct comm *c, const void *mine, void *all, size_t bytes, struct err *e)
{
    return c->inner->ops->gather(c->inner, mine, all, bytes, e);
}

void wrap_abort(struct comm *c, int code)
{
    c->inner->ops->abort(c->inner, code);
}

enum status wrap_stalled(const struct comm *c, bool is_send, int peer, const char *what,
                         struct err *e)
{
    return fail(e, ERR_INTERRUPTED,
                "%s: rank %d %s rank %d within %g s (it is gone, stopped or stuck)", what, peer,
                is_send ? "took nothing from" : "sent nothing to", c->rank, c->stall_timeout);
}
