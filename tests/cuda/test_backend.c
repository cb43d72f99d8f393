/* The CUDA backend's table of operations against the CPU backend's: every arithmetic, dtype and
 * weight format, products in 16 and in 4 bits, 1 token, a few, and more than a block of rows; nothing is written past a result; a
 * row alone has the same bits as among others. Both sum in f32 in orders of their own: results may
 * differ by that and by the rounding to dtype. */
#include "kernels/cuda/cuda.h"
#include "tests/cuda/device.h"
#include "tests/cuda/expect_ok.h"

enum { ARENA = 24 << 20, GUARD = 256 };

static const double SUM_ERROR = 1e-6; /* of a sum of products, relative to the norms multiplied */

/* One backend with memory given out from its arena. */
struct side {
    const struct kernels *k;
    struct device *d;
    char *arena;
    size_t used;
};

static void *take(struct side *s, size_t bytes)
{
    void *p = s->arena + s->used;

    s->used += (bytes + 2 * GUARD - 1) / GUARD * GUARD; /* at least one byte of guard */
    EXPECT(s->used <= ARENA);
    return p;
}

static void *put(struct side *s, const void *host, size_t bytes)
{
    void *p = take(s, bytes);

    EXPECT_OK(s->k->upload(s->d, p, host, bytes, &err));
    return p;
}

/* Space for a result, NaN, and behind it too. */
static void *result(struct side *s, size_t bytes)
{
    size_t whole = bytes + GUARD;
    void *nan = malloc(whole), *p;

    memset(nan, 0xff, whole);
    p = put(s, nan, whole);
    EXPECT_OK(s->k->sync(s->d, &err));
    free(nan);
    return p;
}

static void get(struct side *s, void *host, const void *p, size_t bytes)
{
    unsigned char guard[GUARD];

    EXPECT_OK(s->k->download(s->d, host, p, bytes, &err));
    EXPECT_OK(s->k->download(s->d, guard, (const char *)p + bytes, sizeof guard, &err));
    for (int i = 0; i < GUARD; i++)
        EXPECT(guard[i] == 0xff);
}

static struct work_shape shape_of(enum dtype t, enum arithmetic a)
{
    return (struct work_shape){.tokens = 1100, .len_max = 600, .hidden = 160, .ffn = 416,
                               .q_dim = 128, .kv_dim = 64, .head_dim = 32, .vocab = 9000,
                               .k_max = 416, .n_max = 416, .dtype = t, .arithmetic = a,
                               .threads = 1};
}

static struct side open_side(const struct kernels *k, enum dtype t, enum arithmetic a, bool fp4)
{
    struct device_options o = {.dtype = t, .arithmetic = a, .threads = 1, .isa = "auto"};
    struct work_shape w = shape_of(t, a);
    struct side s = {.k = k};
    size_t scratch = k->scratch_bytes(&w);
    char why[200];
    void *base;

    EXPECT_OK(k->open(&o, &s.d, &err));
    if (fp4) {
        EXPECT_OK(k->try_fp4(s.d, &w, UINT64_MAX, why, sizeof why, &err));
        EXPECT_TEXT(why, "");
        k->use_fp4(s.d);
    }
    EXPECT_OK(k->arena(s.d, ARENA + scratch, &base, &err));
    k->use_scratch(s.d, base, scratch);
    s.arena = (char *)base + (scratch + GUARD - 1) / GUARD * GUARD - GUARD;
    s.used = GUARD;
    return s;
}

static void close_side(struct side *s)
{
    s->k->close(s->d);
}

/* -------------------------------------------------------------------------------------- linear */

/* A matrix on the host, its values as f32 before g, and the rows' norms. */
struct matrix {
    struct weight w;
    size_t data_bytes, scale_bytes;
    double *norm; /* [N], g inside */
};

static float weight_value(const struct weight *w, size_t i)
{
    const uint8_t *byte = w->data;

    if (w->format == WEIGHT_NVFP4)
        return e2m1_to_f32(byte[i / 2] >> (i % 2 * 4)) * e4m3_to_f32(w->scale[i / NVFP4_GROUP]);
    return stored_value(w->data, w->format == WEIGHT_F32   ? DTYPE_F32
                                 : w->format == WEIGHT_F16 ? DTYPE_F16
                                                           : DTYPE_BF16, i);
}

