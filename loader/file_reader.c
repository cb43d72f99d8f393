#include "loader/file_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/file_engine.h"
#include "spec/clock.h"
#include "spec/file.h"

enum {
    PIECE = 1 << 20,  /* bytes; a power of two */
    BLOCK = 4096,     /* of a file system that does not tell its own */
    FOLIO = 2 << 20,  /* the largest page of the page cache */
    TRIAL = 128 << 20 /* bytes that each method reads before one is chosen */
};

static const struct {
    const char *name;
    const struct file_engine *engine;
    bool direct;
} methods[FILE_METHODS] = {[FILE_PREAD] = {"pread, buffered", &file_engine_pread, false},
                           [FILE_PREAD_DIRECT] = {"pread, direct", &file_engine_pread, true},
                           [FILE_URING] = {"io_uring, buffered", &file_engine_uring, false},
                           [FILE_URING_DIRECT] = {"io_uring, direct", &file_engine_uring, true}};

/* A method that is open, and what it has read so far. */
struct candidate {
    enum file_method method;
    void *engine;
    uint64_t bytes, direct_bytes;
    double seconds;
};

struct file_reader {
    bool drop;
    double timeout;
    struct candidate candidate[2];
    int n, now; /* candidates; the one at work */
    double began;
    struct file_job job;
};

static enum status span_failed(const struct file_span *s, uint64_t at, int error, struct err *e)
{
    if (error)
        return fail(e, ERR_IO, "%s: '%s': %s", s->file, s->what, strerror(error));
    return fail(e, ERR_IO,
                "%s: '%s': the file ends at byte %llu, %llu more are wanted (cut short while in "
                "use?)",
                s->file, s->what, (unsigned long long)(s->at + at),
                (unsigned long long)(s->bytes - at));
}

enum status file_span_read(const struct file_span *s, struct err *e)
{
    int error;
    size_t got = file_pread(s->fd, s->to, s->bytes, s->at, &error);

    return got == s->bytes ? OK : span_failed(s, got, error, e);
}

/* The blocks that direct reads of the file must keep to; 0 = there are none. */
static void ask_blocks(int fd, struct file_direct *d)
{
    struct statx s;

    d->block = d->memory = BLOCK;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &s) == 0 && s.stx_mask & STATX_DIOALIGN) {
        d->block = s.stx_dio_offset_align;
        d->memory = s.stx_dio_mem_align;
    }
}

void file_direct_open(int fd, struct file_direct *d)
{
    char path[32];

    *d = (struct file_direct){.fd = -1};
    ask_blocks(fd, d);
    if (d->block == 0 || d->memory == 0 || PIECE % d->block)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    d->fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
}

void file_direct_close(struct file_direct *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

static uint64_t up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* Can whole blocks of the span be read straight to where they belong? */
static bool lines_up(const struct file_span *s)
{
    const struct file_direct *d = s->direct;

    return d && d->fd >= 0 &&
           ((uintptr_t)s->to + (up(s->at, d->block) - s->at)) % d->memory == 0;
}

/* Pieces end where the file's offset is a multiple of PIECE, so those within a span are whole blocks;
 * of its ends, what is no whole block is a piece of its own. */
bool file_job_next(struct file_job *j, struct file_piece *out)
{
    const struct file_span *s;
    uint64_t at, end, stop;

    while (j->next < j->n && j->taken == j->span[j->next].bytes) {
        j->next++;
        j->taken = 0;
    }
    if (j->next == j->n || j->bad >= 0)
        return !(j->drained = true);
    s = &j->span[j->next];
    at = s->at + j->taken;
    end = s->at + s->bytes;
    stop = up(at + 1, PIECE) < end ? up(at + 1, PIECE) : end;
    *out = (struct file_piece){.fd = s->fd,
                               .direct = -1,
                               .span = j->next,
                               .to = (char *)s->to + j->taken,
                               .at = at};
    if (j->direct && lines_up(s)) {
        uint64_t block = s->direct->block, first = up(at, block), last = stop / block * block;

        if (first == at && last > at) {
            out->direct = s->direct->fd;
            stop = last;
        } else if (first > at && first < stop) {
            stop = first;
        }
    }
    out->bytes = (size_t)(stop - at);
    j->taken += out->bytes;
    return true;
}

void file_job_done(struct file_job *j, const struct file_piece *p, size_t direct, size_t got,
                   int error)
{
    j->bytes += got;
    j->direct_bytes += direct;
    if (got == p->bytes || j->bad >= 0)
        return;
    j->bad = p->span;
    j->bad_at = p->at + got - j->span[p->span].at;
    j->bad_error = error;
}

/* Gives the pages of a batch back. The system keeps what is not wholly in the range, and reads ahead
 * in pages of up to FOLIO bytes: all of those that the span touches are meant. Only advice: may fail. */
static void drop(const struct file_span *span, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t from = span[i].at / FOLIO * FOLIO, end = up(span[i].at + span[i].bytes, FOLIO);

        (void)!posix_fadvise(span[i].fd, (off_t)from, (off_t)(end - from), POSIX_FADV_DONTNEED);
    }
}

