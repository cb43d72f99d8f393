#include "stage/reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "spec/clock.h"

struct reader {
    struct reader_request q;
    const struct plan_rank *me;
    struct plan_wave wave; /* that it reads for, and which layer may be next in it */
    int next;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop, ended; /* ended: all is read */
    int64_t read, acquired, released; /* so far; slot of read n is n % PLAN_SLOTS */
    uint64_t before, bytes; /* that the shard had read before; that were read here */
    enum status status; /* of the reader: once not OK, it has ended */
    struct err err;
    double stall;
    struct layer_weights weights[PLAN_SLOTS];
    int layer[PLAN_SLOTS]; /* that they are of */
};

/* Waits until `bytes`, begun at `since`, have taken their time; holds the lock. */
static void keep_limit(struct reader *r, double since, uint64_t bytes)
{
    double until = since + (double)bytes / r->q.read_limit;
    struct timespec limit = {.tv_sec = (time_t)until};
    int late = 0;

    limit.tv_nsec = (long)(1e9 * (until - (double)limit.tv_sec));
    while (!r->stop && late != ETIMEDOUT)
        late = pthread_cond_timedwait(&r->changed, &r->lock, &limit);
}

/* The streamed layer that is read next; negative: none is. */
static int next_layer(struct reader *r)
{
    while (true) {
        while (r->next < r->me->last) {
            int layer = r->next++;

            if (plan_streams(r->me, layer))
                return layer;
        }
        if (!plan_next_wave(r->q.plan, r->q.rank, &r->wave))
            return -1;
        r->next = r->wave.begin;
    }
}

static void *read_ahead(void *argument)
{
    struct reader *r = argument;
    int layer = next_layer(r);

    pthread_mutex_lock(&r->lock);
    while (!r->stop && layer >= 0 && r->status == OK) {
        int64_t n = r->read;
        int slot = (int)(n % PLAN_SLOTS);
        struct err err = {.code = OK};
        double begin = clock_seconds();
        enum status st;

        if (n - r->released >= PLAN_SLOTS) { /* every slot is in use */
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        st = shard_load_layer(r->q.shard, layer, r->q.arena + r->me->map.slot[slot],
                              &r->weights[slot], &err);
        if (st != OK)
            fail_in(&err, "layer %d", layer);
        pthread_mutex_lock(&r->lock);
        if (r->q.read_limit > 0 && st == OK)
            keep_limit(r, begin, r->q.shard->read - r->before - r->bytes);
        r->status = st;
        r->err = err;
        r->bytes = r->q.shard->read - r->before;
        if (st == OK) {
            r->layer[slot] = layer;
            r->read++;
            layer = next_layer(r);
        }
        pthread_cond_broadcast(&r->changed);
    }
    r->ended = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

enum status reader_open(const struct reader_request *q, struct reader **out, struct err *e)
{
    struct reader *r = calloc(1, sizeof *r);

    if (!r)
        return fail(e, ERR_FIT, "no memory for the layer reader");
    r->q = *q;
    r->me = &q->plan->rank[q->rank];
    r->next = r->me->last;
    r->before = q->shard->read;
    pthread_mutex_init(&r->lock, NULL);
    clock_condition(&r->changed);
    if (pthread_create(&r->thread, NULL, read_ahead, r) != 0) {
        reader_close(r);
        return fail(e, ERR_FIT, "cannot start the layer reader's thread");
    }
    r->started = true;
    *out = r;
    return OK;
}

void reader_close(struct reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    free(r);
}

/* Until read `n` is done, or all is; holds the lock. */
static enum status wait_for_read(struct reader *r, int64_t n, struct err *e)
{
    while (r->read <= n && !r->ended)
        pthread_cond_wait(&r->changed, &r->lock);
    if (r->read <= n)
        *e = r->err;
    return r->read > n ? OK : r->status;
}

enum status reader_wait_first(struct reader *r, struct err *e)
{
    enum status st;

    pthread_mutex_lock(&r->lock);
    st = wait_for_read(r, 0, e);
    pthread_mutex_unlock(&r->lock);
    return st;
}

enum status reader_acquire(struct reader *r, int layer, const struct layer_weights **weights,
                           struct err *e)
{
    double begin = clock_seconds();
    enum status st;

    pthread_mutex_lock(&r->lock);
    CHECK(r->acquired == r->released);
    st = wait_for_read(r, r->acquired, e);
    if (st == OK) {
        int slot = (int)(r->acquired % PLAN_SLOTS);

        CHECK(r->acquired < r->read && r->layer[slot] == layer);
        *weights = &r->weights[slot];
        r->acquired++;
    }
    r->stall += clock_seconds() - begin;
    pthread_mutex_unlock(&r->lock);
    return st;
}

void reader_release(struct reader *r)
{
    pthread_mutex_lock(&r->lock);
    r->released++;
    CHECK(r->released == r->acquired);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

double reader_stall(const struct reader *r)
{
    return r->stall;
}

uint64_t reader_bytes(struct reader *r)
{
    uint64_t bytes;

    pthread_mutex_lock(&r->lock);
    bytes = r->bytes;
    pthread_mutex_unlock(&r->lock);
    return bytes;
}
