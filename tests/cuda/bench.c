/* bench.c - one layer of a 123B model (hidden 12288, 8192 tokens) on a GPU, operation by operation; and
 * some layers in a row, resident, streamed from pinned memory, and with hidden states parked there: what
 * launch/bench --gpu runs. Lines "part NAME VALUE UNIT" and "figure NAME VALUE".
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
    int turns;      /* of layers in a row */
    size_t piece;   /* bytes of a copy while a layer is streamed */
};

enum { MATRICES = 7, IN_A_ROW = 4, WAVE = 2 };

struct matrix {
    const char *name;
    int N, K;
};

struct bench {
    const struct kernels *k;
    struct device *d;
    struct size s;
    struct batch batch;
    char *x, *wide; /* [T][hidden], [2][T][ffn] */
    float *vector, *table; /* [hidden]; cos and sin */
    struct weight nvfp4, bf16; /* as large as the largest matrix; N and K are set for each */
    struct matrix matrix[MATRICES];
    char *slot[2]; /* a layer's matrices each; codes, then scales */
    char *state[2], *host[3]; /* [T][hidden] each; pinned: the same, and a piece */
};

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

static enum status multiply(struct bench *b, const struct weight *w)
{
    bool down = w->K == b->s.ffn;

    return b->k->linear(b->d, down ? b->x : b->wide, down ? b->wide : b->x, w, b->s.tokens, &err);
}

