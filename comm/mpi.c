/* mpi.c - the rank's side of the MPI transport: hands transfers to the thread, waits with a limit.
 *
 * Broadcast and gather are made of sends and receives, not of MPI's collectives: so each wait is
 * for one peer, which the message can name. They serve set-up and end only. */
#include "comm/lifeline.h"
#include "comm/mpi_private.h"
#include "comm/thread.h"

#include <errno.h>
#include <math.h>
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double finalize_limit_s = 10, abort_limit_s = 5;

static struct timespec deadline_in(double seconds)
{
    struct timespec t;
    double whole = floor(seconds);

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)whole;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static enum status start(struct comm *c, bool is_send, int peer, int tag, void *buf, size_t bytes,
                         struct comm_ticket *ticket, struct err *e)
{
    struct mpi_transport *m = (struct mpi_transport *)c;
    int i = 0;

    CHECK(peer >= 0 && peer < c->ranks && tag >= 0 && tag < TAGS && ticket->slot == 0);
    pthread_mutex_lock(&m->lock);
    while (i < COMM_TICKETS && m->transfer[i].state != TRANSFER_FREE)
        i++;
    if (i < COMM_TICKETS) {
        m->transfer[i] = (struct transfer){.state = TRANSFER_QUEUED, .is_send = is_send,
                                           .peer = peer, .tag = tag, .buf = buf, .bytes = bytes,
                                           .bytes_sent = bytes};
        m->queue[m->n_queued++] = i;
        ticket->slot = i + 1;
        pthread_cond_signal(&m->to_thread);
    }
    pthread_mutex_unlock(&m->lock);
    if (ticket->slot == 0)
        return fail(e, ERR_INTERNAL, "%s: more than %d transfers under way",
                    comm_channel_name((enum comm_channel)tag), COMM_TICKETS);
    return OK;
}

static enum status mpi_send(struct comm *c, int peer, enum comm_channel ch, const void *buf,
                            size_t bytes, struct comm_ticket *t, struct err *e)
{
    return start(c, true, peer, (int)ch, (void *)buf, bytes, t, e);
}

static enum status mpi_recv(struct comm *c, int peer, enum comm_channel ch, void *buf, size_t bytes,
                            struct comm_ticket *t, struct err *e)
{
    return start(c, false, peer, (int)ch, buf, bytes, t, e);
}

/* What a done transfer says; `what` NULL = the channel's name. */
static enum status outcome(const struct comm *c, const struct transfer *t, const char *what,
                           struct err *e)
{
    const char *name = what ? what : comm_channel_name((enum comm_channel)t->tag);

    if (*t->mpi_error)
        return fail(e, ERR_INTERRUPTED, "%s: %s rank %d: MPI says: %s", name,
                    t->is_send ? "send to" : "receive from", t->peer, t->mpi_error);
    if (t->bytes_sent != t->bytes)
        return fail(e, ERR_INTERRUPTED, "%s: rank %d sent %llu bytes, rank %d wants %zu", name,
                    t->peer, (unsigned long long)t->bytes_sent, c->rank, t->bytes);
    return OK;
}

/* Gives the slot back when it is done. The lock is held. */
static bool take_done(struct mpi_transport *m, struct comm_ticket *ticket, struct transfer *out)
{
    struct transfer *t = &m->transfer[ticket->slot - 1];

    CHECK(t->state != TRANSFER_FREE);
    if (t->state != TRANSFER_DONE)
        return false;
    *out = *t;
    t->state = TRANSFER_FREE;
    ticket->slot = 0;
    return true;
}

static enum status mpi_test(struct comm *c, struct comm_ticket *ticket, bool *done, struct err *e)
{
    struct mpi_transport *m = (struct mpi_transport *)c;
    struct transfer t;

    *done = true;
    if (ticket->slot == 0)
        return OK;
    pthread_mutex_lock(&m->lock);
    *done = take_done(m, ticket, &t);
    pthread_mutex_unlock(&m->lock);
    return *done ? outcome(c, &t, NULL, e) : OK;
}

