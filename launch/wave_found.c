#include "launch/wave_found.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/wave_frame.h"
#include "spec/file.h"

/* A file of an earlier run. */
struct source {
    char name[NAME_MAX + 1];
    const char *trouble; /* why nothing of it is offered; NULL: some is */
    int layer;           /* the first one that its hidden states have not been through */
    int fd;
    uint64_t at;         /* where it is read next */
    char piece_key[SHA256_HEX];
};

struct wave_found {
    const struct wave_file_request *q;
    const struct plan *plan;
    struct microbatches of; /* to count windows */
    DIR *folder;    /* NULL: this rank has none */
    uint8_t *frame; /* [WAVE_FRAME_MAX] */
    struct source *source; /* [n_sources] */
    int n_sources;
    struct plan_kept *offer; /* [room] */
    int *offered_by;         /* [room] its source */
    int n_offers, room;
};

static const char damaged[] = "is damaged, and is not used: the wave is computed again";

/* --- frames of a file --- */

static bool read_bytes(const struct source *s, uint8_t *to, size_t n, uint64_t at)
{
    int error;

    return file_pread(s->fd, to, n, at, &error) == n;
}

/* The next frame; false when that is none. */
static bool read_frame(struct wave_found *f, struct source *s, const char *key, const uint8_t **body,
                       size_t *n)
{
    struct frame_reader r = {.bytes = f->frame, .body_max = WAVE_BODY_MAX};
    uint32_t size;

    if (!read_bytes(s, f->frame, FRAME_HEAD, s->at))
        return false;
    memcpy(&size, f->frame + FRAME_MAGIC, sizeof size);
    if (size > WAVE_BODY_MAX ||
        !read_bytes(s, f->frame + FRAME_HEAD, FRAME_SUM + size, s->at + FRAME_HEAD))
        return false;
    r.size = FRAME_OVERHEAD + size;
    memcpy(r.key, key, sizeof r.key);
    s->at += r.size;
    return frame_next(&r, body, n) == FRAME_GOOD;
}

static bool read_piece(struct wave_found *f, struct source *s, struct wave_piece *p)
{
    const uint8_t *body;
    size_t n;

    return read_frame(f, s, s->piece_key, &body, &n) && wave_piece_read(body, n, p);
}

static bool read_head(struct wave_found *f, struct source *s, struct wave_head *h)
{
    static const char none[SHA256_HEX];
    const uint8_t *body;
    size_t n;

    if (!read_frame(f, s, none, &body, &n) || !wave_head_read(body, n, h))
        return false;
    sha256_of(body, n, s->piece_key);
    return true;
}

/* All pieces of the next window, which comes after `last`; -1: they are not there. */
static int64_t read_window(struct wave_found *f, struct source *s, int64_t last)
{
    const struct windows *w = f->q->windows;
    struct wave_piece p;
    uint64_t at = 0, bytes;
    int64_t window = last;

    do {
        if (!read_piece(f, s, &p) || p.at != at || (at > 0 && p.window != window))
            return -1;
        if (at == 0 && (p.window <= last || p.window >= w->all))
            return -1;
        window = p.window;
        at += p.n;
        bytes = (uint64_t)(windows_at(w, window).len - 1) * (uint64_t)f->q->row;
    } while (at < bytes && p.n == WAVE_PIECE);
    return at == bytes ? window : -1;
}

/* --- what they have --- */

/* The microbatch, of all, that a window is in, and which of its windows it is; false: it is not to be
 * run. */
static bool find(const struct wave_found *f, int64_t window, int64_t *microbatch, int64_t *i)
{
    int64_t place = windows_place(f->q->windows, window);

    if (place < 0)
        return false;
    *microbatch = place / f->plan->microbatch;
    *i = place % f->plan->microbatch;
    return true;
}

/* Offers a microbatch, of all; the last offer of this source may be lengthened. */
static enum status offer(struct wave_found *f, int source, int64_t microbatch, struct err *e)
{
    const struct plan *p = f->plan;
    struct plan_kept k = {.replica = (int)(microbatch % p->replicas),
                          .layer = f->source[source].layer,
                          .from = microbatch / p->replicas};
    struct plan_kept *last = f->n_offers ? &f->offer[f->n_offers - 1] : NULL;

