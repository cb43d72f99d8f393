/* mpi_thread.c - every MPI call of a rank. The thread starts the transfers that the rank hands over
 * and tests them until they are done, so that they progress while the rank computes. It naps
 * between tests: ranks share their cores with the threads that compute.
 *
 * A transfer is two messages: its length in 8 bytes, then the data, which is received only once the
 * length is known to be right. (Of a message that is too long, MPI does not tell the length, and
 * Open MPI 4.1 may hang in it.) */
#include "comm/mpi_private.h"

#include <dlfcn.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* The nap is a sixteenth of the time since something last happened, within these bounds. */
static const int64_t nap_min_ns = 50 * 1000, nap_max_ns = 2000 * 1000;
/* Tests a wake-up: a long message moves by some fragments a test, so a few tests a nap keep it
 * near the speed of memory, and cost a few microseconds when nothing moves. */
enum { TESTS_PER_WAKE = 4 };
/* The largest piece of a datatype; counts in MPI are int. */
static const size_t piece_bytes = (size_t)1 << 30;

struct progress {
    struct mpi_transport *m;
    MPI_Comm comm;
    int awaited[COMM_TICKETS], n_awaited;     /* receives without their length yet, oldest first */
    MPI_Request length_request[COMM_TICKETS]; /* of the transfer with that index */
    MPI_Request request[2 * COMM_TICKETS];    /* what else is under way, n_active of them */
    int owner[2 * COMM_TICKETS], n_active;    /* the transfer it belongs to */
    int failure; /* MPI's code of the first start that failed: nothing is started after it, or a later
                    message would be taken for the one that is missing */
    int64_t last_event_ns;
};

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long total = 0, resident = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void error_text(int code, char *out, size_t size)
{
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;

    MPI_Error_string(code, text, &length);
    snprintf(out, size, "%.*s", (int)size - 1, text);
}

/* Initialises MPI and fills base. A failure is recorded and ends the thread. */
static bool start_mpi(struct progress *p)
{
    struct mpi_transport *m = p->m;
    struct comm *c = &m->base;
    uint64_t before = resident_bytes();
    MPI_Comm local;
    int level, code;

    code = MPI_Init_thread(m->argc, m->argv, MPI_THREAD_FUNNELED, &level);
    if (code != MPI_SUCCESS || level < MPI_THREAD_FUNNELED) {
        fail(&m->start_err, ERR_UNAVAILABLE, "MPI_Init_thread failed (code %d, thread level %d)",
             code, level);
        return false;
    }
    /* A broken transfer must come back as an error, not end the process inside MPI. */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    code = MPI_Comm_dup(MPI_COMM_WORLD, &p->comm);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_split_type(p->comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local);
    if (code != MPI_SUCCESS) {
        char text[96];

        error_text(code, text, sizeof text);
        fail(&m->start_err, ERR_UNAVAILABLE, "MPI: communicator: %s", text);
        return false;
    }
    MPI_Comm_rank(p->comm, &c->rank);
    MPI_Comm_size(p->comm, &c->ranks);
    MPI_Comm_rank(local, &c->local_rank);
    MPI_Comm_size(local, &c->local_ranks);
    MPI_Comm_free(&local);
    c->overhead_bytes = resident_bytes() - before;
    return true;
}

static void set_phase(struct mpi_transport *m, enum transport_phase phase)
{
    pthread_mutex_lock(&m->lock);
    m->phase = phase;
    pthread_cond_broadcast(&m->to_rank);
    pthread_mutex_unlock(&m->lock);
}

/* A datatype of `bytes` bytes, for messages whose count does not fit an int. */
static int type_of_bytes(size_t bytes, MPI_Datatype *out)
{
    int lengths[2] = {(int)(bytes / piece_bytes), (int)(bytes % piece_bytes)};
    MPI_Aint places[2] = {0, (MPI_Aint)(bytes - bytes % piece_bytes)};
    MPI_Datatype types[2] = {MPI_DATATYPE_NULL, MPI_BYTE};
    int code = MPI_Type_contiguous((int)piece_bytes, MPI_BYTE, &types[0]);

    if (code != MPI_SUCCESS)
        return code;
    code = MPI_Type_create_struct(2, lengths, places, types, out);
    MPI_Type_free(&types[0]);
    return code == MPI_SUCCESS ? MPI_Type_commit(out) : code;
}

