/* cublas.h - the few functions of cuBLASLt that matrix products take, found at run time, so that one
 * binary starts where there are no CUDA libraries and building needs none of their headers.
 *
 * Names and numbers are those of cublasLt.h (12 and 13); tests/cuda/cublas.c compares them. */
#ifndef KERNELS_CUDA_CUBLAS_H
#define KERNELS_CUDA_CUBLAS_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "spec/err.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CUBLAS_OK = 0,
    CUBLAS_TRANSPOSED = 1,
    CUBLAS_REAL_F32 = 0,
    CUBLAS_REAL_F16 = 2,
    CUBLAS_REAL_BF16 = 14,
    CUBLAS_REAL_FP4 = 33, /* this and the scales: 12.8 and later */
    CUBLAS_SUM_F32 = 68,
    CUBLAS_DESC_TRANSA = 3,
    CUBLAS_DESC_A_SCALE = 17,
    CUBLAS_DESC_B_SCALE = 18,
    CUBLAS_DESC_A_SCALE_MODE = 31,
    CUBLAS_DESC_B_SCALE_MODE = 32,
    CUBLAS_SCALE_E4M3_PER_16 = 1,
    CUBLAS_PREFER_WORKSPACE = 1,
    CUBLAS_PREFER_REDUCTION = 3,
    CUBLAS_PREFER_ALIGN_A = 5,
    CUBLAS_PREFER_ALIGN_B = 6,
    CUBLAS_PREFER_ALIGN_C = 7,
    CUBLAS_PREFER_ALIGN_D = 8
};

struct cublas_algorithm {
    uint64_t data[8];
};

struct cublas_choice {
    struct cublas_algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

struct cublas {
    void *library;
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale_type);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t bytes);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride);
    int (*layout_destroy)(void *layout);
    int (*preference_create)(void **preference);
    int (*preference_destroy)(void *preference);
    int (*preference_set)(void *preference, int attribute, const void *value, size_t bytes);
    int (*choose)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference,
                  int wanted, struct cublas_choice *out, int *found);
    int (*multiply)(void *handle, void *desc, const void *alpha, const void *A, void *a,
                    const void *B, void *b, const void *beta, const void *C, void *c, void *D,
                    void *d, const struct cublas_algorithm *algorithm, void *workspace,
                    size_t workspace_bytes, cudaStream_t stream);
};

/* ERR_UNAVAILABLE when the library is not there. */
MUST_USE enum status cublas_load(struct cublas *c, struct err *e);
void cublas_unload(struct cublas *c);

#ifdef __cplusplus
}
#endif

#endif
