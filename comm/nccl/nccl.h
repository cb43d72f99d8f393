/* nccl.h - hidden states from GPU to GPU by NCCL; everything else goes by another transport.
 *
 * One communicator, of two ranks, and one stream for each neighbour. Hidden states flow from a rank
 * to the next: so a communicator carries messages in one direction alone, receives and sends never
 * share a stream, and no group is needed. A rank's send waits for the next rank to receive, which
 * waits for nothing of this rank's but the send: waits form no circle, in whatever order the GPU
 * takes the streams. (One communicator of all ranks would need each rank's send and receive in one
 * group, started together; a pipeline has no such moment.)
 *
 * Every wait is the host's, which asks for the transfer's event, for the communicators' errors and
 * for the limit: a compute stream that waited for a transfer by an event would wait for a lost peer
 * for ever. So send is for memory whose contents are there (stage_layer returns when they are), and
 * a received buffer is complete when its wait returns.
 *
 * The length of each message goes by the transport inside: NCCL may hang where two lengths differ.
 *
 * A failure of NCCL ends the communicators (ncclCommAbort, in at most NCCL_ABORT_S seconds): the
 * transport is of no further use than to be closed. */
#ifndef COMM_NCCL_NCCL_H
#define COMM_NCCL_NCCL_H

#include "comm/comm.h"

enum { NCCL_ABORT_S = 5 };

/* Is it built in, and the library there? ERR_UNAVAILABLE says why not. */
MUST_USE enum status comm_nccl_present(struct err *e);
struct nccl_request {
    struct comm *inner;   /* stays the caller's */
    bool sends, receives; /* to the next rank, from the one before: one of them at least */
    void *scratch;        /* device memory, a few bytes of which each way is tried with */
    size_t bytes;
};

/* The device is the calling thread's; every rank calls it. What NCCL allocates, it does here. */
MUST_USE enum status comm_open_nccl(const struct nccl_request *q, struct comm **out, struct err *e);

#endif
