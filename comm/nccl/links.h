/* links.h - inside the NCCL transport: the communicators of a rank with its neighbours.
 *
 * Order: links_open, any uses, links_close. A function that fails has ended the communicators. */
#ifndef COMM_NCCL_LINKS_H
#define COMM_NCCL_LINKS_H

#include "comm/comm.h"
#include "comm/nccl/api.h"

enum { LINK_BEFORE, LINK_AFTER, LINKS }; /* to the rank before, which sends, and to the one after */

struct link {
    struct nccl_comm *comm; /* NULL: no such neighbour, or ended */
    cudaStream_t stream;
    int peer;      /* as the job counts ranks */
    int peer_here; /* in the communicator: the lower rank is 0 */
};

struct links {
    struct nccl_api api;
    struct link link[LINKS];
    double limit_s; /* of NCCL's own answers */
};

/* before, after: has this rank such a neighbour? */
enum status links_open(struct links *l, struct comm *inner, bool before, bool after, struct err *e);
void links_close(struct links *l);

/* Queues a message on the link's stream, and behind it the event. */
enum status links_send(struct links *l, struct link *to, const void *buf, size_t bytes,
                       cudaEvent_t event, struct err *e);
enum status links_recv(struct links *l, struct link *from, void *buf, size_t bytes,
                       cudaEvent_t event, struct err *e);
/* Has the event come? Also fails when a communicator says that it is broken. */
enum status links_test(struct links *l, cudaEvent_t event, bool *done, struct err *e);
/* Ends the communicators, whatever is under way: in at most NCCL_ABORT_S seconds. */
void links_abort(struct links *l);

enum status links_cuda_status(cudaError_t code, const char *operation, struct err *e);

#endif
