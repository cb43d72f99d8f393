#include "launch/resume.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/journal.h"
#include "launch/version.h"
#include "spec/sha256.h"

enum { SUMS_TEXT = 64, IDENTITY_TEXT = 2048, SAMPLE_BYTES = 4096, NAME_TEXT = 160 };

struct resume {
    struct run *run;
    struct journal *journal;
    const char *dir;
    char name[NAME_TEXT];   /* of the journal, in dir */
    int64_t restored, kept; /* of score_arrival: from the journal; on the disk */
};

/* All ranks must sum in the same order: else the number would depend on who computed which layer,
 * and the journal could not say whose it is. */
static enum status agree_on_sums(struct run *r, char mine[SUMS_TEXT], struct err *e)
{
    char (*all)[SUMS_TEXT];
    enum status st;

    memset(mine, 0, SUMS_TEXT);
    snprintf(mine, SUMS_TEXT, "%s",
             r->kernels->sums ? r->kernels->sums(r->device) : r->kernels->isa(r->device));
    if (r->comm->ranks == 1)
        return OK;
    all = calloc((size_t)r->comm->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "no memory for %d ranks", r->comm->ranks);
    st = r->comm->ops->gather(r->comm, mine, all, SUMS_TEXT, e);
    for (int i = 1; st == OK && i < r->comm->ranks; i++)
        if (strncmp(all[i], all[0], SUMS_TEXT) != 0)
            st = fail(e, ERR_SPEC,
                      "isa: rank 0 sums as %.63s, rank %d as %.63s: a journal needs one order (try "
                      "--isa with a name that all have)",
                      all[0], i, all[i]);
    free(all);
    return st;
}

/* SHA-256 of some bytes from the middle of each tensor: the fingerprint knows names, shapes and
 * sizes, which a model that was quantized anew has too. */
static enum status sample_weights(const struct checkpoint *c, char hex[SHA256_HEX], struct err *e)
{
    struct sha256 *sha = sha256_begin();
    enum status st = OK;

    for (int i = 0; i < checkpoint_tensors(c) && st == OK; i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        uint64_t n = t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES;
        char bytes[SAMPLE_BYTES];

        st = checkpoint_read(c, t, (t->bytes - n) / 2, n, bytes, e);
        if (st == OK)
            sha256_add(sha, bytes, n);
    }
    sha256_end(sha, hex);
    return st;
}

static void write_identity(const struct run *r, const char *sums, const char *sample,
                           char out[IDENTITY_TEXT])
{
    const struct windows *w = r->windows;
    int n = snprintf(out, IDENTITY_TEXT,
                     "version %s\nids %s\nconfig %s\nweights %s\nsample %s\ndtype %s\narithmetic %s\n"
                     "backend %s\nsums %s\nscore %s\nbos %s\neval_len %d\neval_stride %d\n"
                     "windows %lld\ncolumns %d\nsoftmax_width %d\nspec %s\n",
                     version_name(), r->corpus->ids_sha256, r->model->config_sha256,
                     checkpoint_fingerprint(r->model->checkpoint), sample,
                     dtype_name(r->choice->dtype), arithmetic_name(r->choice->arithmetic),
                     r->kernels->name, sums,
                     score_name(r->spec->data.score), bos_name(r->spec->data.bos), w->eval_len,
                     w->eval_stride, (long long)w->all, windows_columns(w), r->vocab,
                     r->spec->sha256);

    CHECK(n > 0 && n < IDENTITY_TEXT);
}

/* "journal"; of several models "journal-2-LABEL". */
static void journal_name(const struct run *r, int index, int models, char *out, size_t size)
{
    size_t n;

    if (models == 1) {
        snprintf(out, size, "journal");
        return;
    }
    n = (size_t)snprintf(out, size, "journal-%d-%.100s", index + 1, r->choice->label);
    for (size_t i = 0; i < n && i < size; i++)
        if (out[i] == '/' || (unsigned char)out[i] < 0x20)
            out[i] = '_';
}

/* A window of the journal into the score. */
static enum status restore(void *context, int64_t window, const double *nll, int64_t values,
                           struct err *e)
{
    struct run *r = context;
    struct window v = windows_at(r->windows, window);

    if (values != v.len - v.score_from)
        return fail(e, ERR_DATA, "window %lld has %lld nll, want %d", (long long)window,
                    (long long)values, v.len - v.score_from);
    if (score_done(r->score, window))
        return fail(e, ERR_DATA, "window %lld stands there twice", (long long)window);
    score_add(r->score, window, nll);
    score_save(r->score, window);
    return OK;
}

