/* file_engine.h - the two ways to have several pieces of files read at once. For file_reader.c.
 *
 * An engine takes pieces from the job with file_job_next until there are none, reads them, and says
 * for each with file_job_done what came of it. Both calls are made by one thread at a time (the
 * engine sees to that). */
#ifndef LOADER_FILE_ENGINE_H
#define LOADER_FILE_ENGINE_H

#include <stddef.h>

#include "loader/file_reader.h"

struct file_piece {
    int fd, direct; /* direct: -1, or the descriptor to try first */
    int span;
    char *to;
    uint64_t at;
    size_t bytes;
};

/* A batch: what is asked for, how far it is handed out, and what came of it. */
struct file_job {
    const struct file_span *span;
    int n;
    bool direct; /* past the page cache, where that can be */
    double timeout;

    int next; /* of span[next], the first `taken` bytes are handed out */
    uint64_t taken;
    bool drained; /* file_job_next has said that there are no more */

    uint64_t bytes, direct_bytes; /* read */
    bool late;                    /* no byte came in time: pieces may still be under way */
    int bad;                      /* the span whose reading failed, or -1 */
    uint64_t bad_at;              /* there */
    int bad_error;                /* errno; 0 = the file ends there */
};

/* The next piece; false when there is none, or when reading has failed. */
bool file_job_next(struct file_job *j, struct file_piece *out);
/* Of the piece, `direct` bytes came past the cache and `got` in all; got < bytes: it failed. */
void file_job_done(struct file_job *j, const struct file_piece *p, size_t direct, size_t got,
                   int error);

struct file_engine {
    /* ERR_UNAVAILABLE when the system does not have it. */
    enum status (*open)(void **state, struct err *e);
    void (*begin)(void *state, struct file_job *j);
    /* Until nothing of the job is under way, or it is late. */
    void (*wait)(void *state);
    void (*close)(void *state);
};

extern const struct file_engine file_engine_pread, file_engine_uring;

#endif