static struct matrix make_matrix(enum weight_format f, int N, int K, float input_global)
{
    size_t n = (size_t)N * (size_t)K;
    struct matrix m = {.data_bytes = weight_data_bytes(f, (size_t)N, (size_t)K),
                       .scale_bytes = weight_scale_bytes(f, (size_t)N, (size_t)K)};
    uint8_t *data = malloc(m.data_bytes), *scale = malloc(m.scale_bytes + 1);
    uint64_t seed = 7;
    double g = f == WEIGHT_NVFP4 ? 1 / 700.0 : 1;

    for (size_t i = 0; i < m.data_bytes && f == WEIGHT_NVFP4; i++)
        data[i] = (uint8_t)(256 * uniform(&seed));
    for (size_t i = 0; i < m.scale_bytes; i++)
        scale[i] = (uint8_t)(20 + 100 * uniform(&seed));
    if (f != WEIGHT_NVFP4)
        fill_gauss(data, f == WEIGHT_F32 ? DTYPE_F32 : f == WEIGHT_F16 ? DTYPE_F16 : DTYPE_BF16, n,
                   0.05f, 7);
    m.w = (struct weight){.format = f, .N = N, .K = K, .data = data, .scale = scale,
                          .global_stored = 700, .global_divides = true,
                          .input_global = f == WEIGHT_NVFP4 ? input_global : 0};
    m.norm = calloc((size_t)N, sizeof *m.norm);
    for (size_t i = 0; i < n; i++)
        m.norm[i / (size_t)K] += pow(weight_value(&m.w, i) * g, 2);
    for (int i = 0; i < N; i++)
        m.norm[i] = sqrt(m.norm[i]);
    return m;
}

static void free_matrix(struct matrix *m)
{
    free((void *)m->w.data);
    free((void *)m->w.scale);
    free(m->norm);
}

static struct weight put_matrix(struct side *s, const struct matrix *m, const float *bias)
{
    struct weight w = m->w;

    w.data = put(s, w.data, m->data_bytes);
    w.scale = m->scale_bytes ? put(s, w.scale, m->scale_bytes) : NULL;
    w.bias = bias ? put(s, bias, (size_t)w.N * sizeof *bias) : NULL;
    return w;
}

static double norm_of_row(const void *x, enum dtype t, size_t row, int K)
{
    double sum = 0;

    for (int k = 0; k < K; k++)
        sum += pow(stored_value(x, t, row * (size_t)K + (size_t)k), 2);
    return sqrt(sum);
}

static void run_linear(struct side *s, const struct matrix *m, const float *bias, const void *x,
                       int T, enum dtype t, void *y)
{
    size_t size = dtype_bytes(t), before = s->used;
    struct weight w = put_matrix(s, m, bias);
    void *dx = put(s, x, (size_t)T * (size_t)w.K * size);
    void *dy = result(s, (size_t)T * (size_t)w.N * size);

    EXPECT_OK(s->k->linear(s->d, dy, dx, &w, T, &err));
    get(s, y, dy, (size_t)T * (size_t)w.N * size);
    s->used = before;
}

static void linear(struct side *cpu, struct side *cuda, enum dtype t, enum weight_format f, int T,
                   int N, int K, bool with_bias)
{
    struct matrix m = make_matrix(f, N, K, 300);
    size_t size = dtype_bytes(t), row = (size_t)N * size;
    char *x = malloc((size_t)T * (size_t)K * size);
    char *want = malloc((size_t)T * row), *got = malloc((size_t)T * row), *alone = malloc(row);
    float *bias = malloc((size_t)N * sizeof *bias);

    fill_gauss(x, t, (size_t)T * (size_t)K, 1.5f, 3);
    fill_gauss(bias, DTYPE_F32, (size_t)N, 1, 4);
    run_linear(cpu, &m, with_bias ? bias : NULL, x, T, t, want);
    run_linear(cuda, &m, with_bias ? bias : NULL, x, T, t, got);
    for (size_t i = 0; i < (size_t)T * (size_t)N; i++) {
        double w = stored_value(want, t, i);
        double norms = norm_of_row(x, t, i / (size_t)N, K) * m.norm[i % (size_t)N];

        EXPECT_NEAR(stored_value(got, t, i), w, 2 * rounding(t, w) + SUM_ERROR * norms);
    }
    run_linear(cuda, &m, with_bias ? bias : NULL, x + (size_t)(T - 1) * (size_t)K * size, 1, t,
               alone);
    EXPECT(memcmp(alone, got + (size_t)(T - 1) * row, row) == 0);
    free_matrix(&m);
    free(x);
    free(want);
    free(got);
    free(alone);
    free(bias);
}

