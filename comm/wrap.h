/* wrap.h - what transports have in common that carry hidden states themselves and leave the rest
 * (other channels, collectives, the end of the job) to a transport inside.
 *
 * Their own tickets have slots above COMM_TICKETS, so a ticket tells whose it is. */
#ifndef COMM_WRAP_H
#define COMM_WRAP_H

#include "comm/comm.h"

/* Rank, host and limits are the inner transport's as they are now. The inner one outlives the outer
 * one, and is not closed with it. */
void wrap_init(struct comm *outer, const struct comm_ops *ops, struct comm *inner);

static inline bool wrap_owns(const struct comm_ticket *t)
{
    return t->slot > COMM_TICKETS;
}

static inline int wrap_index(const struct comm_ticket *t)
{
    return t->slot - COMM_TICKETS - 1;
}

static inline struct comm_ticket wrap_ticket(int index)
{
    return (struct comm_ticket){COMM_TICKETS + 1 + index};
}

/* For the operations table. */
enum status wrap_broadcast(struct comm *c, int root, void *buf, size_t bytes, struct err *e);
enum status wrap_gather(struct comm *c, const void *mine, void *all, size_t bytes, struct err *e);
void wrap_abort(struct comm *c, int code) __attribute__((noreturn));

/* The failure of a wait that took longer than the limit. */
enum status wrap_stalled(const struct comm *c, bool is_send, int peer, const char *what,
                         struct err *e);

#endif
