/* device.h - device memory for tests, the same on a GPU and on the CPU shim: exact sizes, so that a
 * step beyond the end is seen; NaN where nothing was written; read only after everything has run. */
#ifndef TESTS_CUDA_DEVICE_H
#define TESTS_CUDA_DEVICE_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "kernels/cpu/convert.h"
#include "spec/types.h"
#include "tests/test.h"

#define EXPECT_CUDA(call)                                                                          \
    do {                                                                                           \
        cudaError_t e_ = (call);                                                                   \
        if (e_ != cudaSuccess) {                                                                   \
            printf("FAIL %s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e_));     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static inline void require_device(void)
{
    int count = 0;
    cudaError_t e = cudaGetDeviceCount(&count);

    if (e != cudaSuccess || count == 0)
        SKIP("needs a GPU: %s", cudaGetErrorString(e));
}

/* Filled with NaN. */
static inline void *device_space(size_t bytes)
{
    void *p = NULL;

    EXPECT_CUDA(cudaMalloc(&p, bytes));
    EXPECT_CUDA(cudaMemsetAsync(p, 0xff, bytes, NULL));
    return p;
}

static inline void *device_copy(const void *host, size_t bytes)
{
    void *p = device_space(bytes);

    EXPECT_CUDA(cudaMemcpy(p, host, bytes, cudaMemcpyHostToDevice));
    return p;
}

static inline void device_read(void *host, const void *p, size_t bytes)
{
    EXPECT_CUDA(cudaMemcpy(host, p, bytes, cudaMemcpyDeviceToHost));
}

/* Uniform in [0, 1). */
static inline double uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 33) / 2147483648.0;
}

/* About normal: the sum of 12 uniforms has variance 1. */
static inline float gauss(uint64_t *seed)
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += uniform(seed);
    return (float)sum;
}

/* Element i of values as they are stored. */
static inline float stored_value(const void *x, enum dtype t, size_t i)
{
    if (t == DTYPE_F32)
        return ((const float *)x)[i];
    return t == DTYPE_BF16 ? bf16_to_f32(((const uint16_t *)x)[i])
                           : f16_to_f32(((const uint16_t *)x)[i]);
}

static inline void store_value(void *x, enum dtype t, size_t i, float v)
{
    if (t == DTYPE_F32)
        ((float *)x)[i] = v;
    else
        ((uint16_t *)x)[i] = t == DTYPE_BF16 ? f32_to_bf16(v) : f32_to_f16(v);
}

static inline float round_value(enum dtype t, float v)
{
    uint16_t bits;

    if (t == DTYPE_F32)
        return v;
    store_value(&bits, t, 0, v);
    return stored_value(&bits, t, 0);
}

/* The most that one rounding to t moves a value of this size. */
static inline double rounding(enum dtype t, double value)
{
    static const double relative[] = {
        [DTYPE_BF16] = 0x1p-8, [DTYPE_F16] = 0x1p-11, [DTYPE_F32] = 0x1p-24};

    return fabs(value) * relative[t] + (t == DTYPE_F16 ? 0x1p-25 : 0);
}

static inline void fill_gauss(void *x, enum dtype t, size_t n, float size, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        store_value(x, t, i, size * gauss(&seed));
}

#endif