/* ---------------------------------------------------------------------------------------- head */

static void run_head(struct side *s, const struct matrix *m, const void *x, size_t x_bytes,
                     const int32_t *row, const int32_t *target, int rows, int vocab, double *nll)
{
    size_t before = s->used;
    struct weight w = put_matrix(s, m, NULL);
    void *dx = put(s, x, x_bytes);
    int32_t *dr = put(s, row, (size_t)rows * sizeof *row);
    int32_t *dt = put(s, target, (size_t)rows * sizeof *target);
    double *dn = result(s, (size_t)rows * sizeof *nll);

    EXPECT_OK(s->k->head_nll(s->d, dn, dx, &w, dr, dt, rows, vocab, &err));
    get(s, nll, dn, (size_t)rows * sizeof *nll);
    s->used = before;
}

static void head(struct side *cpu, struct side *cuda, enum dtype t, enum weight_format f, int rows,
                 int N, int vocab)
{
    enum { TOKENS = 40, K = 160 };
    struct matrix m = make_matrix(f, N, K, 0);
    size_t bytes = TOKENS * K * dtype_bytes(t);
    double largest = 0; /* norm of a column */
    void *x = malloc(bytes);
    int32_t *row = malloc((size_t)rows * sizeof *row), *target = malloc((size_t)rows * sizeof *row);
    double *want = malloc((size_t)rows * sizeof *want), *got = malloc((size_t)rows * sizeof *got);

    fill_gauss(x, t, TOKENS * K, 2, 1);
    for (int i = 0; i < rows; i++) {
        row[i] = (i * 7 + 3) % TOKENS;
        target[i] = i == 0 ? vocab - 1 : (int)((int64_t)i * 8191 % vocab);
    }
    run_head(cpu, &m, x, bytes, row, target, rows, vocab, want);
    run_head(cuda, &m, x, bytes, row, target, rows, vocab, got);
    for (int i = 0; i < N; i++)
        largest = fmax(largest, m.norm[i]);
    for (int i = 0; i < rows; i++)
        EXPECT_NEAR(got[i], want[i],
                    1e-5 + SUM_ERROR * largest * norm_of_row(x, t, (size_t)row[i], K));
    free_matrix(&m);
    free(x);
    free(row);
    free(target);
    free(want);
    free(got);
}

/* -------------------------------------------------------------------------------- the other ones */

enum { TOKENS = 50, HEADS = 4, KV_HEADS = 2, D = 32, HIDDEN = HEADS * D, KV = KV_HEADS * D };
static const int32_t start[] = {0, 1, 18, 50};

