#include "tests/bench/peak.h"

#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { CHAINS = 14, STEPS = 8000000, ROUNDS = 12, THREADS_MAX = 1024 };

/* Runs STEPS steps of CHAINS chains. The empty asm keeps every step; with both loops unrolled in
 * full, the chains stay in registers. */
typedef void burn(void);

__attribute__((target("avx512f"))) static void burn_avx512(void)
{
    __m512 b = _mm512_set1_ps(0.5f), a[CHAINS];

#pragma GCC unroll 14
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_set1_ps(1e-9f * (float)i);
    for (long k = 0; k < STEPS; k++) {
#pragma GCC unroll 14
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm512_fmadd_ps(a[i], b, b);
            __asm__ volatile("" : "+v"(a[i]));
        }
    }
}

__attribute__((target("avx512bf16"))) static void burn_bf16(void)
{
    __m512bh b = (__m512bh)_mm512_set1_epi16(0x3f00); /* 0.5 */
    __m512 a[CHAINS];

#pragma GCC unroll 14
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_set1_ps(1e-9f * (float)i);
    for (long k = 0; k < STEPS; k++) {
#pragma GCC unroll 14
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm512_dpbf16_ps(a[i], b, b);
            __asm__ volatile("" : "+v"(a[i]));
        }
    }
}

__attribute__((target("avx2,fma"))) static void burn_avx2(void)
{
    __m256 b = _mm256_set1_ps(0.5f), a[CHAINS];

#pragma GCC unroll 14
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm256_set1_ps(1e-9f * (float)i);
    for (long k = 0; k < STEPS; k++) {
#pragma GCC unroll 14
        for (int i = 0; i < CHAINS; i++) {
            a[i] = _mm256_fmadd_ps(a[i], b, b);
            __asm__ volatile("" : "+x"(a[i]));
        }
    }
}

static void *burn_thread(void *work)
{
    (*(burn **)work)();
    return NULL;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* flops: floating-point operations of one step of one chain. */
static double measure(burn *work, int threads, double flops)
{
    double best = 0;

    for (int round = 0; round < ROUNDS; round++) {
        pthread_t id[THREADS_MAX];
        double start = now();

        for (int i = 1; i < threads; i++)
            if (pthread_create(&id[i], NULL, burn_thread, &work) != 0)
                abort();
        work();
        for (int i = 1; i < threads; i++)
            pthread_join(id[i], NULL);
        best = fmax(best, (double)STEPS * CHAINS * flops * threads / (now() - start) * 1e-9);
    }
    return best;
}

struct peak peak_measure(int threads)
{
    struct peak p = {0};

    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    if (__builtin_cpu_supports("avx512f"))
        p.f32_gflops = measure(burn_avx512, threads, 32);
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        p.f32_gflops = measure(burn_avx2, threads, 16);
    if (__builtin_cpu_supports("avx512bf16"))
        p.bf16_gflops = measure(burn_bf16, threads, 64);
    return p;
}
