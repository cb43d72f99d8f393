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
#include "launch/wave_frame.h"
#include "spec/file.h"

struct wave_file {
    struct wave_file_request q;
    struct wave_store store;
    char name[NAME_MAX + 1], note[NAME_MAX + 128];
    char path[PATH_MAX], path_new[PATH_MAX];
    char key[SHA256_HEX], piece_key[SHA256_HEX];
    uint8_t *frame; /* [WAVE_FRAME_MAX] */
    void (*before)(void *context);
    void *before_context;
    int fd;         /* being read or written; -1: neither */
    uint64_t at;    /* where it is read next */
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

static bool keep_begin(void *context, int layer, int64_t windows)
{
    struct wave_file *f = context;
    struct wave_head h = {.row = f->q.row, .layer = layer, .windows = windows};
    struct err e;

    if (f->before)
        f->before(f->before_context);
    close_file(f);
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

static bool read_bytes(const struct wave_file *f, uint8_t *to, size_t n, uint64_t at)
{
    int error;

    return file_pread(f->fd, to, n, at, &error) == n;
}

/* The next frame of the file; false when that is none. */
static bool read_frame(struct wave_file *f, const char *key, const uint8_t **body, size_t *n)
{
    struct frame_reader r = {.bytes = f->frame, .body_max = WAVE_BODY_MAX};
    uint32_t size;

    if (!read_bytes(f, f->frame, FRAME_HEAD, f->at))
        return false;
    memcpy(&size, f->frame + FRAME_MAGIC, sizeof size);
    if (size > WAVE_BODY_MAX ||
        !read_bytes(f, f->frame + FRAME_HEAD, FRAME_SUM + size, f->at + FRAME_HEAD))
        return false;
    r.size = FRAME_OVERHEAD + size;
    memcpy(r.key, key, sizeof r.key);
    f->at += r.size;
    return frame_next(&r, body, n) == FRAME_GOOD;
}

static bool read_piece(struct wave_file *f, struct wave_piece *p)
{
    const uint8_t *body;
    size_t n;

    return read_frame(f, f->piece_key, &body, &n) && wave_piece_read(body, n, p);
}

static bool read_head(struct wave_file *f, struct wave_head *h)
{
    static const char none[SHA256_HEX];
    const uint8_t *body;
    size_t n;

    f->at = 0;
    if (!read_frame(f, none, &body, &n) || !wave_head_read(body, n, h))
        return false;
    sha256_of(body, n, f->piece_key);
    return true;
}

/* All pieces of the next window, which comes after `last`; -1: they are not there. */
static int64_t read_window(struct wave_file *f, int64_t last)
{
    struct wave_piece p;
    uint64_t at = 0, bytes;
    int64_t window = last;

    do {
        if (!read_piece(f, &p) || p.at != at || (at > 0 && p.window != window))
            return -1;
        if (at == 0 && (p.window <= last || p.window >= f->q.windows->all))
            return -1;
        window = p.window;
        at += p.n;
        bytes = (uint64_t)(windows_at(f->q.windows, window).len - 1) * (uint64_t)f->q.row;
    } while (at < bytes && p.n == WAVE_PIECE);
    return at == bytes ? window : -1;
}

/* The i-th window that this rank has to run; past the last one it is none. */
static int64_t window_to_run(const struct wave_file *f, const struct plan *p, int64_t i)
{
    int64_t k = i / p->microbatch * p->replicas + p->rank[f->q.rank].replica;
    int64_t place = k * p->microbatch + i % p->microbatch;

    return place < f->q.windows->count ? windows_index(f->q.windows, place) : -1;
}

/* How many of the windows to run the file begins with, others before them left out; -1: damaged. */
static int64_t read_windows(struct wave_file *f, const struct plan *p, const struct wave_head *h)
{
    int64_t have = 0, last = -1;
    bool gap = false;
    struct stat s;

    for (int64_t i = 0; i < h->windows; i++) {
        int64_t want = window_to_run(f, p, have);

        last = read_window(f, last);
        if (last < 0)
            return -1;
        gap = gap || want < 0 || last > want;
        have += !gap && last == want;
    }
    return fstat(f->fd, &s) == 0 && (uint64_t)s.st_size == f->at ? have : -1;
}

/* Is it worth a wave of so few microbatches, which reads as many layers as a whole one does? */
static bool is_worth_it(const struct plan_rank *r, int layer, int64_t microbatches)
{
    int64_t saved = (layer - r->first) * microbatches;
    int64_t lost = (r->last - layer) * (r->wave - microbatches);

    return microbatches == r->microbatches || saved >= lost;
}

/* *layer and *microbatches: where the file lets this rank begin. NULL, or why it does not. */
static const char *find_begin(struct wave_file *f, const struct plan *p, int *layer,
                              int *microbatches)
{
    const struct plan_rank *r = &p->rank[f->q.rank];
    struct wave_head h;
    int64_t windows, n;

    if (p->stages > 1)
        return "is not used: this rank does not hold all layers";
    if (!read_head(f, &h) || h.row != f->q.row)
        return "is damaged, and is not used: the wave is computed again";
    if (strcmp(h.key, f->key) != 0)
        return "is of another journal, and is not used";
    windows = read_windows(f, p, &h);
    if (windows < 0 || h.layer >= r->last)
        return "is damaged, and is not used: the wave is computed again";
    n = windows == r->windows ? r->microbatches : windows / p->microbatch;
    n = n < r->wave ? n : r->wave;
    if (n == 0)
        return "is not used: it has no whole microbatch of what is next here";
    if (!is_worth_it(r, (int)h.layer, n))
        return "is not used: a wave of the few microbatches that it has is not worth its reads";
    *layer = (int)h.layer;
    *microbatches = (int)n;
    return NULL;
}

void wave_file_go_on(struct wave_file *f, struct plan *plan)
{
    const char *trouble;
    int layer, microbatches;

    if (plan->rank[f->q.rank].microbatches == 0)
        return;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        return;
    trouble = find_begin(f, plan, &layer, &microbatches);
    if (trouble) {
        snprintf(f->note, sizeof f->note, "%s %s", f->name, trouble);
        close_file(f);
        return;
    }
    f->at = FRAME_OVERHEAD + WAVE_HEAD_BODY;
    plan_go_on(plan, f->q.rank, layer, microbatches);
    snprintf(f->note, sizeof f->note, "%s holds %d microbatch%s up to layer %d: it goes on from there",
             f->name, microbatches, microbatches == 1 ? "" : "es", layer);
}

const char *wave_file_note(const struct wave_file *f)
{
    return f ? f->note : "";
}

static enum status go_on_read(void *context, int64_t window, uint64_t at, void *bytes, size_t n,
                              struct err *e)
{
    struct wave_file *f = context;
    struct wave_piece p;

    do {
        if (!read_piece(f, &p))
            return fail(e, ERR_IO, "%s: has changed, or cannot be read any more", f->path);
    } while (p.window < window);
    if (p.window != window || p.at != at || p.n != n)
        return fail(e, ERR_IO, "%s: has changed", f->path);
    memcpy(bytes, p.bytes, n);
    return OK;
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
    snprintf(f->name, sizeof f->name, "%s.wave-%d", q->name, q->rank);
    st = durable_path(q->dir, f->name, "", f->path, e);
    if (st == OK)
        st = durable_path(q->dir, f->name, ".new", f->path_new, e);
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
    free(f->frame);
    free(f);
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
