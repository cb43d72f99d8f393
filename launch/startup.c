#include "launch/startup.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/comm.h"
#include "comm/thread.h"
#include "spec/clock.h"

/* Rank 0 speaks; the others only if it should not be there. */
static const double others_later_s = 5;

struct startup {
    double note_s, limit_s;
    int rank; /* as the launcher says */
    char host[64], hosts[256]; /* this one; all, where the launcher tells */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool met;
};

/* Have the ranks met by then? */
static bool met_by(struct startup *s, const struct timespec *until)
{
    bool met, late = false;

    pthread_mutex_lock(&s->lock);
    while (!s->met && !late)
        late = pthread_cond_timedwait(&s->changed, &s->lock, until) == ETIMEDOUT;
    met = s->met;
    pthread_mutex_unlock(&s->lock);
    return met;
}

static void *startup_run(void *arg)
{
    struct startup *s = arg;
    struct timespec note = clock_after(s->note_s);
    struct timespec limit = clock_after(s->limit_s + (s->rank == 0 ? 0 : others_later_s));

    if (met_by(s, &note))
        return NULL;
    if (s->rank == 0)
        fprintf(stderr, "nvfp4_ppl: rank 0 (%s): waiting for the other ranks\n", s->host);
    if (met_by(s, &limit))
        return NULL;
    fprintf(stderr,
            "nvfp4_ppl: rank %d (%s): the ranks did not meet within %g s: can all hosts%s%s reach "
            "each other by one network, at every port? (try mpirun --mca btl_tcp_if_include SUBNET "
            "--mca oob_tcp_if_include SUBNET)\n",
            s->rank, s->host, s->limit_s, *s->hosts ? " of " : "", s->hosts);
    _exit(ERR_UNAVAILABLE);
}

enum status startup_begin(double note_s, double limit_s, struct startup **out, struct err *e)
{
    struct startup *s = calloc(1, sizeof *s);
    int code;

    *out = NULL;
    if (!s)
        return fail(e, ERR_FIT, "start-up: out of memory");
    s->note_s = note_s;
    s->limit_s = limit_s;
    s->rank = comm_launched_rank();
    if (gethostname(s->host, sizeof s->host - 1) != 0)
        strcpy(s->host, "unknown");
    comm_launched_hosts(s->hosts, sizeof s->hosts); /* MPI_Init takes that out of the environment */
    pthread_mutex_init(&s->lock, NULL);
    clock_condition(&s->changed);
    code = comm_thread_start(&s->thread, startup_run, s);
    if (code != 0) {
        free(s);
        return fail(e, ERR_FIT, "start-up: thread: %s", strerror(code));
    }
    *out = s;
    return OK;
}

void startup_end(struct startup *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->met = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
