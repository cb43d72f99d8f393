/* The roofline of a 123B model, from real plans, against figures derived by hand: weights, FLOPs
 * and bytes of each step, thresholds of streaming, bubbles, transfers, within 5 %. */
// links: stage
#include "stage/roofline.h"
#include "tests/fake_model.h"
#include "tests/test.h"

#define WITHIN_5_PERCENT(got, want) EXPECT_NEAR((got) / (want), 1, 0.05)

enum { LAYERS = 88, HIDDEN = 12288, FFN = 28672, VOCAB = 32768, RANKS_MAX = 8 };

/* Weights of a layer: q and o 12288 x 12288, k and v 1024 x 12288, three of 28672 x 12288:
 * 150.99M x 2 + 12.58M x 2 + 352.32M x 3 = 1384.1M, in NVFP4 (0.5625 B each) 778.6 MB. */
static const double layer_weights = 1384.1e6, layer_bytes = 778.6e6;

static size_t fake_scratch(const struct work_shape *w)
{
    return (size_t)w->k_max * (size_t)w->n_max * 2; /* the largest matrix, dequantized */
}

static const struct kernels fake = {.name = "fake GPU", .tokens_wanted = 2048,
                                    .scratch_bytes = fake_scratch};

static struct model *model_123b(void)
{
    struct model *m = fake_model(LAYERS, HIDDEN, FFN, 8, 12, 128, VOCAB, 0);

    for (int i = 1; i < LAYERS; i++) /* all NVFP4, as the first */
        m->layer[i] = m->layer[0];
    return m;
}

/* What a case asks for; the rest is the same for all. */
struct asked {
    int ranks;
    int64_t windows;
    int len;        /* tokens computed of a window */
    int microbatch; /* windows */
    uint64_t cap;   /* of each rank; 0 = more than enough */
    enum arithmetic arithmetic;
    enum dtype dtype;
    uint64_t park;  /* bytes of host memory for hidden states */
};

static struct roofline *must_make(const struct model *m, const struct roofline_device *d,
                                  struct asked a, struct plan_rank *first)
{
    struct plan_cap cap[RANKS_MAX];
    struct plan_request q = {.model = m,
                             .kernels = &fake,
                             .dtype = a.dtype,
                             .arithmetic = a.arithmetic,
                             .threads = 1,
                             .windows = a.windows,
                             .len_max = a.len + 1,
                             .eval_len = a.len + 1,
                             .microbatch = a.microbatch,
                             .rates = roofline_rates(d),
                             .ranks = a.ranks,
                             .stages = a.ranks,
                             .cap = cap};
    struct roofline *r = NULL;
    struct plan *p = NULL;
    struct err e;

    for (int i = 0; i < a.ranks; i++)
        cap[i] = (struct plan_cap){
            .bytes = a.cap ? a.cap : 1ull << 50, .given = true, .park = a.park};
    EXPECT(plan_make(&q, &p, &e) == OK);
    EXPECT(p->tokens == a.microbatch * a.len);
    EXPECT(roofline_make(&q, p, d, &r, &e) == OK);
    EXPECT(r->stages == a.ranks);
    if (first)
        *first = p->rank[0];
    plan_free(p);
    return r;
}

static struct roofline *one_rank(const struct model *m, const char *device, int tokens)
{
    return must_make(m, roofline_device(device), (struct asked){1, 1000, tokens, 1, 0, W4A16, 0, 0},
                     NULL);
}

/* GEMM: 2 x 1384.1M FLOPs a token and layer over 790 TFLOP/s = 3.504 us; over 1600: 1.730, over
 * 200: 13.84, over 95: 29.14. Dequantization: 0.5625 B read and 2 B written of each weight = 3.547
 * GB a layer: 0.825 ms at 4.3 TB/s, 0.4926 at 7.2, 2.217 at 1.6, 14.78 at 0.24. */
static void test_layers(const struct model *m)
{
    static const struct {
        const char *device;
        double gemm_us, dequantize_ms;
    } want[] = {{"h200", 3.504, 0.825},
                {"b200", 1.730, 0.4926},
                {"5090", 13.84, 2.217},
                {"gb10", 29.14, 14.78}};

    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        for (int T = 2048; T <= 32768; T *= 4) {
            struct roofline *r = one_rank(m, want[i].device, T);
            const struct roofline_cost *step = r->stage[0].step;

            WITHIN_5_PERCENT(step[STEP_GEMM].flops, 2 * layer_weights * LAYERS * T);
            WITHIN_5_PERCENT(step[STEP_GEMM].seconds, want[i].gemm_us * 1e-6 * T * LAYERS);
            WITHIN_5_PERCENT(step[STEP_DEQUANTIZE].bytes, 2.5625 * layer_weights * LAYERS);
            WITHIN_5_PERCENT(step[STEP_DEQUANTIZE].seconds, want[i].dequantize_ms * 1e-3 * LAYERS);
            roofline_free(r);
        }
}

