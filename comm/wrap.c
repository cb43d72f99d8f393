#include "comm/wrap.h"

void wrap_init(struct wrap *w, const struct comm_ops *ops, struct comm *inner)
{
    w->base = *inner;
    w->base.ops = ops;
    w->inner = inner;
}

enum status wrap_broadcast(struct comm *c, int root, void *buf, size_t bytes, struct err *e)
{
    return wrap_inner(c)->ops->broadcast(wrap_inner(c), root, buf, bytes, e);
}

enum status wrap_gather(struct comm *c, const void *mine, void *all, size_t bytes, struct err *e)
{
    return wrap_inner(c)->ops->gather(wrap_inner(c), mine, all, bytes, e);
}

void wrap_abort(struct comm *c, int code)
{
    wrap_inner(c)->ops->abort(wrap_inner(c), code);
}

enum status wrap_stalled(const struct comm *c, bool is_send, int peer, const char *what,
                         struct err *e)
{
    return fail(e, ERR_INTERRUPTED,
                "%s: rank %d %s rank %d within %g s (it is gone, stopped or stuck)", what, peer,
                is_send ? "took nothing from" : "sent nothing to", c->rank, c->stall_timeout);
}