/* All matrix products of a layer; *flops: theirs. */
static double linear_layers(struct bench *b, double *flops)
{
    double sum = 0, one;

    *flops = 0;
    for (int i = 0; i < MATRICES; i++) {
        const struct matrix *m = &b->matrix[i];
        struct weight w = shaped(b->nvfp4, m->N, m->K);

        TIME(b, one, multiply(b, &w));
        sum += part(m->name, one);
        *flops += 2.0 * m->N * m->K * b->s.tokens;
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

static enum status attend(struct bench *b)
{
    const struct size *s = &b->s;
    size_t q = (size_t)s->tokens * (size_t)(s->heads * s->head_dim) * sizeof(uint16_t);
    size_t kv = (size_t)s->tokens * (size_t)(s->kv_heads * s->head_dim) * sizeof(uint16_t);
    struct attention a = {s->heads, s->kv_heads, s->head_dim, 0, 1 / sqrtf((float)s->head_dim)};

    return b->k->attention(b->d, b->x, b->wide, b->wide + q, b->wide + q + kv, &a, &b->batch, &err);
}

static double attention(struct bench *b, double *flops)
{
    const struct size *s = &b->s;
    double one;

    TIME(b, one, attend(b));
    *flops = 4.0 * s->heads * s->head_dim * s->tokens * (s->tokens / s->windows + 1) / 2;
    return part("attention", one);
}

/* What takes most of a layer, on the weights of a slot. */
static void compute_layer(struct bench *b, const char *slot)
{
    const struct size *s = &b->s;
    size_t wide = (size_t)s->tokens * (size_t)s->ffn;

    for (int i = 0; i < MATRICES; i++) {
        size_t n = (size_t)b->matrix[i].N * (size_t)b->matrix[i].K;
        struct weight w = shaped(b->nvfp4, b->matrix[i].N, b->matrix[i].K);

        w.data = slot;
        w.scale = (const uint8_t *)slot + n / 2;
        slot += n / 2 + n / 16;
        EXPECT_OK(multiply(b, &w));
    }
    EXPECT_OK(attend(b));
    EXPECT_OK(b->k->swiglu(b->d, b->wide, b->wide + wide * sizeof(uint16_t), wide, &err));
    EXPECT_OK(b->k->sync(b->d, &err));
}

static size_t layer_bytes(const struct bench *b)
{
    size_t sum = 0;

    for (int i = 0; i < MATRICES; i++)
        sum += (size_t)b->matrix[i].N * (size_t)b->matrix[i].K * 9 / 16;
    return sum;
}

static void stream_layer(struct bench *b, char *slot)
{
    size_t bytes = layer_bytes(b);

    for (size_t at = 0; at < bytes; at += b->s.piece) {
        size_t n = bytes - at < b->s.piece ? bytes - at : b->s.piece;

        EXPECT_OK(b->k->copy(b->d, COPY_LAYERS, slot + at, b->host[2], n, &err));
    }
}

/* Seconds of some layers in a row, over a wave each: the next one comes while one is computed, and of
 * its parked hidden states the last ones go and the next come. */
static double layers_in_a_row(struct bench *b, bool streamed, bool parked)
{
    size_t bytes = (size_t)b->s.tokens * (size_t)b->s.hidden * sizeof(uint16_t);
    double began = clock_seconds();

    for (int l = 0; l < IN_A_ROW; l++) {
        if (streamed)
            stream_layer(b, b->slot[(l + 1) % 2]);
        for (int k = 0; k < WAVE; k++) {
            if (parked) {
                EXPECT_OK(b->k->copy(b->d, COPY_HIDDEN, b->host[0], b->state[0], bytes, &err));
                EXPECT_OK(b->k->copy(b->d, COPY_HIDDEN, b->state[1], b->host[1], bytes, &err));
            }
            compute_layer(b, b->slot[l % 2]);
            EXPECT_OK(b->k->copy_wait(b->d, COPY_HIDDEN, &err));
        }
        EXPECT_OK(b->k->copy_wait(b->d, COPY_LAYERS, &err));
    }
    return clock_seconds() - began;
}

/* How far copies are hidden: the best of some turns. */
static void streaming(struct bench *b)
{
    double resident = INFINITY, streamed = INFINITY, parked = INFINITY, copied = INFINITY;

    for (int i = 0; i < b->s.turns; i++) {
        double began = clock_seconds();

        stream_layer(b, b->slot[0]);
        EXPECT_OK(b->k->copy_wait(b->d, COPY_LAYERS, &err));
        copied = fmin(copied, clock_seconds() - began);
        resident = fmin(resident, layers_in_a_row(b, false, false));
        streamed = fmin(streamed, layers_in_a_row(b, true, false));
        parked = fmin(parked, layers_in_a_row(b, true, true));
    }
    part("layers_resident", resident);
    part("layers_streamed", streamed);
    part("layers_streamed_parked", parked);
    printf("part gpu_host_link %.6g GB/s\n", 1e-9 * (double)layer_bytes(b) / copied);
    printf("figure gpu_stream_ratio %.4f\n", resident / streamed);
    printf("figure gpu_park_ratio %.4f\n", resident / parked);
}

static char *take(char **at, size_t bytes)
{
    char *p = *at;

    *at += (bytes + 255) / 256 * 256;
    return p;
}

static void make_matrices(struct bench *b)
{
    const struct size *s = &b->s;
    int q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const struct matrix m[MATRICES] = {
        {"linear_q", q, s->hidden},       {"linear_k", kv, s->hidden},
        {"linear_v", kv, s->hidden},      {"linear_o", s->hidden, q},
        {"linear_gate", s->ffn, s->hidden}, {"linear_up", s->ffn, s->hidden},
        {"linear_down", s->hidden, s->ffn}};

    memcpy(b->matrix, m, sizeof m);
}

/* What is copied, and where from. */
static void make_copies(struct bench *b, char **at)
{
    size_t state = (size_t)b->s.tokens * (size_t)b->s.hidden * sizeof(uint16_t);

    for (int i = 0; i < 2; i++) {
        b->slot[i] = take(at, layer_bytes(b));
        b->state[i] = take(at, state);
    }
    for (int i = 0; i < 3; i++) {
        size_t bytes = i < 2 ? state : b->s.piece;
        void *p;

        EXPECT_OK(b->k->pin(b->d, bytes, &p, &err));
        b->host[i] = memset(p, 0, bytes);
    }
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
                   4096 + 2 * (layer_bytes(b) + T * H * 2 + 512);
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
    make_copies(b, &at);
    for (int i = 0; i <= s->windows; i++)
        start[i] = i * len;
    b->batch = (struct batch){s->tokens, s->windows, len, (const int32_t *)take(&at, sizeof start)};
    EXPECT_OK(b->k->upload(b->d, (void *)b->batch.start, start, sizeof start, &err));
    EXPECT_OK(b->k->sync(b->d, &err));
}

int main(int argc, char **argv)
{
    static const struct size large = {8192, 4, 12288, 28672, 96, 8, 128, 88, 0.5, 3, 16 << 20};
    static const struct size small = {64, 2, 256, 512, 4, 2, 64, 88, 0, 1, 4 << 10};
    bool is_small = argc > 1 && strcmp(argv[1], "--small") == 0;
    struct bench b = {.k = &kernels_cuda, .s = is_small ? small : large};
    double flops, attention_flops, linear, attended, rest, plain, layer, dequantized;
    double elements = (double)b.s.ffn * b.s.hidden;
    struct weight w4, w16;

    require_device();
    make_matrices(&b);
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
    streaming(&b);
    for (int i = 0; i < 3; i++)
        b.k->unpin(b.d, b.host[i], i < 2 ? (size_t)b.s.tokens * (size_t)b.s.hidden * 2 : b.s.piece);
    b.k->close(b.d);
    return 0;
}
