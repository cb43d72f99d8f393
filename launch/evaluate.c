#include "launch/evaluate.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/folder_lock.h"
#include "launch/plan_report.h"
#include "launch/progress.h"
#include "launch/result.h"
#include "launch/resume.h"
#include "launch/status.h"
#include "launch/ticker.h"
#include "launch/version.h"
#include "loader/npy.h"
#include "spec/clock.h"
#include "spec/outfile.h"
#include "spec/size.h"

struct evaluation {
    const struct options *o;
    const struct spec *spec;
    struct comm *comm;
    evaluate_give_up *give_up;
    void *context;
    struct folder_lock *folder;
    struct status_file *status;
    struct run_status now;    /* what status.json says */
    double status_written;
    bool status_warned;
    struct ticker *ticker;    /* rank 0 with a folder: keeps the journal and status.json */
    struct progress progress;
    struct report_model *report; /* [n_models] of the results, for the report */
    struct result *result;       /* [n_models] */
    int done;                 /* models that are complete */
    pthread_mutex_t lock;     /* guards `running`, `resume`, `done`, `now` and the outputs */
    struct run *running;      /* rank 0: scoring now, may be interrupted */
    struct resume *resume;    /* rank 0: the journal of `running` */
};

/* Seconds. Windows that finish within TICK_LEAST share one sync of the journal. */
static const double TICK_LEAST = 0.2, TICK_MOST = 5, STATUS_LEAST = 1;
/* For a rank 0 that is lost: until its lock is free, or it has written by itself. */
static const double ROOT_WAIT = 2;

static bool is_root(const struct evaluation *v)
{
    return v->comm->rank == 0;
}

/* Where people read: stdout, but with the JSON on stdout nothing else goes there. */
static FILE *table_stream(const struct evaluation *v)
{
    return v->o->json && strcmp(v->o->json, "-") == 0 ? stderr : stdout;
}

/* status.json is for whoever looks from outside: not being able to write it does not end a run. The
 * lock is held. */
static void write_status(struct evaluation *v)
{
    struct err ignored;

    if (status_write(v->status, &v->now, &ignored) != OK && !v->status_warned) {
        fprintf(stderr, "nvfp4_ppl: warning: %s\n", ignored.msg);
        v->status_warned = true;
    }
    v->status_written = clock_seconds();
}

static void enter_phase(struct evaluation *v, const char *phase)
{
    pthread_mutex_lock(&v->lock);
    v->now.phase = phase;
    write_status(v);
    pthread_mutex_unlock(&v->lock);
}

/* What was scored goes to the disk, and is counted in status.json once it is there. The lock is
 * held. */
static enum status keep(struct evaluation *v, struct err *e)
{
    struct totals t;

    if (!v->running)
        return OK;
    t = score_running(v->running->score);
    TRY(resume_keep(v->resume, e));
    v->now.windows_done = t.windows;
    v->now.tokens = t.tokens;
    v->now.ppl = t.ppl;
    return OK;
}

static void on_tick(void *context)
{
    struct evaluation *v = context;
    struct err e = {.code = OK};
    enum status st;

    pthread_mutex_lock(&v->lock);
    st = keep(v, &e);
    if (st == OK && clock_seconds() - v->status_written >= STATUS_LEAST)
        write_status(v);
    pthread_mutex_unlock(&v->lock);
    if (st != OK)
        v->give_up(v->context, &e);
}

/* "x.npy" of one model; of several "x.LABEL.npy". */
static void nll_path(const struct spec *spec, const char *label, const char *given, char *out,
                     size_t size)
{
    size_t stem = strlen(given);
    int n;

    if (spec->n_models == 1) {
        snprintf(out, size, "%s", given);
        return;
    }
    if (stem > 4 && strcmp(given + stem - 4, ".npy") == 0)
        stem -= 4;
    n = snprintf(out, size, "%.*s.", (int)stem, given);
    for (const char *c = label; *c && (size_t)n + 5 < size; c++)
        out[n++] = *c == '/' ? '_' : *c;
    snprintf(out + n, size - (size_t)n, ".npy");
}

