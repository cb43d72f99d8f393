#include "launch/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/durable.h"
#include "launch/journal_frame.h"
#include "spec/file.h"

enum { ASIDE_MAX = 10000 };

struct journal {
    int fd;
    char path[PATH_MAX];
    char key[SHA256_HEX];
    uint8_t *frame;  /* one frame of the largest body */
    int64_t cut;
    bool unsynced;
    struct err bad;  /* the first failed write or sync */
};

static enum status no_memory(const struct journal *j, struct err *e)
{
    return fail(e, ERR_FIT, "%s: out of memory", j->path);
}

/* A new journal holds its identity from the first moment it can be seen. */
static enum status make_file(const struct journal_request *q, const struct journal *j,
                             struct err *e)
{
    size_t n = strlen(q->identity);
    char path[PATH_MAX];
    int fd;

    TRY(durable_path(q->dir, q->name, ".new", path, e));
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(e, ERR_OUTPUT, "%s: %s", path, strerror(errno));
    frame_make(j->frame, "", q->identity, n);
    if (durable_write(fd, path, j->frame, FRAME_OVERHEAD + n, e) == OK)
        return durable_replace(fd, q->dir, path, j->path, e);
    close(fd);
    return e->code;
}

/* The whole file; a journal is as large as the table of nll that it fills. */
static enum status read_file(const struct journal *j, size_t max, uint8_t **bytes, size_t *size,
                             struct err *e)
{
    struct stat s;
    int error;

    if (fstat(j->fd, &s) != 0)
        return fail(e, ERR_IO, "%s: %s", j->path, strerror(errno));
    if (!S_ISREG(s.st_mode) || (uint64_t)s.st_size > max)
        return fail(e, ERR_DATA, "%s: %lld bytes, want a journal of at most %zu", j->path,
                    (long long)s.st_size, max);
    *size = (size_t)s.st_size;
    *bytes = malloc(*size + 1);
    if (!*bytes)
        return no_memory(j, e);
    if (file_pread(j->fd, *bytes, *size, 0, &error) < *size)
        return fail(e, ERR_IO, "%s: read: %s", j->path, error ? strerror(error) : "cut short");
    return OK;
}

static int line_length(const char *text)
{
    size_t n = strcspn(text, "\n");

    return (int)(n < 100 ? n : 100);
}

/* Names the first line in which two identities differ. */
static enum status refuse(const struct journal *j, const char *theirs, const char *ours,
                          struct err *e)
{
    size_t same = 0;

    for (size_t i = 0; ours[i] && ours[i] == theirs[i]; i++)
        if (ours[i] == '\n')
            same = i + 1;
    return fail(e, ERR_OUTPUT,
                "%s: is of another run: it has \"%.*s\", this run has \"%.*s\" (use another "
                "folder, or --restart to begin anew)",
                j->path, line_length(theirs + same), theirs + same, line_length(ours + same),
                ours + same);
}

static enum status check_identity(const struct journal *j, const struct journal_request *q,
                                  struct frame_reader *r, struct err *e)
{
    size_t n, want = strlen(q->identity);
    const uint8_t *body;
    char *theirs;
    enum status st;

    if (frame_next(r, &body, &n) != FRAME_GOOD)
        return fail(e, ERR_DATA, "%s: its head is damaged, or it is no journal (--restart begins "
                                 "anew)", j->path);
    if (n == want && memcmp(body, q->identity, n) == 0)
        return OK;
    theirs = strndup((const char *)body, n);
    if (!theirs)
        return no_memory(j, e);
    for (char *c = theirs; *c; c++) /* it goes into a message */
        if (*c != '\n' && (*c < 0x20 || *c > 0x7e))
            *c = '?';
    st = refuse(j, theirs, q->identity, e);
    free(theirs);
    return st;
}

static enum status restore_record(const struct journal *j, const struct journal_request *q,
                                  const uint8_t *body, size_t n, double *nll, struct err *e)
{
    int64_t window, values;
    const uint8_t *raw;

    if (!record_read(body, n, &window, &raw, &values) || window < 0 || window >= q->windows)
        return fail(e, ERR_DATA, "%s: a record is of no window of this run", j->path);
    memcpy(nll, raw, (size_t)values * sizeof *nll);
    if (q->restore(q->context, window, nll, values, e) != OK)
        return fail_in(e, "%s", j->path);
    return OK;
}

/* Takes in every record; *end: where the good bytes end. */
static enum status restore_all(const struct journal *j, const struct journal_request *q,
                               struct frame_reader *r, struct err *e)
{
    double *nll = malloc((size_t)q->values_max * sizeof *nll);
    enum frame_state state = FRAME_END;
    enum status st = nll ? OK : no_memory(j, e);
    const uint8_t *body;
    size_t n;

    while (st == OK && (state = frame_next(r, &body, &n)) == FRAME_GOOD)
        st = restore_record(j, q, body, n, nll, e);
    if (st == OK && state == FRAME_DAMAGED)
        st = fail(e, ERR_DATA,
                  "%s: the record at byte %zu of %zu is damaged, and later ones are not: the disk "
                  "or another program changed it (--restart begins anew)",
                  j->path, r->at, r->size);
    free(nll);
    return st;
}

