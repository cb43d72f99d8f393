/* gemm_avx2.c - matrix half of the AVX2 variant (AVX2, FMA, F16C).
 *
 * Unpacking works on 8 columns at a time: 32 bytes of each of 8 rows of W (64 NVFP4 codes, 16
 * values of 16 bits or 8 of 32) are transposed as dwords, so that vector d holds dword d of every
 * column; each dword then yields 8, 2 or 1 rows of the B panel. */
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { LANES = 8 };

/* rows x vectors of the block, both constants where it is called. */
__attribute__((always_inline)) static inline void micro_tile(int rows, int vectors, const float *a,
                                                             const float *b, int kc, float *c,
                                                             size_t ldc, bool first)
{
    __m256 acc[8][3];

#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            acc[i][j] = _mm256_setzero_ps();
    for (int k = 0; k < kc; k++, a += GEMM_MR, b += GEMM_NR) {
        __m256 bk[3];

#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            bk[j] = _mm256_load_ps(b + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            __m256 ai = _mm256_broadcast_ss(a + i);

#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                acc[i][j] = _mm256_fmadd_ps(ai, bk[j], acc[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) {
            float *to = c + i * ldc + j * LANES;

            if (!first)
                acc[i][j] = _mm256_add_ps(_mm256_loadu_ps(to), acc[i][j]);
            _mm256_storeu_ps(to, acc[i][j]);
        }
}

/* 8 x 32 as twice 4 x 24, whose 12 chains hide the latency of an FMA in 16 registers, and 8 x 8. */
static void micro(const void *pa, const void *pb, int kc, float *c, size_t ldc, bool first)
{
    const float *a = pa, *b = pb;

    _Static_assert(GEMM_MR == 8 && GEMM_NR == 32, "the tiles below");
    micro_tile(4, 3, a, b, kc, c, ldc, first);
    micro_tile(4, 3, a + 4, b, kc, c + 4 * ldc, ldc, first);
    micro_tile(8, 1, a, b + 24, kc, c + 24, ldc, first);
}

/* r[i] lane j becomes r[j] lane i. */
static inline void transpose(__m256i r[LANES])
{
    __m256i t[LANES];

#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < LANES; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        t[j] = _mm256_permute2x128_si256(r[j], r[j + 4], 0x20);
        t[j + 4] = _mm256_permute2x128_si256(r[j], r[j + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int j = 0; j < LANES; j++)
        r[j] = t[j];
}

/* Up to 32 bytes from each of `columns` rows, as dwords transposed; what lies beyond is 0. */
static inline void load_transposed(const uint8_t *from, size_t row_bytes, int columns, int bytes,
                                   __m256i r[LANES])
{
    for (int i = 0; i < LANES; i++) {
        uint8_t part[32] = {0};

        if (i < columns && bytes >= 32) {
            r[i] = _mm256_loadu_si256((const __m256i *)(from + i * row_bytes));
            continue;
        }
        if (i < columns)
            memcpy(part, from + i * row_bytes, bytes);
        r[i] = _mm256_loadu_si256((const __m256i *)part);
    }
    transpose(r);
}

static void pack(const float *x, size_t ldx, int kc, void *to)
{
    float *a = to;

    for (int k = 0; k < kc; k += LANES) {
        int n = kc - k < LANES ? kc - k : LANES;
        __m256i r[LANES];

        load_transposed((const uint8_t *)(x + k), ldx * sizeof *x, GEMM_MR, n * 4, r);
        for (int i = 0; i < n; i++)
            _mm256_storeu_si256((__m256i *)(a + (size_t)(k + i) * GEMM_MR), r[i]);
    }
}

/* The e4m3 scales of up to 4 groups of each column: byte g of lane j. */
static inline __m256i load_scales(const uint8_t *from, size_t row_bytes, int columns, int groups)
{
    uint32_t bytes[LANES] = {0};

    for (int j = 0; j < columns; j++)
        if (groups == 4)
            memcpy(&bytes[j], from + j * row_bytes, 4);
        else
            memcpy(&bytes[j], from + j * row_bytes, groups);
    return _mm256_loadu_si256((const __m256i *)bytes);
}

/* Halves in dwords. */
static inline __m256 widen_f16(__m256i half)
{
    __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));

    return _mm256_cvtph_ps(packed);
}

/* e4m3 bytes in dwords, through f16 with the exponent 8 too small. */
static inline __m256 widen_e4m3(__m256i byte)
{
    const __m256i all = _mm256_set1_epi32(0x7f);
    __m256i magnitude = _mm256_and_si256(byte, all);
    __m256i sign = _mm256_and_si256(byte, _mm256_set1_epi32(0x80));
    __m256i half = _mm256_or_si256(_mm256_slli_epi32(sign, 8), _mm256_slli_epi32(magnitude, 7));
    __m256i nan = _mm256_srli_epi32(_mm256_cmpeq_epi32(magnitude, all), 1); /* 0x7fffffff or 0 */

    return _mm256_or_ps(_mm256_mul_ps(widen_f16(half), _mm256_set1_ps(256.0f)),
                        _mm256_castsi256_ps(nan));
}