/* What dequantizing adds to the products, by tokens of a microbatch: on H200 0.825 ms / (3.504 us x
 * M), on GB10 14.78 ms / (29.14 us x M). */
static void test_dequantization_share(const struct model *m)
{
    static const struct {
        const char *device;
        int tokens;
        double share;
    } want[] = {{"h200", 512, 0.460},   {"h200", 1024, 0.230},  {"h200", 2048, 0.115},
                {"h200", 4096, 0.0575}, {"h200", 8192, 0.0287}, {"h200", 65536, 0.0036},
                {"gb10", 2048, 0.248},  {"gb10", 8192, 0.062},  {"gb10", 32768, 0.0155}};

    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct roofline *r = one_rank(m, want[i].device, want[i].tokens);
        const struct roofline_cost *step = r->stage[0].step;

        WITHIN_5_PERCENT(step[STEP_DEQUANTIZE].seconds / step[STEP_GEMM].seconds, want[i].share);
        roofline_free(r);
    }
}

/* Head: 2 x 12288 x 32768 FLOPs a token, 1024 tokens: 1.044 ms at 790 TFLOP/s; their f32 logits,
 * 134 MB, written and read at 4.3 TB/s: 0.062 ms more. */
static void test_head(const struct model *m)
{
    struct roofline *r = one_rank(m, "h200", 1024);

    WITHIN_5_PERCENT(r->stage[0].step[STEP_HEAD].flops / 790e12, 1.044e-3);
    WITHIN_5_PERCENT(r->stage[0].step[STEP_HEAD].seconds, 1.044e-3 + 0.062e-3);
    roofline_free(r);
}

/* Attention: 4 x 96 x 128 FLOPs for each key, half the window on average, 88 layers: 4.43 GFLOP a
 * token at 2048, beside 244.4 (243.6 in layers, 0.81 in the head): 1.8 %; 7.2 % at 8192, 29 % at
 * 32768. At 350 TFLOP/s against 790 for the rest that is 2.257 times as much time: 4.1, 16, 65 %.
 */
static void test_attention(const struct model *m)
{
    static const struct {
        int len;
        double flops, time;
    } want[] = {{2048, 0.0181, 0.0410}, {8192, 0.0725, 0.1637}, {32768, 0.290, 0.655}};

    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct roofline *r = one_rank(m, "h200", want[i].len);
        const struct roofline_cost *step = r->stage[0].step;
        double matrices = step[STEP_GEMM].flops + step[STEP_HEAD].flops;

        WITHIN_5_PERCENT(matrices / want[i].len, 244.4e9);
        WITHIN_5_PERCENT(step[STEP_ATTENTION].flops / matrices, want[i].flops);
        WITHIN_5_PERCENT(step[STEP_ATTENTION].seconds / (matrices / 790e12), want[i].time);
        roofline_free(r);
    }
}

/* Elements between products, a token and layer: 11 x 12288 + 3 x 28672 + 2 x 104 heads x 128 =
 * 247,808, 2 B each, 88 layers, 2048 tokens: 89.3 GB, 20.8 ms at 4.3 TB/s. */
static void test_elementwise(const struct model *m)
{
    struct roofline *r = one_rank(m, "h200", 2048);

    WITHIN_5_PERCENT(r->stage[0].step[STEP_ELEMENTWISE].bytes, 89.3e9);
    WITHIN_5_PERCENT(r->stage[0].step[STEP_ELEMENTWISE].seconds, 20.8e-3);
    roofline_free(r);
}

/* A large microbatch of short windows has neither dequantization nor attention to speak of: the
 * whole run is 244.4 GFLOP a token over 790 TFLOP/s = 309 us, 3232 tokens/s, but for 247,808 x 88
 * elements of 2 B, 10.1 us a token. */
static void test_whole_run(const struct model *m)
{
    struct roofline *r = must_make(m, roofline_device("h200"),
                                   (struct asked){1, 3200, 512, 128, 0, W4A16, DTYPE_BF16, 0}, NULL);
    double attention = 4.0 * 96 * 128 * 256.5 * LAYERS / 350e12;

    WITHIN_5_PERCENT(1 / r->tokens_per_second, 309e-6 + 10.1e-6 + attention);
    WITHIN_5_PERCENT(r->seconds * r->tokens_per_second, 3200 * 512);
    EXPECT(r->bubble == 0 && r->slowest == 0 && r->stage[0].binds == STEP_GEMM);
    roofline_free(r);
}