    k.to = k.from + 1;
    if (last && f->offered_by[f->n_offers - 1] == source && last->to == k.from) {
        last->to = k.to;
        return OK;
    }
    if (f->n_offers == f->room) {
        int room = 2 * f->room + 16;
        void *offers = realloc(f->offer, (size_t)room * sizeof *f->offer);
        void *sources = offers ? realloc(f->offered_by, (size_t)room * sizeof *f->offered_by) : NULL;

        f->offer = offers ? offers : f->offer;
        f->offered_by = sources ? sources : f->offered_by;
        if (!sources)
            return fail(e, ERR_FIT, "no memory for %d pieces of waves", room);
        f->room = room;
    }
    f->offered_by[f->n_offers] = source;
    f->offer[f->n_offers++] = k;
    return OK;
}

/* Reads all windows of a file, and offers the microbatches of this replica that it has whole. *left:
 * windows of it that are to be run at all; -1: it is damaged. */
static enum status offer_all(struct wave_found *f, int source, int64_t windows, int64_t *left,
                             struct err *e)
{
    struct source *s = &f->source[source];
    int replica = f->plan->rank[f->q->rank].replica, before = f->n_offers;
    int64_t last = -1, microbatch, i, current = -1, have = 0;
    struct stat size;

    *left = 0;
    for (int64_t n = 0; n < windows; n++) {
        last = read_window(f, s, last);
        if (last < 0)
            break;
        if (!find(f, last, &microbatch, &i))
            continue;
        *left += 1;
        have = microbatch == current && i == have ? have + 1 : i == 0;
        current = microbatch;
        if (have == microbatch_windows(&f->of, microbatch) && microbatch % f->plan->replicas == replica)
            TRY(offer(f, source, microbatch, e));
    }
    if (last < 0 || fstat(s->fd, &size) != 0 || (uint64_t)size.st_size != s->at) {
        f->n_offers = before;
        *left = -1;
    }
    return OK;
}

/* Is a file with this head, of that rank's name, for this rank to look at? */
static bool is_mine(const struct wave_found *f, const struct wave_head *h, int rank)
{
    const struct plan *p = f->plan;
    int stage = plan_stage_of(p, h->layer);

    return f->q->rank == (stage < 0 ? rank % p->ranks
                                    : rank / p->stages % p->replicas * p->stages + stage);
}

/* Why the file with this head is of no use, before it is read; NULL: it may be. */
static const char *trouble_of(const struct wave_found *f, const struct wave_head *h)
{
    const struct plan *p = f->plan;

    if (h->row != f->q->row || h->layer >= p->rank[p->ranks - 1].last)
        return damaged;
    if (strcmp(h->key, f->q->key) != 0)
        return "is of another journal, and is not used";
    if (plan_stage_of(p, h->layer) < 0)
        return "is not used: it ends between two ranks";
    return NULL;
}

/* Offers what the last source has; where all of that is in the journal by now, the file goes. */
static enum status offer_last(struct wave_found *f, int64_t windows, struct err *e)
{
    int i = f->n_sources - 1;
    struct source *s = &f->source[i];
    int64_t left;

    TRY(offer_all(f, i, windows, &left, e));
    s->at = FRAME_OVERHEAD + WAVE_HEAD_BODY;
    if (left < 0)
        s->trouble = damaged;
    else if (f->n_offers == 0 || f->offered_by[f->n_offers - 1] != i)
        s->trouble = "is not used: it has no whole microbatch of what is next here";
    if (left != 0)
        return OK;
    unlinkat(dirfd(f->folder), s->name, 0);
    close(s->fd);
    f->n_sources--;
    return OK;
}

/* A file whose name is that of a rank's wave. */
static enum status look_at(struct wave_found *f, const char *name, int rank, struct err *e)
{
    const struct wave_head none = {.layer = INT64_MAX};
    struct source s = {.fd = openat(dirfd(f->folder), name, O_RDONLY | O_CLOEXEC)}, *more;
    struct wave_head h;

    if (s.fd < 0) /* another rank has removed it */
        return OK;
    if (!read_head(f, &s, &h))
        h = none;
    if (!is_mine(f, &h, rank)) {
        close(s.fd);
        return OK;
    }
    more = realloc(f->source, ((size_t)f->n_sources + 1) * sizeof *f->source);
    if (!more) {
        close(s.fd);
        return fail(e, ERR_FIT, "no memory to go on from %s", name);
    }
    snprintf(s.name, sizeof s.name, "%s", name);
    s.trouble = trouble_of(f, &h);
    s.layer = s.trouble ? 0 : (int)h.layer;
    f->source = more;
    f->source[f->n_sources++] = s;
    return s.trouble ? OK : offer_last(f, h.windows, e);
}