/* What one decoder layer does around its matrices, each operation on the result of the one before. */
static void run_others(struct side *s, enum dtype t, const struct matrix *table, void *out[5])
{
    static const int32_t id[TOKENS] = {3, 1, 4, 1, 5, 9, 2, 6};
    struct weight w = put_matrix(s, table, NULL);
    size_t size = dtype_bytes(t), hidden = TOKENS * HIDDEN * size, kv = TOKENS * KV * size;
    float gain[HIDDEN], angle[2][32 * D / 2];
    void *x = result(s, hidden), *q = result(s, hidden), *k = result(s, kv), *v, *y;
    struct batch b = {TOKENS, 3, 32, put(s, start, sizeof start)};
    struct attention a = {HEADS, KV_HEADS, D, 9, 0.2f};
    char values[TOKENS * KV * 4];
    float *dg, *dc, *ds;

    fill_gauss(gain, DTYPE_F32, HIDDEN, 1, 1);
    for (int i = 0; i < 32 * D / 2; i++) {
        angle[0][i] = cosf((float)i);
        angle[1][i] = sinf((float)i);
    }
    fill_gauss(values, t, TOKENS * KV, 1, 5);
    v = put(s, values, kv);
    EXPECT_OK(s->k->upload(s->d, k, values, kv, &err));
    dg = put(s, gain, sizeof gain);
    dc = put(s, angle[0], sizeof angle[0]);
    ds = put(s, angle[1], sizeof angle[1]);
    y = result(s, hidden);
    EXPECT_OK(s->k->embed(s->d, x, &w, put(s, id, sizeof id), TOKENS, &err));
    get(s, out[0], x, hidden);
    EXPECT_OK(s->k->rms_norm(s->d, q, x, dg, TOKENS, HIDDEN, 1e-6f, &err));
    EXPECT_OK(s->k->rope(s->d, q, HEADS, D, dc, ds, &b, &err));
    EXPECT_OK(s->k->rope(s->d, k, KV_HEADS, D, dc, ds, &b, &err));
    get(s, out[1], q, hidden);
    EXPECT_OK(s->k->attention(s->d, y, q, k, v, &a, &b, &err));
    get(s, out[2], y, hidden);
    EXPECT_OK(s->k->add(s->d, x, y, TOKENS * HIDDEN, &err));
    get(s, out[3], x, hidden);
    EXPECT_OK(s->k->swiglu(s->d, x, y, TOKENS * HIDDEN, &err));
    get(s, out[4], x, hidden);
}

/* Each step may add a rounding of its own to what came before: 8 of them, of values up to 4 times
 * as large, is still far below what any mistake makes. */
static void others(struct side *cpu, struct side *cuda, enum dtype t, enum weight_format f)
{
    struct matrix table = make_matrix(f, 10, HIDDEN, 0);
    size_t bytes = TOKENS * HIDDEN * dtype_bytes(t), before[2] = {cpu->used, cuda->used};
    void *want[5], *got[5];

    for (int i = 0; i < 5; i++) {
        want[i] = malloc(bytes);
        got[i] = malloc(bytes);
    }
    run_others(cpu, t, &table, want);
    run_others(cuda, t, &table, got);
    for (int i = 0; i < 5; i++)
        for (size_t j = 0; j < TOKENS * HIDDEN; j++) {
            double w = stored_value(want[i], t, j);

            EXPECT_NEAR(stored_value(got[i], t, j), w,
                        i == 0 ? 0 : 8 * rounding(t, fabs(w) + 4) + 1e-6 * (fabs(w) + 1));
        }
    cpu->used = before[0];
    cuda->used = before[1];
    for (int i = 0; i < 5; i++) {
        free(want[i]);
        free(got[i]);
    }
    free_matrix(&table);
}

static void nonfinite(struct side *cuda, enum dtype t)
{
    enum { N = 1000 };
    unsigned char x[N * sizeof(float)];
    int32_t flag = 0, *at = put(cuda, &flag, sizeof flag);
    void *dx;

    fill_gauss(x, t, N, 1, 1);
    dx = put(cuda, x, N * dtype_bytes(t));
    EXPECT_OK(cuda->k->nonfinite(cuda->d, at, dx, N, &err));
    EXPECT_OK(cuda->k->download(cuda->d, &flag, at, sizeof flag, &err));
    EXPECT(flag == 0);
    store_value(x, t, N - 1, INFINITY);
    dx = put(cuda, x, N * dtype_bytes(t));
    EXPECT_OK(cuda->k->nonfinite(cuda->d, at, dx, N, &err));
    EXPECT_OK(cuda->k->download(cuda->d, &flag, at, sizeof flag, &err));
    EXPECT(flag == 1);
}

/* What the device cannot do is refused in words. */
static void refusals(struct side *cuda)
{
    struct attention a = {1, 1, 20, 0, 1};
    struct batch b = {0};

    EXPECT(cuda->k->attention(cuda->d, NULL, NULL, NULL, NULL, &a, &b, &err) == ERR_UNAVAILABLE);
    EXPECT(strstr(err.msg, "head_dim is 20, want a multiple of 8 up to 256"));
}

