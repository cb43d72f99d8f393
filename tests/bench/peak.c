#include "tests/bench/peak.h"

#include <immintrin.h>
#include <math.h>
#include <stddef.h>

#include "spec/clock.h"

enum { CHAINS = 14, STEPS = 400000 };

/* Each runs STEPS steps of CHAINS chains and returns the operations of one thread. The empty asm
 * keeps every step; with both loops unrolled in full the chains stay in registers. */
typedef double burn(void);

__attribute__((target("avx512f"))) static double burn_fma_512(void)
{
    __m512 half = _mm512_set1_ps(0.5f), a[CHAINS];

#pragma GCC unroll 14
    for (int i = 0; i < CHAINS; i++)
        a[i] = half;
    for (int k = 0; k < STEPS; k++) {
#pragma GCC unroll 14
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm512_fmadd_ps(a[i], half, half);
            __asm__ volatile("" : "+v"(a[i]));
        }
    }
    return (double)STEPS * CHAINS * 32;
}

__attribute__((target("avx2,fma"))) static double burn_fma_256(void)
{
    __m256 half = _mm256_set1_ps(0.5f), a[CHAINS];

#pragma GCC unroll 14
    for (int i = 0; i < CHAINS; i++)
        a[i] = half;
    for (int k = 0; k < STEPS; k++) {
#pragma GCC unroll 14
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm256_fmadd_ps(a[i], half, half);
            __asm__ volatile("" : "+x"(a[i]));
        }
    }
    return (double)STEPS * CHAINS * 16;
}

__attribute__((target("avx512f,avx512bf16"))) static double burn_dot_512(void)
{
    __m512bh half = (__m512bh)_mm512_set1_epi16(0x3f00);
    __m512 a[CHAINS];

#pragma GCC unroll 14
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_set1_ps(0.5f);
    for (int k = 0; k < STEPS; k++) {
#pragma GCC unroll 14
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm512_dpbf16_ps(a[i], half, half);
            __asm__ volatile("" : "+v"(a[i]));
        }
    }
    return (double)STEPS * CHAINS * 64;
}

/* GFLOP/s of all threads, over all of the time. */
static double rate(burn *work, int threads, double seconds)
{
    double start = clock_seconds(), flops = 0;

#pragma omp parallel num_threads(threads) reduction(+ : flops)
    do
        flops += work();
    while (clock_seconds() - start < seconds);
    return flops / (clock_seconds() - start) * 1e-9;
}

bool peak_raise(struct peak *best, int threads, double seconds)
{
    burn *fma = __builtin_cpu_supports("avx512f") ? burn_fma_512
                : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? burn_fma_256
                                                                                  : NULL;

    if (!fma)
        return false;
    best->fma = fmax(best->fma, rate(fma, threads, seconds));
    if (__builtin_cpu_supports("avx512bf16"))
        best->dot = fmax(best->dot, rate(burn_dot_512, threads, seconds));
    return true;
}
