/* Activations on their way into a product: pieces that add up to the value, rows gathered and padded
 * with zeros, 4-bit inputs bit for bit as the CPU backend makes them (and as formats.md 1.5 gives
 * them), as values and as codes, and sums on their way out. */
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "tests/cuda/device.h"

enum { ROWS = 17, K = 208, SOURCE_ROWS = 20 };

static double operand_value(const uint16_t *out, enum operand type, int pieces, size_t at)
{
    double sum = 0;

    for (int p = 0; p < pieces; p++) {
        uint16_t bits = out[(size_t)p * GEMM_TOKENS * K + at];

        sum += type == OPERAND_BF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
    }
    return sum;
}

/* The ways operands are made: of each dtype, the pieces that hold its values exactly. */
static const struct way {
    enum dtype t;
    enum operand type;
    int pieces;
} ways[] = {{DTYPE_BF16, OPERAND_BF16, 1},
            {DTYPE_F16, OPERAND_F16, 1},
            {DTYPE_F16, OPERAND_BF16, 2},
            {DTYPE_F32, OPERAND_BF16, 3}};
enum { WAYS = sizeof ways / sizeof *ways };

static void gather(int32_t *row)
{
    for (int r = 0; r < ROWS; r++)
        row[r] = (7 * r + 3) % SOURCE_ROWS;
}

static void split(const struct way *way, bool gathered)
{
    size_t bytes = SOURCE_ROWS * K * dtype_bytes(way->t);
    size_t out_bytes = (size_t)way->pieces * GEMM_TOKENS * K * sizeof(uint16_t);
    void *x = malloc(bytes), *dx, *out = device_space(out_bytes);
    uint16_t *got = malloc(out_bytes);
    int32_t row[ROWS], *on_device;

    gather(row);
    on_device = device_copy(row, sizeof row);
    fill_gauss(x, way->t, SOURCE_ROWS * K, 3, 1);
    dx = device_copy(x, bytes);
    EXPECT_CUDA(launch_split_rows(out, way->type, way->pieces, dx, way->t,
                                  gathered ? on_device : NULL, ROWS, K, NULL));
    device_read(got, out, out_bytes);
    for (size_t i = 0; i < (size_t)GEMM_TOKENS * K; i++) {
        size_t r = i / K, from = r < ROWS && gathered ? (size_t)row[r] : r;
        double want = r < ROWS ? stored_value(x, way->t, from * K + i % K) : 0;

        EXPECT(operand_value(got, way->type, way->pieces, i) == want);
    }
    cudaFree(dx);
    cudaFree(out);
    cudaFree(on_device);
    free(x);
    free(got);
}

/* One row as the CPU backend quantizes it. */
static void quantize_cpu(const float *x, float *want, const struct input_quantizer *q, enum dtype t)
{
    if (q->arithmetic == W4A4_HF)
        rows_portable.quantize_hf(x, want, K, q->global, q->unrounded, t);
    else
        rows_portable.quantize_vllm(x, want, K, q->global);
}

/* Groups from tiny to beyond the largest scale, zeros among them. */
static void fill_groups(void *x, enum dtype t)
{
    uint64_t seed = 11;

    for (size_t i = 0; i < SOURCE_ROWS * K; i++) {
        size_t group = i / NVFP4_GROUP;
        double size = group % 7 == 0 ? 0 : ldexp(1, (int)(group % 23) - 14);

        store_value(x, t, i, (float)(size * gauss(&seed)));
    }
}

static void quantize(const struct way *way, struct input_quantizer q)
{
    bool vllm = q.arithmetic == W4A4_VLLM; /* q*s needs one piece whatever the dtype */
    int pieces = vllm ? 1 : way->pieces;
    size_t bytes = SOURCE_ROWS * K * dtype_bytes(way->t);
    size_t out_bytes = (size_t)pieces * GEMM_TOKENS * K * sizeof(uint16_t);
    void *x = malloc(bytes), *dx, *out = device_space(out_bytes);
    uint16_t *got = malloc(out_bytes);
    int32_t row[ROWS], *on_device;

    gather(row);
    on_device = device_copy(row, sizeof row);
    fill_groups(x, way->t);
    dx = device_copy(x, bytes);
    EXPECT_CUDA(launch_quantize_rows(out, way->type, pieces, dx, way->t, on_device, ROWS, K, q,
                                     NULL));
    device_read(got, out, out_bytes);
    for (int r = 0; r < GEMM_TOKENS; r++) {
        float wide[K], want[K] = {0};

        for (int c = 0; c < K && r < ROWS; c++)
            wide[c] = stored_value(x, way->t, (size_t)row[r] * K + c);
        if (r < ROWS)
            quantize_cpu(wide, want, &q, way->t);
        for (int c = 0; c < K; c++)
            EXPECT(operand_value(got, way->type, pieces, (size_t)r * K + c) == want[c]);
    }
    cudaFree(dx);
    cudaFree(out);
    cudaFree(on_device);
    free(x);
    free(got);
}

/* Of the layout that test_weights.c checks by hand: 13 groups of a row fill 4 tiles. */
static size_t scale_at(size_t row, size_t group)
{
    return (row / 128 * 4 + group / 4) * 512 + row % 32 * 16 + row / 32 % 4 * 4 + group % 4;
}