static enum status mpi_wait(struct comm *c, struct comm_ticket *ticket, const char *what,
                            struct err *e)
{
    struct mpi_transport *m = (struct mpi_transport *)c;
    struct timespec limit = deadline_in(c->stall_timeout);
    struct transfer t;
    bool done, late = false;

    if (ticket->slot == 0)
        return OK;
    pthread_mutex_lock(&m->lock);
    while (!(done = take_done(m, ticket, &t)) && !late)
        late = pthread_cond_timedwait(&m->to_rank, &m->lock, &limit) == ETIMEDOUT;
    if (!done)
        t = m->transfer[ticket->slot - 1];
    pthread_mutex_unlock(&m->lock);
    if (done)
        return outcome(c, &t, what, e);
    return fail(e, ERR_INTERRUPTED,
                "%s: rank %d %s rank %d within %g s (it is gone, stopped or stuck)", what, t.peer,
                t.is_send ? "took nothing from" : "sent nothing to", c->rank, c->stall_timeout);
}

static enum status transfer_now(struct comm *c, bool is_send, int peer, void *buf, size_t bytes,
                                const char *what, struct err *e)
{
    struct comm_ticket t = {0};

    TRY(start(c, is_send, peer, TAG_COLLECTIVE, buf, bytes, &t, e));
    return mpi_wait(c, &t, what, e);
}

static enum status mpi_broadcast(struct comm *c, int root, void *buf, size_t bytes, struct err *e)
{
    CHECK(root >= 0 && root < c->ranks);
    if (c->rank != root)
        return transfer_now(c, false, root, buf, bytes, "broadcast", e);
    for (int r = 0; r < c->ranks; r++)
        if (r != root)
            TRY(transfer_now(c, true, r, buf, bytes, "broadcast", e));
    return OK;
}

static enum status mpi_gather(struct comm *c, const void *mine, void *all, size_t bytes,
                              struct err *e)
{
    char *rows = all;

    if (bytes > 0)
        memmove(rows + (size_t)c->rank * bytes, mine, bytes);
    if (c->rank != 0)
        TRY(transfer_now(c, true, 0, rows + (size_t)c->rank * bytes, bytes, "gather", e));
    else
        for (int r = 1; r < c->ranks; r++)
            TRY(transfer_now(c, false, r, rows + (size_t)r * bytes, bytes, "gather", e));
    return mpi_broadcast(c, 0, all, bytes * (size_t)c->ranks, e);
}

