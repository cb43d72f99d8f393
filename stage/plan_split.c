#include <math.h>
#include <stdlib.h>

#include "stage/plan_parts.h"

static double range_seconds(const struct plan_sizes *s, int stage, int first, int last)
{
    return plan_range_shape(s, stage, first, last).seconds;
}

/* The most layers from `first` on that a stage does within `bound` seconds: last such `last`, or -1
 * when it cannot even be there with none. More layers never fit better nor run faster. */
static int reach(const struct plan_sizes *s, int stage, int first, double bound)
{
    int low = first, high = s->q->model->n_layers + 1;

    if (!(range_seconds(s, stage, first, first) <= bound))
        return -1;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;

        if (range_seconds(s, stage, first, middle) <= bound)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Can the stages take all layers with no stage above `bound` seconds? Each takes as many as it may:
 * taking more early never hurts later. */
static bool reachable(const struct plan_sizes *s, double bound, int *cut)
{
    cut[0] = 0;
    for (int r = 0; r < s->stages; r++) {
        cut[r + 1] = reach(s, r, cut[r], bound);
        if (cut[r + 1] < 0)
            return false;
    }
    return cut[s->stages] == s->q->model->n_layers;
}

/* The lowest bound within one part in 10^9 and its cuts; negative when nothing fits. */
static double lowest_bound(const struct plan_sizes *s, int *cut)
{
    double low = 0, high = 1;

    while (!reachable(s, high, cut)) {
        high *= 16;
        if (high > 1e30)
            return -1;
    }
    while (high - low > high * 1e-9) {
        double middle = low + (high - low) / 2;

        if (reachable(s, middle, cut))
            high = middle;
        else
            low = middle;
    }
    CHECK(reachable(s, high, cut));
    return high;
}

/* Among the splits within `bound`, the one with the least sum of squares, so that the other stages
 * are even too. best[r][b]: the least sum of stages < r holding layers [0, b). */
static enum status even_out(const struct plan_sizes *s, double bound, int *cut, struct err *e)
{
    int n = s->q->model->n_layers, stages = s->stages;
    size_t wide = (size_t)n + 1, cells = ((size_t)stages + 1) * wide;
    double *best = malloc(cells * sizeof *best);
    int *from = malloc(cells * sizeof *from);

    if (!best || !from) {
        free(best);
        free(from);
        return fail(e, ERR_FIT, "no memory to plan %d layers in %d stages", n, stages);
    }
    for (size_t i = 0; i < cells; i++)
        best[i] = INFINITY;
    best[0] = 0;
    for (int r = 0; r < stages; r++)
        for (int a = 0; a <= n; a++) {
            double so_far = best[(size_t)r * wide + (size_t)a];

            for (int b = a; b <= n && so_far < INFINITY; b++) {
                double work = range_seconds(s, r, a, b), sum = so_far + work * work;
                size_t to = ((size_t)r + 1) * wide + (size_t)b;

                if (!(work <= bound))
                    break;
                if (sum < best[to]) {
                    best[to] = sum;
                    from[to] = a;
                }
            }
        }
    CHECK(best[cells - 1] < INFINITY);
    for (int r = stages, b = n; r > 0; r--)
        cut[r - 1] = b = from[(size_t)r * wide + (size_t)b];
    cut[stages] = n;
    free(best);
    free(from);
    return OK;
}

/* Layers of each stage by hand: the cuts, and whether they fit. */
static bool cut_by_hand(const struct plan_sizes *s, int *cut)
{
    bool fit = true;

    cut[0] = 0;
    for (int r = 0; r < s->stages; r++) {
        cut[r + 1] = cut[r] + s->q->by_hand[r];
        fit = fit && range_seconds(s, r, cut[r], cut[r + 1]) < INFINITY;
    }
    return fit;
}

enum status plan_split(const struct plan_sizes *s, int *cut, bool *fit, struct err *e)
{
    double bound;

    if (s->q->n_by_hand) {
        *fit = cut_by_hand(s, cut);
        return OK;
    }
    bound = lowest_bound(s, cut);
    *fit = bound >= 0;
    /* Streaming stages trade layers against waves in steps; their first split is kept. */
    return *fit && !s->streaming ? even_out(s, bound, cut, e) : OK;
}