/* Reading is hidden behind the products from 0.5625 B/weight / BW = 2 FLOP/weight x M / F on:
 * M = 0.28125 F / BW tokens. */
static void test_streaming(const struct model *m)
{
    static const struct {
        const char *device;
        double gb_per_s, tokens;
    } want[] = {{"h200", 50, 4.44e3},  {"h200", 24, 9.26e3},     {"h200", 12, 18.5e3},
                {"h200", 6, 37.0e3},   {"h200", 3, 74.1e3},      {"b200", 50, 9.0e3},
                {"b200", 3, 150e3},    {"b200-fp4", 50, 33.8e3}, {"b200-fp4", 3, 562.5e3},
                {"5090", 50, 1.125e3}, {"5090", 6, 9.38e3},      {"4090", 24, 1.76e3},
                {"gb10", 12, 2.23e3},  {"gb10", 3, 8.91e3},      {"gb10-fp4", 6, 16.4e3}};

    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct roofline_device d = *roofline_device(want[i].device);
        struct asked a = {1, 160, 8192, 1, 24ull << 30, W4A16, DTYPE_BF16, 0};
        struct roofline *r;
        struct plan_rank first;
        const struct roofline_stage *s;
        double rate = want[i].gb_per_s * 1e9, gemm, share;

        a.arithmetic = d.fp4 > 0 ? W4A4_VLLM : W4A16;
        d.disk = rate;
        d.host = d.host > 0 ? fmax(d.host, rate) : 0;
        r = must_make(m, &d, a, &first);
        s = &r->stage[0];
        gemm = s->step[STEP_GEMM].seconds;
        EXPECT(first.streamed > 40); /* 68.5 GB do not fit 24 GiB */
        WITHIN_5_PERCENT(s->step[STEP_READ].seconds, first.streamed * layer_bytes / rate);
        WITHIN_5_PERCENT(layer_bytes * LAYERS / rate / (gemm / a.len), want[i].tokens);
        /* Resident layers and other steps are time to hide behind, too. */
        share = (double)first.streamed / LAYERS * gemm / s->compute;
        WITHIN_5_PERCENT(s->tokens_hide_read, want[i].tokens * share);
        EXPECT((s->binds == STEP_READ) == (first.wave * a.len < s->tokens_hide_read));
        roofline_free(r);
    }
}

/* A wave too small to hide the reading is as long as the reading. */
static void test_read_binds(const struct model *m)
{
    struct asked a = {1, 2, 512, 1, 8ull << 30, W4A16, DTYPE_BF16, 0};
    struct roofline *r = must_make(m, roofline_device("h200"), a, NULL);
    const struct roofline_stage *s = &r->stage[0];

    EXPECT(s->binds == STEP_READ && s->wave == s->step[STEP_READ].seconds);
    EXPECT(s->tokens_hide_read > 1024);
    roofline_free(r);
}

/* Parked hidden states, 201 MB of 8192 tokens, leave and come back between 88 layers: 87 x 2 x 201 MB
 * = 35.0 GB, 0.70 s at 50 GB/s, beside products of 3.504 us x 8192 x 88 = 2.53 s: hidden. At 5 GB/s
 * it is 7.0 s of each, which binds: nearly all are parked. */
static void test_parking(const struct model *m)
{
    for (int slow = 0; slow < 2; slow++) {
        struct roofline_device d = *roofline_device("h200");
        struct asked a = {1, 160, 8192, 1, 8ull << 30, W4A16, DTYPE_BF16, 64ull << 30};
        struct plan_rank first;
        struct roofline *r;
        const struct roofline_stage *s;

        d.disk = 0.5e9; /* so slow that waves are wanted that do not fit the device */
        d.host = slow ? 5e9 : 50e9;
        r = must_make(m, &d, a, &first);
        s = &r->stage[0];
        EXPECT(first.parked > 0);
        WITHIN_5_PERCENT(s->step[STEP_COPY].bytes, 35.0e9);
        WITHIN_5_PERCENT(s->step[STEP_COPY].seconds, slow ? 7.0 : 0.70);
        EXPECT((s->binds == STEP_COPY) == slow);
        EXPECT(s->wave >= s->step[STEP_COPY].seconds * first.parked);
        roofline_free(r);
    }
}

/* (S-1)/(m+S-1) of even stages. */
static void test_bubble(const struct model *m)
{
    static const struct {
        int stages, microbatches;
        double bubble;
    } want[] = {{2, 40, 0.0244}, {2, 81, 0.0122}, {4, 40, 0.0698},  {4, 81, 0.0357},
                {8, 40, 0.149},  {8, 81, 0.0795}, {8, 161, 0.0417}, {8, 512, 0.0135}};

    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct asked a = {want[i].stages, want[i].microbatches, 4096, 1, 0, W4A16, DTYPE_BF16, 0};
        struct roofline *r = must_make(m, roofline_device("h200"), a, NULL);

        WITHIN_5_PERCENT(r->bubble, want[i].bubble);
        roofline_free(r);
    }
}