static enum status add(struct file_reader *r, enum file_method method, struct err *e)
{
    struct candidate *c = &r->candidate[r->n];

    *c = (struct candidate){.method = method};
    TRY(methods[method].engine->open(&c->engine, e));
    r->n++;
    return OK;
}

static enum status add_methods(struct file_reader *r, const struct file_reader_options *o,
                               struct err *e)
{
    if (o->method != FILE_CHOOSE)
        return add(r, o->method, e);
    TRY(add(r, FILE_PREAD, e));
    if (o->keep || add(r, FILE_URING_DIRECT, e) == OK)
        return OK;
    return add(r, FILE_PREAD_DIRECT, e);
}

enum status file_reader_open(const struct file_reader_options *o, struct file_reader **out,
                             struct err *e)
{
    struct file_reader *r = calloc(1, sizeof *r);
    enum status st;

    if (!r)
        return fail(e, ERR_FIT, "no memory to read files");
    r->drop = !o->keep;
    r->timeout = o->timeout;
    st = add_methods(r, o, e);
    if (st != OK) {
        file_reader_close(r);
        return st;
    }
    *out = r;
    return OK;
}

void file_reader_close(struct file_reader *r)
{
    if (!r || r->job.late)
        return;
    for (int i = 0; i < r->n; i++)
        methods[r->candidate[i].method].engine->close(r->candidate[i].engine);
    free(r);
}

const char *file_reader_method(const struct file_reader *r)
{
    return methods[r->candidate[r->now].method].name;
}

/* While methods are tried, the one that has read less; once they have read enough, the better one. A
 * direct read leaves processor and cache to others, so it may be a little slower. */
static void choose(struct file_reader *r)
{
    const struct candidate *a = &r->candidate[0], *b = &r->candidate[1];
    bool direct;

    if (r->n == 1 || a->bytes < TRIAL || b->bytes < TRIAL) {
        r->now = r->n == 2 && b->bytes < a->bytes;
        return;
    }
    direct = b->direct_bytes > 0 &&
             (double)b->bytes * a->seconds >= 0.9 * (double)a->bytes * b->seconds;
    methods[direct ? a->method : b->method].engine->close(direct ? a->engine : b->engine);
    r->candidate[0] = direct ? *b : *a;
    r->n = 1;
    r->now = 0;
}

void file_reader_begin(struct file_reader *r, const struct file_span *span, int n)
{
    const struct candidate *c;

    CHECK(!r->job.late);
    choose(r);
    c = &r->candidate[r->now];
    r->job = (struct file_job){.span = span,
                               .n = n,
                               .direct = methods[c->method].direct,
                               .timeout = r->timeout,
                               .bad = -1};
    r->began = clock_seconds();
    methods[c->method].engine->begin(c->engine, &r->job);
}

enum status file_reader_wait(struct file_reader *r, struct err *e)
{
    struct candidate *c = &r->candidate[r->now];
    const struct file_job *j = &r->job;

    methods[c->method].engine->wait(c->engine);
    c->bytes += j->bytes;
    c->direct_bytes += j->direct_bytes;
    if (r->drop && !j->late)
        drop(j->span, j->n);
    c->seconds += clock_seconds() - r->began;
    if (j->late)
        return fail(e, ERR_IO, "%s: not a byte came for %.0f s (is the disk still there?)",
                    j->span[j->next < j->n ? j->next : j->n - 1].file, r->timeout);
    return j->bad < 0 ? OK : span_failed(&j->span[j->bad], j->bad_at, j->bad_error, e);
}
