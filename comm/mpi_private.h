/* mpi_private.h - what the two halves of the MPI transport share: mpi.c, called by the rank, and
 * mpi_thread.c, the one thread that makes every MPI call.
 *
 * A transfer goes FREE -> QUEUED (rank) -> ACTIVE (thread) -> DONE (thread) -> FREE (rank). Whoever
 * the state names owns the other fields; the state itself is read and written under `lock`. */
#ifndef COMM_MPI_PRIVATE_H
#define COMM_MPI_PRIVATE_H

#include <pthread.h>

#include "comm/comm.h"

/* A tag for each channel, and one more for broadcast and gather. */
enum { TAG_COLLECTIVE = COMM_CHANNELS, TAGS };

enum transfer_state { TRANSFER_FREE, TRANSFER_QUEUED, TRANSFER_ACTIVE, TRANSFER_DONE };

struct transfer {
    enum transfer_state state;
    bool is_send;
    int peer, tag;
    void *buf;
    size_t bytes;
    uint64_t bytes_sent; /* the sender's count, also at the receiver: travels ahead of the data */
    int n_requests;      /* of MPI, under way */
    char mpi_error[96];  /* what MPI said; "" = it worked */
};

enum transport_phase {
    PHASE_STARTING, /* the thread is in MPI_Init */
    PHASE_FAILED,   /* MPI could not be had: start_err */
    PHASE_RUNNING,
    PHASE_CLOSING, /* the rank asks for MPI_Finalize */
    PHASE_CLOSED
};

struct mpi_transport {
    struct comm base;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t to_thread, to_rank;

    /* Under lock. */
    enum transport_phase phase;
    bool aborting;
    int abort_code;
    struct transfer transfer[COMM_TICKETS];
    int queue[COMM_TICKETS], n_queued; /* transfers to start, oldest first */

    /* For the start only. */
    int *argc;
    char ***argv;
    struct err start_err;
};

/* The thread; `arg` is the transport. Ends after MPI_Finalize, or when MPI could not start. */
void *mpi_thread_run(void *arg);

#endif
