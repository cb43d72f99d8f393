/* transport.h - which way hidden states go between the ranks: "transport" of the spec.
 *
 * Where the host can touch the arena they go by the job's own transport (mpi; loop for one rank).
 * Between GPUs they go by NCCL, or by mpi through pinned host buffers; auto takes NCCL when every
 * rank has a GPU of its own and the library. One rank sends none: it never has NCCL. */
#ifndef LAUNCH_TRANSPORT_H
#define LAUNCH_TRANSPORT_H

#include "comm/comm.h"
#include "kernels/kernels.h"
#include "spec/spec.h"
#include "stage/plan.h"

/* Can this job have it at all? */
MUST_USE enum status transport_check(enum transport_kind wanted, const struct comm *c,
                                     struct err *e);

/* Of a run, and not to be moved while it is open; zero-initialised = not chosen. */
struct transport {
    enum transport_kind kind; /* never TRANSPORT_AUTO once it is chosen */
    char note[640];           /* why auto did not take NCCL; "" = nothing to say */
    struct comm *comm;        /* what the pipeline uses */
    const struct kernels *kernels;
    struct device *device;
};

/* Every rank, with its device; the same answer, or the same failure, on all of them. */
MUST_USE enum status transport_choose(struct transport *t, enum transport_kind wanted,
                                      struct comm *c, const struct kernels *k,
                                      const struct device *d, struct err *e);
/* Every rank, where NCCL was chosen: it connects each with those next to it, whichever of them the
 * plan makes neighbours, so that it can be planned with what that takes. A failure is a rank's own.
 * `c` stays the caller's, as in transport_open. */
MUST_USE enum status transport_connect(struct transport *t, struct comm *c, const struct kernels *k,
                                       struct device *d, struct err *e);
/* What it holds of the device. */
uint64_t transport_device_bytes(const struct transport *t);
/* Every rank, once the plan is there. */
MUST_USE enum status transport_open(struct transport *t, struct comm *c, const struct kernels *k,
                                    struct device *d, const struct plan_rank *me, struct err *e);
/* After an error, too; accepts one that was never opened. */
void transport_close(struct transport *t);
const char *transport_name(const struct transport *t);

#endif
