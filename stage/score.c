#include "stage/score.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum state { AWAITED, DONE, SAVED };

struct score {
    const struct windows *windows;
    int columns;
    double *nll;  /* [windows][columns] */
    uint8_t *state; /* [windows] enum state */
    int64_t *arrival; /* [windows] in the order they came, the first running.windows of them */
    struct totals running;
    pthread_mutex_t lock;
};

enum status score_open(const struct windows *w, struct score **out, struct err *e)
{
    struct score *s = calloc(1, sizeof *s);
    size_t columns = (size_t)windows_columns(w), cells = (size_t)w->all * columns;

    if (!s)
        return fail(e, ERR_FIT, "no memory for the scores");
    pthread_mutex_init(&s->lock, NULL);
    s->windows = w;
    s->columns = (int)columns;
    s->running.bad_window = -1;
    s->nll = malloc(cells * sizeof *s->nll);
    s->state = calloc((size_t)w->all, sizeof *s->state);
    s->arrival = malloc((size_t)w->all * sizeof *s->arrival);
    if (!s->nll || !s->state || !s->arrival) {
        score_close(s);
        return fail(e, ERR_FIT, "no memory for the nll of %zu positions", cells);
    }
    for (size_t i = 0; i < cells; i++)
        s->nll[i] = NAN;
    *out = s;
    return OK;
}

void score_close(struct score *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s->nll);
    free(s->state);
    free(s->arrival);
    free(s);
}

void score_add(struct score *s, int64_t window, const double *nll)
{
    struct window v = windows_at(s->windows, window);
    double *row = s->nll + window * s->columns;

    pthread_mutex_lock(&s->lock);
    CHECK(s->state[window] == AWAITED);
    for (int p = v.score_from; p < v.len; p++) {
        row[p - 1] = nll[p - v.score_from];
        s->running.sum_nll += row[p - 1];
    }
    s->state[window] = DONE;
    s->arrival[s->running.windows++] = window;
    s->running.tokens += v.len - v.score_from;
    pthread_mutex_unlock(&s->lock);
}

struct totals score_running(struct score *s)
{
    struct totals t;

    pthread_mutex_lock(&s->lock);
    t = s->running;
    pthread_mutex_unlock(&s->lock);
    t.mean_nll = t.sum_nll / (double)t.tokens;
    t.ppl = exp(t.mean_nll);
    return t;
}

/* Sum and sum of squares of one window into the totals. */
static void add_window(struct totals *t, const struct window *v, const double *row, int64_t i,
                       double *squares)
{
    for (int p = v->score_from; p < v->len; p++) {
        double x = row[p - 1];

        t->sum_nll += x;
        *squares += x * x;
        if (!isfinite(x) && t->nonfinite++ == 0) {
            t->bad_window = i;
            t->bad_position = p;
        }
    }
    t->windows++;
    t->tokens += v->len - v->score_from;
}

/* sum_w (S_w - mean n_w)^2 over the windows there are. */
static double between_windows(const struct score *s, double mean)
{
    double sum = 0;

    for (int64_t i = 0; i < s->windows->all; i++) {
        struct window v = windows_at(s->windows, i);
        double deviation = 0;

        if (s->state[i] == AWAITED)
            continue;
        for (int p = v.score_from; p < v.len; p++)
            deviation += s->nll[i * s->columns + p - 1] - mean;
        sum += deviation * deviation;
    }
    return sum;
}

struct totals score_totals(struct score *s)
{
    struct totals t = {.bad_window = -1};
    double squares = 0;

    pthread_mutex_lock(&s->lock);
    for (int64_t i = 0; i < s->windows->all; i++) {
        struct window v = windows_at(s->windows, i);

        if (s->state[i] != AWAITED)
            add_window(&t, &v, s->nll + i * s->columns, i, &squares);
    }
    double n = (double)t.tokens, blocks = (double)t.windows;

    t.mean_nll = t.sum_nll / n;
    t.ppl = exp(t.mean_nll);
    t.se_iid = t.ppl * sqrt((squares / n - t.mean_nll * t.mean_nll) / (n - 1));
    t.se_block = t.ppl * sqrt(between_windows(s, t.mean_nll) * blocks / (blocks - 1)) / n;
    pthread_mutex_unlock(&s->lock);
    return t;
}

static enum state state_of(struct score *s, int64_t window)
{
    enum state state;

    pthread_mutex_lock(&s->lock);
    state = s->state[window];
    pthread_mutex_unlock(&s->lock);
    return state;
}

bool score_done(struct score *s, int64_t window)
{
    return state_of(s, window) != AWAITED;
}

void score_save(struct score *s, int64_t window)
{
    pthread_mutex_lock(&s->lock);
    CHECK(s->state[window] == DONE);
    s->state[window] = SAVED;
    pthread_mutex_unlock(&s->lock);
}

bool score_saved(struct score *s, int64_t window)
{
    return state_of(s, window) == SAVED;
}

int64_t score_arrival(struct score *s, int64_t n)
{
    int64_t window;

    pthread_mutex_lock(&s->lock);
    CHECK(n >= 0 && n < s->running.windows);
    window = s->arrival[n];
    pthread_mutex_unlock(&s->lock);
    return window;
}

const double *score_row(const struct score *s, int64_t window)
{
    return s->nll + window * s->columns + windows_at(s->windows, window).score_from - 1;
}

const double *score_table(const struct score *s)
{
    return s->nll;
}