/* Hours of computing must not end in a file that could never be made. */
static enum status check_outputs(const struct options *o, const struct spec *spec, struct err *e)
{
    char path[4096];

    if (o->json && strcmp(o->json, "-") != 0)
        TRY(outfile_try(o->json, e));
    for (int i = 0; o->nll && i < spec->n_models; i++) {
        nll_path(spec, spec->model[i].label, o->nll, path, sizeof path);
        TRY(outfile_try(path, e));
    }
    return OK;
}

/* Rank 0: what this run writes. */
static enum status open_outputs(struct evaluation *v, struct err *e)
{
    if (!is_root(v))
        return OK;
    TRY(check_outputs(v->o, v->spec, e));
    if (!v->spec->out)
        return OK;
    if (mkdir(v->spec->out, 0777) != 0 && errno != EEXIST)
        return fail(e, ERR_OUTPUT, "%s: cannot make the folder: %s", v->spec->out, strerror(errno));
    TRY(folder_lock_take(v->spec->out, &v->folder, e));
    TRY(status_open(v->spec->out, &v->status, e));
    return ticker_start(on_tick, v, TICK_LEAST, TICK_MOST, &v->ticker, e);
}

enum status evaluate_open(const struct options *o, const struct spec *spec, struct comm *comm,
                          evaluate_give_up *give_up, void *context, struct evaluation **out,
                          struct err *e)
{
    struct evaluation *v = calloc(1, sizeof *v);
    enum status st;

    if (!v)
        return fail(e, ERR_FIT, "no memory for the evaluation");
    v->o = o;
    v->spec = spec;
    v->comm = comm;
    v->give_up = give_up;
    v->context = context;
    v->now = (struct run_status){.state = RUN_RUNNING, .phase = "start", .ppl = NAN,
                                 .models = spec->n_models};
    pthread_mutex_init(&v->lock, NULL);
    v->result = calloc((size_t)spec->n_models, sizeof *v->result);
    v->report = calloc((size_t)spec->n_models, sizeof *v->report);
    st = v->result && v->report ? open_outputs(v, e) : fail(e, ERR_FIT, "no memory for the results");
    if (st != OK) {
        evaluate_close(v);
        return st;
    }
    *out = v;
    return OK;
}

