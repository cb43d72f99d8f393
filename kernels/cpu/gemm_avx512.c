/* gemm_avx512.c - matrix half of the AVX-512 variant (F, BW, VL, DQ). */
#include "kernels/cpu/tile_avx512.h"
#include "kernels/cpu/unpack_avx512.h"

static void micro(const void *pa, const void *pb, int kc, float *c, size_t ldc, bool first)
{
    const float *a = pa, *b = pb;
    tile acc;

    clear_tile(acc, c, ldc);
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
    store_tile(acc, c, ldc, first);
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

/* Columns n .. n+15 of a B panel. */
__attribute__((always_inline)) static inline void unpack_nvfp4(const struct weight *w, int n,
                                                               int columns, int k0, int kc,
                                                               bool hf, float *b)
{
    for (int k = 0; k < kc; k += 8 * NVFP4_GROUP) {
        struct nvfp4_block block;

        load_nvfp4(w, n, columns, k0 + k, k0 + kc, &block);
        for (int g = 0; g < block.groups; g++) {
            __m512 factor = group_factor(w, &block, g, hf);
            float *to = b + (size_t)(k + g * NVFP4_GROUP) * GEMM_NR;

#pragma GCC unroll 16
            for (int i = 0; i < NVFP4_GROUP; i++) {
                __m512i code = _mm512_srli_epi32(block.code[2 * g + i / 8], i % 8 * 4);

                _mm512_store_ps(to + i * GEMM_NR, nvfp4_product(code, factor, hf));
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

        prefetch_next(data + (size_t)k * 2, row);
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

        prefetch_next(data + (size_t)k * 4, row);
        load_transposed(data + (size_t)k * 4, row, columns, count * 4, v);
        for (int i = 0; i < count; i++)
            _mm512_store_si512(b + (size_t)(k + i) * GEMM_NR, v[i]);
    }
}

static void unpack(const struct weight *w, int n0, int k0, int kc, bool hf, void *panel)
{
    for (int half = 0; half < GEMM_NR; half += LANES) {
        int n = n0 + half, columns = columns_left(w, n);
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