/* MPI_Init has no limit of its own and cannot be left: who opens the transport watches the time. */
static void await_start(struct mpi_transport *m)
{
    pthread_mutex_lock(&m->lock);
    while (m->phase == PHASE_STARTING)
        pthread_cond_wait(&m->to_rank, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

static bool await_closed(struct mpi_transport *m, double limit_s)
{
    struct timespec limit = deadline_in(limit_s);
    bool late = false, closed;

    pthread_mutex_lock(&m->lock);
    while (m->phase != PHASE_CLOSED && !late)
        late = pthread_cond_timedwait(&m->to_rank, &m->lock, &limit) == ETIMEDOUT;
    closed = m->phase == PHASE_CLOSED;
    pthread_mutex_unlock(&m->lock);
    return closed;
}

static void transport_free(struct mpi_transport *m)
{
    pthread_join(m->thread, NULL);
    pthread_cond_destroy(&m->to_thread);
    pthread_cond_destroy(&m->to_rank);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void mpi_close(struct comm *c)
{
    struct mpi_transport *m = (struct mpi_transport *)c;
    char here = 1, *all = malloc((size_t)c->ranks);
    struct err e;
    /* MPI_Finalize hangs while a peer is anywhere else: without everybody's word MPI is left as it
     * is, with the thread and what it uses, and the launcher ends the job. */
    bool agreed = all && mpi_gather(c, &here, all, 1, &e) == OK;

    free(all);
    if (!agreed)
        return;
    lifeline_close(c->lifeline);
    pthread_mutex_lock(&m->lock);
    m->phase = PHASE_CLOSING;
    pthread_cond_signal(&m->to_thread);
    pthread_mutex_unlock(&m->lock);
    if (await_closed(m, finalize_limit_s))
        transport_free(m);
}

static __attribute__((noreturn)) void mpi_abort(struct comm *c, int code)
{
    struct mpi_transport *m = (struct mpi_transport *)c;
    struct timespec limit = deadline_in(abort_limit_s);
    sigset_t alarm_only;
    bool late = false;

    /* The last resort, should even the lock never come free. */
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    signal(SIGALRM, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    alarm(10);
    lifeline_announce(c->lifeline, (enum status)code);
    pthread_mutex_lock(&m->lock);
    m->aborting = true;
    m->abort_code = code;
    pthread_cond_signal(&m->to_thread);
    while (!late && m->phase == PHASE_RUNNING) /* until the thread's MPI_Abort ends the process */
        late = pthread_cond_timedwait(&m->to_rank, &m->lock, &limit) == ETIMEDOUT;
    _exit(code);
}

static const struct comm_ops mpi_ops = {
    .name = "mpi",
    .send = mpi_send,
    .recv = mpi_recv,
    .test = mpi_test,
    .wait = mpi_wait,
    .broadcast = mpi_broadcast,
    .gather = mpi_gather,
    .close = mpi_close,
    .abort = mpi_abort,
};

/* Open MPI's settings, as far as the user's environment leaves them open. */
static void set_mpi_defaults(void)
{
    static const char *const settings[][2] = {
        /* With single copy, ranks in different user namespaces hang at the first long message. */
        {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"},
        /* Long fragments, many at once: a test of a sleepy thread moves 4 MiB instead of 96 KiB. */
        {"OMPI_MCA_btl_vader_max_send_size", "262144"},
        {"OMPI_MCA_pml_ob1_send_pipeline_depth", "16"},
        /* As between ranks of a host: what is longer waits at the sender until it is wanted, and a
         * rank that is ahead does not fill the memory of the next. */
        {"OMPI_MCA_btl_tcp_eager_limit", "4096"},
        {"OMPI_MCA_mpi_warn_on_fork", "0"},
        {"OMPI_MCA_btl_base_warn_component_unused", "0"},
        {"OMPI_MCA_shmem_mmap_enable_nfs_warning", "0"},
    };

    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        setenv(settings[i][0], settings[i][1], 0);
}

enum status comm_open_mpi(int *argc, char ***argv, struct comm **out, struct err *e)
{
    struct mpi_transport *m = calloc(1, sizeof *m);
    pthread_condattr_t monotonic;
    int code;

    *out = NULL;
    if (!m)
        return fail(e, ERR_FIT, "MPI transport: out of memory");
    m->base.ops = &mpi_ops;
    m->base.stall_timeout = 600;
    m->argc = argc;
    m->argv = argv;
    if (gethostname(m->base.host, sizeof m->base.host - 1) != 0)
        strcpy(m->base.host, "unknown");
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->to_thread, &monotonic);
    pthread_cond_init(&m->to_rank, &monotonic);
    pthread_condattr_destroy(&monotonic);
    set_mpi_defaults();
    code = comm_thread_start(&m->thread, mpi_thread_run, m);
    if (code != 0) {
        free(m);
        return fail(e, ERR_FIT, "MPI transport: thread: %s", strerror(code));
    }
    await_start(m);
    if (m->phase == PHASE_FAILED) {
        *e = m->start_err;
        transport_free(m);
        return e->code;
    }
    *out = &m->base;
    return OK;
}

const char *comm_mpi_version(void)
{
    static char name[64];
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;

    /* "Open MPI v4.1.4, package: ..." or "MPICH Version: 4.0 ..." */
    if (MPI_Get_library_version(text, &length) != MPI_SUCCESS)
        return "MPI";
    text[strcspn(text, ",\n")] = '\0';
    snprintf(name, sizeof name, "%.60s", text);
    return name;
}
