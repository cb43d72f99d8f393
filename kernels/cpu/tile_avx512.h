/* tile_avx512.h - the block of sums that a micro-kernel of the AVX-512 variants keeps in registers:
 * GEMM_MR rows of two vectors. */
#ifndef KERNELS_CPU_TILE_AVX512_H
#define KERNELS_CPU_TILE_AVX512_H

#include <immintrin.h>

#include "kernels/cpu/cpu.h"

enum { TILE_LANES = 16, TILE_VECTORS = GEMM_NR / TILE_LANES };

typedef __m512 tile[GEMM_MR][TILE_VECTORS];

/* All 0; what they will be added to is asked for. */
__attribute__((always_inline)) static inline void clear_tile(tile acc, const float *c, size_t ldc)
{
#pragma GCC unroll 16
    for (int i = 0; i < GEMM_MR; i++)
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECTORS; j++) {
            acc[i][j] = _mm512_setzero_ps();
            _mm_prefetch((const char *)(c + i * ldc + j * TILE_LANES), _MM_HINT_T0);
        }
}

/* C = first ? acc : C + acc */
__attribute__((always_inline)) static inline void store_tile(tile acc, float *c, size_t ldc,
                                                             bool first)
{
#pragma GCC unroll 16
    for (int i = 0; i < GEMM_MR; i++)
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECTORS; j++) {
            float *to = c + i * ldc + j * TILE_LANES;

            if (!first)
                acc[i][j] = _mm512_add_ps(_mm512_loadu_ps(to), acc[i][j]);
            _mm512_storeu_ps(to, acc[i][j]);
        }
}

#endif
