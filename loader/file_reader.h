/* file_reader.h - large reads of files, many pieces at a time: how weights come from disk.
 *
 * What is asked for is cut into pieces of about a MiB, of which several are read at once, by one of
 * two engines: a small pool of threads that call pread, or io_uring (when built with liburing and the
 * kernel allows it). A read goes through the page cache, or past it (O_DIRECT) where file offset
 * and memory line up with the blocks of the file system; the ragged ends of a span, and what a
 * direct read did not bring, go through the cache.
 *
 * Which of them (FILE_CHOOSE):
 *   - `keep`: what is read may stay in the page cache (the whole model fits there, so that a layer
 *     streamed in the next wave, or the next run, finds it in memory). Threads through the cache:
 *     copying from it is work, which threads share and one submitter of io_uring would do alone.
 *   - else nothing read is left in the cache. Threads through the cache (pages are given back after
 *     each batch) and io_uring past it read the first batches in turns; whichever was faster reads
 *     the rest. Nothing is read twice for this.
 *   GB/s of tests/bench/bench_read on 2 busy cores and a virtual disk, from a cold and a warm cache:
 *   pread 3.1 and 13.9, direct 3.7 and 3.6; io_uring 2.2 and 14.9, direct 3.2 and 3.9. So reading past
 *   the cache is worth it only where the cache will not hold the file, and io_uring only past it.
 *
 * Memory: file_reader_open allocates all there is: a few small stacks or a ring; file_reader_close
 *         frees (accepts NULL). Spans and what they point to are the caller's and must stay until
 *         file_reader_wait returned. After a read that was late, threads may still be in it: close
 *         then leaves all as it is, and the process should end.
 * Order:  begin, wait, begin, wait, ... by one thread at a time. Nothing is in order within a batch.
 * Errors: wait is ERR_IO naming file and what: an error of the system, a file that ends early, or no
 *         byte in `timeout` seconds. */
#ifndef LOADER_FILE_READER_H
#define LOADER_FILE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "spec/err.h"

enum file_method {
    FILE_CHOOSE,
    FILE_PREAD,        /* threads, through the page cache */
    FILE_PREAD_DIRECT, /* threads, past it */
    FILE_URING,        /* io_uring, through the page cache */
    FILE_URING_DIRECT,
    FILE_METHODS
};

/* A file opened a second time, for reads past the page cache. */
struct file_direct {
    int fd;                 /* -1: not opened, or the file system cannot do it */
    uint32_t block, memory; /* offsets, lengths and addresses must be multiples of these */
};

/* Bytes [at, at + bytes) of a file are wanted at `to`. */
struct file_span {
    const char *file, *what; /* for messages: the file, and what of it */
    int fd;
    const struct file_direct *direct; /* may be NULL */
    uint64_t at, bytes;
    void *to;
};

struct file_reader_options {
    enum file_method method;
    bool keep;      /* may what is read stay in the page cache? */
    double timeout; /* seconds without a byte */
};

struct file_reader;

MUST_USE enum status file_reader_open(const struct file_reader_options *o, struct file_reader **out,
                                      struct err *e);
void file_reader_close(struct file_reader *r);
/* "io_uring, direct": the method that reads, or that the last batch was read by. */
const char *file_reader_method(const struct file_reader *r);

/* Starts to read a batch and returns. */
void file_reader_begin(struct file_reader *r, const struct file_span *span, int n);
/* Until all of it is there, or cannot be had. */
MUST_USE enum status file_reader_wait(struct file_reader *r, struct err *e);

/* Opens `fd` a second time, past the page cache; d->fd stays -1 where that cannot be. */
void file_direct_open(int fd, struct file_direct *d);
void file_direct_close(struct file_direct *d);

/* One small read, at once: pread until all is there. Errors as above. */
MUST_USE enum status file_span_read(const struct file_span *span, struct err *e);

#endif
