/* gemm_avx512.c - matrix half of the AVX-512 variant (F, BW, VL, DQ).
 *
 * Unpacking works on 16 columns at a time: 64 bytes of each of 16 rows of W (128 NVFP4 codes, 32
 * values of 16 bits or 16 of 32) are transposed as dwords, so that vector d holds dword d of every
 * column; each dword then yields 8, 2 or 1 rows of the B panel. */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { LANES = 16, VECTORS = GEMM_NR / LANES };

static void micro(const void *pa, const void *pb, int kc, float *c, size_t ldc, bool first)
{
    const float *a = pa, *b = pb;
    __m512 acc[GEMM_MR][VECTORS];

#pragma GCC unroll 16
    for (int i = 0; i < GEMM_MR; i++) {
        acc[i][0] = acc[i][1] = _mm512_setzero_ps();
        _mm_prefetch((const char *)(c + i * ldc), _MM_HINT_T0);
        _mm_prefetch((const char *)(c + i * ldc + LANES), _MM_HINT_T0);
    }
    for (int k = 0; k < kc; k++, a += GEMM_MR, b += GEMM_NR) {
        __m512 b0 = _mm512_load_ps(b), b1 = _mm512_load_ps(b + LANES);

        _mm_prefetch((const char *)(a + (size_t)GEMM_MR * kc), _MM_HINT_T0); /* the next panel */

#pragma GCC unroll 16
        for (int i = 0; i < GEMM_MR; i++) {
            __m512 ai = _mm512_set1_ps(a[i]);

            acc[i][0] = _mm512_fmadd_ps(ai, b0, acc[i][0]);
            acc[i][1] = _mm512_fmadd_ps(ai, b1, acc[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < GEMM_MR; i++)
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) {
            float *to = c + i * ldc + j * LANES;

            if (!first)
                acc[i][j] = _mm512_add_ps(_mm512_loadu_ps(to), acc[i][j]);
            _mm512_storeu_ps(to, acc[i][j]);
        }
}

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

static void pack(const float *x, size_t ldx, int kc, void *to)
{
    float *a = to;

    for (int k = 0; k < kc; k += LANES) {
        int n = kc - k < LANES ? kc - k : LANES;
        __m512i r[LANES];

        load_transposed((const uint8_t *)(x + k), ldx * sizeof *x, GEMM_MR, n * 4, r);
        for (int i = 0; i < n; i++)
            _mm512_mask_storeu_epi32(a + (size_t)(k + i) * GEMM_MR, (1 << GEMM_MR) - 1, r[i]);
    }
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

/* Columns n .. n+15 of a B panel. */
__attribute__((always_inline)) static inline void unpack_nvfp4(const struct weight *w, int n,
                                                               int columns, int k0, int kc,
                                                               bool hf, float *b)
{
    const __m512 table =
        _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f,
                       -2.0f, -3.0f, -4.0f, -6.0f);
    const __m512 global = _mm512_set1_ps(w->global_stored);
    size_t row = (size_t)w->K / 2, scales = (size_t)w->K / NVFP4_GROUP;
    const uint8_t *data = (const uint8_t *)w->data + n * row + k0 / 2;
    const uint8_t *scale = w->scale + n * scales + k0 / NVFP4_GROUP;

    for (int k = 0; k < kc; k += 8 * NVFP4_GROUP) {
        int groups = (kc - k) / NVFP4_GROUP < 8 ? (kc - k) / NVFP4_GROUP : 8;
        __m512i code[LANES], s[2];

        load_transposed(data + k / 2, row, columns, groups * 8, code);
        load_scales(scale + k / NVFP4_GROUP, scales, columns, groups, s);
        for (int g = 0; g < groups; g++) {
            __m512i byte = _mm512_srl_epi32(s[g / 4], _mm_cvtsi32_si128(g % 4 * 8));
            __m512 f = widen_e4m3(byte);

            if (hf)
                f = w->global_divides ? _mm512_div_ps(f, global) : _mm512_mul_ps(f, global);
            for (int h = 0; h < 2; h++) {
                __m512i v = code[2 * g + h];
                float *to = b + (size_t)(k + g * NVFP4_GROUP + h * 8) * GEMM_NR;

#pragma GCC unroll 8
                for (int j = 0; j < 8; j++) {
                    __m512 q = _mm512_permutexvar_ps(_mm512_srli_epi32(v, 4 * j), table);
                    __m512 x = _mm512_mul_ps(q, f);

                    _mm512_store_ps(to + j * GEMM_NR, hf ? round_bf16(x) : x);
                }
            }
        }
    }
}

static inline __m512 widen_low(__m512i v, enum weight_format format)
{
    if (format == WEIGHT_BF16)
        return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

static void unpack_16bit(const struct weight *w, int n, int columns, int k0, int kc, float *b)
{
    size_t row = (size_t)w->K * 2;
    const uint8_t *data = (const uint8_t *)w->data + n * row + (size_t)k0 * 2;

    for (int k = 0; k < kc; k += 2 * LANES) {
        int count = kc - k < 2 * LANES ? kc - k : 2 * LANES;
        __m512i pair[LANES];

        load_transposed(data + (size_t)k * 2, row, columns, count * 2, pair);
        for (int i = 0; i < count; i++) {
            __m512i v = i % 2 ? _mm512_srli_epi32(pair[i / 2], 16) : pair[i / 2];

            _mm512_store_ps(b + (size_t)(k + i) * GEMM_NR, widen_low(v, w->format));
        }
    }
}

static void unpack_f32(const struct weight *w, int n, int columns, int k0, int kc, float *b)
{
    size_t row = (size_t)w->K * 4;
    const uint8_t *data = (const uint8_t *)w->data + n * row + (size_t)k0 * 4;

    for (int k = 0; k < kc; k += LANES) {
        int count = kc - k < LANES ? kc - k : LANES;
        __m512i v[LANES];

        load_transposed(data + (size_t)k * 4, row, columns, count * 4, v);
        for (int i = 0; i < count; i++)
            _mm512_store_si512(b + (size_t)(k + i) * GEMM_NR, v[i]);
    }
}

static void unpack(const struct weight *w, int n0, int k0, int kc, bool hf, void *panel)
{
    for (int half = 0; half < GEMM_NR; half += LANES) {
        int n = n0 + half, left = w->N - n;
        int columns = left < 0 ? 0 : left < LANES ? left : LANES;
        float *b = (float *)panel + half;

        if (w->format == WEIGHT_NVFP4 && hf)
            unpack_nvfp4(w, n, columns, k0, kc, true, b);
        else if (w->format == WEIGHT_NVFP4)
            unpack_nvfp4(w, n, columns, k0, kc, false, b);
        else if (w->format == WEIGHT_F32)
            unpack_f32(w, n, columns, k0, kc, b);
        else
            unpack_16bit(w, n, columns, k0, kc, b);
    }
}

const struct gemm_ops gemm_avx512 = {
    .panel_bytes = sizeof(float), .micro = micro, .pack = pack, .unpack = unpack};