enum status wave_found_open(const struct wave_file_request *q, const struct plan *plan,
                            struct wave_found **out, struct err *e)
{
    struct wave_found *f = calloc(1, sizeof *f);
    enum status st = OK;

    *out = NULL;
    if (f)
        *f = (struct wave_found){.q = q,
                                 .plan = plan,
                                 .of = {.windows = q->windows, .size = plan->microbatch},
                                 .folder = opendir(q->dir),
                                 .frame = malloc(WAVE_FRAME_MAX)};
    if (!f || !f->frame)
        st = fail(e, ERR_FIT, "no memory to go on from waves");
    for (struct dirent *entry; st == OK && f->folder && (entry = readdir(f->folder));) {
        int64_t first;
        int rank;

        if (wave_name_read(entry->d_name, q->name, &rank, &first))
            st = look_at(f, entry->d_name, rank, e);
    }
    if (st != OK)
        wave_found_close(f);
    else
        *out = f;
    return st;
}

void wave_found_close(struct wave_found *f)
{
    if (!f)
        return;
    for (int i = 0; i < f->n_sources; i++)
        close(f->source[i].fd);
    if (f->folder)
        closedir(f->folder);
    free(f->source);
    free(f->offer);
    free(f->offered_by);
    free(f->frame);
    free(f);
}

const struct plan_kept *wave_found_offers(const struct wave_found *f, int *n)
{
    *n = f->n_offers;
    return f->offer;
}

/* --- what is made of it --- */

/* Microbatches of an offer that the plan goes on from. */
static int64_t taken(const struct plan *p, const struct plan_kept *offer)
{
    int64_t n = 0;

    for (int i = 0; i < p->n_kept; i++) {
        const struct plan_kept *k = &p->kept[i];
        int64_t from = k->from > offer->from ? k->from : offer->from;
        int64_t to = k->to < offer->to ? k->to : offer->to;

        if (k->replica == offer->replica && k->layer == offer->layer && from < to)
            n += to - from;
    }
    return n;
}

bool wave_found_note(const struct wave_found *f, int i, char text[WAVE_NOTE])
{
    const struct source *s;
    int64_t n = 0;

    if (i >= f->n_sources)
        return false;
    s = &f->source[i];
    for (int o = 0; o < f->n_offers; o++)
        if (f->offered_by[o] == i)
            n += taken(f->plan, &f->offer[o]);
    if (s->trouble)
        snprintf(text, WAVE_NOTE, "%s %s", s->name, s->trouble);
    else if (n == 0)
        snprintf(text, WAVE_NOTE, "%s is not used: what it has was kept farther on, or is not worth "
                 "the layers that would be read for it", s->name);
    else
        snprintf(text, WAVE_NOTE,
                 "%s holds %lld microbatch%s up to layer %d: it goes on from there", s->name,
                 (long long)n, n == 1 ? "" : "es", s->layer);
    return true;
}

/* The plan goes on from nothing that was not offered. */
static struct source *source_of(const struct wave_found *f, int layer, int64_t window)
{
    int64_t microbatch, number, i;

    CHECK(find(f, window, &microbatch, &i));
    number = microbatch / f->plan->replicas;
    for (int o = 0;; o++) {
        const struct plan_kept *k = &f->offer[o];

        CHECK(o < f->n_offers);
        if (k->layer == layer && k->replica == (int)(microbatch % f->plan->replicas) &&
            k->from <= number && number < k->to)
            return &f->source[f->offered_by[o]];
    }
}

enum status wave_found_read(struct wave_found *f, int layer, int64_t window, uint64_t at, void *bytes,
                            size_t n, struct err *e)
{
    struct source *s = source_of(f, layer, window);
    struct wave_piece p;

    do {
        if (!read_piece(f, s, &p))
            return fail(e, ERR_IO, "%s/%s: has changed, or cannot be read any more", f->q->dir,
                        s->name);
    } while (p.window < window);
    if (p.window != window || p.at != at || p.n != n)
        return fail(e, ERR_IO, "%s/%s: has changed", f->q->dir, s->name);
    memcpy(bytes, p.bytes, n);
    return OK;
}
