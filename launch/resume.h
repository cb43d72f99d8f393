/* resume.h - going on where an earlier run of the same thing ended.
 *
 * The journal of a model holds the nll of finished windows. At the start rank 0 reads it, scores
 * those windows, and all ranks leave them out; from then on windows are added as they finish. What
 * the numbers depend on is the journal's identity: program, spec, ids, model (and a sample of each
 * tensor's bytes), arithmetic, the order of the backend's sums, windows. What they do not depend on
 * (ranks, caps, streaming, microbatch, threads) may be another one each time.
 *
 * What a long wave has come to before it is done is kept by each rank itself, beside the journal
 * (wave_file.h): DIR must be the same folder for all of them, and who has none keeps nothing.
 *
 * Memory: resume_open allocates on rank 0; resume_close frees (accepts NULL). The run must outlive it.
 * Threads: one at a time; any. */
#ifndef LAUNCH_RESUME_H
#define LAUNCH_RESUME_H

#include "launch/run.h"

struct resume;

/* Every rank, between run_device and run_plan; a failure is the same on all of them. Opens the
 * r->score of rank 0, and selects the windows that are left. dir: the run's folder; NULL: none, and
 * nothing is done. models: how many journals are in it. restart: the journal there is put aside. Opens
 * r->waves of all ranks. */
MUST_USE enum status resume_open(struct run *r, const char *dir, int index, int models, bool restart,
                                 struct resume **out, struct err *e);
/* Windows that came from the journal, and bytes of a crash's tail that were cut off it. */
int64_t resume_windows(const struct resume *x);
int64_t resume_cut(const struct resume *x);
/* Adds every window that was scored since, and returns when all of them are on the disk. NULL: does
 * nothing. */
MUST_USE enum status resume_keep(struct resume *x, struct err *e);
/* All windows are kept: what is left of waves is removed. NULL: does nothing. */
void resume_complete(const struct resume *x);
/* Windows that are on the disk. */
int64_t resume_kept(const struct resume *x);
void resume_close(struct resume *x);

#endif
