#include "launch/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/nccl/nccl.h"
#include "comm/staged.h"

enum status transport_check(enum transport_kind wanted, const struct comm *c, struct err *e)
{
    if (wanted == TRANSPORT_NCCL)
        if (comm_nccl_present(e) != OK)
            return fail_in(e, "transport");
    if (wanted == TRANSPORT_LOOP && c->ranks > 1)
        return fail(e, ERR_SPEC, "transport: loop is for one rank, and there are %d", c->ranks);
    return OK;
}

/* What a rank tells the others. Plain bytes: it travels. */
struct seat {
    char host[64];
    char gpu[320];     /* name and bus id */
    char missing[256]; /* why it has no NCCL; "" = it has */
};

/* Why these ranks cannot have NCCL; "" = they can. */
static void find_obstacle(const struct seat *seat, int ranks, char *out, size_t size)
{
    out[0] = '\0';
    for (int i = 0; i < ranks; i++) {
        if (*seat[i].missing) {
            snprintf(out, size, "rank %d (%s): %s", i, seat[i].host, seat[i].missing);
            return;
        }
        for (int j = 0; j < i; j++)
            if (strcmp(seat[i].host, seat[j].host) == 0 && strcmp(seat[i].gpu, seat[j].gpu) == 0) {
                snprintf(out, size, "ranks %d and %d (%s) share a GPU: %s", j, i, seat[i].host,
                         seat[i].gpu);
                return;
            }
    }
}

static enum status ask_ranks(struct comm *c, const struct kernels *k, const struct device *d,
                             char *obstacle, size_t size, struct err *e)
{
    struct seat mine = {0}, *all;
    struct err missing;
    enum status st;

    snprintf(mine.host, sizeof mine.host, "%s", c->host);
    snprintf(mine.gpu, sizeof mine.gpu, "%s", k->describe(d));
    if (comm_nccl_present(&missing) != OK)
        snprintf(mine.missing, sizeof mine.missing, "%.255s", missing.msg);
    all = calloc((size_t)c->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "no memory for the devices of %d ranks", c->ranks);
    st = c->ops->gather(c, &mine, all, sizeof mine, e);
    if (st == OK)
        find_obstacle(all, c->ranks, obstacle, size);
    free(all);
    return st;
}

enum status transport_choose(struct transport *t, enum transport_kind wanted, struct comm *c,
                             const struct kernels *k, const struct device *d, struct err *e)
{
    char obstacle[sizeof t->note] = "";

    *t = (struct transport){.kind = c->ranks == 1 ? TRANSPORT_LOOP : TRANSPORT_MPI};
    if (wanted == TRANSPORT_NCCL && k->arena_is_host)
        return fail(e, ERR_SPEC, "transport: nccl is between GPUs, and the backend is %s (try "
                                 "\"mpi\" or \"auto\")", k->name);
    if (c->ranks == 1 || k->arena_is_host || wanted == TRANSPORT_MPI)
        return OK;
    TRY(ask_ranks(c, k, d, obstacle, sizeof obstacle, e));
    if (*obstacle && wanted == TRANSPORT_NCCL)
        return fail(e, ERR_UNAVAILABLE, "transport: nccl: %s (try \"mpi\" or \"auto\")", obstacle);
    if (*obstacle)
        memcpy(t->note, obstacle, sizeof obstacle);
    else
        t->kind = TRANSPORT_NCCL;
    return OK;
}

/* The backend's copies, as a transport takes them; the context is the struct transport. */
static enum status to_host(void *context, void *to, const void *from, size_t bytes, struct err *e)
{
    const struct transport *t = context;

    return t->kernels->download(t->device, to, from, bytes, e);
}

static enum status to_device(void *context, void *to, const void *from, size_t bytes, struct err *e)
{
    const struct transport *t = context;

    TRY(t->kernels->upload(t->device, to, from, bytes, e));
    return t->kernels->sync(t->device, e);
}

static enum status pin(void *context, size_t bytes, void **out, struct err *e)
{
    const struct transport *t = context;

    return t->kernels->pin(t->device, bytes, out, e);
}

static void unpin(void *context, void *p, size_t bytes)
{
    const struct transport *t = context;

    t->kernels->unpin(t->device, p, bytes);
}

enum status transport_connect(struct transport *t, struct comm *c, const struct kernels *k,
                              struct device *d, struct err *e)
{
    struct nccl_request q = {.inner = c,
                             .sends = c->rank < c->ranks - 1,
                             .receives = c->rank > 0,
                             .bytes = DEVICE_SPARE};

    CHECK(t->kind == TRANSPORT_NCCL && !t->comm);
    TRY(k->spare(d, &q.scratch, e));
    return comm_open_nccl(&q, &t->comm, e);
}

uint64_t transport_device_bytes(const struct transport *t)
{
    return t->comm ? t->comm->overhead_bytes : 0;
}

static enum status open_staged(struct transport *t, struct comm *c, const struct plan_rank *me,
                               struct err *e)
{
    const struct staged_request q = {.inner = c,
                                     .device = {t, to_host, to_device, pin, unpin},
                                     .bytes = me->map.hidden_bytes,
                                     .sends = !me->head,
                                     .receives = !me->embed};

    return comm_open_staged(&q, &t->comm, e);
}

enum status transport_open(struct transport *t, struct comm *c, const struct kernels *k,
                           struct device *d, const struct plan_rank *me, struct err *e)
{
    t->kernels = k;
    t->device = d;
    if (t->comm)
        return OK;
    t->comm = c;
    if ((me->embed && me->head) || k->arena_is_host)
        return OK; /* pipelines of one stage send no hidden states */
    return open_staged(t, c, me, e);
}

void transport_close(struct transport *t)
{
    if (t->comm && t->comm->inner)
        comm_close(t->comm);
    t->comm = NULL;
}

const char *transport_name(const struct transport *t)
{
    switch (t->kind) {
    case TRANSPORT_LOOP:
        return "loop";
    case TRANSPORT_MPI:
        return "mpi";
    case TRANSPORT_NCCL:
        return "nccl";
    case TRANSPORT_AUTO:
        break;
    }
    return "auto";
}
