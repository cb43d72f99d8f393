/* gemm.h - X[rows][K] W[N][K]^T in f32, handed out a block of columns at a time: what linear layers
 * and the head are made of.
 *
 * All threads pack X into A panels [K/KC][rows/MR][KC][MR] once. Then each takes blocks of columns:
 * unpacks W into B panels [columns/NR][KC][NR] that stay in its L2, lets the A panels stream past
 * them, and sums into a block C[rows][columns] of its own. An element is computed by one thread in
 * an order that depends on K alone, so its bits depend on neither threads nor rows.
 *
 * Memory: everything lies in the scratch the caller points to (gemm_scratch_bytes). */
#ifndef KERNELS_CPU_GEMM_H
#define KERNELS_CPU_GEMM_H

#include "kernels/cpu/cpu.h"

enum {
    GEMM_ROWS = 2048,  /* rows of one gemm_run at most: bounds the scratch */
    GEMM_COLUMNS = 128 /* columns of a block at most */
};

struct gemm {
    const struct device *d;
    const struct gemm_ops *ops;
    const struct weight *w;
    bool hf;        /* weights are rounded as Hugging Face does, with their global scale inside */
    bool quantized; /* x is quantized on the way */
    float g;        /* what the sums are still to be multiplied by */
    int columns;    /* of a block: a multiple of GEMM_NR, at most GEMM_COLUMNS */

    const void *x;      /* rows of K, dtype of d */
    const int32_t *row; /* row i of the product is x's row row[i]; NULL: i */
    int rows;           /* 1 .. GEMM_ROWS */
};

/* Takes columns n0 .. n0+n-1 of rows i0 .. i0+rows-1, a panel that the last sum has left in L1: row
 * i0 + i starts at c + i * g->columns; c may be changed. */
typedef void gemm_finish(const struct gemm *g, float *c, int i0, int rows, int n0, int n, void *arg);

size_t gemm_scratch_bytes(int rows, int K, int threads);

/* How d multiplies with w; x, row and rows are the caller's to fill in. */
struct gemm gemm_with(const struct device *d, const struct weight *w);
void gemm_run(const struct gemm *g, unsigned char *scratch, gemm_finish *finish, void *arg);

/* c[n] = c*g + bias, the last f32 step before a row is stored or scored. */
void gemm_scale_row(const struct gemm *g, float *c, int n0, int n);

static inline size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

#endif
