/* nvfp4_ppl: the exact perplexity of an NVFP4 language model, one rank per device.
 *
 * main reads the command line, starts the transport and the thread that takes signals, hands over
 * to a task, and is the one place that prints a failure and ends the job. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "comm/lifeline.h"
#include "launch/check_spec.h"
#include "launch/evaluate.h"
#include "launch/job.h"
#include "launch/signals.h"
#include "launch/startup.h"
#include "launch/tasks.h"
#include "launch/transport.h"
#include "launch/version.h"

/* How long ranks may take to meet, and when it is said that they are waited for. */
static const double start_note_s = 10, start_limit_s = 120;
/* A rank that says nothing for so long is lost. */
static const double silence_s = 10;
/* How long a rank leaves it to rank 0 to speak and to end the job. */
static const double rank_0_s = 3;
/* Over a cut link an abort makes mpirun wait for the other host for a quarter of an hour; left
 * alone, its keepalive (10 + 3 x 5 s after the cut, 10 s of which have passed) ends both. Where only
 * one way is cut the keepalive is content, and the launcher has to be ended. */
static const double launcher_s = 17;
/* Within that time a signal to all ranks reaches them, and so does the word of a rank whose loss had
 * the launcher send it. */
static const double moment_s = 0.15;

struct app {
    struct options options;
    struct spec *spec;
    struct comm *comm;
    struct signals *signals;
    struct evaluation *evaluation;
    atomic_flag spoken;   /* of the job's end; the first to set it prints */
    pthread_mutex_t lock; /* guards `comm` and `evaluation` against the signal's thread */
};

/* Ends every process of the job; does not return. */
static void end_all(struct app *a, int code)
{
    if (a->comm && a->comm->ranks > 1)
        a->comm->ops->abort(a->comm, code);
    _exit(code);
}

/* Signals do not shorten it. */
static void pause_for(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds};

    left.tv_nsec = (long)(1e9 * (seconds - (double)left.tv_sec));
    while (nanosleep(&left, &left) != 0)
        ;
}

/* A failure that only this rank knows of. Rank 0 prints it; another rank has rank 0 do so, and ends
 * the job by itself where that comes to nothing. */
static void fail_alone(struct app *a, enum status code, const char *message)
{
    struct comm *c = a->comm;

    if (c->rank != 0 && lifeline_tell(c->lifeline, code, message))
        pause_for(rank_0_s);
    if (atomic_flag_test_and_set(&a->spoken))
        pause_for(rank_0_s);
    else
        fprintf(stderr, "nvfp4_ppl: rank %d of %d (%s): %s\n", c->rank, c->ranks, c->host, message);
    end_all(a, code);
}

/* Rank 0 leaves what it has; for a lost rank 0, the rank that speaks says so. Where main or a signal
 * holds the lock, they do, and end. */
static void publish_end(struct app *a, const struct lifeline_end *end)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec++;
    if ((a->comm->rank != 0 && !end->speak) || pthread_mutex_timedlock(&a->lock, &limit) != 0 ||
        !a->evaluation)
        return;
    if (a->comm->rank != 0)
        evaluate_root_lost(a->evaluation, end->message);
    else if (end->code == ERR_INTERRUPTED)
        evaluate_interrupt(a->evaluation, end->message);
    else
        evaluate_failed(a->evaluation, end->code, end->message);
}

/* In the lifeline's thread: a rank is lost, or has failed. */
static void on_end(void *context, const struct lifeline_end *end)
{
    struct app *a = context;

    if (end->speak && !atomic_flag_test_and_set(&a->spoken))
        fprintf(stderr, "nvfp4_ppl: %s\n", end->message);
    publish_end(a, end);
    if (end->cut_off) {
        pause_for(launcher_s);
        signals_end_launcher(a->signals);
    }
    if (!end->speak)
        pause_for(rank_0_s);
    end_all(a, end->code);
}

