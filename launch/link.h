/* link.h - the ways that hidden states and nll take between ranks, tried before they are needed, and
 * what it takes to hand a microbatch to the next rank.
 *
 * All ranks together, in the same order. Memory: none that outlives a call, but for what a transport
 * takes when it is first used. */
#ifndef LAUNCH_LINK_H
#define LAUNCH_LINK_H

#include <stdio.h>

#include "comm/comm.h"
#include "stage/plan.h"

/* From a rank to the next one of its pipeline; of a last stage: nothing. */
struct link {
    double first, byte; /* seconds: of any message, and of each byte */
};

/* `n` messages (LINK_MESSAGES at most) at a time from `from` to `to`, of which this rank may be one;
 * received into buffer[n * bytes]. After a failure they may still be under way. */
enum { LINK_MESSAGES = 16 }; /* as many as the pipeline has under way between two ranks */
MUST_USE enum status link_pass(struct comm *c, enum comm_channel channel, int from, int to, int n,
                               char *buffer, size_t bytes, struct err *e);

/* Sends and receives on every channel that the pipeline will use, as many at a time: what the
 * transport takes when it is first used is then there before the rank's memory is measured. Fills
 * link[ranks] with what was measured, the same everywhere. */
MUST_USE enum status link_warm_up(struct comm *c, const struct plan *p, struct link *link,
                                  struct err *e);

/* One line: the slowest link. Nothing where no rank hands anything over. */
void link_print(FILE *to, const struct link *link, const struct plan *p);

/* Does a link hold its pipeline up for longer than the slowest rank computes, which takes `compute`
 * seconds for a window? Then `out` says which, and what would hide it; else it is "". */
void link_judge(const struct link *link, const struct plan *p, double compute, char *out,
                size_t size);

#endif
