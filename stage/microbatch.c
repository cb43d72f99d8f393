#include "stage/microbatch.h"

#include <stdlib.h>

enum status microbatches_open(const struct windows *w, int size, int tokens,
                              struct microbatches **out, struct err *e)
{
    struct microbatches *m = calloc(1, sizeof *m);
    size_t T = (size_t)tokens;

    if (m) {
        *m = (struct microbatches){.windows = w, .size = size};
        m->start = malloc(((size_t)size + 1) * sizeof *m->start);
        m->ids = malloc(T * sizeof *m->ids);
        m->row = malloc(T * sizeof *m->row);
        m->target = malloc(T * sizeof *m->target);
    }
    if (!m || !m->start || !m->ids || !m->row || !m->target) {
        microbatches_close(m);
        return fail(e, ERR_FIT, "no memory for a microbatch of %d tokens", tokens);
    }
    *out = m;
    return OK;
}

void microbatches_close(struct microbatches *m)
{
    if (!m)
        return;
    free(m->start);
    free(m->ids);
    free(m->row);
    free(m->target);
    free(m);
}

int microbatch_windows(const struct microbatches *m, int64_t k)
{
    int64_t left = m->windows->count - k * m->size;

    return (int)(left < m->size ? left : m->size);
}

struct window microbatch_window(const struct microbatches *m, int64_t k, int i, int64_t *place)
{
    *place = k * m->size + i;
    return windows_get(m->windows, *place);
}

int64_t microbatch_tokens(const struct microbatches *m, int64_t k)
{
    int64_t tokens = 0, place;

    for (int i = 0; i < microbatch_windows(m, k); i++)
        tokens += microbatch_window(m, k, i, &place).len - 1;
    return tokens;
}

int64_t microbatch_scored(const struct microbatches *m, int64_t k)
{
    int64_t scored = 0, place;

    for (int i = 0; i < microbatch_windows(m, k); i++) {
        struct window v = microbatch_window(m, k, i, &place);

        scored += v.len - v.score_from;
    }
    return scored;
}

void microbatch_start(struct microbatches *m, int64_t k)
{
    int64_t place;

    m->start[0] = 0;
    for (int i = 0; i < microbatch_windows(m, k); i++)
        m->start[i + 1] = m->start[i] + microbatch_window(m, k, i, &place).len - 1;
}

void microbatch_ids(struct microbatches *m, int64_t k)
{
    int64_t place;

    for (int i = 0; i < microbatch_windows(m, k); i++) {
        struct window v = microbatch_window(m, k, i, &place);

        for (int t = 0; t < v.len - 1; t++)
            m->ids[m->start[i] + t] = windows_token(m->windows, &v, t);
    }
}

int microbatch_targets(struct microbatches *m, int64_t k)
{
    int64_t place;
    int n = 0;

    for (int i = 0; i < microbatch_windows(m, k); i++) {
        struct window v = microbatch_window(m, k, i, &place);

        for (int t = v.score_from; t < v.len; t++, n++) {
            m->row[n] = m->start[i] + t - 1;
            m->target[n] = windows_token(m->windows, &v, t);
        }
    }
    return n;
}
