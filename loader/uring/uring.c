/* io_uring: pieces are queued by the thread that waits for them. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "loader/file_engine.h"

enum { DEPTH = 16 };

/* A piece under way. The first read may be direct; what it does not bring is read through the cache. */
struct slot {
    struct file_piece piece;
    bool used;
    size_t direct, got;
    int error;
};

struct ring {
    struct io_uring uring;
    struct slot slot[DEPTH];
    int used;
    struct file_job *job;
};

static enum status open_ring(void **state, struct err *e)
{
    struct ring *r = calloc(1, sizeof *r);
    int code = r ? io_uring_queue_init(DEPTH, &r->uring, 0) : -ENOMEM;

    if (code == 0 && !(r->uring.features & IORING_FEAT_EXT_ARG)) { /* waits with a deadline */
        io_uring_queue_exit(&r->uring);
        code = -ENOSYS;
    }
    if (code != 0) {
        free(r);
        return fail(e, ERR_UNAVAILABLE, "io_uring: %s", strerror(-code));
    }
    *state = r;
    return OK;
}

static void close_ring(void *state)
{
    struct ring *r = state;

    io_uring_queue_exit(&r->uring);
    free(r);
}

/* There is room for as many reads as there are slots. */
static void queue(struct ring *r, struct slot *s)
{
    const struct file_piece *p = &s->piece;
    struct io_uring_sqe *q = io_uring_get_sqe(&r->uring);

    CHECK(q);
    io_uring_prep_read(q, p->direct >= 0 ? p->direct : p->fd, p->to + s->got,
                       (unsigned)(p->bytes - s->got), p->at + s->got);
    io_uring_sqe_set_data64(q, (uint64_t)(s - r->slot));
}

static void fill(struct ring *r)
{
    for (int i = 0; i < DEPTH && r->used < DEPTH; i++) {
        struct slot *s = &r->slot[i];

        if (s->used)
            continue;
        *s = (struct slot){.used = true};
        if (!file_job_next(r->job, &s->piece)) {
            s->used = false;
            return;
        }
        r->used++;
        queue(r, s);
    }
}

static void end(struct ring *r, struct slot *s)
{
    file_job_done(r->job, &s->piece, s->direct, s->got, s->error);
    s->used = false;
    r->used--;
}

static void take(struct ring *r, const struct io_uring_cqe *c)
{
    struct slot *s = &r->slot[io_uring_cqe_get_data64(c)];
    bool direct = s->piece.direct >= 0;

    if (c->res > 0) {
        s->got += (size_t)c->res;
        s->direct += direct ? (size_t)c->res : 0;
    }
    s->piece.direct = -1;
    s->error = c->res < 0 && c->res != -EINTR && !direct ? -c->res : 0;
    if (s->got == s->piece.bytes || s->error || (c->res == 0 && !direct))
        end(r, s);
    else
        queue(r, s);
}

/* Submission failed for good: what was queued is not under way. */
static void give_up(struct ring *r, int error)
{
    for (int i = 0; i < DEPTH; i++)
        if (r->slot[i].used) {
            r->slot[i].error = error;
            end(r, &r->slot[i]);
        }
}

static void begin_ring(void *state, struct file_job *j)
{
    struct ring *r = state;

    r->job = j;
    fill(r);
    io_uring_submit(&r->uring); /* what fails here fails in wait, too */
}

static void wait_ring(void *state)
{
    struct ring *r = state;
    double timeout = r->job->timeout;
    struct __kernel_timespec limit = {.tv_sec = (long long)timeout,
                                      .tv_nsec = (long long)(1e9 * (timeout - (double)(long long)timeout))};

    while (r->used > 0) {
        struct io_uring_cqe *c = NULL;
        int code = io_uring_submit_and_wait_timeout(&r->uring, &c, 1, &limit, NULL);

        if (code == -ETIME) {
            r->job->late = true;
            return;
        }
        if (code < 0 && code != -EINTR && code != -EAGAIN && code != -EBUSY) {
            give_up(r, -code);
            return;
        }
        while (r->used > 0 && io_uring_peek_cqe(&r->uring, &c) == 0) {
            take(r, c);
            io_uring_cqe_seen(&r->uring, c);
        }
        fill(r);
    }
}

const struct file_engine file_engine_uring = {.open = open_ring,
                                              .begin = begin_ring,
                                              .wait = wait_ring,
                                              .close = close_ring};
