// links: kernels_cpu
// timeout: 60
/* Proves: every variant of row_ops gives the same bits, for any length and special values; the
 * portable one agrees with double precision; conversions equal the scalar ones of convert.h. */
#include <float.h>

#include "tests/cpu_values.h"

enum { N = 1000 };

static const float special[] = {0.0f,     -0.0f,    INFINITY, -INFINITY, NAN,        -NAN,
                                1e-45f,   -1e-45f,  FLT_MIN,  FLT_MAX,   -FLT_MAX,   65504,
                                65519.9f, 65520,    65536,    0x1p-14f,  0x1.ffcp-15f, 0x1p-24f,
                                0x1p-25f, 0x1.8p-24f, 1,      -1,        88.8f,      -104.1f};
enum { SPECIALS = sizeof special / sizeof *special };

/* Random values in [-size, size); every fifth is special where asked. */
static void fill(float *x, int n, float size, bool with_special, uint64_t *state)
{
    for (int i = 0; i < n; i++) {
        x[i] = size * next_float(state);
        if (with_special && next_random(state) % 5 == 0)
            x[i] = special[next_random(state) % SPECIALS];
    }
}

/* Equal bits, or both NaN: which operand's payload a NaN inherits is the compiler's choice. */
static bool same(const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        if (f32_bits(a[i]) != f32_bits(b[i]) && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static bool same_d(const double *a, const double *b, int n)
{
    for (int i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static void check_widen(const struct row_ops *ops, enum dtype t)
{
    static uint16_t all[0x10000];
    static float got[0x10000];

    for (int i = 0; i < 0x10000; i++)
        all[i] = (uint16_t)i;
    ops->widen(t, all, got, 0x10000);
    for (int i = 0; i < 0x10000; i++)
        EXPECT(f32_bits(got[i]) == f32_bits(get_value(t, all, (size_t)i)));
}

static void check_narrow(const struct row_ops *ops, enum dtype t)
{
    float x[N];
    uint16_t got[N], want[N];

    for (uint64_t u = 0; u < 0x100000000; u += 1201ull * N) {
        for (int i = 0; i < N; i++) {
            x[i] = f32_from_bits((uint32_t)(u + 1201ull * (uint64_t)i));
            put_value(t, want, (size_t)i, x[i]);
        }
        ops->narrow(t, x, got, N);
        EXPECT(memcmp(got, want, sizeof want) == 0);
    }
    /* ties and edges, every length of tail, nothing written beyond */
    for (int n = 0; n < 40; n++) {
        for (int i = 0; i < n; i++)
            x[i] = i < SPECIALS ? special[i] : f32_from_bits(0x3f808000u + 0x10000u * (uint32_t)i);
        memset(got, 0x55, sizeof got);
        memset(want, 0x55, sizeof want);
        for (int i = 0; i < n; i++)
            put_value(t, want, (size_t)i, x[i]);
        ops->narrow(t, x, got, (size_t)n);
        EXPECT(memcmp(got, want, sizeof want) == 0);
    }
}

/* All that `ops` makes of one input, to be compared between variants. */
struct results {
    float sum_squares, max, exp[N], swiglu[N], strip[N], column_max[GEMM_NR];
    float hf[3][N], vllm[N], scaled[2][N];
    double exp_sum, column_sum[GEMM_NR];
};

static void run_all(const struct row_ops *ops, const float *x, const float *y, int n, float scale,
                    struct results *r)
{
    int keys = n / GEMM_NR, groups = n / NVFP4_GROUP * NVFP4_GROUP;

    memset(r, 0, sizeof *r);
    r->sum_squares = ops->sum_squares(x, n);
    r->max = ops->max(x, n);
    memcpy(r->exp, x, (size_t)n * sizeof *x);
    r->exp_sum = ops->exp_sum(r->exp, n, scale);
    ops->swiglu(x, y, r->swiglu, (size_t)n);
    memcpy(r->strip, x, (size_t)n * sizeof *x);
    memcpy(r->column_max, y, sizeof r->column_max);
    ops->column_max(x, keys, r->column_max);
    ops->column_exp_sum(r->strip, keys, r->column_max, scale, r->column_sum);
    ops->column_scale(r->strip, keys, y, (enum dtype)(n % 3));
    for (enum dtype t = DTYPE_BF16; t <= DTYPE_F32; t++)
        ops->quantize_hf(x, r->hf[t], groups, 300 * scale, n % 2, t);
    ops->quantize_vllm(x, r->vllm, groups, 300 * scale);
    for (int i = 0; i < 2; i++) {
        memcpy(r->scaled[i], x, (size_t)n * sizeof *x);
        ops->scale(r->scaled[i], scale / 3, i ? y : NULL, n);
    }
}

static void check_same_bits(const struct row_ops *a, const struct row_ops *b)
{
    static struct results ra, rb;
    static float x[N], y[N];
    uint64_t state = 7;

    for (int i = 0; i < 600; i++) {
        int n = i < 300 ? i : (int)(next_random(&state) % N);
        float scale = ldexpf(1, i % 7 - 3);

        fill(x, n, ldexpf(1, i % 40 - 20), i % 3 == 0, &state);
        fill(y, n < GEMM_NR ? GEMM_NR : n, 1, i % 3 == 0, &state);
        run_all(a, x, y, n, scale, &ra);
        run_all(b, x, y, n, scale, &rb);
        EXPECT(same(&ra.sum_squares, &rb.sum_squares, 1) && same(&ra.max, &rb.max, 1));
        EXPECT(same(ra.exp, rb.exp, N) && same(ra.swiglu, rb.swiglu, N));
        EXPECT(same(ra.strip, rb.strip, N) && same(ra.column_max, rb.column_max, GEMM_NR));
        EXPECT(same_d(&ra.exp_sum, &rb.exp_sum, 1));
        EXPECT(same_d(ra.column_sum, rb.column_sum, GEMM_NR));
        EXPECT(same(ra.hf[0], rb.hf[0], 3 * N) && same(ra.vllm, rb.vllm, N));
        EXPECT(same(ra.scaled[0], rb.scaled[0], 2 * N));
    }
}

static void check_against_double(const struct row_ops *ops)
{
    static float x[N], y[N], got[N];
    uint64_t state = 3;

    for (int n = 1; n < N; n += 13) {
        double squares = 0, max = -INFINITY, sum = 0;

        fill(x, n, 8, false, &state);
        fill(y, n, 8, false, &state);
        for (int i = 0; i < n; i++) {
            squares += (double)x[i] * x[i];
            max = x[i] > max ? x[i] : max;
        }
        memcpy(got, x, sizeof got);
        ops->scale(got, 0.3f, y, n);
        for (int i = 0; i < n; i++)
            EXPECT(got[i] == x[i] * 0.3f + y[i]);
        EXPECT_NEAR(ops->sum_squares(x, n), squares, 1e-5 * squares);
        EXPECT(ops->max(x, n) == max);
        ops->swiglu(x, y, got, (size_t)n);
        for (int i = 0; i < n; i++)
            EXPECT_NEAR(got[i], x[i] / (1 + exp(-(double)x[i])) * y[i], 3e-7 * fabs(x[i] * y[i]));
        for (int i = 0; i < n; i++)
            sum += exp((double)x[i] - 8);
        memcpy(got, x, sizeof got);
        EXPECT_NEAR(ops->exp_sum(got, n, 8), sum, 2e-6 * sum);
        for (int i = 0; i < n; i++)
            EXPECT_NEAR(got[i], exp((double)x[i] - 8), 2e-6 * exp((double)x[i] - 8));
    }
    x[5] = NAN;
    EXPECT(isnan(ops->max(x, N)) && ops->max(x, 5) < 9);
    EXPECT(isnan(ops->exp_sum(x, N, 0)));
}

static void check_columns(const struct row_ops *ops)
{
    enum { KEYS = 70 };
    static float x[KEYS * GEMM_NR], s[KEYS * GEMM_NR], max[GEMM_NR], inverse[GEMM_NR];
    double sum[GEMM_NR];
    uint64_t state = 4;

    fill(x, KEYS * GEMM_NR, 20, false, &state);
    memcpy(s, x, sizeof s);
    memcpy(max, s, sizeof max);
    ops->column_max(s + GEMM_NR, KEYS - 1, max);
    ops->column_exp_sum(s, KEYS, max, 0.125f, sum);
    for (int j = 0; j < GEMM_NR; j++) {
        double want_max = -INFINITY, want = 0;

        for (int k = 0; k < KEYS; k++)
            want_max = fmax(want_max, x[k * GEMM_NR + j]);
        EXPECT(max[j] == want_max);
        for (int k = 0; k < KEYS; k++) {
            double e = exp((x[k * GEMM_NR + j] - want_max) * 0.125);

            want += e;
            EXPECT_NEAR(s[k * GEMM_NR + j], e, 1e-6 * e);
        }
        EXPECT_NEAR(sum[j], want, 1e-6 * want);
        inverse[j] = (float)(1 / sum[j]);
    }
    memcpy(x, s, sizeof s);
    ops->column_scale(s, KEYS, inverse, DTYPE_BF16);
    for (int i = 0; i < KEYS * GEMM_NR; i++)
        EXPECT(s[i] == bf16_to_f32(f32_to_bf16(x[i] * inverse[i % GEMM_NR])));
}

int main(void)
{
    const struct isa *portable = portable_isa();

    for (const struct isa *i = cpu_isas; i->name; i++) {
        if (!i->usable())
            continue;
        for (enum dtype t = DTYPE_BF16; t <= DTYPE_F16; t++) {
            check_widen(i->rows, t);
            check_narrow(i->rows, t);
        }
        check_same_bits(i->rows, portable->rows);
    }
    check_against_double(portable->rows);
    check_columns(portable->rows);
    return 0;
}
