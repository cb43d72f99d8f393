/* evaluate.h - all models of a spec, one after another: progress, status, outputs, exit code.
 *
 * Memory: evaluate_open allocates; evaluate_close frees (accepts NULL).
 * Threads: evaluate_interrupt may come from the thread that takes signals at any time. */
#ifndef LAUNCH_EVALUATE_H
#define LAUNCH_EVALUATE_H

#include "comm/comm.h"
#include "launch/options.h"

struct evaluation;

/* Where a failure goes that a thread of the evaluation's own meets (the journal cannot be written):
 * it ends the job. */
typedef void evaluate_give_up(void *context, const struct err *e);

MUST_USE enum status evaluate_open(const struct options *o, const struct spec *spec,
                                   struct comm *comm, evaluate_give_up *give_up, void *context,
                                   struct evaluation **out, struct err *e);
/* Every rank. *agreed: a failure is the same on all ranks (else only this one knows of it). */
MUST_USE enum status evaluate_run(struct evaluation *v, bool *agreed, struct err *e);
/* Rank 0: the journal and outputs of what there is, marked partial because of `why`. The caller ends the job next. */
void evaluate_interrupt(struct evaluation *v, const char *why);
/* Rank 0: the run has failed with `code`; the journal has what was scored, status.json says why. */
void evaluate_failed(struct evaluation *v, int code, const char *reason);
/* Another rank: rank 0 is lost, and cannot say so in its status.json. Does it where this host sees the
 * folder and rank 0's lock is gone with it. */
void evaluate_root_lost(struct evaluation *v, const char *reason);
void evaluate_close(struct evaluation *v);

#endif