/* Why this device does not multiply 4-bit operands as they are. Is it emulated? */
static bool ask_fp4(enum dtype t, char *why, size_t size)
{
    struct device_options o = {.dtype = t, .arithmetic = W4A4_VLLM, .threads = 1, .isa = "auto"};
    struct work_shape w = shape_of(t, W4A4_VLLM);
    struct device *d;
    bool emulated;

    EXPECT_OK(kernels_cuda.open(&o, &d, &err));
    EXPECT_OK(kernels_cuda.try_fp4(d, &w, UINT64_MAX, why, size, &err));
    EXPECT(!strstr(kernels_cuda.isa(d), "-fp4"));
    emulated = strstr(kernels_cuda.describe(d), "CUDA on CPU") != NULL;
    kernels_cuda.close(d);
    return emulated;
}

/* The emulated one does, unless it is told to fail. */
static bool has_fp4(enum dtype t)
{
    char why[200];
    bool emulated = ask_fp4(t, why, sizeof why);

    printf("fp4 products, %s: %s\n", dtype_name(t), *why ? why : "on");
    if (!emulated)
        return !*why;
    EXPECT(!*why);
    setenv("CUDA_HOST_FP4_WRONG", "1", 1);
    ask_fp4(t, why, sizeof why);
    EXPECT(strstr(why, "differs from that in 16 bits"));
    unsetenv("CUDA_HOST_FP4_WRONG");
    setenv("CUDA_HOST_FP4_NONE", "1", 1);
    ask_fp4(t, why, sizeof why);
    EXPECT(strstr(why, "cuBLAS has no 4-bit product of [1024][160] and [128][160]"));
    unsetenv("CUDA_HOST_FP4_NONE");
    return true;
}

/* Shapes that were tried and others; scales that fill their tiles and do not; a matrix whose inputs are not quantized. */
static void fp4(enum dtype t)
{
    struct side cpu, cuda;

    if (!has_fp4(t))
        return;
    cpu = open_side(&kernels_cpu, t, W4A4_VLLM, false);
    cuda = open_side(&kernels_cuda, t, W4A4_VLLM, true);
    EXPECT(strstr(kernels_cuda.isa(cuda.d), "-fp4"));
    linear(&cpu, &cuda, t, WEIGHT_NVFP4, 17, 64, 160, false);
    linear(&cpu, &cuda, t, WEIGHT_NVFP4, 130, 160, 416, true);
    linear(&cpu, &cuda, t, WEIGHT_NVFP4, 1, 96, 32, true);
    linear(&cpu, &cuda, t, WEIGHT_NVFP4, 1029, 144, 64, false);
    linear(&cpu, &cuda, t, WEIGHT_BF16, 17, 48, 160, false);
    head(&cpu, &cuda, t, WEIGHT_NVFP4, 17, 300, 300);
    close_side(&cpu);
    close_side(&cuda);
}

int main(void)
{
    setenv("CUDA_HOST_COMPUTE", "100", 1); /* of the emulated GPU */
    require_device();
    for (int t = DTYPE_BF16; t <= DTYPE_F32; t++)
        fp4((enum dtype)t);
    for (int a = W4A16; a <= W4A4_VLLM; a++)
        for (int i = DTYPE_BF16; i <= DTYPE_F32; i++) {
            enum dtype t = (enum dtype)i;
            struct side cpu = open_side(&kernels_cpu, t, (enum arithmetic)a, false);
            struct side cuda = open_side(&kernels_cuda, t, (enum arithmetic)a, false);

            linear(&cpu, &cuda, t, WEIGHT_NVFP4, 17, 48, 160, false);
            linear(&cpu, &cuda, t, WEIGHT_NVFP4, 1, 96, 32, true);
            for (int f = WEIGHT_F32; f <= WEIGHT_NVFP4; f++)
                if (a == W4A16 || f == WEIGHT_NVFP4) {
                    linear(&cpu, &cuda, t, (enum weight_format)f, 1029, 40, 48, false);
                    head(&cpu, &cuda, t, (enum weight_format)f, 17, 300, 300);
                    others(&cpu, &cuda, t, (enum weight_format)f);
                }
            if (a == W4A16) {
                head(&cpu, &cuda, t, WEIGHT_BF16, 1030, 100, 99);
                head(&cpu, &cuda, t, WEIGHT_NVFP4, 5, 8200, 8195);
                nonfinite(&cuda, t);
                refusals(&cuda);
            }
            close_side(&cpu);
            close_side(&cuda);
        }
    return 0;
}
