// links: kernels_cpu
// timeout: 120
/* linear: against a sum in double, in every dtype, arithmetic and weight format, at awkward shapes,
 * with and without bias; and the same bits in every variant, for any number of threads, and for any
 * other rows beside a row. */
#include "tests/cpu_case.h"

static const struct work_shape largest = {.tokens = 2100, .len_max = 64, .hidden = 1040, .ffn = 64,
                                          .q_dim = 64, .kv_dim = 64, .head_dim = 16, .vocab = 64,
                                          .k_max = 1040, .n_max = 300};

/* One layer, everything random, and its outputs. */
struct layer_case {
    enum dtype dtype;
    enum arithmetic arithmetic;
    int T;
    struct weight w;
    float *bias;
    void *x; /* [T][K] */
};

static struct layer_case make_case(enum dtype t, enum arithmetic a, enum weight_format f, int T,
                                   int N, int K, uint64_t *state)
{
    struct layer_case c = {.dtype = t, .arithmetic = a, .T = T};
    float *x = must_alloc((size_t)T * K * sizeof *x);

    c.w = random_weight(f, N, K, state);
    c.bias = must_alloc(N * sizeof *c.bias);
    for (int n = 0; n < N; n++)
        c.bias[n] = next_float(state);
    c.w.bias = N % 3 ? c.bias : NULL;
    c.w.global_divides = N % 2;
    c.w.global_stored = c.w.global_divides ? 345.75f : 0.0029f;
    if (f == WEIGHT_NVFP4)
        c.w.input_global = 500;
    for (size_t i = 0; i < (size_t)T * K; i++)
        x[i] = next_float(state) * 3;
    c.x = must_alloc((size_t)T * K * dtype_bytes(t));
    rows_portable.narrow(t, x, c.x, (size_t)T * K);
    free(x);
    return c;
}

static void free_case(struct layer_case *c)
{
    free_weight(&c->w);
    free(c->bias);
    free(c->x);
}

/* y as it lies in memory; free it. */
static unsigned char *run_case(const struct layer_case *c, const char *isa, int threads, int first,
                               int rows)
{
    struct device *d = open_device(isa, c->dtype, c->arithmetic, threads, &largest);
    size_t size = dtype_bytes(c->dtype), bytes = (size_t)rows * c->w.N * size;
    unsigned char *y = must_alloc(bytes + 64);
    struct err e = {0};

    memset(y, 0x5a, bytes + 64);
    EXPECT(kernels_cpu.linear(d, y, (const char *)c->x + (size_t)first * c->w.K * size, &c->w, rows,
                              &e) == OK);
    for (int i = 0; i < 64; i++)
        EXPECT(y[bytes + i] == 0x5a);
    kernels_cpu.close(d);
    return y;
}

/* W as the layer multiplies with it, and the factor of the sums. */
static double factor(const struct layer_case *c, float *w)
{
    bool hf = c->arithmetic == W4A16_HF || c->arithmetic == W4A4_HF;
    double g = 1;

    for (int n = 0; n < c->w.N; n++)
        for (int k0 = 0; k0 < c->w.K; k0 += GEMM_KC) {
            int kc = c->w.K - k0 < GEMM_KC ? c->w.K - k0 : GEMM_KC;
            float *panel = must_alloc((size_t)GEMM_NR * kc * sizeof *panel);

            gemm_portable.unpack(&c->w, n, k0, kc, hf, panel); /* proved by test_unpack */
            for (int k = 0; k < kc; k++)
                w[(size_t)n * c->w.K + k0 + k] = panel[k * GEMM_NR];
            free(panel);
        }
    if (c->w.format == WEIGHT_NVFP4 && !hf)
        g = c->w.global_divides ? 1.0 / c->w.global_stored : c->w.global_stored;
    if (c->w.input_global != 0 && c->arithmetic == W4A4_VLLM)
        g /= c->w.input_global;
    return g;
}

