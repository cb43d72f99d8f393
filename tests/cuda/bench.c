/* bench.c - one layer of a 123B model (hidden 12288, 8192 tokens) on a GPU, operation by operation:
 * what launch/bench --gpu runs. Lines "part NAME VALUE UNIT" and "figure NAME VALUE".
 *
 *   cuda_bench [--small]    --small: sizes of which only the lines are worth something
 *
 * Exit 77 without a GPU. */
#include "kernels/cuda/cuda.h"
#include "spec/clock.h"
#include "tests/cuda/device.h"
#include "tests/cuda/expect_ok.h"

struct size {
    int tokens, windows, hidden, ffn, heads, kv_heads, head_dim, layers;
    double seconds; /* that each operation is repeated for */
};

struct bench {
    const struct kernels *k;
    struct device *d;
    struct size s;
    struct batch batch;
    char *x, *wide; /* [T][hidden], [2][T][ffn] */
    float *vector, *table; /* [hidden]; cos and sin */
    struct weight nvfp4, bf16; /* as large as the largest matrix; N and K are set for each */
};

enum { MATRICES = 7 };

static struct weight shaped(struct weight w, int N, int K)
{
    w.N = N;
    w.K = K;
    return w;
}

/* Seconds of one call, queued again and again, between two waits. */
#define TIME(b, out, call)                                                                         \
    do {                                                                                           \
        double began_, spent_;                                                                     \
        int n_ = 0;                                                                                \
        EXPECT_OK(call);                                                                           \
        EXPECT_OK((b)->k->sync((b)->d, &err));                                                     \
        began_ = clock_seconds();                                                                  \
        do {                                                                                       \
            EXPECT_OK(call);                                                                       \
            EXPECT_OK((b)->k->sync((b)->d, &err));                                                 \
            n_++;                                                                                  \
            spent_ = clock_seconds() - began_;                                                     \
        } while (spent_ < (b)->s.seconds);                                                         \
        (out) = spent_ / n_;                                                                       \
    } while (0)

static double part(const char *name, double seconds)
{
    printf("part gpu_%s %.6g ms\n", name, 1e3 * seconds);
    return seconds;
}

/* All matrix products of a layer; *flops: theirs. */
static double linear_layers(struct bench *b, double *flops)
{
    const struct size *s = &b->s;
    int q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        int N, K;
    } m[MATRICES] = {{"linear_q", q, s->hidden},      {"linear_k", kv, s->hidden},
                     {"linear_v", kv, s->hidden},     {"linear_o", s->hidden, q},
                     {"linear_gate", s->ffn, s->hidden}, {"linear_up", s->ffn, s->hidden},
                     {"linear_down", s->hidden, s->ffn}};
    double sum = 0, one;

    *flops = 0;
    for (int i = 0; i < MATRICES; i++) {
        struct weight w = shaped(b->nvfp4, m[i].N, m[i].K);
        bool down = m[i].K == s->ffn;

        TIME(b, one, b->k->linear(b->d, down ? b->x : b->wide, down ? b->wide : b->x, &w, s->tokens,
                                  &err));
        sum += part(m[i].name, one);
        *flops += 2.0 * m[i].N * m[i].K * s->tokens;
    }
    return sum;
}

static double others(struct bench *b)
{
    const struct size *s = &b->s;
    size_t n = (size_t)s->tokens * (size_t)s->hidden, wide = (size_t)s->tokens * (size_t)s->ffn;
    char *up = b->wide + wide * sizeof(uint16_t);
    double norm, add, rope, swiglu;

    TIME(b, norm, b->k->rms_norm(b->d, b->wide, b->x, b->vector, s->tokens, s->hidden, 1e-5f, &err));
    TIME(b, rope, b->k->rope(b->d, b->wide, s->heads + s->kv_heads, s->head_dim, b->table, b->table,
                             &b->batch, &err));
    TIME(b, swiglu, b->k->swiglu(b->d, b->wide, up, wide, &err));
    TIME(b, add, b->k->add(b->d, b->x, b->wide, n, &err));
    return part("norms", 2 * norm) + part("rope", rope) + part("swiglu", swiglu) +
           part("adds", 2 * add);
}

static double attention(struct bench *b, double *flops)
{
    const struct size *s = &b->s;
    size_t q = (size_t)s->tokens * (size_t)(s->heads * s->head_dim) * sizeof(uint16_t);
    size_t kv = (size_t)s->tokens * (size_t)(s->kv_heads * s->head_dim) * sizeof(uint16_t);
    struct attention a = {s->heads, s->kv_heads, s->head_dim, 0, 1 / sqrtf((float)s->head_dim)};
    double one;

    TIME(b, one, b->k->attention(b->d, b->x, b->wide, b->wide + q, b->wide + q + kv, &a, &b->batch,
                                 &err));
    *flops = 4.0 * s->heads * s->head_dim * s->tokens * (s->tokens / s->windows + 1) / 2;
    return part("attention", one);
}