/* What to give MPI as count and type; *type is to be freed where it is not MPI_BYTE. */
static int count_and_type(size_t bytes, int *count, MPI_Datatype *type)
{
    *count = bytes > piece_bytes ? 1 : (int)bytes;
    *type = MPI_BYTE;
    return bytes > piece_bytes ? type_of_bytes(bytes, type) : MPI_SUCCESS;
}

static int start_data(struct progress *p, const struct transfer *t, MPI_Request *request)
{
    MPI_Datatype type;
    int count, code, tag = 2 * t->tag + 1;

    code = count_and_type(t->bytes, &count, &type);
    if (code != MPI_SUCCESS)
        return code;
    code = t->is_send ? MPI_Isend(t->buf, count, type, t->peer, tag, p->comm, request)
                      : MPI_Irecv(t->buf, count, type, t->peer, tag, p->comm, request);
    if (type != MPI_BYTE)
        MPI_Type_free(&type); /* lives on until the request is done */
    return code;
}

static int start_length(struct progress *p, struct transfer *t, MPI_Request *request)
{
    int tag = 2 * t->tag;

    return t->is_send ? MPI_Isend(&t->bytes_sent, 1, MPI_UINT64_T, t->peer, tag, p->comm, request)
                      : MPI_Irecv(&t->bytes_sent, 1, MPI_UINT64_T, t->peer, tag, p->comm, request);
}

static void end_transfer(struct mpi_transport *m, int i, int code)
{
    struct transfer *t = &m->transfer[i];

    if (code != MPI_SUCCESS)
        error_text(code, t->mpi_error, sizeof t->mpi_error);
    pthread_mutex_lock(&m->lock);
    t->state = TRANSFER_DONE;
    pthread_cond_broadcast(&m->to_rank);
    pthread_mutex_unlock(&m->lock);
}

/* Keeps the request just written behind the active ones, or ends the transfer. */
static bool keep_or_end(struct progress *p, int i, int code)
{
    if (code != MPI_SUCCESS) {
        p->failure = p->failure ? p->failure : code;
        end_transfer(p->m, i, code);
        return false;
    }
    p->m->transfer[i].n_requests++;
    p->owner[p->n_active++] = i;
    return true;
}

static void start_queued(struct progress *p, const int *queue, int n)
{
    for (int k = 0; k < n; k++) {
        int i = queue[k], code;
        struct transfer *t = &p->m->transfer[i];

        if (p->failure) {
            end_transfer(p->m, i, p->failure);
        } else if (t->is_send) {
            code = start_length(p, t, &p->request[p->n_active]);
            if (keep_or_end(p, i, code))
                keep_or_end(p, i, start_data(p, t, &p->request[p->n_active]));
        } else {
            code = start_length(p, t, &p->length_request[i]);
            if (code == MPI_SUCCESS)
                p->awaited[p->n_awaited++] = i;
            else
                end_transfer(p->m, i, code);
        }
    }
    if (n > 0)
        p->last_event_ns = now_ns();
}

/* Is no older receive from the same peer with the same tag among the first n awaited ones? */
static bool first_of_its_kind(const struct progress *p, int n, const struct transfer *t)
{
    const struct transfer *transfer = p->m->transfer;

    for (int j = 0; j < n; j++)
        if (transfer[p->awaited[j]].peer == t->peer && transfer[p->awaited[j]].tag == t->tag)
            return false;
    return true;
}

/* Starts the data of the awaited receives whose length came, in order, so that the k-th meets the
 * k-th. */
static bool take_lengths(struct progress *p)
{
    int kept = 0, before = p->n_awaited;

    for (int k = 0; k < before; k++) {
        int i = p->awaited[k], there = 0, code = MPI_SUCCESS;
        struct transfer *t = &p->m->transfer[i];

        if (first_of_its_kind(p, kept, t))
            code = MPI_Test(&p->length_request[i], &there, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS || (there && t->bytes_sent != t->bytes))
            end_transfer(p->m, i, code);
        else if (there)
            keep_or_end(p, i, start_data(p, t, &p->request[p->n_active]));
        else
            p->awaited[kept++] = i;
    }
    p->n_awaited = kept;
    return kept < before;
}

/* Closes the gaps that ended transfers (owner -1) left. A request that failed is dropped, not
 * freed: the job ends. */
static void drop_ended(struct progress *p)
{
    int n = 0;

    for (int k = 0; k < p->n_active; k++)
        if (p->owner[k] >= 0) {
            p->owner[n] = p->owner[k];
            p->request[n++] = p->request[k];
        }
    p->n_active = n;
}

