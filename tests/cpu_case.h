/* cpu_case.h - random matrices and a CPU device for the tests of kernels/cpu. */
#ifndef TESTS_CPU_CASE_H
#define TESTS_CPU_CASE_H

#include <stdint.h>

#include "kernels/cpu/cpu.h"
#include "tests/test.h"

/* Steele, Lea, Flood: splitmix64 */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Uniform in [-1, 1). */
static inline float next_float(uint64_t *state)
{
    return (float)(int32_t)(next_random(state) >> 32) * 0x1p-31f;
}

static inline void *must_alloc(size_t bytes)
{
    void *p = aligned_alloc(CPU_ALIGN, (bytes + CPU_ALIGN - 1) / CPU_ALIGN * CPU_ALIGN);

    EXPECT(p != NULL);
    return p;
}

/* A random weight, 0.0625 .. 16 in magnitude for NVFP4 before g; free data and scale. */
static inline struct weight random_weight(enum weight_format format, int N, int K, uint64_t *state)
{
    size_t n = weight_data_bytes(format, N, K), groups = weight_scale_bytes(format, N, K);
    uint8_t *data = must_alloc(n), *scale = groups ? must_alloc(groups) : NULL;

    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)next_random(state);
    for (size_t i = 0; i < groups; i++)
        scale[i] = (uint8_t)(0x28 + next_random(state) % 32);
    for (size_t i = 0; format == WEIGHT_F32 && i < (size_t)N * K; i++)
        ((float *)data)[i] = next_float(state);
    for (size_t i = 0; format == WEIGHT_BF16 && i < (size_t)N * K; i++) /* 2^-7 .. 2 */
        ((uint16_t *)data)[i] = (uint16_t)((next_random(state) & 0x83ff) | 0x3c00);
    for (size_t i = 0; format == WEIGHT_F16 && i < (size_t)N * K; i++) /* 2^-7 .. 2 */
        ((uint16_t *)data)[i] = (uint16_t)(0x2000 + (next_random(state) & 0x9fff));
    return (struct weight){.format = format, .N = N, .K = K, .data = data, .scale = scale,
                           .global_stored = 1};
}

static inline void free_weight(struct weight *w)
{
    free((void *)w->data);
    free((void *)w->scale);
}

/* A device with its arena as scratch. */
static inline struct device *open_device(const char *isa, enum dtype t, enum arithmetic a,
                                         int threads, const struct work_shape *shape)
{
    struct device_options o = {.dtype = t, .arithmetic = a, .threads = threads, .isa = isa};
    struct work_shape w = *shape;
    struct device *d = NULL;
    struct err e = {0};
    void *scratch = NULL;

    EXPECT(kernels_cpu.open(&o, &d, &e) == OK);
    w.dtype = t;
    w.arithmetic = a;
    w.threads = kernels_cpu.threads(d);
    size_t bytes = kernels_cpu.scratch_bytes(&w);
    EXPECT(kernels_cpu.arena(d, bytes, &scratch, &e) == OK);
    kernels_cpu.use_scratch(d, scratch, bytes);
    return d;
}

#endif