static enum status open_journal(struct resume *x, const char *sums, bool restart, struct err *e)
{
    char identity[IDENTITY_TEXT], sample[SHA256_HEX];
    struct journal_request q = {.dir = x->dir,
                                .name = x->name,
                                .identity = identity,
                                .windows = x->run->windows->all,
                                .values_max = windows_columns(x->run->windows),
                                .restore = restore,
                                .context = x->run};

    TRY(sample_weights(x->run->model->checkpoint, sample, e));
    write_identity(x->run, sums, sample, identity);
    TRY(score_open(x->run->windows, &x->run->score, e));
    if (restart) {
        TRY(journal_put_aside(x->dir, x->name, e));
        wave_files_remove(x->dir, x->name);
    }
    TRY(journal_open(&q, &x->journal, e));
    x->restored = x->kept = score_running(x->run->score).windows;
    return OK;
}

static enum status open_at_root(struct run *r, const char *dir, int index, int models,
                                const char *sums, bool restart, struct resume **out, struct err *e)
{
    struct resume *x = calloc(1, sizeof *x);
    enum status st;

    if (!x)
        return fail(e, ERR_FIT, "no memory for the journal");
    x->run = r;
    x->dir = dir;
    journal_name(r, index, models, x->name, sizeof x->name);
    st = open_journal(x, sums, restart, e);
    if (st != OK)
        resume_close(x);
    else
        *out = x;
    return st;
}

/* The windows that are left, on every rank. */
static enum status select_windows(struct run *r, struct err *e)
{
    uint8_t *done = calloc((size_t)r->windows->all, 1);
    enum status st;

    if (!done)
        return fail(e, ERR_FIT, "no memory for %lld windows", (long long)r->windows->all);
    for (int64_t i = 0; r->score && i < r->windows->all; i++)
        done[i] = score_done(r->score, i);
    st = job_share_bytes(r->comm, done, (size_t)r->windows->all, e);
    if (st == OK)
        st = windows_select(r->windows, done, e);
    free(done);
    return st;
}

/* Where this rank keeps its waves; x: of rank 0. */
static enum status open_waves(struct run *r, const struct resume *x, const char *dir, int index,
                              int models, struct err *e)
{
    char key[SHA256_HEX] = "", name[NAME_TEXT];
    struct wave_file_request q = {.dir = dir,
                                  .name = name,
                                  .key = key,
                                  .rank = r->comm->rank,
                                  .windows = r->windows,
                                  .row = r->model->hidden * (int64_t)dtype_bytes(r->choice->dtype)};

    if (x)
        memcpy(key, journal_key(x->journal), sizeof key);
    journal_name(r, index, models, name, sizeof name);
    TRY(job_share_bytes(r->comm, key, sizeof key, e));
    return job_agree(r->comm, wave_file_open(&q, &r->waves, e), e);
}

enum status resume_open(struct run *r, const char *dir, int index, int models, bool restart,
                        struct resume **out, struct err *e)
{
    char sums[SUMS_TEXT];
    enum status st = OK;

    *out = NULL;
    if (!dir)
        return OK;
    TRY(job_agree(r->comm, agree_on_sums(r, sums, e), e));
    if (r->comm->rank == 0)
        st = open_at_root(r, dir, index, models, sums, restart, out, e);
    st = job_agree(r->comm, st, e);
    if (st == OK)
        st = select_windows(r, e);
    if (st == OK)
        st = open_waves(r, *out, dir, index, models, e);
    if (st == OK)
        return OK;
    resume_close(*out);
    *out = NULL;
    return st;
}

int64_t resume_windows(const struct resume *x)
{
    return x ? x->restored : 0;
}

int64_t resume_cut(const struct resume *x)
{
    return x ? journal_cut(x->journal) : 0;
}

int64_t resume_kept(const struct resume *x)
{
    return x ? x->kept : 0;
}

static bool is_saved(void *context, int64_t window)
{
    return score_saved(context, window);
}

enum status resume_keep(struct resume *x, struct err *e)
{
    int64_t scored;

    if (!x)
        return OK;
    scored = score_running(x->run->score).windows;
    for (int64_t n = x->kept; n < scored; n++) {
        int64_t window = score_arrival(x->run->score, n);
        struct window v = windows_at(x->run->windows, window);

        TRY(journal_add(x->journal, window, score_row(x->run->score, window),
                        v.len - v.score_from, e));
    }
    TRY(journal_sync(x->journal, e));
    if (scored == x->kept)
        return OK;
    for (; x->kept < scored; x->kept++)
        score_save(x->run->score, score_arrival(x->run->score, x->kept));
    wave_files_remove_done(x->dir, x->name, x->run->plan, x->run->windows, is_saved, x->run->score);
    return OK;
}

void resume_complete(const struct resume *x)
{
    if (x)
        wave_files_remove(x->dir, x->name);
}

void resume_close(struct resume *x)
{
    if (!x)
        return;
    journal_close(x->journal);
    free(x);
}