/* Codes and scales stand for the values that the 16-bit operand has; what only fills up is 0. */
static void codes(enum dtype t)
{
    enum { PADDED = 16, SCALES = GEMM_TOKENS * PADDED, CODES = GEMM_TOKENS * K / 2 };
    size_t bytes = SOURCE_ROWS * K * dtype_bytes(t), value_bytes = GEMM_TOKENS * K * sizeof(uint16_t);
    struct input_quantizer q = {W4A4_VLLM, 500, false};
    void *x = malloc(bytes), *dx, *dv = device_space(value_bytes), *dc = device_space(CODES);
    void *ds = device_space(SCALES);
    uint16_t *value = malloc(value_bytes);
    uint8_t *code = malloc(CODES), *scale = malloc(SCALES);

    fill_groups(x, t);
    dx = device_copy(x, bytes);
    EXPECT_CUDA(launch_quantize_rows(dv, OPERAND_BF16, 1, dx, t, NULL, ROWS, K, q, NULL));
    EXPECT_CUDA(launch_quantize_codes(dc, ds, dx, t, ROWS, K, q.global, NULL));
    device_read(value, dv, value_bytes);
    device_read(code, dc, CODES);
    device_read(scale, ds, SCALES);
    for (size_t i = 0; i < GEMM_TOKENS * K; i++) {
        float s = e4m3_to_f32(scale[scale_at(i / K, i % K / NVFP4_GROUP)]);

        EXPECT(f32_to_bf16(e2m1_to_f32(code[i / 2] >> (i % 2 * 4)) * s) == value[i]);
    }
    for (size_t r = 0; r < GEMM_TOKENS; r++)
        for (size_t g = r < ROWS ? K / NVFP4_GROUP : 0; g < PADDED; g++)
            EXPECT(scale[scale_at(r, g)] == 0);
    cudaFree(dx);
    cudaFree(dv);
    cudaFree(dc);
    cudaFree(ds);
    free(x);
    free(value);
    free(code);
    free(scale);
}

/* A value that is not finite makes its scale NaN. */
static void nan_code(void)
{
    enum { SCALES = GEMM_TOKENS * 4 };
    float x[32] = {0};
    uint8_t *scale = malloc(SCALES);
    void *dx, *dc = device_space(GEMM_TOKENS * 16), *ds = device_space(SCALES);

    x[3] = NAN;
    dx = device_copy(x, sizeof x);
    EXPECT_CUDA(launch_quantize_codes(dc, ds, dx, DTYPE_F32, 1, 32, 500, NULL));
    device_read(scale, ds, SCALES);
    EXPECT(scale[0] == 0x7f && scale[1] == 0);
    cudaFree(dx);
    cudaFree(dc);
    cudaFree(ds);
    free(scale);
}

/* formats.md 1.5: gi = 500, codes 0923d78234c06a2f, s' = 0.576. */
static void hf_golden(void)
{
    static const float in[16] = {0.1f, -0.25f, 0.5f, 1,    -2,   3,     -0.03f, 0.7f,
                                 0.9f, 1.1f,   -1.3f, 0,   2.2f, -0.6f, 0.45f,  -3.4f};
    static const float code[16] = {0,   -0.5f, 1,  1.5f, -3,   6,  -0.0f, 1,
                                   1.5f, 2,    -2, 0,    4,    -1, 1,     -6};
    enum { OUT = GEMM_TOKENS * 16 };
    uint16_t x[16], *got = malloc(OUT * sizeof *got);
    struct input_quantizer q = {W4A4_HF, 500, false};
    void *dx, *out = device_space(OUT * sizeof *got);

    for (int i = 0; i < 16; i++)
        x[i] = f32_to_bf16(in[i]);
    dx = device_copy(x, sizeof x);
    EXPECT_CUDA(launch_quantize_rows(out, OPERAND_BF16, 1, dx, DTYPE_BF16, NULL, 1, 16, q, NULL));
    device_read(got, out, OUT * sizeof *got);
    for (int i = 0; i < 16; i++)
        EXPECT(got[i] == f32_to_bf16(code[i] * 0.5759999752044678f));
    cudaFree(dx);
    cudaFree(out);
    free(got);
}

static void store(enum dtype t, int rows, int N, bool with_bias)
{
    size_t n = (size_t)rows * N;
    float *acc = malloc(n * sizeof *acc), *bias = malloc((size_t)N * sizeof *bias);
    void *got = malloc(n * dtype_bytes(t)), *y = device_space(n * dtype_bytes(t)), *da, *db;

    fill_gauss(acc, DTYPE_F32, n, 100, 1);
    fill_gauss(bias, DTYPE_F32, (size_t)N, 1, 2);
    da = device_copy(acc, n * sizeof *acc);
    db = device_copy(bias, (size_t)N * sizeof *bias);
    EXPECT_CUDA(launch_store_sums(y, t, da, 0.0123f, with_bias ? db : NULL, rows, N, NULL));
    device_read(got, y, n * dtype_bytes(t));
    for (size_t i = 0; i < n; i++) {
        float want = acc[i] * 0.0123f;

        if (with_bias)
            want += bias[i % (size_t)N];
        EXPECT(stored_value(got, t, i) == round_value(t, want));
    }
    cudaFree(da);
    cudaFree(db);
    cudaFree(y);
    free(acc);
    free(bias);
    free(got);
}

int main(void)
{
    require_device();
    for (int i = 0; i < WAYS; i++) {
        split(&ways[i], false);
        split(&ways[i], true);
        quantize(&ways[i], (struct input_quantizer){W4A4_HF, 500, false});
        quantize(&ways[i], (struct input_quantizer){W4A4_HF, 37.5f, true});
        quantize(&ways[i], (struct input_quantizer){W4A4_VLLM, 500, false});
    }
    hf_golden();
    nan_code();
    for (int t = DTYPE_BF16; t <= DTYPE_F32; t++) {
        codes((enum dtype)t);
        store((enum dtype)t, 1, 1, false);
        store((enum dtype)t, 17, 300, true);
    }
    return 0;
}
