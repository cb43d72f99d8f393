/* rope.c - rotary position embedding. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parts.h"

enum { HALF_MAX = PART / 2 };

/* One head of one token: (x[i], x[i + D/2]) turns by the angle of its position. */
static void rotate_head(const struct device *d, void *x, int half, const float *cos,
                        const float *sin)
{
    const struct row_ops *ops = d->isa->rows;
    float in[2 * HALF_MAX], out[2 * HALF_MAX];

    ops->widen(d->dtype, x, in, 2 * (size_t)half);
    for (int i = 0; i < half; i++) {
        out[i] = in[i] * cos[i] - in[i + half] * sin[i];
        out[i + half] = in[i + half] * cos[i] + in[i] * sin[i];
    }
    ops->narrow(d->dtype, out, x, 2 * (size_t)half);
}

enum status rope_cpu(struct device *d, void *x, int heads, int D, const float *cos,
                     const float *sin, const struct batch *b, struct err *e)
{
    size_t row = (size_t)heads * (size_t)D;
    int half = D / 2;

    (void)e;
    CHECK(D % 2 == 0 && half <= HALF_MAX);
#pragma omp parallel num_threads(d->threads)
    for (int w = 0; w < b->windows; w++) {
        int start = b->start[w], end = b->start[w + 1];

#pragma omp for schedule(static) nowait
        for (int t = start; t < end; t++) {
            size_t angle = (size_t)(t - start) * (size_t)half;

            for (int h = 0; h < heads; h++)
                rotate_head(d, value_at(x, d->dtype, (size_t)t * row + (size_t)(h * D)), half,
                            cos + angle, sin + angle);
        }
    }
    return OK;
}
