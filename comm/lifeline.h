/* lifeline.h - who is still there: one TCP connection from every rank to rank 0, beside MPI, which
 * never tells that a peer is gone.
 *
 * Every rank says once a second what it does, and on which device. A closed connection is a process
 * that is gone; silence beyond a limit is one that is stopped or cannot be reached. Rank 0 notices
 * the others, and they notice rank 0. Whoever notices tells everybody it can reach, and `on_end` is
 * called once on each.
 *
 * Exactly one rank speaks: rank 0; when rank 0 is the one that is lost, the lowest that is left. A
 * rank that fails alone hands its message to rank 0 (lifeline_tell) instead of printing it.
 *
 * Memory:  lifeline_open allocates; lifeline_close frees (accepts NULL, as all functions here do).
 * Threads: one of its own; lifeline_tell and lifeline_announce may come from any thread. */
#ifndef COMM_LIFELINE_H
#define COMM_LIFELINE_H

#include "comm/comm.h"

struct lifeline;

struct lifeline_end {
    enum status code; /* of the job */
    bool speak;       /* this rank prints the message and ends the job; others wait for that */
    bool cut_off;     /* the lost rank's host cannot be reached */
    char message[1024]; /* "rank 1 of 3 (host, GPU 1 NVIDIA H200, 0000:1b:00.0): lost: its process is
                           gone, while loading" */
};

struct lifeline_request {
    struct comm *comm;
    double silence; /* seconds without a word after which a rank counts as lost */
    /* Why the job must end; at most once, in the lifeline's thread. Does not return. */
    void (*on_end)(void *context, const struct lifeline_end *end);
    void *context;
};

/* All ranks together; sets comm->lifeline. Of one rank it does nothing. A rank that cannot be
 * connected is no failure: see lifeline_warning. */
MUST_USE enum status lifeline_open(const struct lifeline_request *q, struct err *e);
/* Rank 0: which rank is without a lifeline, or "". */
const char *lifeline_warning(const struct lifeline *l);

/* This rank fails with `code` and nobody else knows: rank 0 is told. false: it cannot be. */
bool lifeline_tell(struct lifeline *l, enum status code, const char *message);
/* The job ends now, by this rank: its silence will mean nothing, and nothing is reported any more.
 * Whoever is connected learns it. */
void lifeline_announce(struct lifeline *l, enum status code);
/* Orderly end of a job in which nobody is lost. */
void lifeline_close(struct lifeline *l);

#endif
