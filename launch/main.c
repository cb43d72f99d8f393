/* nvfp4_ppl: the exact perplexity of an NVFP4 language model, one rank per device.
 *
 * main reads the command line, starts the transport and the thread that takes signals, hands over to
 * a task, and is the one place that prints a failure and ends the job. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "launch/evaluate.h"
#include "launch/job.h"
#include "launch/signals.h"
#include "launch/tasks.h"
#include "launch/version.h"

struct app {
    struct options options;
    struct spec *spec;
    struct comm *comm;
    struct signals *signals;
    struct evaluation *evaluation;
    pthread_mutex_t lock; /* guards `comm` and `evaluation` against the signal's thread */
};

/* Ends every process of the job; does not return. */
static void end_all(struct app *a, int code)
{
    if (a->comm && a->comm->ranks > 1)
        a->comm->ops->abort(a->comm, code);
    _exit(code);
}

/* In the signals' thread. Rank 0 leaves what it has; another rank gives it a moment to do so, and
 * ends the job if the signal was for that rank alone. */
static void on_signal(const char *name, void *context)
{
    struct app *a = context;
    const struct timespec moment = {2, 0};

    pthread_mutex_lock(&a->lock);
    if (a->comm && a->comm->rank != 0) {
        nanosleep(&moment, NULL);
        fprintf(stderr, "nvfp4_ppl: rank %d of %d (%s): stopped by %s\n", a->comm->rank,
                a->comm->ranks, a->comm->host, name);
        end_all(a, ERR_INTERRUPTED);
    }
    if (a->evaluation)
        evaluate_interrupt(a->evaluation, name);
    fprintf(stderr, "nvfp4_ppl: stopped by %s\n", name);
    end_all(a, ERR_INTERRUPTED);
}

static enum status open_comm(struct app *a, int *argc, char ***argv, struct err *e)
{
    struct comm *c = NULL;
    enum status st = comm_launched() ? comm_open_mpi(argc, argv, &c, e) : comm_open_loop(&c, e);

    pthread_mutex_lock(&a->lock);
    a->comm = c;
    pthread_mutex_unlock(&a->lock);
    return st;
}

static enum status check_transport(const struct app *a, struct err *e)
{
    enum transport_kind t = a->spec->transport;

    if (t == TRANSPORT_NCCL)
        return fail(e, ERR_UNAVAILABLE, "transport: nccl is not built into this program (try "
                                        "\"mpi\" or \"auto\")");
    if (t == TRANSPORT_LOOP && a->comm->ranks > 1)
        return fail(e, ERR_SPEC, "transport: loop is for one rank, and there are %d",
                    a->comm->ranks);
    return OK;
}

/* What the spec said that this program passes over, once. */
static void print_ignored(const struct app *a)
{
    if (a->comm->rank != 0 || a->spec->n_ignored == 0)
        return;
    fprintf(stderr, "nvfp4_ppl: ignored, meant for other tools:");
    for (int i = 0; i < a->spec->n_ignored; i++)
        fprintf(stderr, " %s", a->spec->ignored[i]);
    fputc('\n', stderr);
}

/* --plan and scoring. */
static enum status with_spec(struct app *a, bool *agreed, struct err *e)
{
    struct evaluation *v = NULL;

    TRY(job_agree(a->comm, spec_read(&a->options.spec, &a->spec, e), e));
    a->comm->stall_timeout = a->spec->stall_timeout;
    TRY(check_transport(a, e));
    print_ignored(a);
    if (a->options.task == TASK_PLAN)
        return a->comm->rank == 0 ? task_plan(&a->options, a->spec, a->comm->ranks, e) : OK;
    TRY(job_agree(a->comm, evaluate_open(&a->options, a->spec, a->comm, &v, e), e));
    pthread_mutex_lock(&a->lock);
    a->evaluation = v;
    pthread_mutex_unlock(&a->lock);
    return evaluate_run(v, agreed, e);
}

static enum status run(struct app *a, int argc, char **argv, bool *agreed, struct err *e)
{
    *agreed = true;
    TRY(signals_start(on_signal, a, &a->signals, e));
    TRY(open_comm(a, &argc, &argv, e));
    TRY(options_read(argc, argv, &a->options, e));
    if (a->options.task == TASK_RUN || a->options.task == TASK_PLAN)
        return with_spec(a, agreed, e);
    if (a->comm->rank != 0)
        return OK;
    if (a->options.task == TASK_TOKENIZE)
        return task_tokenize(&a->options, e);
    if (a->options.task == TASK_HELP)
        options_print_help(stdout);
    else
        version_print(stdout);
    return OK;
}

/* A failure that all ranks know of: rank 0 has printed it and ends the job, the others wait for that.
 * Exits of their own, one after another, would have the launcher add a page of its own words. */
static void end_together(struct app *a, int code)
{
    const struct timespec enough = {10, 0};

    if (a->comm && a->comm->rank != 0)
        nanosleep(&enough, NULL);
    end_all(a, code);
}

/* One line, once per job: by rank 0 when all ranks know of the failure, else by the rank that does,
 * which then ends the others. */
static void print_failure(const struct app *a, bool agreed, const struct err *e)
{
    if (a->comm && a->comm->ranks > 1 && !agreed)
        fprintf(stderr, "nvfp4_ppl: rank %d of %d (%s): %s\n", a->comm->rank, a->comm->ranks,
                a->comm->host, e->msg);
    else if (!a->comm || a->comm->rank == 0)
        fprintf(stderr, "nvfp4_ppl: %s\n", e->msg);
}

int main(int argc, char **argv)
{
    struct app a = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct err e = {.code = OK};
    bool agreed;
    enum status st = run(&a, argc, argv, &agreed, &e);

    if (st == OK && fflush(stdout) != 0)
        st = fail(&e, ERR_IO, "standard output: cannot be written");
    pthread_mutex_lock(&a.lock); /* from here on a signal waits: the end is near and orderly */
    if (st != OK) {
        if (a.evaluation)
            evaluate_failed(a.evaluation, st, e.msg);
        print_failure(&a, agreed, &e);
        if (!agreed)
            end_all(&a, st);
        if (a.comm && a.comm->ranks > 1)
            end_together(&a, st);
    }
    evaluate_close(a.evaluation);
    spec_free(a.spec);
    options_close(&a.options);
    comm_close(a.comm);
    return st;
}
