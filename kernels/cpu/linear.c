/* linear.c - the linear layers: a product, its global scale, its bias, one rounding. */
#include "kernels/cpu/gemm.h"

size_t linear_scratch_bytes(const struct work_shape *w)
{
    int rows = w->tokens < GEMM_ROWS ? w->tokens : GEMM_ROWS;

    return gemm_scratch_bytes(rows, w->k_max, w->threads);
}

/* arg: y[rows][N] in dtype */
static void store_columns(const struct gemm *g, float *c, int i0, int rows, int n0, int n, void *arg)
{
    enum dtype t = g->d->dtype;

    for (int i = i0; i < i0 + rows; i++, c += g->columns) {
        char *y = (char *)arg + ((size_t)i * g->w->N + n0) * dtype_bytes(t);

        gemm_scale_row(g, c, n0, n);
        g->d->isa->rows->narrow(t, c, y, n);
    }
}

enum status linear_cpu(struct device *d, void *y, const void *x, const struct weight *w, int T,
                       struct err *e)
{
    struct gemm g = gemm_with(d, w);
    size_t size = dtype_bytes(d->dtype);
    int passes = (T + GEMM_ROWS - 1) / GEMM_ROWS;

    (void)e;
    CHECK(T > 0 && w->K > 0 && w->N > 0);
    CHECK(w->format != WEIGHT_NVFP4 || w->K % NVFP4_GROUP == 0);
    CHECK(gemm_scratch_bytes(T < GEMM_ROWS ? T : GEMM_ROWS, w->K, d->threads) <= d->scratch_bytes);
    for (int i = 0, t = 0; i < passes; i++, t += g.rows) {
        g.rows = (T - t) / (passes - i);
        g.x = (const char *)x + (size_t)t * w->K * size;
        gemm_run(&g, d->scratch, store_columns, (char *)y + (size_t)t * w->N * size);
    }
    return OK;
}
