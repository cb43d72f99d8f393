#include "launch/check_spec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "launch/run.h"
#include "launch/tasks.h"
#include "launch/wave_frame.h"
#include "loader/tokenizer.h"
#include "spec/size.h"

struct check {
    const struct options *o;
    int job_ranks;
    struct spec *spec;
    struct comm *alone;
    struct err first;      /* the first problem */
    int ranks;             /* the most of any model */
    int threads;           /* of a rank */
    uint64_t memory;       /* the largest plan of a job, all ranks */
    uint64_t output_bytes; /* of nll tables and journals */
    uint64_t keep_bytes;   /* of kept waves, the most of any model */
    bool gpu;
};

static __attribute__((format(printf, 2, 3))) void good(const char *item, const char *fmt, ...)
{
    va_list ap;

    printf("ok       %-9s ", item);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

/* Worth knowing, but nothing that stops a run. */
static void remark(const char *item, const char *text)
{
    printf("note     %-9s %s\n", item, text);
}

static void problem(struct check *k, const char *item, const struct err *e)
{
    printf("problem  %-9s %s\n", item, e->msg);
    if (k->first.code == OK)
        k->first = *e;
}

static void check_model(struct check *k, const struct spec_model *choice)
{
    struct model *m = NULL;
    struct err e;

    if (model_open(choice->model_dir, &m, &e) != OK) {
        problem(k, "model", &e);
        return;
    }
    good("model", "%s: %s, %d layers, weights %.12s", choice->label, m->architecture, m->n_layers,
         checkpoint_fingerprint(m->checkpoint));
    for (int i = 0; i < m->n_warnings; i++)
        remark("model", m->warning[i]);
    model_close(m);
}

static void check_tokenizer(struct check *k, const struct spec_model *choice)
{
    struct tokenizer *t = NULL;
    struct err e;

    if (k->spec->data.kind == CORPUS_TOKENS)
        good("tokenizer", "not needed: the data are ids");
    else if (tokenizer_open(choice->tokenizer_dir, &t, &e) != OK)
        problem(k, "tokenizer", &e);
    else
        good("tokenizer", "%s: %d ids", choice->tokenizer_dir, tokenizer_vocab(t));
    tokenizer_close(t);
}

/* What its kept waves take. Without rates nobody knows yet whether a wave will take long enough. */
static uint64_t kept_waves(const struct run *r)
{
    uint64_t bytes = 0;

    for (int i = 0; i < r->plan->ranks; i++) {
        const struct plan_rank *k = &r->plan->rank[i];

        if (k->keep || (k->keep_bytes && !r->timed))
            bytes += (uint64_t)k->keep_files *
                     wave_file_bytes(k->keep_bytes, (uint64_t)k->wave * (uint64_t)r->plan->microbatch);
    }
    return bytes;
}

static void note_plan(struct check *k, const struct run *r)
{
    uint64_t total = 0;
    char text[SIZE_TEXT];

    for (int i = 0; i < r->plan->ranks; i++)
        total += r->plan->rank[i].total;
    good("plan", "%d ranks, %" PRId64 " microbatches of %d windows, %s in all", r->plan->ranks,
         r->plan->microbatches, r->plan->microbatch, size_format(total, text));
    k->memory = total > k->memory ? total : k->memory;
    k->ranks = r->plan->ranks > k->ranks ? r->plan->ranks : k->ranks;
    k->threads = r->threads;
    k->keep_bytes = kept_waves(r) > k->keep_bytes ? kept_waves(r) : k->keep_bytes;
    k->gpu = strcmp(r->kernels->name, "cpu") != 0;
}

/* Text, windows and plan: what needs the model's files to be right. */
static void check_run(struct check *k, int index)
{
    struct run *r = NULL;
    struct err e;

    if (run_open(k->spec, index, k->alone, k->o->data_dir, &r, &e) != OK) {
        problem(k, "text", &e);
        return;
    }
    good("text", "%" PRId64 " ids in %" PRId64 " windows, ids %.12s", r->corpus->n,
         r->windows->count, r->corpus->ids_sha256);
    k->output_bytes += (uint64_t)r->windows->scored * sizeof(double) * 3;
    if (run_plan_only(r, task_ranks(k->o, r->choice, k->job_ranks), &e) == OK)
        note_plan(k, r);
    else
        problem(k, "plan", &e);
    run_close(r);
}

/* The folder itself, or the one that it will be made in. */
static void check_folder(struct check *k)
{
    const char *out = k->spec->out, *slash;
    char folder[4096], room[SIZE_TEXT], waves[SIZE_TEXT];
    uint64_t bytes = k->output_bytes + k->keep_bytes;
    struct statvfs fs;
    struct err e;

    if (!out) {
        remark("out", "none: without --out DIR an interrupted run starts over");
        return;
    }
    slash = strrchr(out, '/');
    snprintf(folder, sizeof folder, "%s", out);
    if (access(out, F_OK) != 0)
        snprintf(folder, sizeof folder, "%.*s", slash && slash > out ? (int)(slash - out) : 1,
                 slash ? out : ".");
    if (access(folder, W_OK | X_OK) != 0 || statvfs(folder, &fs) != 0) {
        fail(&e, ERR_OUTPUT, "%s: %s", folder, strerror(errno));
        problem(k, "out", &e);
    } else if (bytes > (uint64_t)fs.f_bavail * fs.f_frsize) {
        fail(&e, ERR_OUTPUT, "%s: the results need %s, more than is free there", folder,
             size_format(bytes, room));
        problem(k, "out", &e);
    } else if (k->keep_bytes) {
        good("out", "%s: can be written, %s needed, of which %s to keep waves", out,
             size_format(bytes, room), size_format(k->keep_bytes, waves));
    } else {
        good("out", "%s: can be written, %s needed", out, size_format(bytes, room));
    }
}

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    char file[4096];

    while (path && *path) {
        int n = (int)strcspn(path, ":");

        snprintf(file, sizeof file, "%.*s/%s", n, path, program);
        if (access(file, X_OK) == 0)
            return true;
        path += n + (path[n] == ':');
    }
    return false;
}