static void check_values(const struct layer_case *c, const unsigned char *y)
{
    static const double unit[] = {[DTYPE_BF16] = 0x1p-8, [DTYPE_F16] = 0x1p-11, [DTYPE_F32] = 0};
    static const double tiny[] = {[DTYPE_BF16] = 0, [DTYPE_F16] = 0x1p-25, [DTYPE_F32] = 0};
    int T = c->T, N = c->w.N, K = c->w.K;
    bool quantized = c->w.input_global != 0 &&
                     (c->arithmetic == W4A4_HF || c->arithmetic == W4A4_VLLM);
    float *w = must_alloc((size_t)N * K * sizeof *w), *x = must_alloc((size_t)T * K * sizeof *x);
    float *got = must_alloc((size_t)T * N * sizeof *got);
    struct device *d = open_device("portable", c->dtype, c->arithmetic, 1, &largest);
    double g = factor(c, w);

    if (quantized)
        quantize_rows(d, &c->w, c->x, T, x);
    else
        rows_portable.widen(c->dtype, c->x, x, (size_t)T * K);
    rows_portable.widen(c->dtype, y, got, (size_t)T * N);
    for (int t = 0; t < T; t++)
        for (int n = 0; n < N; n++) {
            double sum = 0, size = 0, bias = c->w.bias ? c->w.bias[n] : 0;

            for (int k = 0; k < K; k++) {
                double p = (double)x[(size_t)t * K + k] * w[(size_t)n * K + k];

                sum += p;
                size += fabs(p);
            }
            double want = g * sum + bias;
            double tol = (size * g + fabs(want)) * (K + 4) * 0x1p-24 * 0.25 +
                         fabs(want) * (unit[c->dtype] * 1.001 + 0x1p-23) + tiny[c->dtype];

            EXPECT_NEAR(got[(size_t)t * N + n], want, tol);
        }
    kernels_cpu.close(d);
    free(w);
    free(x);
    free(got);
}

static void check_same_bits(const struct layer_case *c, const unsigned char *y)
{
    size_t row = c->w.N * dtype_bytes(c->dtype);

    for (const struct isa *isa = cpu_isas; isa->name; isa++) {
        if (!isa->usable() || isa->dot)
            continue;
        for (int threads = 1; threads <= 3; threads += 2) {
            unsigned char *other = run_case(c, isa->name, threads, 0, c->T);

            EXPECT(memcmp(y, other, c->T * row) == 0);
            free(other);
        }
    }
    int first = c->T / 2, rows = c->T - first > 3 ? 3 : c->T - first;
    unsigned char *part = run_case(c, "portable", 2, first, rows);

    EXPECT(memcmp(y + first * row, part, rows * row) == 0);
    free(part);
}

/* vdpbf16ps: other bits, the same for any number of threads. */
static void check_dot(const struct layer_case *c)
{
    for (const struct isa *isa = cpu_isas; isa->name; isa++) {
        if (!isa->usable() || !isa->dot || c->dtype != DTYPE_BF16)
            continue;
        unsigned char *y = run_case(c, isa->name, 1, 0, c->T);
        unsigned char *other = run_case(c, isa->name, 3, 0, c->T);

        check_values(c, y);
        EXPECT(memcmp(y, other, (size_t)c->T * c->w.N * dtype_bytes(c->dtype)) == 0);
        free(y);
        free(other);
    }
}

static void check_case(enum dtype t, enum arithmetic a, enum weight_format f, int T, int N, int K,
                       uint64_t *state)
{
    struct layer_case c = make_case(t, a, f, T, N, K, state);
    unsigned char *y = run_case(&c, "portable", 1, 0, T);

    check_values(&c, y);
    check_same_bits(&c, y);
    check_dot(&c);
    free(y);
    free_case(&c);
}

/* More rows than one pass takes. */
static void check_passes(uint64_t *state)
{
    struct layer_case c = make_case(DTYPE_BF16, W4A16, WEIGHT_NVFP4, 2100, 7, 16, state);
    unsigned char *y = run_case(&c, "auto", 2, 0, 2100);

    check_values(&c, y);
    free(y);
    free_case(&c);
}

int main(void)
{
    static const struct { int T, N, K; } shapes[] = {{1, 1, 16}, {9, 33, 48}, {5, 300, 80},
                                                     {13, 64, 1040}, {8, 32, 512}};
    uint64_t state = 3;

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = DTYPE_BF16; t <= DTYPE_F32; t++)
            for (int f = WEIGHT_F32; f <= WEIGHT_NVFP4; f++)
                for (int a = W4A16; a <= W4A4_VLLM; a++)
                    if (f == WEIGHT_NVFP4 || a == W4A16)
                        check_case((enum dtype)t, (enum arithmetic)a, (enum weight_format)f,
                                   shapes[i].T, shapes[i].N,
                                   shapes[i].K - (f == WEIGHT_NVFP4 ? 0 : 3), &state);
    check_passes(&state);
    return 0;
}