/* Takes what is done off the list. */
static bool test_active(struct progress *p)
{
    int index[2 * COMM_TICKETS], n = 0, code;
    MPI_Status status[2 * COMM_TICKETS];

    code = MPI_Testsome(p->n_active, p->request, &n, index, status);
    if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) { /* MPI is broken: all have failed */
        for (n = 0; n < p->n_active; n++) {
            index[n] = n;
            status[n].MPI_ERROR = code;
        }
        code = MPI_ERR_IN_STATUS;
    }
    if (n <= 0) /* none, or MPI_UNDEFINED */
        return false;
    for (int k = 0; k < n; k++) {
        int i = p->owner[index[k]];
        struct transfer *t = &p->m->transfer[i];
        int failure = code == MPI_SUCCESS ? MPI_SUCCESS : status[k].MPI_ERROR;

        p->owner[index[k]] = -1;
        if (failure != MPI_SUCCESS)
            error_text(failure, t->mpi_error, sizeof t->mpi_error);
        if (--t->n_requests == 0)
            end_transfer(p->m, i, MPI_SUCCESS);
    }
    drop_ended(p);
    return true;
}

/* Lets everything move on; returns whether anything did. */
static bool make_progress(struct progress *p)
{
    bool came = take_lengths(p);
    bool ended = p->n_active > 0 && test_active(p);

    if (came || ended)
        p->last_event_ns = now_ns();
    return came || ended;
}

/* Open MPI's MPI_Abort is PMIx_Abort behind ten lines of text that hide the one line that tells
 * the cause: so the latter is called where it can be had. */
static __attribute__((noreturn)) void end_job(int code)
{
    int (*pmix_abort)(int status, const char *message, void *processes, size_t n);

    *(void **)&pmix_abort = dlsym(RTLD_DEFAULT, "PMIx_Abort");
    if (!pmix_abort || pmix_abort(code, "", NULL, 0) != 0)
        MPI_Abort(MPI_COMM_WORLD, code);
    _exit(code);
}

/* Sleeps until the rank wants something, or for a nap while transfers are under way. Returns the
 * number of transfers taken over, or -1 when MPI is to be finalised. */
static int await_orders(struct progress *p, int queue[COMM_TICKETS])
{
    struct mpi_transport *m = p->m;
    int64_t nap = (now_ns() - p->last_event_ns) / 16, until;
    struct timespec at;
    int n;

    nap = nap < nap_min_ns ? nap_min_ns : nap > nap_max_ns ? nap_max_ns : nap;
    until = now_ns() + nap;
    at = (struct timespec){until / 1000000000, until % 1000000000};
    pthread_mutex_lock(&m->lock);
    while (m->n_queued == 0 && !m->aborting && m->phase == PHASE_RUNNING) {
        if (p->n_active + p->n_awaited == 0)
            pthread_cond_wait(&m->to_thread, &m->lock);
        else if (pthread_cond_timedwait(&m->to_thread, &m->lock, &at) != 0)
            break;
    }
    if (m->aborting) {
        pthread_mutex_unlock(&m->lock);
        end_job(m->abort_code);
    }
    n = m->phase == PHASE_RUNNING ? m->n_queued : -1;
    for (int k = 0; k < n; k++) {
        queue[k] = m->queue[k];
        m->transfer[queue[k]].state = TRANSFER_ACTIVE;
    }
    m->n_queued = 0;
    pthread_mutex_unlock(&m->lock);
    return n;
}

void *mpi_thread_run(void *arg)
{
    struct progress p = {.m = arg, .comm = MPI_COMM_NULL};
    int queue[COMM_TICKETS], n;

    prctl(PR_SET_NAME, "mpi");
    prctl(PR_SET_TIMERSLACK, 10000UL, 0, 0, 0); /* ns: naps of 50 us, not of 100 */
    if (!start_mpi(&p)) {
        set_phase(p.m, PHASE_FAILED);
        return NULL;
    }
    set_phase(p.m, PHASE_RUNNING);
    while ((n = await_orders(&p, queue)) >= 0) {
        start_queued(&p, queue, n);
        for (int k = 0; k < TESTS_PER_WAKE && p.n_active + p.n_awaited > 0; k++)
            if (make_progress(&p))
                break;
    }
    MPI_Comm_free(&p.comm);
    MPI_Finalize();
    set_phase(p.m, PHASE_CLOSED);
    return NULL;
}