/* Is there a way to tell the other ranks, if there are any? */
static bool has_met(const struct app *a)
{
    return a->comm ? a->comm->ranks == 1 || a->comm->lifeline : !comm_launched();
}

/* In the signals' thread; holds the lock again when it returns. The launcher signals all ranks when
 * one of them is lost, too: who the lifeline says is lost then is what matters, and not the signal.
 * Rank 0 leaves it a moment to say so; the others leave rank 0 one more, should the signal be for
 * all. */
static void let_others_speak(struct app *a)
{
    double seconds = moment_s * (a->comm->rank == 0 ? 1 : 2);

    pthread_mutex_unlock(&a->lock);
    pause_for(seconds);
    pthread_mutex_lock(&a->lock);
}

/* In the signals' thread. Rank 0 leaves what it has and ends the job; another rank has it do so. */
static void on_signal(const char *name, void *context)
{
    struct app *a = context;
    const char *when;
    char message[64];

    pthread_mutex_lock(&a->lock);
    when = has_met(a) ? "" : " before the ranks had met";
    if (*when && comm_launched_rank() != 0)
        _exit(ERR_INTERRUPTED);
    if (a->comm && a->comm->ranks > 1)
        let_others_speak(a);
    if (a->comm && a->comm->rank != 0) {
        snprintf(message, sizeof message, "stopped by %s", name);
        fail_alone(a, ERR_INTERRUPTED, message);
    }
    if (atomic_flag_test_and_set(&a->spoken)) { /* the lifeline did, and ends the job */
        pthread_mutex_unlock(&a->lock);
        pause_for(launcher_s + rank_0_s);
        _exit(ERR_INTERRUPTED);
    }
    if (a->comm)
        lifeline_announce(a->comm->lifeline, ERR_INTERRUPTED);
    if (a->evaluation)
        evaluate_interrupt(a->evaluation, name);
    fprintf(stderr, "nvfp4_ppl: stopped by %s%s\n", name, when);
    end_all(a, ERR_INTERRUPTED);
}

/* A failure that all ranks know of: rank 0 has printed it and ends the job, the others wait for
 * that. Exits of their own, one after another, would have the launcher add a page of words. */
static void end_together(struct app *a, int code)
{
    if (a->comm->rank != 0)
        pause_for(10);
    end_all(a, code);
}

/* One line, once per job; ends the job where there are other ranks. */
static void report_failure(struct app *a, bool agreed, enum status code, const struct err *e)
{
    if (a->evaluation)
        evaluate_failed(a->evaluation, code, e->msg);
    if (!agreed && a->comm && a->comm->ranks > 1)
        fail_alone(a, code, e->msg);
    if (!a->comm || a->comm->rank == 0)
        fprintf(stderr, "nvfp4_ppl: %s\n", e->msg);
    if (a->comm && a->comm->ranks > 1)
        end_together(a, code);
    if (!agreed) /* the run is as it broke off: a thread may still be reading into it */
        end_all(a, code);
}

/* In a thread of the evaluation: only rank 0 has one, and only it knows of the failure. */
static void on_failure(void *context, const struct err *e)
{
    struct app *a = context;

    pthread_mutex_lock(&a->lock);
    report_failure(a, false, e->code, e); /* ends the job */
}

static void set_comm(struct app *a, struct comm *c)
{
    pthread_mutex_lock(&a->lock);
    a->comm = c;
    pthread_mutex_unlock(&a->lock);
}

/* MPI and the lifelines. */
static enum status meet(struct app *a, int *argc, char ***argv, struct err *e)
{
    struct lifeline_request q = {.silence = silence_s, .on_end = on_end, .context = a};

    TRY(comm_open_mpi(argc, argv, &q.comm, e));
    set_comm(a, q.comm);
    /* Until the spec says its own; rank 0 is the first to speak. */
    q.comm->stall_timeout = start_limit_s + (q.comm->rank > 0 ? rank_0_s : 0);
    TRY(lifeline_open(&q, e));
    if (*lifeline_warning(q.comm->lifeline) && q.comm->rank == 0)
        fprintf(stderr, "nvfp4_ppl: warning: %s\n", lifeline_warning(q.comm->lifeline));
    return OK;
}

