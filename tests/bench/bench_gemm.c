// links: kernels_cpu
/* a6_gemm_bf16, a6_gemm_f32: NVFP4 linear layers as a fraction of the peak of this machine, measured
 * in the same run: f32 FMA for float32, the faster of FMA and vdpbf16ps for bfloat16. The figure is
 * the least over the shapes; all rates are the best of many short repetitions, peak and product in
 * turn, so that both meet the same clock and the same neighbours. */
#include <immintrin.h>
#include <time.h>

#include "tests/cpu_case.h"

enum { CHAINS = 14, PEAK_STEPS = 100000, REPETITIONS = 12 };

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Each runs PEAK_STEPS steps of CHAINS independent chains and returns the flops of one thread. The
 * empty asm keeps every chain in a register. */
#define PEAK_LOOP(name, isas, vector, start, step, flops)                                          \
    __attribute__((target(isas))) static double name(void)                                         \
    {                                                                                              \
        vector a[CHAINS];                                                                          \
                                                                                                   \
        _Pragma("GCC unroll 14") for (int i = 0; i < CHAINS; i++) a[i] = start;                    \
        for (int k = 0; k < PEAK_STEPS; k++) {                                                     \
            _Pragma("GCC unroll 14") for (int i = 0; i < CHAINS; i++)                              \
            {                                                                                      \
                a[i] = step;                                                                       \
                __asm__ volatile("" : "+v"(a[i]));                                                 \
            }                                                                                      \
        }                                                                                          \
        return (double)PEAK_STEPS * CHAINS * (flops);                                              \
    }

PEAK_LOOP(run_fma_512, "avx512f", __m512, _mm512_set1_ps(0.5f),
          _mm512_fmadd_ps(a[i], _mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f)), 32)
PEAK_LOOP(run_fma_256, "avx2,fma", __m256, _mm256_set1_ps(0.5f),
          _mm256_fmadd_ps(a[i], _mm256_set1_ps(0.5f), _mm256_set1_ps(0.25f)), 16)
PEAK_LOOP(run_dot_512, "avx512f,avx512bf16", __m512, _mm512_set1_ps(0.5f),
          _mm512_dpbf16_ps(a[i], (__m512bh)_mm512_set1_epi16(0x3f00),
                           (__m512bh)_mm512_set1_epi16(0x3f00)), 64)

/* GFLOP/s of all threads together. */
static double rate_of(double (*run)(void), int threads)
{
    double start = seconds(), flops = 0;

#pragma omp parallel num_threads(threads) reduction(+ : flops)
    flops += run();
    return flops / (seconds() - start) * 1e-9;
}

struct peaks {
    double (*fma)(void), (*dot)(void); /* NULL: not on this processor */
    double fma_rate, dot_rate;         /* best so far */
};

static struct peaks find_peaks(void)
{
    struct peaks p = {0};

    if (__builtin_cpu_supports("avx512f"))
        p.fma = run_fma_512;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        p.fma = run_fma_256;
    if (__builtin_cpu_supports("avx512bf16"))
        p.dot = run_dot_512;
    if (!p.fma)
        SKIP("no vector FMA on this processor");
    return p;
}

static void measure_peaks(struct peaks *p, int threads)
{
    p->fma_rate = fmax(p->fma_rate, rate_of(p->fma, threads));
    if (p->dot)
        p->dot_rate = fmax(p->dot_rate, rate_of(p->dot, threads));
}

static const struct product { int T, K, N; } products[] = {
    {512, 2048, 2048}, {512, 2048, 8192}, {2048, 2048, 2048}, {2048, 2048, 8192}};
enum { PRODUCTS = sizeof products / sizeof *products };

static double time_product(struct device *d, const struct product *s, const struct weight *all,
                           const void *x, void *y)
{
    struct weight w = *all;
    struct err e = {0};
    double start = seconds();

    w.N = s->N;
    EXPECT(kernels_cpu.linear(d, y, x, &w, s->T, &e) == OK);
    return 2.0 * s->T * s->K * s->N / (seconds() - start) * 1e-9;
}

/* Best rate of each product; the peaks move up beside them. */
static void measure_dtype(enum dtype t, const struct weight *w, struct peaks *p,
                          double rate[PRODUCTS])
{
    static const struct work_shape largest = {.tokens = 2048, .len_max = 16, .hidden = 2048,
                                              .ffn = 8192, .q_dim = 16, .kv_dim = 16,
                                              .head_dim = 16, .vocab = 16, .k_max = 2048,
                                              .n_max = 8192};
    struct device *d = open_device("auto", t, W4A16, 0, &largest);
    float *x = must_alloc(sizeof(float) * 2048 * 2048), *y = must_alloc(sizeof(float) * 2048 * 8192);
    uint64_t state = 5;

    for (size_t i = 0; i < 2048 * 2048; i++)
        x[i] = next_float(&state);
    d->isa->rows->narrow(t, x, x, 2048 * 2048); /* in place: never ahead of what is read */
    printf("%s: %s\n", dtype_name(t), kernels_cpu.describe(d));
    for (int i = 0; i < PRODUCTS; i++)
        rate[i] = 0;
    for (int r = 0; r < REPETITIONS; r++)
        for (int i = 0; i < PRODUCTS; i++) {
            measure_peaks(p, kernels_cpu.threads(d));
            rate[i] = fmax(rate[i], time_product(d, &products[i], w, x, y));
        }
    kernels_cpu.close(d);
    free(x);
    free(y);
}

static void report(const char *name, double peak, const double rate[PRODUCTS])
{
    double least = INFINITY;

    for (int i = 0; i < PRODUCTS; i++) {
        printf("part %s_%dx%dx%d_gflops %.1f\n", name, products[i].T, products[i].K, products[i].N,
               rate[i]);
        least = fmin(least, rate[i]);
    }
    printf("figure %s %.4f\n", name, least / peak);
}

int main(void)
{
    struct peaks p = find_peaks();
    uint64_t state = 6;
    struct weight w = random_weight(WEIGHT_NVFP4, 8192, 2048, &state);
    double bf16[PRODUCTS], f32[PRODUCTS];

    measure_dtype(DTYPE_BF16, &w, &p, bf16);
    measure_dtype(DTYPE_F32, &w, &p, f32);
    printf("part peak_fma_gflops %.1f\n", p.fma_rate);
    printf("part peak_vdpbf16ps_gflops %.1f\n", p.dot_rate);
    report("a6_gemm_bf16", fmax(p.fma_rate, p.dot_rate), bf16);
    report("a6_gemm_f32", p.fma_rate, f32);
    free_weight(&w);
    return 0;
}
