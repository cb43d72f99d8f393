// links: kernels_cpu peak
/* a6_gemm_bf16, a6_gemm_f32: NVFP4 linear layers as a fraction of the peak of this machine, measured
 * in the same run: f32 FMA for float32, the faster of FMA and vdpbf16ps for bfloat16. The figure is
 * the least over the shapes; all rates are the best of many repetitions of milliseconds, peak and
 * product in turn, so that both meet the same clock and the same neighbours. */

#include "spec/clock.h"
#include "tests/bench/peak.h"
#include "tests/cpu_case.h"

enum { REPETITIONS = 12 };
static const double round_s = 0.02; /* of the peak: as long as a product */

static const struct product { int T, K, N; } products[] = {
    {512, 2048, 2048}, {512, 2048, 8192}, {2048, 2048, 2048}, {2048, 2048, 8192}};
enum { PRODUCTS = sizeof products / sizeof *products };

static double time_product(struct device *d, const struct product *s, const struct weight *all,
                           const void *x, void *y)
{
    struct weight w = *all;
    struct err e = {0};
    double start = clock_seconds();

    w.N = s->N;
    EXPECT(kernels_cpu.linear(d, y, x, &w, s->T, &e) == OK);
    return 2.0 * s->T * s->K * s->N / (clock_seconds() - start) * 1e-9;
}

/* Best rate of each product; the peaks move up beside them. */
static void measure_dtype(enum dtype t, const struct weight *w, struct peak *p,
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
            if (!peak_raise(p, kernels_cpu.threads(d), round_s))
                SKIP("no vector FMA on this processor");
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
        printf("part %s_%dx%dx%d_gflops %.1f GFLOP/s\n", name, products[i].T, products[i].K, products[i].N,
               rate[i]);
        least = fmin(least, rate[i]);
    }
    printf("figure %s %.4f\n", name, least / peak);
}

int main(void)
{
    struct peak p = {0};
    uint64_t state = 6;
    struct weight w = random_weight(WEIGHT_NVFP4, 8192, 2048, &state);
    double bf16[PRODUCTS], f32[PRODUCTS];

    measure_dtype(DTYPE_BF16, &w, &p, bf16);
    measure_dtype(DTYPE_F32, &w, &p, f32);
    printf("part peak_fma_gflops %.1f GFLOP/s\n", p.fma);
    printf("part peak_vdpbf16ps_gflops %.1f GFLOP/s\n", p.dot);
    report("a6_gemm_bf16", fmax(p.fma, p.dot), bf16);
    report("a6_gemm_f32", p.fma, f32);
    free_weight(&w);
    return 0;
}