static enum status open_comm(struct app *a, int *argc, char ***argv, struct err *e)
{
    struct startup *limit;
    struct comm *c;
    enum status st;

    if (!comm_launched()) {
        TRY(comm_open_loop(&c, e));
        set_comm(a, c);
        return OK;
    }
    signals_watch_parent(a->signals);
    TRY(startup_begin(start_note_s, start_limit_s, &limit, e));
    st = meet(a, argc, argv, e);
    startup_end(limit);
    return st;
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
    char warning[256];

    TRY(job_meet(a->comm, version_name(), warning, e));
    if (*warning && a->comm->rank == 0)
        fprintf(stderr, "nvfp4_ppl: warning: %s\n", warning);
    TRY(job_agree(a->comm, spec_read(&a->options.spec, &a->spec, e), e));
    TRY(job_same(a->comm, "spec (SHA-256)", a->spec->sha256,
                 "give all ranks the same spec and --set", e));
    a->comm->stall_timeout = a->spec->stall_timeout;
    TRY(transport_check(a->spec->transport, a->comm, e));
    print_ignored(a);
    if (a->options.task == TASK_PLAN)
        return a->comm->rank == 0 ? task_plan(&a->options, a->spec, a->comm->ranks, e) : OK;
    TRY(job_agree(a->comm, evaluate_open(&a->options, a->spec, a->comm, on_failure, a, &v, e),
                  e));
    pthread_mutex_lock(&a->lock);
    a->evaluation = v;
    pthread_mutex_unlock(&a->lock);
    return evaluate_run(v, agreed, e);
}

static enum status run(struct app *a, int argc, char **argv, bool *agreed, struct err *e)
{
    *agreed = false; /* no rank knows of another yet */
    TRY(signals_start(on_signal, a, &a->signals, e));
    TRY(open_comm(a, &argc, &argv, e));
    *agreed = true;
    TRY(options_read(argc, argv, &a->options, e));
    if (a->options.task == TASK_RUN || a->options.task == TASK_PLAN)
        return with_spec(a, agreed, e);
    if (a->comm->rank != 0)
        return OK;
    if (a->options.task == TASK_TOKENIZE)
        return task_tokenize(&a->options, e);
    if (a->options.task == TASK_CHECK)
        return task_check(&a->options, a->comm->ranks, e);
    if (a->options.task == TASK_HELP)
        options_print_help(stdout);
    else
        version_print(stdout);
    return OK;
}

/* A file that is opened where one of the standard three is closed would take its place, and what is
 * printed would go into it. */
static void keep_standard_files(void)
{
    int fd;

    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd > STDERR_FILENO)
        close(fd);
}

/* What was printed is lost: a failure, unless the run's folder has it. */
static enum status check_stdout(const struct app *a, struct err *e)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return OK;
    if (!a->evaluation || !a->spec->out)
        return fail(e, ERR_IO, "standard output: cannot be written");
    fprintf(stderr, "nvfp4_ppl: warning: standard output: cannot be written; the result is in %s\n",
            a->spec->out);
    return OK;
}

int main(int argc, char **argv)
{
    struct app a = {.spoken = ATOMIC_FLAG_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct err e = {.code = OK};
    bool agreed;
    enum status st;

    keep_standard_files();
    st = run(&a, argc, argv, &agreed, &e);
    if (st == OK)
        st = check_stdout(&a, &e);
    pthread_mutex_lock(&a.lock); /* from here on a signal waits: the end is near and orderly */
    if (st != OK) /* what a transport meets is this rank's own, also while ranks settle something */
        report_failure(&a, agreed && st != ERR_INTERRUPTED, st, &e);
    evaluate_close(a.evaluation);
    spec_free(a.spec);
    options_close(&a.options);
    comm_close(a.comm);
    return st;
}