void evaluate_close(struct evaluation *v)
{
    if (!v)
        return;
    ticker_stop(v->ticker);
    for (int i = 0; v->result && i < v->spec->n_models; i++)
        result_free(&v->result[i]);
    free(v->result);
    free(v->report);
    status_close(v->status);
    folder_lock_release(v->folder);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

static void note(const struct evaluation *v, const char *what, const char *text)
{
    if (is_root(v))
        fprintf(stderr, "nvfp4_ppl: %s: %s\n", what, text);
}

static void on_score(void *context, struct score *score)
{
    struct evaluation *v = context;
    struct totals t = score_running(score);

    progress_update(&v->progress, t.windows, t.tokens, t.sum_nll);
    ticker_ask(v->ticker);
}

/* One output that cannot be written does not keep the others from it. */
static void keep_first(struct err *bad, enum status st, const struct err *e)
{
    if (st != OK && bad->code == OK)
        *bad = *e;
}

static enum status write_nll(const struct evaluation *v, const struct run *r, const char *given,
                             struct err *e)
{
    char path[4096];

    if (!given)
        return OK;
    nll_path(v->spec, r->choice->label, given, path, sizeof path);
    return npy_write_f64(path, score_table(r->score), r->windows->all,
                         windows_columns(r->windows), e);
}

/* Path of a file in the run's folder. */
static const char *in_folder(const struct evaluation *v, const char *name, char *out, size_t size)
{
    if (!v->spec->out)
        return NULL;
    snprintf(out, size, "%s/%s", v->spec->out, name);
    return out;
}

/* The JSON of the first n models. */
static enum status write_json(struct evaluation *v, int n, bool complete, struct err *e)
{
    struct report r = {.version = version_name(), .n_models = n, .model = v->report,
                       .complete = complete};
    char path[4096];
    struct err bad = {.code = OK};

    for (int i = 0; i < n; i++)
        v->report[i] = v->result[i].report;
    if (in_folder(v, "result.json", path, sizeof path))
        keep_first(&bad, report_write_json(&r, path, e), e);
    if (v->o->json)
        keep_first(&bad, report_write_json(&r, v->o->json, e), e);
    *e = bad;
    return bad.code;
}

/* Everything that one model leaves behind; the lock is held. partial: why it ends early, or NULL.
 * *bad keeps the first file that could not be written: the others are all the same. */
static enum status publish(struct evaluation *v, const struct run *r, const char *partial,
                           struct err *bad, struct err *e)
{
    struct result *out = &v->result[v->done];
    char path[4096];

    TRY(result_make(r, partial, out, e));
    report_print_model(&out->report, table_stream(v));
    fflush(table_stream(v));
    keep_first(bad, write_nll(v, r, in_folder(v, "nll.npy", path, sizeof path), e), e);
    keep_first(bad, write_nll(v, r, v->o->nll, e), e);
    return OK;
}

void evaluate_interrupt(struct evaluation *v, const char *why)
{
    struct err e = {.code = OK}, bad = {.code = OK};
    enum status st = OK;

    pthread_mutex_lock(&v->lock);
    progress_end(&v->progress);
    if (keep(v, &e) != OK)
        fprintf(stderr, "nvfp4_ppl: warning: %s\n", e.msg);
    if (v->running) {
        st = publish(v, v->running, why, &bad, &e);
        v->done += st == OK;
    }
    keep_first(&bad, st, &e);
    keep_first(&bad, write_json(v, v->done, false, &e), &e);
    if (bad.code != OK)
        fprintf(stderr, "nvfp4_ppl: warning: the partial result is not whole: %s\n", bad.msg);
    v->now.state = RUN_PARTIAL;
    v->now.reason = why;
    v->now.exit_code = ERR_INTERRUPTED;
    write_status(v);
    /* the lock stays: nothing may be published after this */
}

void evaluate_failed(struct evaluation *v, int code, const char *reason)
{
    struct err ignored;

    if (!is_root(v))
        return;
    pthread_mutex_lock(&v->lock);
    progress_end(&v->progress);
    if (keep(v, &ignored) != OK && code == OK)
        code = ignored.code;
    v->now.state = RUN_FAILED;
    v->now.reason = reason;
    v->now.exit_code = code;
    write_status(v);
    pthread_mutex_unlock(&v->lock);
}

void evaluate_root_lost(struct evaluation *v, const char *reason)
{
    const char *dir = v->spec->out;
    double end = clock_seconds() + ROOT_WAIT;
    struct folder_lock *lock = NULL;
    struct err ignored;

    if (!dir)
        return;
    folder_lock_wake_owner(dir); /* one that was only stopped finds our word, and writes by itself */
    while (status_is_running(dir) && clock_seconds() < end) {
        if (folder_lock_take(dir, &lock, &ignored) == OK &&
            status_end_for(dir, reason, ERR_INTERRUPTED, &ignored) != OK)
            end = 0;
        folder_lock_release(lock);
        usleep(20000);
    }
}

static void print_notes(const struct evaluation *v, const struct run *r)
{
    for (int i = 0; i < r->model->n_warnings; i++)
        note(v, "warning", r->model->warning[i]);
    if (*r->transport.note)
        note(v, "hidden states go by mpi, not nccl", r->transport.note);
    if (*r->fp4.note)
        note(v, "fp4 products", r->fp4.note);
}

/* Peaks against the plan: an excess is a failure when asked for, else a warning. */
static enum status check_memory(const struct evaluation *v, const struct run *r, struct err *e)
{
    for (int i = 0; r->rank && i < r->plan->ranks; i++) {
        char peak[SIZE_TEXT], planned[SIZE_TEXT], available[SIZE_TEXT], before[SIZE_TEXT];

        if (r->budget.gpu)
            fprintf(stderr, "rank %d: its GPU had %s free before the arena and has %s now\n", i,
                    size_format(r->budget.gpu[i].memory.available, before),
                    size_format(r->rank[i].available, available));
        if (r->rank[i].peak <= r->plan->rank[i].total)
            continue;
        fail(e, ERR_INTERNAL, "rank %d took %s at its peak, more than the planned %s", i,
             size_format(r->rank[i].peak, peak), size_format(r->plan->rank[i].total, planned));
        if (v->o->strict_memory)
            return e->code;
        note(v, "warning", e->msg);
    }
    return OK;
}

/* What is wrong with a complete result: it is published all the same. */
static enum status judge(const struct evaluation *v, const struct run *r, struct err *e)
{
    const struct result *result = &v->result[v->done - 1];
    char fault[512];

    TRY(check_memory(v, r, e));
    if (result->totals.nonfinite == 0)
        return OK;
    result_fault(result, r, fault, sizeof fault);
    return fail(e, ERR_NONFINITE, "%s: %s", r->choice->label, fault);
}

/* Rank 0, when all windows are scored. */
static enum status conclude(struct evaluation *v, struct run *r, struct err *bad, struct err *e)
{
    struct err verdict = {.code = OK};
    enum status st;

    pthread_mutex_lock(&v->lock);
    progress_end(&v->progress);
    st = keep(v, e);
    if (st == OK)
        resume_complete(v->resume);
    if (st == OK)
        st = publish(v, r, NULL, bad, e);
    if (st == OK) {
        v->running = NULL;
        v->done++;
    }
    pthread_mutex_unlock(&v->lock);
    if (st == OK)
        keep_first(bad, judge(v, r, &verdict), &verdict);
    return st;
}

/* What earlier runs left of this model; sets the windows that are to be run. */
static enum status restore(struct evaluation *v, struct run *r, struct err *e)
{
    struct resume *x;
    struct totals t;

    TRY(run_device(r, e));
    TRY(resume_open(r, v->spec->out, v->now.model - 1, v->spec->n_models, v->o->restart, &x, e));
    r->restored = resume_windows(x);
    if (resume_cut(x) > 0)
        fprintf(stderr, "nvfp4_ppl: %s: journal: %lld bytes of an unfinished record were cut off\n",
                r->choice->label, (long long)resume_cut(x));
    if (r->restored > 0)
        fprintf(stderr, "nvfp4_ppl: %s: %lld of %lld windows are in the journal already\n",
                r->choice->label, (long long)r->restored, (long long)r->windows->all);
    t = r->score ? score_running(r->score) : (struct totals){.ppl = NAN};
    pthread_mutex_lock(&v->lock);
    v->resume = x;
    v->now.resumable = x != NULL;
    v->now.windows = r->windows->all;
    v->now.windows_done = t.windows;
    v->now.tokens = t.tokens;
    v->now.ppl = t.ppl;
    pthread_mutex_unlock(&v->lock);
    return OK;
}

/* Plan and weights: but for the connecting, ranks agree on failures. */
static enum status prepare(struct evaluation *v, struct run *r, bool *agreed, struct err *e)
{
    char text[WAVE_NOTE];

    enter_phase(v, "plan");
    TRY(run_warm_up(r, e));
    TRY(run_plan(r, e));
    if (run_connects(r)) {
        *agreed = false;
        TRY(run_connect(r, e));
        *agreed = true;
        TRY(run_plan(r, e));
    }
    TRY(run_rates(r, e));
    if (is_root(v)) {
        flockfile(stderr); /* the line of a failure, from another thread, stands below, not within */
        print_notes(v, r);
        budget_print(stderr, &r->budget);
        plan_print(stderr, r->plan, &r->request, r->timed);
        funlockfile(stderr);
    }
    enter_phase(v, "load");
    TRY(run_load(r, NULL, NULL, e));
    for (int i = 0; wave_file_note(r->waves, i, text); i++)
        fprintf(stderr, "nvfp4_ppl: %s: rank %d: %s\n", r->choice->label, v->comm->rank, text);
    if (is_root(v))
        link_print(stderr, r->link, r->plan);
    return OK;
}

/* From now on what is scored is kept, and may be interrupted. */
static void begin(struct evaluation *v, struct run *r)
{
    struct totals t = score_running(r->score);

    progress_begin(&v->progress, stderr, r->choice->label, r->windows->all, v->o->quiet);
    progress_skip(&v->progress, t.windows, t.tokens);
    pthread_mutex_lock(&v->lock);
    v->running = r;
    pthread_mutex_unlock(&v->lock);
    if (r->waves)
        wave_file_before(r->waves, on_tick, v);
}

/* Every window that is left; where none is, there is nothing to plan and load. */
static enum status compute(struct evaluation *v, struct run *r, bool *agreed, struct err *e)
{
    bool left = r->windows->count > 0;

    if (left)
        TRY(prepare(v, r, agreed, e));
    if (is_root(v))
        begin(v, r);
    if (!left)
        return OK;
    *agreed = false;
    enter_phase(v, "compute");
    return run_score(r, is_root(v) ? on_score : NULL, v, e);
}

/* One model. *bad keeps the first failure of a result that was published all the same. */
static enum status evaluate_model(struct evaluation *v, int i, bool *agreed, struct err *bad,
                                  struct err *e)
{
    struct run *r = NULL;
    enum status st;

    pthread_mutex_lock(&v->lock);
    v->now.label = v->spec->model[i].label;
    v->now.model = i + 1;
    v->now.windows = v->now.windows_done = v->now.tokens = 0;
    v->now.ppl = NAN;
    pthread_mutex_unlock(&v->lock);
    enter_phase(v, "open");
    *agreed = true;
    st = run_open(v->spec, i, v->comm, v->o->data_dir, &r, e);
    if (st == OK)
        st = restore(v, r, e);
    if (st == OK)
        st = compute(v, r, agreed, e);
    if (st == OK && is_root(v)) {
        *agreed = false; /* the others are past this model */
        st = conclude(v, r, bad, e);
    }
    if (st != OK && !*agreed)
        return st; /* transfers may be under way into the run: the job ends as it is */
    pthread_mutex_lock(&v->lock);
    resume_close(v->resume);
    v->resume = NULL;
    pthread_mutex_unlock(&v->lock);
    run_close(r);
    return st;
}

/* Rank 0, after the last model: the outputs that hold all of them. *bad as in evaluate_model. */
static enum status conclude_all(struct evaluation *v, struct err *bad, struct err *e)
{
    struct report all = {.version = version_name(), .n_models = v->done, .model = v->report,
                         .complete = true};

    pthread_mutex_lock(&v->lock);
    keep_first(bad, write_json(v, v->done, true, e), e);
    report_print_comparison(&all, table_stream(v));
    if (bad->code != ERR_OUTPUT && bad->code != ERR_IO) /* else running again writes the file */
        v->now.resumable = false;
    pthread_mutex_unlock(&v->lock);
    *e = *bad;
    return bad->code;
}

static enum status evaluate_all(struct evaluation *v, bool *agreed, struct err *e)
{
    struct err bad = {.code = OK};
    enum status st = OK;

    for (int i = 0; i < v->spec->n_models; i++)
        TRY(evaluate_model(v, i, agreed, &bad, e));
    *agreed = true;
    if (is_root(v))
        st = conclude_all(v, &bad, e);
    st = job_agree(v->comm, st, e);
    if (st == OK && is_root(v)) {
        v->now.state = RUN_COMPLETE;
        enter_phase(v, "end");
    }
    return st;
}

enum status evaluate_run(struct evaluation *v, bool *agreed, struct err *e)
{
    enum status st = evaluate_all(v, agreed, e);

    /* It must not meet a failure of its own while main ends the job. */
    ticker_stop(v->ticker);
    v->ticker = NULL;
    return st;
}
