/* numbers.cuh - storage types of the kernels, and the two small floats of NVFP4. */
#ifndef KERNELS_CUDA_NUMBERS_CUH
#define KERNELS_CUDA_NUMBERS_CUH

#include "platform.cuh"

#include "kernels/cuda/cuda.h"

struct bf16 {
    uint16_t bits;
};

struct f16 {
    uint16_t bits;
};

DEVICE float to_float(float x)
{
    return x;
}

DEVICE float to_float(bf16 x)
{
    return __uint_as_float((uint32_t)x.bits << 16);
}

DEVICE float to_float(f16 x)
{
    return f16_to_float(x.bits);
}

DEVICE float round_as(float x, float)
{
    return x;
}

DEVICE bf16 round_as(float x, bf16)
{
    return {bf16_from_float(x)};
}

DEVICE f16 round_as(float x, f16)
{
    return {f16_from_float(x)};
}

/* One rounding, to nearest, ties to even. */
template <class T> DEVICE T from_float(float x)
{
    return round_as(x, T());
}

/* Two values as they lie in memory, `low` first. */
template <class T> DEVICE uint32_t pack(float low, float high)
{
    return (uint32_t)from_float<T>(low).bits | (uint32_t)from_float<T>(high).bits << 16;
}

/* sign, 2 bits of exponent, 1 of mantissa. As the top bits of a denormal f32 times 2^126: exact. */
DEVICE float e2m1_to_float(uint32_t code)
{
    float size = __uint_as_float((code & 7) << 22) * 0x1p126f;

    return __uint_as_float(__float_as_uint(size) | (code & 8) << 28);
}

/* Finite e4m3; the loader refuses NaN scales. As part of a denormal f32 times 2^120: exact. */
DEVICE float e4m3_to_float(uint32_t bits)
{
    float size = __uint_as_float((bits & 0x7f) << 20) * 0x1p120f;

    return __uint_as_float(__float_as_uint(size) | (bits & 0x80) << 24);
}

/* The code of a value that e4m3_to_float gives; NaN: 0x7f. */
DEVICE uint8_t e4m3_code(float x)
{
    return x == x ? (uint8_t)(__float_as_uint(x * 0x1p-120f) >> 20) : 0x7f;
}

/* The tiles of scales beside one another that a row has. */
DEVICE int group_tiles(int groups)
{
    return (groups + SCALE_GROUPS - 1) / SCALE_GROUPS;
}

/* Where the scale of a row's group lies in the swizzled scales of a matrix (cuda.h). */
DEVICE size_t scale_place(int row, int group, int groups)
{
    size_t tile = (size_t)(row / SCALE_ROWS) * group_tiles(groups) + group / SCALE_GROUPS;

    return tile * SCALE_TILE + (size_t)(row % 32 * 16 + row % SCALE_ROWS / 32 * SCALE_GROUPS +
                                        group % SCALE_GROUPS);
}

/* The blocks of `threads` that n items take. */
static inline unsigned blocks_for(size_t n, unsigned threads)
{
    return (unsigned)((n + threads - 1) / threads);
}

DEVICE size_t global_thread()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

#endif
