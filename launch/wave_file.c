#include "launch/wave_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/durable.h"
#include "launch/job.h"
#include "launch/wave_found.h"
#include "launch/wave_frame.h"

struct wave_file {
    struct wave_file_request q;
    struct wave_store store;
    struct wave_found *found; /* of earlier runs; NULL before wave_file_go_on */
    char key[SHA256_HEX], journal[NAME_MAX + 1];
    char path[PATH_MAX], path_new[PATH_MAX];
    char piece_key[SHA256_HEX];
    uint8_t *frame; /* [WAVE_FRAME_MAX] */
    void (*before)(void *context);
    void *before_context;
    int fd;         /* being written; -1: none is */
    bool warned;    /* since a wave was kept last */
};

static void close_file(struct wave_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* --- keeping --- */

/* The wave is not kept. What is half-written takes no room from others. */
static bool give_up(struct wave_file *f, const struct err *e)
{
    close_file(f);
    unlink(f->path_new);
    if (!f->warned)
        fprintf(stderr, "nvfp4_ppl: warning: rank %d cannot keep its wave: %s\n", f->q.rank, e->msg);
    f->warned = true;
    return false;
}

static bool add_frame(struct wave_file *f, const char *key, size_t body)
{
    struct err e;

    frame_make(f->frame, key, f->frame + FRAME_HEAD, body);
    return durable_write(f->fd, f->path_new, f->frame, FRAME_OVERHEAD + body, &e) == OK ||
           give_up(f, &e);
}

static bool keep_begin(void *context, int layer, int64_t first, int64_t windows)
{
    struct wave_file *f = context;
    struct wave_head h = {.row = f->q.row, .layer = layer, .windows = windows};
    char name[NAME_MAX + 1];
    struct err e;

    if (f->before)
        f->before(f->before_context);
    close_file(f);
    wave_name_make(name, f->q.name, f->q.rank, first);
    if (durable_path(f->q.dir, name, "", f->path, &e) != OK)
        return give_up(f, &e);
    f->fd = open(f->path_new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        fail(&e, ERR_OUTPUT, "%s: %s", f->path_new, strerror(errno));
        return give_up(f, &e);
    }
    memcpy(h.key, f->key, sizeof h.key);
    wave_head_make(f->frame + FRAME_HEAD, &h);
    sha256_of(f->frame + FRAME_HEAD, WAVE_HEAD_BODY, f->piece_key);
    return add_frame(f, "", WAVE_HEAD_BODY);
}

static bool keep_add(void *context, int64_t window, uint64_t at, const void *bytes, size_t n)
{
    struct wave_file *f = context;

    return add_frame(f, f->piece_key, wave_piece_make(f->frame + FRAME_HEAD, window, at, bytes, n));
}

static void keep_end(void *context)
{
    struct wave_file *f = context;
    struct err e;
    enum status st = durable_replace(f->fd, f->q.dir, f->path_new, f->path, &e);

    f->fd = -1;
    if (st != OK)
        give_up(f, &e);
    else
        f->warned = false;
}

/* --- going on --- */

enum status wave_file_go_on(struct wave_file *f, struct plan *plan, struct comm *c, struct err *e)
{
    struct plan_kept *all = NULL;
    int n, n_all = 0;
    const struct plan_kept *offers;
    enum status st;

    TRY(job_agree(c, wave_found_open(&f->q, plan, &f->found, e), e));
    offers = wave_found_offers(f->found, &n);
    TRY(job_share_kept(c, offers, n, &all, &n_all, e));
    st = plan_go_on(plan, all, n_all, e);
    free(all);
    return job_agree(c, st, e);
}

bool wave_file_note(const struct wave_file *f, int i, char text[WAVE_NOTE])
{
    return f && f->found && wave_found_note(f->found, i, text);
}

static enum status go_on_read(void *context, int layer, int64_t window, uint64_t at, void *bytes,
                              size_t n, struct err *e)
{
    struct wave_file *f = context;

    return wave_found_read(f->found, layer, window, at, bytes, n, e);
}

/* --- */

void wave_file_before(struct wave_file *f, void (*before)(void *context), void *context)
{
    f->before = before;
    f->before_context = context;
}

const struct wave_store *wave_file_store(const struct wave_file *f)
{
    return f ? &f->store : NULL;
}

enum status wave_file_open(const struct wave_file_request *q, struct wave_file **out, struct err *e)
{
    struct wave_file *f = calloc(1, sizeof *f);
    char name[NAME_MAX + 1];
    enum status st;

    *out = NULL;
    if (f)
        f->frame = malloc(WAVE_FRAME_MAX);
    if (!f || !f->frame) {
        free(f);
        return fail(e, ERR_FIT, "no memory to keep waves");
    }
    f->q = *q;
    f->fd = -1;
    f->store = (struct wave_store){f, keep_begin, keep_add, keep_end, go_on_read};
    snprintf(f->key, sizeof f->key, "%s", q->key);
    snprintf(f->journal, sizeof f->journal, "%s", q->name);
    f->q.key = f->key; /* the caller's go */
    f->q.name = f->journal;
    snprintf(name, sizeof name, "%s.wave-%d", q->name, q->rank);
    st = durable_path(q->dir, name, ".new", f->path_new, e);
    if (st != OK)
        wave_file_close(f);
    else
        *out = f;
    return st;
}

void wave_file_close(struct wave_file *f)
{
    if (!f)
        return;
    close_file(f);
    wave_found_close(f->found);
    free(f->frame);
    free(f);
}

/* The w-th window of a rank's i-th microbatch; -1: it has fewer. */
static int64_t window_of(const struct plan *p, const struct windows *windows, int rank, int64_t i,
                         int w)
{
    const struct microbatches of = {.windows = windows, .size = p->microbatch};
    int64_t k = plan_in_text(p, p->rank[rank].replica, plan_microbatch(p, rank, i)), place;

    if (w >= microbatch_windows(&of, k))
        return -1;
    microbatch_window(&of, k, w, &place);
    return windows_index(windows, place);
}

/* Does the wave of that rank which begins with window `first` hold nothing but what is done? */
static bool is_done(const struct plan *p, const struct windows *windows, int rank, int64_t first,
                    bool (*done)(void *context, int64_t window), void *context)
{
    struct plan_wave wave = {0};
    int64_t window;

    do {
        if (rank >= p->ranks || !plan_next_wave(p, rank, &wave))
            return false;
    } while (window_of(p, windows, rank, wave.from, 0) != first);
    for (int64_t i = wave.from; i < wave.to; i++)
        for (int w = 0; (window = window_of(p, windows, rank, i, w)) >= 0; w++)
            if (!done(context, window))
                return false;
    return true;
}

void wave_files_remove_done(const char *dir, const char *name, const struct plan *plan,
                            const struct windows *windows,
                            bool (*done)(void *context, int64_t window), void *context)
{
    DIR *folder = opendir(dir);
    int64_t first;
    int rank;

    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (wave_name_read(entry->d_name, name, &rank, &first) &&
            is_done(plan, windows, rank, first, done, context))
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
}

void wave_files_remove(const char *dir, const char *name)
{
    DIR *folder = opendir(dir);
    char start[PATH_MAX];
    size_t n = (size_t)snprintf(start, sizeof start, "%s.wave-", name);

    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strncmp(entry->d_name, start, n) == 0)
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
}
