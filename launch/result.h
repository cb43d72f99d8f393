/* result.h - what is left of a run when its model is closed: the report's data, with strings of its
 * own.
 *
 * Memory: result_make allocates what it points to; result_free frees that (a zeroed struct too). */
#ifndef LAUNCH_RESULT_H
#define LAUNCH_RESULT_H

#include "launch/report.h"
#include "launch/run.h"

struct result {
    struct report_model report;
    struct report_rank *rank;
    char isa[64];
    char ids_sha256[65], config_sha256[65], fingerprint[65];
    char link[256]; /* which one held the run up; "" = none */
    struct totals totals;
};

/* Rank 0, from the windows scored so far. partial: why it ends early, or NULL. Per-rank measurements
 * are there only after run_score. May be called by another thread than the run's. */
MUST_USE enum status result_make(const struct run *r, const char *partial, struct result *out,
                                 struct err *e);
void result_free(struct result *r);

/* "first non-finite nll at window 3, position 17 (...)" into `out`; the result must have one. */
void result_fault(const struct result *res, const struct run *r, char *out, size_t size);

#endif
