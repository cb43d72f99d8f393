/* platform.cuh - the CUDA C that the kernels are written in, on a CPU: the twin of
 * kernels/cuda/nvcc/platform.cuh, which says what each name means. */
#ifndef CUDA_HOST_PLATFORM_CUH
#define CUDA_HOST_PLATFORM_CUH

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "emulator.h"
#include "kernels/cpu/convert.h"
#include "runtime.h"

#define __global__ static
#define __device__
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define DEVICE static inline

#define threadIdx (emulator::thread_index())
#define blockIdx (emulator::block_index())
#define blockDim (emulator::block_size())
#define gridDim (emulator::grid_size())

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                     \
    runtime::launch((kernel), #kernel, (grid), (block), (shared_bytes), (stream), __VA_ARGS__)
#define SHARED_MEMORY(name) unsigned char *name = emulator::shared_memory()

template <class T> cudaError_t cudaGetSymbolAddress(void **p, const T &symbol)
{
    return runtime::symbol_address(p, &symbol, sizeof symbol);
}

#define __syncthreads() emulator::barrier(__LINE__)

struct alignas(8) uint2 {
    unsigned x, y;
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

DEVICE uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}

DEVICE uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}

DEVICE float __uint_as_float(unsigned u)
{
    return f32_from_bits(u);
}

DEVICE unsigned __float_as_uint(float x)
{
    return f32_bits(x);
}

/* -------------------------------------------------------------------------- warp operations */

template <class T> struct shuffle_argument {
    T value, result;
    int from;
};

template <class T> static void shuffle_lanes(void **arguments, unsigned mask)
{
    for (int i = 0; i < emulator::WARP; i++) {
        auto *a = (shuffle_argument<T> *)arguments[i];

        if (!a)
            continue;
        if (!(mask >> a->from & 1))
            emulator::fault("lane %d shuffles from lane %d, which is not in mask %08x", i, a->from,
                            mask);
        a->result = ((shuffle_argument<T> *)arguments[a->from])->value;
    }
}

template <class T> static inline T shuffle_xor(unsigned mask, T value, int bits, int line)
{
    shuffle_argument<T> a = {value, value, emulator::lane() ^ bits};

    emulator::warp_operation(mask, "shuffle", line, &a, shuffle_lanes<T>);
    return a.result;
}

static inline void no_exchange(void **, unsigned)
{
}

#define __shfl_xor_sync(mask, value, bits) shuffle_xor((mask), (value), (bits), __LINE__)
#define __syncwarp()                                                                               \
    emulator::warp_operation(emulator::ALL_LANES, "syncwarp", __LINE__, NULL, no_exchange)

/* ------------------------------------------------------------------- conversions and tensor cores */

DEVICE uint16_t bf16_from_float(float x)
{
    return f32_to_bf16(x);
}

DEVICE uint16_t f16_from_float(float x)
{
    return f32_to_f16(x);
}

DEVICE float f16_to_float(uint16_t bits)
{
    return f16_to_f32(bits);
}

DEVICE float exp2_fast(float x)
{
    return exp2f(x);
}

struct matrix_argument {
    const void *row; /* that this lane points to */
    uint32_t *fragment;
};

/* Four 8x8 matrices of 16-bit values; lane 8*j + r points to row r of matrix j. Lane l receives, of
 * each, the values (l/4, 2*(l%4)) and (l/4, 2*(l%4) + 1), or those of the transposed matrix. */
template <bool TRANSPOSED> static void load_matrices(void **arguments, unsigned)
{
    for (int i = 0; i < emulator::WARP; i++)
        for (int j = 0; j < 4; j++) {
            uint16_t value[2];

            for (int h = 0; h < 2; h++) {
                int row = TRANSPOSED ? 2 * (i % 4) + h : i / 4;
                int column = TRANSPOSED ? i / 4 : 2 * (i % 4) + h;
                auto *source = (const matrix_argument *)arguments[8 * j + row];

                value[h] = ((const uint16_t *)source->row)[column];
            }
            ((matrix_argument *)arguments[i])->fragment[j] = value[0] | (uint32_t)value[1] << 16;
        }
}

template <bool TRANSPOSED>
static inline void load_matrix(uint32_t *fragment, const void *row, int line)
{
    matrix_argument a = {row, fragment};

    if ((uintptr_t)row % 16 != 0)
        emulator::fault("ldmatrix at line %d: the row's address is not a multiple of 16", line);
    emulator::warp_operation(emulator::ALL_LANES, "ldmatrix", line, &a, load_matrices<TRANSPOSED>);
}

#define load_matrix_x4(fragment, row) load_matrix<false>((fragment), (row), __LINE__)
#define load_matrix_x4_transposed(fragment, row) load_matrix<true>((fragment), (row), __LINE__)

struct multiply_argument {
    float *d;
    const uint32_t *a, *b;
};

/* D[16][8] += A[16][16] B[16][8]: lane l = 4*g + t holds of A the rows g, g + 8 and the columns
 * 2t, 2t+1, 2t+8, 2t+9; of B the rows 2t, 2t+1, 2t+8, 2t+9 of column g; of D the rows g, g + 8 and
 * the columns 2t, 2t+1. Products are summed in f32, k ascending. */
template <float (*VALUE)(uint16_t)> static void multiply_matrices(void **arguments, unsigned)
{
    float A[16][16], B[16][8];

    for (int l = 0; l < emulator::WARP; l++) {
        auto *m = (const multiply_argument *)arguments[l];
        int g = l / 4, t = l % 4 * 2;

        for (int h = 0; h < 2; h++) {
            for (int i = 0; i < 4; i++)
                A[g + 8 * (i % 2)][t + h + 8 * (i / 2)] = VALUE((uint16_t)(m->a[i] >> 16 * h));
            for (int i = 0; i < 2; i++)
                B[t + h + 8 * i][g] = VALUE((uint16_t)(m->b[i] >> 16 * h));
        }
    }
    for (int l = 0; l < emulator::WARP; l++) {
        auto *m = (multiply_argument *)arguments[l];

        for (int i = 0; i < 4; i++) {
            int row = l / 4 + 8 * (i / 2), column = l % 4 * 2 + i % 2;
            float sum = m->d[i];

            for (int k = 0; k < 16; k++)
                sum += A[row][k] * B[k][column];
            m->d[i] = sum;
        }
    }
}

template <float (*VALUE)(uint16_t)>
static inline void multiply(float *d, const uint32_t *a, const uint32_t *b, int line)
{
    multiply_argument m = {d, a, b};

    emulator::warp_operation(emulator::ALL_LANES, "mma", line, &m, multiply_matrices<VALUE>);
}

#define mma_bf16(d, a, b) multiply<bf16_to_f32>((d), (a), (b), __LINE__)
#define mma_f16(d, a, b) multiply<f16_to_f32>((d), (a), (b), __LINE__)

#define copy_async_16(to, from, valid) emulator::copy_async((to), (from), (valid))
#define copy_async_commit() emulator::copy_async_commit()
#define copy_async_wait(pending) emulator::copy_async_wait(pending)

#endif
