/* gemm.h - products of 16-bit and 4-bit matrices through cuBLASLt, the same bits for a row wherever it
 * stands.
 *
 * Every product has GEMM_TOKENS rows. The algorithm is chosen once for a shape and may not split K
 * over blocks, so the order of a sum depends on N and K alone, and results repeat on one model of GPU.
 *
 * Memory: cublas_gemm_open allocates host memory only; cublas_gemm_close accepts NULL. The workspace
 *         is the caller's, and one stream may use it at a time. */
#ifndef KERNELS_CUDA_GEMM_H
#define KERNELS_CUDA_GEMM_H

#include "kernels/cuda/cuda.h"

enum {
    GEMM_WORKSPACE = 32 << 20, /* what NVIDIA recommends for Hopper and Blackwell */
    GEMM_ALIGN = 16            /* of every operand and result */
};

struct cublas_gemm;

/* OPERAND_FP4: codes, two in a byte, the even one low, and their scales as cuda.h lays them out. */
struct gemm_operand {
    const void *data;     /* [rows][K] */
    const uint8_t *scale; /* NULL: 16-bit */
};

/* y[GEMM_TOKENS][N] = alpha * x[GEMM_TOKENS][K] w[N][K]^T, + y with add. Sums in f32; one rounding
 * when y is not f32. */
struct product {
    int N, K;
    enum operand type; /* of x and w */
    enum dtype to;     /* of y: f32, or the 16-bit type of the operands */
};

MUST_USE enum status cublas_gemm_open(struct cublas_gemm **out, struct err *e);
void cublas_gemm_close(struct cublas_gemm *g);
/* ERR_UNAVAILABLE where cuBLAS has no such product for this device. */
MUST_USE enum status cublas_gemm_run(struct cublas_gemm *g, const struct product *p, float alpha,
                                     struct gemm_operand x, struct gemm_operand w, bool add,
                                     void *y, void *workspace, cudaStream_t s, struct err *e);

#endif
