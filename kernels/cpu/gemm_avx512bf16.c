/* gemm_avx512bf16.c - products of bf16 by vdpbf16ps, two values of k at a time: for processors where
 * that is faster than f32 FMA. Panels hold dwords [kc/2][MR or NR], the even k in the low half; an
 * odd last k has a 0 beside it. All values come in as f32 that bf16 holds exactly.
 *
 * Not the bits of the other variants: sums run over pairs, and the instruction takes denormals as 0. */
#include "kernels/cpu/tile_avx512.h"
#include "kernels/cpu/unpack_avx512.h"

/* The bf16 values of two consecutive k, side by side. */
static inline __m512i join_pair(__m512i even, __m512i odd)
{
    const __m512i high = _mm512_set1_epi32((int)0xffff0000);

    return _mm512_or_si512(_mm512_srli_epi32(even, 16), _mm512_and_si512(odd, high));
}

static void micro(const void *pa, const void *pb, int kc, float *c, size_t ldc, bool first)
{
    const int32_t *a = pa, *b = pb;
    int pairs = (kc + 1) / 2;
    tile acc;

    clear_tile(acc, c, ldc);
    for (int k = 0; k < pairs; k++, a += GEMM_MR, b += GEMM_NR) {
        __m512bh b0 = (__m512bh)_mm512_load_si512(b);
        __m512bh b1 = (__m512bh)_mm512_load_si512(b + LANES);

        _mm_prefetch((const char *)(a + (size_t)GEMM_MR * pairs), _MM_HINT_T0); /* next panel */
#pragma GCC unroll 16
        for (int i = 0; i < GEMM_MR; i++) {
            __m512bh ai = (__m512bh)_mm512_set1_epi32(a[i]);

            acc[i][0] = _mm512_dpbf16_ps(acc[i][0], ai, b0);
            acc[i][1] = _mm512_dpbf16_ps(acc[i][1], ai, b1);
        }
    }
    store_tile(acc, c, ldc, first);
}

static void pack(const float *x, size_t ldx, int kc, void *to)
{
    int32_t *a = to;

    for (int k = 0; k < kc; k += LANES) {
        int n = kc - k < LANES ? kc - k : LANES;
        __m512i r[LANES]; /* beyond n: 0 */

        load_transposed((const uint8_t *)(x + k), ldx * sizeof *x, GEMM_MR, n * 4, r);
        for (int i = 0; i < n; i += 2, a += GEMM_MR)
            _mm512_mask_storeu_epi32(a, (1 << GEMM_MR) - 1, join_pair(r[i], r[i + 1]));
    }
}

/* Columns n .. n+15 of a B panel. */
__attribute__((always_inline)) static inline void unpack_nvfp4(const struct weight *w, int n,
                                                               int columns, int k0, int kc,
                                                               bool hf, int32_t *b)
{
    for (int k = 0; k < kc; k += 8 * NVFP4_GROUP) {
        struct nvfp4_block block;

        load_nvfp4(w, n, columns, k0 + k, k0 + kc, &block);
        for (int g = 0; g < block.groups; g++) {
            __m512 factor = group_factor(w, &block, g, hf);
            int32_t *to = b + (size_t)(k + g * NVFP4_GROUP) / 2 * GEMM_NR;

#pragma GCC unroll 8
            for (int i = 0; i < NVFP4_GROUP; i += 2) {
                __m512i codes = _mm512_srli_epi32(block.code[2 * g + i / 8], i % 8 * 4);
                __m512 even = nvfp4_product(codes, factor, hf);
                __m512 odd = nvfp4_product(_mm512_srli_epi32(codes, 4), factor, hf);

                _mm512_store_si512(to + i / 2 * GEMM_NR, join_pair(_mm512_castps_si512(even),
                                                                   _mm512_castps_si512(odd)));
            }
        }
    }
}

/* Transposed dwords are the panel. */
static void unpack_bf16(const struct weight *w, int n, int columns, int k0, int kc, int32_t *b)
{
    size_t row = (size_t)w->K * 2;
    const uint8_t *data = (const uint8_t *)w->data + n * row + (size_t)k0 * 2;

    for (int k = 0; k < kc; k += 2 * LANES) {
        int count = kc - k < 2 * LANES ? kc - k : 2 * LANES;
        __m512i pair[LANES];

        prefetch_next(data + (size_t)k * 2, row);
        load_transposed(data + (size_t)k * 2, row, columns, count * 2, pair);
        for (int i = 0; i < count; i += 2)
            _mm512_store_si512(b + (size_t)(k + i) / 2 * GEMM_NR, pair[i / 2]);
    }
}

static void unpack(const struct weight *w, int n0, int k0, int kc, bool hf, void *panel)
{
    CHECK(w->format == WEIGHT_NVFP4 || w->format == WEIGHT_BF16);
    for (int half = 0; half < GEMM_NR; half += LANES) {
        int n = n0 + half, columns = columns_left(w, n);
        int32_t *b = (int32_t *)panel + half;

        if (w->format == WEIGHT_BF16)
            unpack_bf16(w, n, columns, k0, kc, b);
        else if (hf)
            unpack_nvfp4(w, n, columns, k0, kc, true, b);
        else
            unpack_nvfp4(w, n, columns, k0, kc, false, b);
    }
}

static void join(const float *x, int rows, int columns, void *to)
{
    for (int r = 0; r < rows; r += 2)
        for (int c = 0; c < columns; c += LANES) {
            __mmask16 left = columns - c < LANES ? (__mmask16)((1 << (columns - c)) - 1) : 0xffff;
            const float *at = x + (size_t)r * columns + c;
            __m512i even = _mm512_maskz_loadu_epi32(left, at);
            __m512i odd = _mm512_maskz_loadu_epi32(left, at + columns);

            _mm512_mask_storeu_epi32((int32_t *)to + (size_t)r / 2 * columns + c, left,
                                     join_pair(even, odd));
        }
}

const struct gemm_ops gemm_avx512bf16 = {
    .panel_bytes = 2, .micro = micro, .pack = pack, .unpack = unpack, .join = join};
