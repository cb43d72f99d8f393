/* comm.h - moving bytes between ranks, behind one table per transport.
 *
 * A rank is one process. Messages go from one rank to another on a channel; the k-th send on a
 * channel from a to b meets the k-th receive on it, with the same byte count (a different count is
 * ERR_INTERRUPTED naming both, never a hang). Sends and receives are started and then waited for:
 * between the two they progress by themselves, while the caller computes.
 *
 * Memory: buffers are the caller's, untouched from start to wait. A transport allocates in open;
 *         `overhead_bytes` says how much that took. At most COMM_TICKETS transfers are under way.
 * Time:   every wait has a limit; passing it, or a lost peer, is ERR_INTERRUPTED naming the peer.
 * Threads: one thread of the rank uses a comm at a time. */
#ifndef COMM_COMM_H
#define COMM_COMM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"

enum comm_channel { COMM_HIDDEN, COMM_CONTROL, COMM_NLL, COMM_CHANNELS };

enum { COMM_TICKETS = 64, COMM_DEVICE = 96 };

struct comm;
struct comm_ticket { /* a started send or receive; zero-initialised = none */
    int slot;        /* private to the transport; 0 = none */
};

struct comm_ops {
    const char *name; /* "mpi", "loop", "nccl" */
    enum status (*send)(struct comm *c, int peer, enum comm_channel ch, const void *buf,
                        size_t bytes, struct comm_ticket *t, struct err *e);
    enum status (*recv)(struct comm *c, int peer, enum comm_channel ch, void *buf, size_t bytes,
                        struct comm_ticket *t, struct err *e);
    /* Is it done? Clears *t when so. A ticket of none is done. */
    enum status (*test)(struct comm *c, struct comm_ticket *t, bool *done, struct err *e);
    /* Until it is done; clears *t. `what` names the wait in the message ("hidden states of
     * microbatch 3"). */
    enum status (*wait)(struct comm *c, struct comm_ticket *t, const char *what, struct err *e);

    /* Collectives for set-up and end; the same order on every rank. */
    enum status (*broadcast)(struct comm *c, int root, void *buf, size_t bytes, struct err *e);
    /* all[rank * bytes] on every rank. */
    enum status (*gather)(struct comm *c, const void *mine, void *all, size_t bytes, struct err *e);
    /* Orderly end, nothing under way; waits until all ranks are here. After an error: abort. */
    void (*close)(struct comm *c);
    /* Ends every process of the job with `code`; does not return. Bounded by 10 s. Any thread. */
    void (*abort)(struct comm *c, int code) __attribute__((noreturn));
};

struct lifeline;

struct comm { /* first member of every transport's state */
    const struct comm_ops *ops;
    int rank, ranks;
    int local_rank, local_ranks; /* among the ranks of this host */
    char host[64];
    double stall_timeout;    /* seconds; waits give up after it; 600 until the caller sets it */
    uint64_t overhead_bytes; /* resident memory that open() took */
    struct comm *inner; /* NULL, or the transport that carries what this one does not (comm/wrap.h) */
    struct lifeline *lifeline; /* NULL = none; close and abort end it (comm/lifeline.h) */
    _Atomic(const char *) doing; /* what comm_note said last */
    _Atomic int64_t step;
    char device_name[COMM_DEVICE];
    _Atomic(const char *) device; /* NULL = not known, or the host; else device_name, for good */
};

/* One process, no MPI: sends meet receives of the same rank. */
MUST_USE enum status comm_open_loop(struct comm **out, struct err *e);
/* MPI_COMM_WORLD. All MPI calls are made by one thread of its own, so messages progress while the
 * caller computes. Initialises MPI; `argc, argv` as main got them. */
MUST_USE enum status comm_open_mpi(int *argc, char ***argv, struct comm **out, struct err *e);
/* What this rank does now, for the message about its loss: reads after "while", as in "loading"
 * or, with a step above 0, "computing microbatch" 4. `doing` lives as long as the comm. */
void comm_note(struct comm *c, const char *doing, int64_t step);
/* What this rank computes on, for the same message: "GPU 0 NVIDIA H200, 0000:1b:00.0". The first name
 * stays. */
void comm_name_device(struct comm *c, const char *name);
/* "hidden states", for messages. */
const char *comm_channel_name(enum comm_channel ch);
/* Orderly end; accepts NULL. */
void comm_close(struct comm *c);
/* Was this process started by mpirun, srun or the like (environment only)? */
bool comm_launched(void);
/* The rank that the launcher gave this process, known before MPI starts; 0 where none did. */
int comm_launched_rank(void);
/* The hosts of the job as the launcher writes them, before MPI starts: "node[1-4]". "" where it does
 * not tell: mpirun tells ranks on other hosts than its own, and Slurm all. */
void comm_launched_hosts(char *out, size_t size);
/* "Open MPI 4.1.4" for --version. */
const char *comm_mpi_version(void);

#endif
