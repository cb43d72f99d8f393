/* norm.c - RMSNorm. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parts.h"

/* 1 / sqrt(mean of squares + eps) of one row */
static float inverse_rms(const struct device *d, const void *x, size_t cols, float eps)
{
    const struct row_ops *ops = d->isa->rows;
    float part[PART], sum = 0;

    for (size_t c = 0; c < cols; c += PART) {
        size_t n = part_length(c, cols);

        ops->widen(d->dtype, const_value_at(x, d->dtype, c), part, n);
        sum += ops->sum_squares(part, (int)n);
    }
    return 1.0f / sqrtf(sum / (float)cols + eps);
}

static void norm_row(const struct device *d, void *y, const void *x, const float *gain, size_t cols,
                     float eps)
{
    const struct row_ops *ops = d->isa->rows;
    float inverse = inverse_rms(d, x, cols, eps);
    float part[PART];

    for (size_t c = 0; c < cols; c += PART) {
        size_t n = part_length(c, cols);

        ops->widen(d->dtype, const_value_at(x, d->dtype, c), part, n);
        for (size_t i = 0; i < n; i++)
            part[i] = part[i] * inverse * gain[c + i];
        ops->narrow(d->dtype, part, value_at(y, d->dtype, c), n);
    }
}

enum status rms_norm_cpu(struct device *d, void *y, const void *x, const float *gain, int rows,
                         int cols, float eps, struct err *e)
{
    size_t n = (size_t)cols;

    (void)e;
#pragma omp parallel for num_threads(d->threads) schedule(static)
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)r * n;

        norm_row(d, value_at(y, d->dtype, at), const_value_at(x, d->dtype, at), gain, n, eps);
    }
    return OK;
}
