/* convert.h - the scalar truth of every number format: what the vector code must equal bit by bit.
 *
 * Rounding is to nearest, ties to even. A NaN stays a NaN, made quiet, its sign kept. */
#ifndef KERNELS_CPU_CONVERT_H
#define KERNELS_CPU_CONVERT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float f32_from_bits(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float bf16_to_f32(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t f32_to_bf16(float x)
{
    uint32_t u = f32_bits(x);

    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;

    if (e == 31)
        return f32_from_bits(sign | 0x7f800000 | m << 13 | (m ? 0x400000 : 0));
    if (e == 0) /* m * 2^-24 */
        return f32_from_bits(sign | f32_bits((float)m * 0x1p-24f));
    return f32_from_bits(sign | (e + 112) << 23 | m << 13);
}

static inline uint16_t f32_to_f16(float x)
{
    uint32_t u = f32_bits(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;

    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) { /* below 2^-14: adding 0.5 leaves m * 2^-24 in the last bits */
        float rounded = f32_from_bits(a) + 0.5f;

        return (uint16_t)(sign | (f32_bits(rounded) - 0x3f000000));
    }
    return (uint16_t)(sign | (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13);
}

/* Finite e4m3 (bias 7, no infinity); NaN has all payload bits set. */
static inline float e4m3_to_f32(uint8_t b)
{
    float x = f16_to_f32((uint16_t)((b & 0x80) << 8 | (b & 0x7f) << 7)) * 256.0f;

    return (b & 0x7f) == 0x7f ? f32_from_bits(f32_bits(x) | 0x7fffffff) : x;
}

static inline float e2m1_to_f32(unsigned code)
{
    static const float value[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                    -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

    return value[code & 15];
}

#endif