static char *take(char **at, size_t bytes)
{
    char *p = *at;

    *at += (bytes + 255) / 256 * 256;
    return p;
}

static void make(struct bench *b)
{
    const struct size *s = &b->s;
    const struct device_options o = {.dtype = DTYPE_BF16, .arithmetic = W4A16};
    int q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim, len = s->tokens / s->windows;
    struct work_shape shape = {.tokens = s->tokens, .len_max = len, .hidden = s->hidden,
                               .ffn = s->ffn, .q_dim = q, .kv_dim = kv, .head_dim = s->head_dim,
                               .dtype = DTYPE_BF16, .arithmetic = W4A16, .threads = 1};
    size_t T = (size_t)s->tokens, H = (size_t)s->hidden, F = (size_t)s->ffn;
    size_t scratch = b->k->scratch_bytes(&shape), table = (size_t)len * (size_t)s->head_dim * 2;
    size_t bytes = scratch + T * H * 2 + T * F * 4 + F * H * 5 / 2 + F * H / 16 + H * 4 + table +
                   4096;
    int32_t start[65];
    void *base, *zero;
    char *at;

    EXPECT(s->windows <= 64);
    EXPECT_OK(b->k->open(&o, &b->d, &err));
    EXPECT_OK(b->k->arena(b->d, bytes, &base, &err));
    at = base;
    b->k->use_scratch(b->d, take(&at, scratch), scratch);
    zero = calloc(1, bytes - scratch - 256); /* as fast as any other values */
    EXPECT(zero);
    EXPECT_OK(b->k->upload(b->d, at, zero, bytes - scratch - 256, &err));
    EXPECT_OK(b->k->sync(b->d, &err));
    free(zero);
    b->x = take(&at, T * H * 2);
    b->wide = take(&at, T * F * 4);
    b->nvfp4 = (struct weight){.format = WEIGHT_NVFP4, .data = take(&at, F * H / 2),
                               .scale = (const uint8_t *)take(&at, F * H / 16), .global_stored = 1};
    b->bf16 = (struct weight){.format = WEIGHT_BF16, .data = take(&at, F * H * 2)};
    b->vector = (float *)take(&at, H * 4);
    b->table = (float *)take(&at, table);
    for (int i = 0; i <= s->windows; i++)
        start[i] = i * len;
    b->batch = (struct batch){s->tokens, s->windows, len, (const int32_t *)take(&at, sizeof start)};
    EXPECT_OK(b->k->upload(b->d, (void *)b->batch.start, start, sizeof start, &err));
    EXPECT_OK(b->k->sync(b->d, &err));
}

int main(int argc, char **argv)
{
    static const struct size large = {8192, 4, 12288, 28672, 96, 8, 128, 88, 0.5};
    static const struct size small = {64, 2, 256, 512, 4, 2, 64, 88, 0};
    bool is_small = argc > 1 && strcmp(argv[1], "--small") == 0;
    struct bench b = {.k = &kernels_cuda, .s = is_small ? small : large};
    double flops, attention_flops, linear, attended, rest, plain, layer, dequantized;
    double elements = (double)b.s.ffn * b.s.hidden;
    struct weight w4, w16;

    require_device();
    make(&b);
    printf("device %s\n", b.k->describe(b.d));
    linear = linear_layers(&b, &flops);
    attended = attention(&b, &attention_flops);
    rest = others(&b);
    layer = linear + attended + rest;
    w4 = shaped(b.nvfp4, b.s.ffn, b.s.hidden);
    w16 = shaped(b.bf16, b.s.ffn, b.s.hidden);
    TIME(&b, plain, b.k->linear(b.d, b.wide, b.x, &w16, b.s.tokens, &err));
    TIME(&b, dequantized, b.k->linear(b.d, b.wide, b.x, &w4, b.s.tokens, &err));
    part("cublas_bf16", plain);
    printf("part gpu_cublas_rate %.6g TFLOP/s\n", 2e-12 * elements * b.s.tokens / plain);
    printf("part gpu_attention_rate %.6g TFLOP/s\n", 1e-12 * attention_flops / attended);
    printf("part gpu_dequantize_rate %.6g GB/s\n",
           dequantized > plain ? 1e-9 * 2.5625 * elements / (dequantized - plain) : 0.0);
    printf("part gpu_tokens %.6g tokens/s\n", b.s.tokens / (layer * b.s.layers));
    printf("figure gpu_gemm_share %.4f\n", linear / layer);
    printf("figure gpu_attention_share %.4f\n", attended / layer);
    printf("figure gpu_of_cublas %.4f\n", flops / layer / (2 * elements * b.s.tokens / plain));
    b.k->close(b.d);
    return 0;
}
