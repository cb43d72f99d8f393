/* fp4.h - do the ranks multiply 4-bit operands as they are? All of them, or none: those products sum in
 * another order, and a number must not depend on who computes what. */
#ifndef LAUNCH_FP4_H
#define LAUNCH_FP4_H

#include "comm/comm.h"
#include "kernels/kernels.h"

struct fp4 {
    bool on;
    char note[256]; /* "on", or the lowest rank that cannot and why; "": there is no question */
};

/* Tries them, on every rank, where arithmetic and backend have them and isa is "auto". `w`: shapes of
 * the model; `cap`: of this rank's device. From then on d does as *out says. */
MUST_USE enum status fp4_agree(struct fp4 *out, struct comm *c, const struct kernels *k,
                               struct device *d, const struct work_shape *w, uint64_t cap,
                               const char *isa, struct err *e);

#endif