static void check_launcher(struct check *k)
{
    struct err e;

    if (k->ranks <= 1) {
        good("launcher", "none needed for one rank");
        return;
    }
    if (!in_path("mpirun") && !in_path("srun")) {
        fail(&e, ERR_UNAVAILABLE, "%d ranks, and neither mpirun nor srun is in PATH", k->ranks);
        problem(k, "launcher", &e);
        return;
    }
    good("launcher", "%s, %s", comm_mpi_version(), in_path("srun") ? "srun" : "mpirun");
    if (!in_path("srun") && geteuid() == 0 && !getenv("OMPI_ALLOW_RUN_AS_ROOT"))
        remark("launcher", "mpirun refuses root: set OMPI_ALLOW_RUN_AS_ROOT=1 and "
                           "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1, or be another user");
    if (!getenv("OMPI_MCA_oob_tcp_keepalive_time"))
        remark("launcher", "mpirun over several hosts notices a lost one after 8 minutes; with --mca "
                           "oob_tcp_keepalive_time 10 --mca oob_tcp_keepalive_intvl 5 --mca "
                           "oob_tcp_keepalive_probes 3 after 25 s");
}

/* What it takes on one node; memory with an eighth and 256 MiB for program and MPI. */
static void print_batch(const struct check *k)
{
    uint64_t host = k->gpu ? (uint64_t)2 << 30 : k->memory + k->memory / 8;
    const char *spec = k->o->spec.spec_path;

    host += (uint64_t)k->ranks << 28;
    printf("\n#!/bin/bash\n"
           "#SBATCH --nodes=1\n"
           "#SBATCH --ntasks-per-node=%d\n"
           "#SBATCH --cpus-per-task=%d\n"
           "#SBATCH --mem=%" PRIu64 "M\n",
           k->ranks, k->threads, (host >> 20) + 1);
    if (k->gpu)
        printf("#SBATCH --gpus-per-task=1\n");
    printf("#SBATCH --requeue --open-mode=append --signal=USR1@120\n"
           "launch/slurm/run-or-requeue --out %s \\\n"
           "    srun --mpi=pmix --kill-on-bad-exit=1 --wait=30 --cpus-per-task=%d \\\n"
           "    build/nvfp4_ppl",
           k->spec->out ? k->spec->out : "OUT", k->threads);
    if (spec)
        printf(" %s", spec);
    else
        printf(" -d %s -m %s", k->o->spec.data_path, k->o->spec.model_path);
    printf(" --out %s\n", k->spec->out ? k->spec->out : "OUT");
}

static void check_all(struct check *k)
{
    struct err e;

    if (spec_read(&k->o->spec, &k->spec, &e) != OK) {
        problem(k, "spec", &e);
        return;
    }
    good("spec", "%d %s, SHA-256 %.12s", k->spec->n_models,
         k->spec->n_models == 1 ? "model" : "models", k->spec->sha256);
    for (int i = 0; i < k->spec->n_models; i++) {
        struct err before = k->first;

        check_model(k, &k->spec->model[i]);
        check_tokenizer(k, &k->spec->model[i]);
        if (k->first.code == before.code)
            check_run(k, i);
    }
    check_folder(k);
    check_launcher(k);
    if (k->first.code == OK)
        print_batch(k);
}

enum status task_check(const struct options *o, int job_ranks, struct err *e)
{
    struct check k = {.o = o, .job_ranks = job_ranks};

    TRY(comm_open_loop(&k.alone, e));
    check_all(&k);
    spec_free(k.spec);
    comm_close(k.alone);
    if (k.first.code != OK)
        *e = k.first;
    return k.first.code;
}
