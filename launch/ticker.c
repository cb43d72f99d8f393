#include "launch/ticker.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "spec/clock.h"

struct ticker {
    void (*tick)(void *context);
    void *context;
    double least, most;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool asked, stopping;
};

/* Until `until`, or until it is stopped; with `or_asked`, until it is asked. The lock is held. */
static void wait_until(struct ticker *t, const struct timespec *until, bool or_asked)
{
    int code = 0;

    while (!t->stopping && !(or_asked && t->asked) && code == 0)
        code = pthread_cond_timedwait(&t->changed, &t->lock, until);
}

static void *run(void *arg)
{
    struct ticker *t = arg;

    pthread_mutex_lock(&t->lock);
    while (!t->stopping) {
        struct timespec soon = clock_after(t->least), late = clock_after(t->most);

        wait_until(t, &soon, false);
        wait_until(t, &late, true);
        if (t->stopping)
            break;
        t->asked = false;
        pthread_mutex_unlock(&t->lock);
        t->tick(t->context);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

enum status ticker_start(void (*tick)(void *context), void *context, double least, double most,
                         struct ticker **out, struct err *e)
{
    struct ticker *t = calloc(1, sizeof *t);
    int code;

    *out = NULL;
    if (!t)
        return fail(e, ERR_FIT, "ticker: out of memory");
    t->tick = tick;
    t->context = context;
    t->least = least;
    t->most = most;
    pthread_mutex_init(&t->lock, NULL);
    clock_condition(&t->changed);
    code = pthread_create(&t->thread, NULL, run, t);
    if (code != 0) {
        free(t);
        return fail(e, ERR_FIT, "ticker: thread: %s", strerror(code));
    }
    *out = t;
    return OK;
}

void ticker_ask(struct ticker *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->asked = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

void ticker_stop(struct ticker *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
