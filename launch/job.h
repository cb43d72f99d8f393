/* job.h - what the ranks of one job settle together before and after the pipeline runs.
 *
 * Every rank makes the same calls in the same order. */
#ifndef LAUNCH_JOB_H
#define LAUNCH_JOB_H

#include "comm/comm.h"
#include "loader/corpus.h"
#include "stage/plan.h"

/* Did every rank come this far? If not, every rank returns the code of the lowest rank that failed,
 * and `e` holds its message, led by "rank R of N (HOST): " when there are several. A rank that did
 * not fail calls it with OK. */
MUST_USE enum status job_agree(struct comm *c, enum status mine, struct err *e);

/* Is `value` the same text on every rank? If not: ERR_SPEC on all of them, naming rank 0, the
 * lowest rank that differs, and both values. `hint`: what to try. */
MUST_USE enum status job_same(struct comm *c, const char *what, const char *value,
                              const char *hint, struct err *e);
/* The first words of a job: program version, clocks, and whether long messages pass between rank 0
 * and the others. Rank 0 gets a warning when a clock is far off, else "". */
MUST_USE enum status job_meet(struct comm *c, const char *version, char warning[256],
                              struct err *e);
/* Every rank plans by itself, so all must be asked for the same plan: what is no part of the spec's
 * hash is compared here. */
MUST_USE enum status job_same_request(struct comm *c, const struct plan_request *q, struct err *e);

/* Rank 0's corpus on every rank; allocates *corpus elsewhere (corpus_free frees it). */
MUST_USE enum status job_share_corpus(struct comm *c, struct corpus **corpus, struct err *e);

/* Rank 0's bytes on every rank. */
MUST_USE enum status job_share_bytes(struct comm *c, void *data, size_t bytes, struct err *e);

/* What each rank offers to go on from, of all ranks: n_all of them in *all, which the caller frees;
 * NULL where there are none. */
MUST_USE enum status job_share_kept(struct comm *c, const struct plan_kept *mine, int n,
                                    struct plan_kept **all, int *n_all, struct err *e);

/* The cap of every rank, and its share of its host's budget for parked hidden states: the spec's, or
 * `mine`, what is free for this one (less that share, where `arena_is_host`), but no more in all than
 * `limit`, what this process may take (cgroup, ulimit). Fills cap[ranks] the same everywhere. */
MUST_USE enum status job_share_caps(struct comm *c, const struct spec_caps *caps,
                                    struct plan_cap mine, uint64_t limit, bool arena_is_host,
                                    struct plan_cap *cap, struct err *e);
/* One rank's, of `local_ranks` of its host. */
struct plan_cap job_cap(const struct spec_caps *caps, int rank, int local_ranks,
                        struct plan_cap mine, bool arena_is_host);

#endif