/* f32 rounded to what bf16 holds (convert.h). */
static inline __m256 round_bf16(__m256 x)
{
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    __m256 chosen = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet), nan);

    return _mm256_and_ps(chosen, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000)));
}

/* The lowest code of each dword: the table knows magnitudes, bit 3 is the sign. */
static inline __m256 widen_e2m1(__m256i code)
{
    const __m256 table = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
    __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(code, 3), 31);

    return _mm256_or_ps(_mm256_permutevar8x32_ps(table, code), _mm256_castsi256_ps(sign));
}

/* Columns n .. n+7 of a B panel. */
__attribute__((always_inline)) static inline void unpack_nvfp4(const struct weight *w, int n,
                                                               int columns, int k0, int kc,
                                                               bool hf, float *b)
{
    const __m256 global = _mm256_set1_ps(w->global_stored);
    size_t row = (size_t)w->K / 2, scales = (size_t)w->K / NVFP4_GROUP;
    const uint8_t *data = (const uint8_t *)w->data + n * row + k0 / 2;
    const uint8_t *scale = w->scale + n * scales + k0 / NVFP4_GROUP;

    for (int k = 0; k < kc; k += 4 * NVFP4_GROUP) {
        int groups = (kc - k) / NVFP4_GROUP < 4 ? (kc - k) / NVFP4_GROUP : 4;
        __m256i code[LANES], s;

        load_transposed(data + k / 2, row, columns, groups * 8, code);
        s = load_scales(scale + k / NVFP4_GROUP, scales, columns, groups);
        for (int g = 0; g < groups; g++, s = _mm256_srli_epi32(s, 8)) {
            __m256 f = widen_e4m3(s);

            if (hf)
                f = w->global_divides ? _mm256_div_ps(f, global) : _mm256_mul_ps(f, global);
            for (int h = 0; h < 2; h++) {
                __m256i v = code[2 * g + h];
                float *to = b + (size_t)(k + g * NVFP4_GROUP + h * 8) * GEMM_NR;

#pragma GCC unroll 8
                for (int j = 0; j < 8; j++) {
                    __m256 x = _mm256_mul_ps(widen_e2m1(_mm256_srli_epi32(v, 4 * j)), f);

                    _mm256_store_ps(to + j * GEMM_NR, hf ? round_bf16(x) : x);
                }
            }
        }
    }
}

static inline __m256 widen_low(__m256i v, enum weight_format format)
{
    if (format == WEIGHT_BF16)
        return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
    return widen_f16(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)));
}

static void unpack_16bit(const struct weight *w, int n, int columns, int k0, int kc, float *b)
{
    size_t row = (size_t)w->K * 2;
    const uint8_t *data = (const uint8_t *)w->data + n * row + (size_t)k0 * 2;

    for (int k = 0; k < kc; k += 2 * LANES) {
        int count = kc - k < 2 * LANES ? kc - k : 2 * LANES;
        __m256i pair[LANES];

        load_transposed(data + (size_t)k * 2, row, columns, count * 2, pair);
        for (int i = 0; i < count; i++) {
            __m256i v = i % 2 ? _mm256_srli_epi32(pair[i / 2], 16) : pair[i / 2];

            _mm256_store_ps(b + (size_t)(k + i) * GEMM_NR, widen_low(v, w->format));
        }
    }
}

static void unpack_f32(const struct weight *w, int n, int columns, int k0, int kc, float *b)
{
    size_t row = (size_t)w->K * 4;
    const uint8_t *data = (const uint8_t *)w->data + n * row + (size_t)k0 * 4;

    for (int k = 0; k < kc; k += LANES) {
        int count = kc - k < LANES ? kc - k : LANES;
        __m256i v[LANES];

        load_transposed(data + (size_t)k * 4, row, columns, count * 4, v);
        for (int i = 0; i < count; i++)
            _mm256_store_si256((__m256i *)(b + (size_t)(k + i) * GEMM_NR), v[i]);
    }
}

static void unpack(const struct weight *w, int n0, int k0, int kc, bool hf, void *panel)
{
    for (int part = 0; part < GEMM_NR; part += LANES) {
        int n = n0 + part, left = w->N - n;
        int columns = left < 0 ? 0 : left < LANES ? left : LANES;
        float *b = (float *)panel + part;

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

const struct gemm_ops gemm_avx2 = {
    .panel_bytes = sizeof(float), .micro = micro, .pack = pack, .unpack = unpack};
