/* staged.h - hidden states in memory that the host cannot touch, through pinned host buffers and
 * another transport.
 *
 * A send is a copy to a host buffer, then a send of the transport inside; a receive is a receive
 * into a host buffer, then a copy from it. The copies are made while the caller is in one of the
 * operations and block it: 100 MB take 4 ms at 25 GB/s, and are as much as 0.6 s of computing sends
 * on. There are STAGED_BUFFERS for each direction; transfers beyond them wait their turn, in order.
 *
 * Memory: comm_open_staged takes the buffers at once: comm_staged_bytes(). close frees them, and
 *         leaves the transport inside to whoever opened it. */
#ifndef COMM_STAGED_H
#define COMM_STAGED_H

#include "comm/comm.h"

/* One on its way, one being copied. */
enum { STAGED_BUFFERS = 2 };

/* The memory that hidden states lie in. */
struct comm_device {
    void *context;
    /* Copies that are done on return. */
    enum status (*to_host)(void *context, void *to, const void *from, size_t bytes, struct err *e);
    enum status (*to_device)(void *context, void *to, const void *from, size_t bytes,
                             struct err *e);
    /* Host memory that those are fast with. */
    enum status (*pin)(void *context, size_t bytes, void **out, struct err *e);
    void (*unpin)(void *context, void *p, size_t bytes); /* accepts NULL */
};

struct staged_request {
    struct comm *inner;
    struct comm_device device;
    size_t bytes;        /* the most of one transfer */
    bool sends, receives; /* what this rank does */
};

size_t comm_staged_bytes(const struct staged_request *q);
MUST_USE enum status comm_open_staged(const struct staged_request *q, struct comm **out,
                                      struct err *e);

#endif
