#include "launch/budget.h"

#include <stdlib.h>
#include <string.h>

#include "launch/job.h"
#include "launch/memory.h"
#include "spec/size.h"

enum { KEEP_FREE = 64 /* one part in so many: a GPU does not give the last of what is free */ };

static bool same_gpu(const struct budget_gpu *a, const struct budget_gpu *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->name, b->name) == 0;
}

enum status budget_open(struct budget *b, struct comm *c, const struct kernels *k,
                        struct device *d, uint64_t transport_bytes, struct err *e)
{
    struct budget_gpu mine = {.shared = false};

    *b = (struct budget){.comm = c, .kernels = k, .device = d};
    if (k->arena_is_host)
        return OK;
    snprintf(mine.host, sizeof mine.host, "%s", c->host);
    snprintf(mine.name, sizeof mine.name, "%s", k->describe(d));
    TRY(job_agree(c, k->memory(d, &mine.memory, e), e));
    mine.memory.taken += transport_bytes;
    b->gpu = calloc((size_t)c->ranks, sizeof *b->gpu);
    if (!b->gpu)
        return fail(e, ERR_FIT, "no memory for the GPUs of %d ranks", c->ranks);
    b->gpu[0] = mine;
    if (c->ranks > 1)
        TRY(c->ops->gather(c, &mine, b->gpu, sizeof mine, e));
    for (int i = 0; i < c->ranks; i++)
        for (int j = 0; j < c->ranks; j++)
            b->gpu[i].shared |= i != j && same_gpu(&b->gpu[i], &b->gpu[j]);
    return OK;
}

void budget_close(struct budget *b)
{
    free(b->gpu);
    *b = (struct budget){0};
}

/* All that a GPU has for this rank. */
static struct plan_cap cap_of(const struct device_memory *m)
{
    return (struct plan_cap){.bytes = m->taken + m->available - m->available / KEEP_FREE,
                             .overhead = m->taken + m->later};
}

enum status budget_ask(const struct kernels *k, const struct device_options *o,
                       const struct work_shape *w, struct plan_cap *cap, struct err *e)
{
    struct device_memory m;
    struct device *d = NULL;
    enum status st;

    TRY(k->open(o, &d, e));
    st = k->warm_up(d, w, UINT64_MAX, e);
    if (st == OK)
        st = k->memory(d, &m, e);
    k->close(d);
    if (st == OK)
        *cap = cap_of(&m);
    return st;
}

/* A GPU must have what its cap promises. */
static enum status check_gpu(const struct budget_gpu *g, const struct plan_cap *cap, struct err *e)
{
    char wanted[SIZE_TEXT], available[SIZE_TEXT], total[SIZE_TEXT], taken[SIZE_TEXT];

    if (g->shared && !cap->given)
        return fail(e, ERR_SPEC, "%s is shared with another rank: give each a cap (max_memory)",
                    g->name);
    if (cap->bytes <= g->memory.available + g->memory.taken)
        return OK;
    return fail(e, ERR_FIT,
                "%s: the cap is %s, but only %s of %s are free beside the %s that CUDA and the "
                "transport take (lower the cap, or free what others hold there)",
                g->name, size_format(cap->bytes, wanted),
                size_format(g->memory.available, available), size_format(g->memory.total, total),
                size_format(g->memory.taken, taken));
}

enum status budget_caps(const struct budget *b, const struct spec_caps *caps, int threads,
                        struct plan_cap *cap, struct err *e)
{
    int rank = b->comm->rank, here = b->comm->local_ranks;
    uint64_t most;

    if (!b->gpu)
        return job_share_caps(b->comm, caps, (struct plan_cap){.bytes = memory_free(here)},
                              memory_limit(here, threads), true, cap, e);
    TRY(job_share_caps(b->comm, caps, cap_of(&b->gpu[rank].memory), UINT64_MAX, false, cap,
                       e));
    most = cap[0].overhead;
    for (int r = 1; r < b->comm->ranks; r++) /* replicas are planned alike */
        most = cap[r].overhead > most ? cap[r].overhead : most;
    for (int r = 0; r < b->comm->ranks; r++)
        cap[r].overhead = most;
    return job_agree(b->comm, check_gpu(&b->gpu[rank], &cap[rank], e), e);
}

void budget_print(FILE *to, const struct budget *b)
{
    for (int i = 0; b->gpu && i < b->comm->ranks; i++) {
        const struct budget_gpu *g = &b->gpu[i];
        char available[SIZE_TEXT], total[SIZE_TEXT], taken[SIZE_TEXT];

        fprintf(to, "rank %d (%s): %s: %s of %s free, %s for CUDA and the transport%s\n", i,
                g->host, g->name, size_format(g->memory.available, available),
                size_format(g->memory.total, total), size_format(g->memory.taken, taken),
                g->shared ? ", shared with another rank" : "");
    }
}

void budget_begin(struct budget *b, uint64_t held)
{
    memory_reset_peak();
    b->resident = memory_resident() - held;
}

enum status budget_peak(const struct budget *b, const struct plan_rank *me, uint64_t *peak,
                        uint64_t *available, struct err *e)
{
    const struct budget_gpu *g;
    struct device_memory now;
    uint64_t since;

    *available = 0;
    if (!b->gpu) { /* the process also holds what is parked, which is planned apart */
        uint64_t most = memory_peak(), before = b->resident + me->parked_bytes;

        *peak = most > before ? most - before : 0;
        return OK;
    }
    g = &b->gpu[b->comm->rank];
    TRY(b->kernels->memory(b->device, &now, e));
    *available = now.available;
    since = g->memory.available > now.available ? g->memory.available - now.available : 0;
    *peak = g->memory.taken + (since > me->map.bytes && !g->shared ? since : me->map.bytes);
    return OK;
}
