/* A small pool of threads that call pread. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "loader/file_engine.h"
#include "spec/clock.h"
#include "spec/file.h"

enum { THREADS = 4, STACK = 64 << 10 };

struct pool {
    pthread_t thread[THREADS];
    int n; /* threads */
    pthread_mutex_t lock;
    pthread_cond_t work, rest; /* there are pieces; there are none left */
    struct file_job *job;      /* NULL between jobs */
    int busy;
    double last; /* when a piece came, or the job began */
    bool stop;
};

/* As far as one call gets past the cache; what is missing then comes through it. */
static size_t read_direct(const struct file_piece *p)
{
    ssize_t n = p->direct >= 0 ? pread(p->direct, p->to, p->bytes, (off_t)p->at) : 0;

    return n > 0 ? (size_t)n : 0;
}

static void *read_pieces(void *argument)
{
    struct pool *pool = argument;
    struct file_piece piece;

    pthread_mutex_lock(&pool->lock);
    while (!pool->stop) {
        struct file_job *j = pool->job;
        size_t direct, got;
        int error;

        if (!j || !file_job_next(j, &piece)) {
            pthread_cond_signal(&pool->rest);
            pthread_cond_wait(&pool->work, &pool->lock);
            continue;
        }
        pool->busy++;
        pthread_mutex_unlock(&pool->lock);
        direct = read_direct(&piece);
        got = direct + file_pread(piece.fd, piece.to + direct, piece.bytes - direct,
                                  piece.at + direct, &error);
        pthread_mutex_lock(&pool->lock);
        file_job_done(j, &piece, direct, got, error);
        pool->busy--;
        pool->last = clock_seconds();
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void close_pool(void *state)
{
    struct pool *pool = state;

    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->rest);
    free(pool);
}

static enum status open_pool(void **state, struct err *e)
{
    struct pool *pool = calloc(1, sizeof *pool);
    pthread_attr_t attr;

    if (!pool)
        return fail(e, ERR_FIT, "no memory to read files");
    pthread_mutex_init(&pool->lock, NULL);
    clock_condition(&pool->work);
    clock_condition(&pool->rest);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    while (pool->n < THREADS &&
           pthread_create(&pool->thread[pool->n], &attr, read_pieces, pool) == 0)
        pool->n++;
    pthread_attr_destroy(&attr);
    if (pool->n == 0) {
        close_pool(pool);
        return fail(e, ERR_FIT, "cannot start a thread to read files");
    }
    *state = pool;
    return OK;
}

static void begin_pool(void *state, struct file_job *j)
{
    struct pool *pool = state;

    pthread_mutex_lock(&pool->lock);
    pool->job = j;
    pool->last = clock_seconds();
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_pool(void *state)
{
    struct pool *pool = state;
    struct file_job *j = pool->job;

    pthread_mutex_lock(&pool->lock);
    while (!(j->drained && pool->busy == 0) && !j->late) {
        double left = pool->last + j->timeout - clock_seconds();
        struct timespec limit = clock_after(left > 0 ? left : 0);

        if (left <= 0)
            j->late = true;
        else
            pthread_cond_timedwait(&pool->rest, &pool->lock, &limit);
    }
    pool->job = NULL;
    pthread_mutex_unlock(&pool->lock);
}

const struct file_engine file_engine_pread = {.open = open_pool,
                                              .begin = begin_pool,
                                              .wait = wait_pool,
                                              .close = close_pool};
