/* budget.h - the memory that each rank may take and has taken: of its host, or of its GPU.
 *
 * Of a GPU everything counts that this process makes it hold: the context, libraries, the transport,
 * and the arena. What others hold is only known as a whole, so what is free is looked at before and
 * after; ranks that share a GPU cannot be told apart, and are taken at their word.
 *
 * Memory: budget_open allocates; budget_close frees (accepts one that was not opened).
 * Order:  budget_open once the device and its transport are there, budget_caps; budget_begin before
 *         the arena, budget_peak at the end. All of it on every rank. */
#ifndef LAUNCH_BUDGET_H
#define LAUNCH_BUDGET_H

#include <stdio.h>

#include "comm/comm.h"
#include "kernels/kernels.h"
#include "spec/spec.h"
#include "stage/plan.h"

/* A rank's GPU when all is there but the arena. Plain bytes: it travels. */
struct budget_gpu {
    char host[64], name[320];
    struct device_memory memory;
    bool shared; /* with another rank of the job */
};

struct budget {
    struct comm *comm;
    const struct kernels *kernels;
    struct device *device;
    struct budget_gpu *gpu; /* [ranks]; NULL: arenas are host memory */
    uint64_t resident;      /* host: of the process, before its arena */
};

/* transport_bytes: what it holds of the device. */
MUST_USE enum status budget_open(struct budget *b, struct comm *c, const struct kernels *k,
                                 struct device *d, uint64_t transport_bytes, struct err *e);
void budget_close(struct budget *b);

/* cap[ranks]: the spec's, else what is free. ERR_FIT where a GPU has less free than its cap;
 * ERR_SPEC where ranks share a GPU and have no caps. `threads`: of a rank. */
MUST_USE enum status budget_caps(const struct budget *b, const struct spec_caps *caps, int threads,
                                 struct plan_cap *cap, struct err *e);
/* Without a run: what a rank without a cap may take of a GPU of this host. */
MUST_USE enum status budget_ask(const struct kernels *k, const struct device_options *o,
                                const struct work_shape *w, struct plan_cap *cap, struct err *e);
/* A line for each rank's GPU; nothing where there are none. */
void budget_print(FILE *to, const struct budget *b);

/* `held`: bytes that the plan counts and that are there already. */
void budget_begin(struct budget *b, uint64_t held);
/* The most that this rank took since, as the plan counts it; *available: free of its GPU now. */
MUST_USE enum status budget_peak(const struct budget *b, const struct plan_rank *me,
                                 uint64_t *peak, uint64_t *available, struct err *e);

#endif