static enum status read_journal(struct journal *j, const struct journal_request *q, struct err *e)
{
    size_t record = FRAME_OVERHEAD + record_bytes(q->values_max);
    struct frame_reader r = {.body_max = JOURNAL_IDENTITY_MAX};
    uint8_t *bytes = NULL;
    enum status st;

    /* one record more than there are windows: the torn tail of a crash */
    st = read_file(j, FRAME_OVERHEAD + JOURNAL_IDENTITY_MAX + ((size_t)q->windows + 1) * record,
                   &bytes, &r.size, e);
    r.bytes = bytes;
    if (st == OK)
        st = check_identity(j, q, &r, e);
    r.body_max = record_bytes(q->values_max);
    memcpy(r.key, j->key, sizeof r.key);
    if (st == OK)
        st = restore_all(j, q, &r, e);
    free(bytes);
    if (st != OK || r.at == r.size)
        return st;
    j->cut = (int64_t)(r.size - r.at);
    if (ftruncate(j->fd, (off_t)r.at) != 0 || fdatasync(j->fd) != 0)
        return fail(e, ERR_IO, "%s: cutting off a torn tail: %s", j->path, strerror(errno));
    return OK;
}

static size_t frame_room(const struct journal_request *q)
{
    size_t body = record_bytes(q->values_max), identity = strlen(q->identity);

    return FRAME_OVERHEAD + (body > identity ? body : identity);
}

static enum status open_file(struct journal *j, const struct journal_request *q, struct err *e)
{
    enum { FLAGS = O_RDWR | O_APPEND | O_CLOEXEC };

    CHECK(strlen(q->identity) <= JOURNAL_IDENTITY_MAX);
    TRY(durable_path(q->dir, q->name, "", j->path, e));
    sha256_of(q->identity, strlen(q->identity), j->key);
    j->frame = malloc(frame_room(q));
    if (!j->frame)
        return no_memory(j, e);
    j->fd = open(j->path, FLAGS);
    if (j->fd < 0 && errno == ENOENT) {
        TRY(make_file(q, j, e));
        j->fd = open(j->path, FLAGS);
    }
    if (j->fd < 0)
        return fail(e, ERR_OUTPUT, "%s: %s", j->path, strerror(errno));
    return read_journal(j, q, e);
}

enum status journal_open(const struct journal_request *q, struct journal **out, struct err *e)
{
    struct journal *j = calloc(1, sizeof *j);
    enum status st;

    *out = NULL;
    if (!j)
        return fail(e, ERR_FIT, "%s: out of memory", q->name);
    j->fd = -1;
    st = open_file(j, q, e);
    if (st != OK)
        journal_close(j);
    else
        *out = j;
    return st;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    free(j->frame);
    free(j);
}

const char *journal_key(const struct journal *j)
{
    return j->key;
}

int64_t journal_cut(const struct journal *j)
{
    return j->cut;
}

enum status journal_add(struct journal *j, int64_t window, const double *nll, int64_t values,
                        struct err *e)
{
    size_t n = record_bytes(values);

    if (j->bad.code == OK) {
        /* built in place: the body stands where frame_make would put it */
        record_make(j->frame + FRAME_HEAD, window, nll, values);
        frame_make(j->frame, j->key, j->frame + FRAME_HEAD, n);
        j->unsynced = true;
        if (durable_write(j->fd, j->path, j->frame, FRAME_OVERHEAD + n, &j->bad) == OK)
            return OK;
    }
    *e = j->bad;
    return e->code;
}

enum status journal_sync(struct journal *j, struct err *e)
{
    struct stat s;

    if (j->bad.code == OK && j->unsynced && (fdatasync(j->fd) != 0 || fstat(j->fd, &s) != 0))
        fail(&j->bad, ERR_IO, "%s: sync: %s", j->path, strerror(errno));
    else if (j->bad.code == OK && j->unsynced && s.st_nlink == 0)
        fail(&j->bad, ERR_IO, "%s: was removed during the run", j->path);
    if (j->bad.code != OK) {
        *e = j->bad;
        return e->code;
    }
    j->unsynced = false;
    return OK;
}

enum status journal_put_aside(const char *dir, const char *name, struct err *e)
{
    char from[PATH_MAX], to[PATH_MAX], end[16];

    TRY(durable_path(dir, name, "", from, e));
    for (int i = 1; i < ASIDE_MAX; i++) {
        snprintf(end, sizeof end, ".%d", i);
        TRY(durable_path(dir, name, end, to, e));
        if (access(to, F_OK) == 0) /* the folder is locked: nobody makes it meanwhile */
            continue;
        if (rename(from, to) == 0)
            return durable_folder(dir, e);
        return errno == ENOENT ? OK : fail(e, ERR_OUTPUT, "%s: %s", from, strerror(errno));
    }
    return fail(e, ERR_OUTPUT, "%s: %d older journals are beside it already", from, ASIDE_MAX - 1);
}