/* Hidden states: 12288 x 2 B = 24.6 KB a token, 101 MB for 4096: 0.3 ms by NVLink, 4.6 ms at 22
 * GB/s (200 GbE), 92 ms at 1.1 GB/s, 0.92 s at 0.11 GB/s. Products of 44 layers: 3.504 us x 4096 x
 * 44 = 632 ms on H200; 29.14 us: 5.25 s on GB10, and 1.43 s at 350 TFLOP/s. So even 1 GbE is hidden
 * on GB10, and 0.01 GB/s is not. */
static void test_transfer(const struct model *m)
{
    static const struct {
        const char *device;
        double link, send, gemm;
        bool binds;
    } want[] = {{"h200", 336e9, 0.3e-3, 0.632, false},   {"gb10", 22e9, 4.6e-3, 5.25, false},
                {"gb10", 1.1e9, 92e-3, 5.25, false},     {"gb10", 0.11e9, 0.92, 5.25, false},
                {"gb10-fp4", 22e9, 4.6e-3, 1.43, false}, {"gb10", 0.01e9, 10.1, 5.25, true}};

    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct roofline_device d = *roofline_device(want[i].device);
        enum arithmetic arithmetic = d.fp4 > 0 ? W4A4_VLLM : W4A16;
        struct roofline *r;
        const struct roofline_cost *step;

        d.link = want[i].link;
        r = must_make(m, &d, (struct asked){2, 81, 4096, 1, 0, arithmetic, DTYPE_BF16, 0}, NULL);
        step = r->stage[0].step;
        WITHIN_5_PERCENT(step[STEP_SEND].bytes / 4096, 24.6e3);
        WITHIN_5_PERCENT(step[STEP_SEND].seconds, want[i].send);
        WITHIN_5_PERCENT(step[STEP_GEMM].seconds, want[i].gemm);
        EXPECT((r->stage[0].binds == STEP_SEND) == want[i].binds);
        EXPECT(r->stage[1].step[STEP_SEND].bytes == 0); /* the last one sends nothing */
        EXPECT(r->stage[0].step[STEP_HEAD].flops == 0 && r->stage[1].step[STEP_HEAD].flops > 0);
        roofline_free(r);
    }
}

/* float32: activations in three bf16 pieces, three products; float16 is exact in one; hidden states
 * of 4 B are twice as much to send. */
static void test_dtypes(const struct model *m)
{
    struct roofline *r[3];
    double bf16;

    for (int t = 0; t < 3; t++)
        r[t] = must_make(m, roofline_device("h200"), (struct asked){2, 81, 4096, 1, 0, W4A16, t, 0},
                         NULL);
    bf16 = r[DTYPE_BF16]->stage[0].step[STEP_GEMM].flops;
    EXPECT(r[DTYPE_F16]->stage[0].step[STEP_GEMM].flops == bf16);
    EXPECT(r[DTYPE_F32]->stage[0].step[STEP_GEMM].flops == 3 * bf16);
    WITHIN_5_PERCENT(r[DTYPE_F32]->stage[0].step[STEP_SEND].bytes / 4096, 49.2e3);
    for (int t = 0; t < 3; t++)
        roofline_free(r[t]);
}

static void test_refusals(const struct model *m)
{
    const struct roofline_device *d = roofline_device("b200-fp4");
    struct plan_request q = {.model = m, .arithmetic = W4A16};
    struct plan p = {0};
    struct roofline *r;
    struct err e;
    char names[200];

    EXPECT(roofline_make(&q, &p, d, &r, &e) == ERR_SPEC && !r);
    EXPECT_TEXT(e.msg, "roofline: b200-fp4 multiplies 4-bit inputs: arithmetic: got w4a16, want "
                       "w4a4-vllm");
    EXPECT(!roofline_device("b201") && !roofline_device(""));
    roofline_devices(names, sizeof names);
    EXPECT(strstr(names, "a100, h100, h200") && strstr(names, "gb10-fp4"));
    roofline_free(NULL);
}

int main(void)
{
    struct model *m = model_123b();

    test_layers(m);
    test_dequantization_share(m);
    test_head(m);
    test_attention(m);
    test_elementwise(m);
    test_whole_run(m);
    test_streaming(m);
    test_read_binds(m);
    test_parking(m);
    test_bubble(m);
    test_transfer(m);
    test_dtypes(m);
    test_refusals(m);
    fake_model_free(m);
    return 0;
}
