/* elementwise.c - operations that take each value for itself. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parts.h"

enum status swiglu_cpu(struct device *d, void *gate, const void *up, size_t n, struct err *e)
{
    const struct row_ops *ops = d->isa->rows;

    (void)e;
#pragma omp parallel for num_threads(d->threads) schedule(static)
    for (size_t at = 0; at < n; at += PART) {
        size_t length = part_length(at, n);
        float g[PART], u[PART];

        ops->widen(d->dtype, const_value_at(gate, d->dtype, at), g, length);
        ops->widen(d->dtype, const_value_at(up, d->dtype, at), u, length);
        ops->swiglu(g, u, g, length);
        ops->narrow(d->dtype, g, value_at(gate, d->dtype, at), length);
    }
    return OK;
}

enum status add_cpu(struct device *d, void *x, const void *y, size_t n, struct err *e)
{
    const struct row_ops *ops = d->isa->rows;

    (void)e;
#pragma omp parallel for num_threads(d->threads) schedule(static)
    for (size_t at = 0; at < n; at += PART) {
        size_t length = part_length(at, n);
        float a[PART], b[PART];

        ops->widen(d->dtype, const_value_at(x, d->dtype, at), a, length);
        ops->widen(d->dtype, const_value_at(y, d->dtype, at), b, length);
        for (size_t i = 0; i < length; i++)
            a[i] += b[i];
        ops->narrow(d->dtype, a, value_at(x, d->dtype, at), length);
    }
    return OK;
}

enum status nonfinite_cpu(struct device *d, int32_t *flag, const void *x, size_t n, struct err *e)
{
    const struct row_ops *ops = d->isa->rows;
    int found = 0;

    (void)e;
#pragma omp parallel for num_threads(d->threads) schedule(static) reduction(| : found)
    for (size_t at = 0; at < n; at += PART) {
        size_t length = part_length(at, n);
        float a[PART];

        ops->widen(d->dtype, const_value_at(x, d->dtype, at), a, length);
        for (size_t i = 0; i < length; i++)
            found |= !(fabsf(a[i]) < INFINITY);
    }
    if (found)
        *flag = 1;
    return OK;
}
