/* unpack_avx512.h - from rows of a matrix to vectors down its columns, for the AVX-512 variants.
 *
 * Unpacking works on 16 columns at a time: 64 bytes of each of 16 rows of W (128 NVFP4 codes, 32
 * values of 16 bits or 16 of 32) are transposed as dwords, so that vector d holds dword d of every
 * column; each dword then yields 8, 2 or 1 values of its column. */
#ifndef KERNELS_CPU_UNPACK_AVX512_H
#define KERNELS_CPU_UNPACK_AVX512_H

#include <immintrin.h>

#include "kernels/cpu/cpu.h"

enum { LANES = 16 };

/* r[i] lane j becomes r[j] lane i. */
static inline void transpose(__m512i r[LANES])
{
    __m512i t[LANES];

#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < LANES; i += 8)
#pragma GCC unroll 4
        for (int j = i; j < i + 4; j++) {
            t[j] = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88);
            t[j + 4] = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xdd);
        }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
    }
}

/* Up to 64 bytes from each of `columns` rows, as dwords transposed; what lies beyond is 0. */
static inline void load_transposed(const uint8_t *from, size_t row_bytes, int columns, int bytes,
                                   __m512i r[LANES])
{
    __mmask64 want = bytes >= 64 ? ~0ull : (1ull << bytes) - 1;

#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        r[i] = i < columns ? _mm512_maskz_loadu_epi8(want, from + i * row_bytes)
                           : _mm512_setzero_si512();
    transpose(r);
}

/* Asks for what lies 16 rows further down, which is unpacked next: rows of W are far apart, and no
 * hardware foresees them. To L2: 16 lines of L1 are one set where rows are a power of 2 apart. */
static inline void prefetch_next(const uint8_t *from, size_t row_bytes)
{
#pragma GCC unroll 16
    for (int i = LANES; i < 2 * LANES; i++)
        _mm_prefetch((const char *)from + i * row_bytes, _MM_HINT_T1);
}

/* The e4m3 scales of up to 8 groups of each column: column j's byte g is byte g % 4 of lane j of
 * s[g / 4]. */
static inline void load_scales(const uint8_t *from, size_t row_bytes, int columns, int groups,
                               __m512i s[2])
{
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    __mmask16 want = (__mmask16)((1u << groups) - 1);
    uint64_t bytes[LANES] __attribute__((aligned(64)));

#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        _mm_storel_epi64((__m128i *)&bytes[i],
                         i < columns ? _mm_maskz_loadu_epi8(want, from + i * row_bytes)
                                     : _mm_setzero_si128());
    __m512i low = _mm512_load_si512(bytes), high = _mm512_load_si512(bytes + 8);

    s[0] = _mm512_permutex2var_epi32(low, even, high);
    s[1] = _mm512_permutex2var_epi32(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
}

/* e4m3 bytes in dwords, through f16 with the exponent 8 too small. */
static inline __m512 widen_e4m3(__m512i byte)
{
    __m512i magnitude = _mm512_and_si512(byte, _mm512_set1_epi32(0x7f));
    __m512i sign = _mm512_and_si512(byte, _mm512_set1_epi32(0x80));
    __m512i half = _mm512_or_si512(_mm512_slli_epi32(sign, 8), _mm512_slli_epi32(magnitude, 7));
    __m512 x = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(half)), _mm512_set1_ps(256.0f));
    __mmask16 nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x7f));

    return _mm512_castsi512_ps(_mm512_mask_or_epi32(
        _mm512_castps_si512(x), nan, _mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
}

/* f32 rounded to what bf16 holds (convert.h). */
static inline __m512 round_bf16(__m512 x)
{
    const __m512i high = _mm512_set1_epi32((int)0xffff0000);
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);

    up = _mm512_mask_or_epi32(up, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_castsi512_ps(_mm512_and_si512(up, high));
}

/* The lowest code of each dword. */
static inline __m512 widen_e2m1(__m512i code)
{
    const __m512 table =
        _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f,
                       -2.0f, -3.0f, -4.0f, -6.0f);

    return _mm512_permutexvar_ps(code, table);
}

/* 128 codes of each of 16 columns, or what there is: byte 8g + i/2 of column j is code 16g + i. */
struct nvfp4_block {
    int groups; /* of 16 codes, at most 8 */
    __m512i code[LANES], scale[2];
};

static inline void load_nvfp4(const struct weight *w, int n, int columns, int k, int end,
                              struct nvfp4_block *to)
{
    size_t row = (size_t)w->K / 2, scales = (size_t)w->K / NVFP4_GROUP;
    const uint8_t *data = (const uint8_t *)w->data + n * row + k / 2;

    to->groups = (end - k) / NVFP4_GROUP < 8 ? (end - k) / NVFP4_GROUP : 8;
    prefetch_next(data, row);
    load_transposed(data, row, columns, to->groups * NVFP4_GROUP / 2, to->code);
    load_scales(w->scale + n * scales + k / NVFP4_GROUP, scales, columns, to->groups, to->scale);
}

/* What the codes of group g are multiplied with: s, or with hf s and the global scale. */
static inline __m512 group_factor(const struct weight *w, const struct nvfp4_block *block, int g,
                                  bool hf)
{
    const __m512 global = _mm512_set1_ps(w->global_stored);
    __m512 s = widen_e4m3(_mm512_srl_epi32(block->scale[g / 4], _mm_cvtsi32_si128(g % 4 * 8)));

    if (!hf)
        return s;
    return w->global_divides ? _mm512_div_ps(s, global) : _mm512_mul_ps(s, global);
}

static inline __m512 nvfp4_product(__m512i code, __m512 factor, bool hf)
{
    __m512 x = _mm512_mul_ps(widen_e2m1(code), factor);

    return hf ? round_bf16(x) : x;
}

/* How many of the columns n .. n+15 there are. */
static inline int columns_left(const struct weight *w, int n)
{
    int left = w->N - n;

    return left < 0 ? 0 : left < LANES ? left : LANES;
}

#endif
