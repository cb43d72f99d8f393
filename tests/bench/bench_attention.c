// links: kernels_cpu peak
/* attention_share_bfloat16, attention_share_float32: causal attention of Llama-3.2-1B's shape (32
 * query heads on 8 kv heads, head_dim 64) on one window of 2048 tokens, counting the causal half,
 * as a fraction of this machine's f32 FMA peak. Best of several runs, each beside the peak. */

#include "spec/clock.h"
#include "tests/bench/peak.h"
#include "tests/cpu_values.h"

enum { HEADS = 32, KV_HEADS = 8, D = 64, TOKENS = 2048, ROUNDS = 12 };
static const double round_s = 0.04; /* of the peak: as long as the attention */
enum { Q_VALUES = TOKENS * HEADS * D, KV_VALUES = TOKENS * KV_HEADS * D };

/* q k^T and p v: 2 D flops each for the T (T+1) / 2 pairs of every head */
static const double flops = 2.0 * 2 * D * HEADS * (TOKENS * (TOKENS + 1.0) / 2);

struct operands {
    void *q, *k, *v, *out;
};

/* A device with scratch and operands in its arena, where they are in a real run. */
static struct device *open_with_operands(enum dtype t, struct operands *x)
{
    struct device_options o = {.dtype = t, .isa = "auto"};
    struct work_shape shape = {.tokens = TOKENS, .len_max = TOKENS, .hidden = HEADS * D, .ffn = 16,
                               .q_dim = HEADS * D, .kv_dim = KV_HEADS * D, .head_dim = D,
                               .vocab = 16, .k_max = 16, .n_max = 16, .dtype = t};
    size_t scratch, bytes, size = dtype_bytes(t);
    uint64_t state = 1;
    struct device *d;
    struct err e;
    void *base;

    EXPECT(kernels_cpu.open(&o, &d, &e) == OK);
    shape.threads = kernels_cpu.threads(d);
    scratch = kernels_cpu.scratch_bytes(&shape);
    bytes = scratch + (2 * Q_VALUES + 2 * KV_VALUES) * size;
    EXPECT(kernels_cpu.arena(d, bytes, &base, &e) == OK);
    x->q = base;
    x->out = (char *)x->q + Q_VALUES * size;
    x->k = (char *)x->out + Q_VALUES * size;
    x->v = (char *)x->k + KV_VALUES * size;
    kernels_cpu.use_scratch(d, (char *)x->v + KV_VALUES * size, scratch);
    for (size_t i = 0; i < Q_VALUES; i++)
        put_value(t, x->q, i, 2 * next_float(&state));
    for (size_t i = 0; i < 2 * KV_VALUES; i++) /* v follows k */
        put_value(t, x->k, i, 2 * next_float(&state));
    return d;
}

static void time_attention(enum dtype t)
{
    const struct attention a = {HEADS, KV_HEADS, D, 0, 0.125f};
    const struct batch b = {TOKENS, 1, TOKENS, (const int32_t[]){0, TOKENS}};
    struct operands x;
    struct device *d = open_with_operands(t, &x);
    struct peak peak = {0};
    double rate = 0;
    struct err e;

    for (int r = 0; r < ROUNDS; r++) {
        if (!peak_raise(&peak, kernels_cpu.threads(d), round_s))
            SKIP("no vector FMA on this processor");
        double start = clock_seconds();
        EXPECT(kernels_cpu.attention(d, x.out, x.q, x.k, x.v, &a, &b, &e) == OK);
        rate = fmax(rate, flops / (clock_seconds() - start) * 1e-9);
    }
    printf("%s: %s\n", dtype_name(t), kernels_cpu.describe(d));
    printf("part attention_%s_gflops %.1f GFLOP/s\n", dtype_name(t), rate);
    printf("part attention_%s_peak_gflops %.1f GFLOP/s\n", dtype_name(t), peak.fma);
    printf("figure attention_share_%s %.4f\n", dtype_name(t), rate / peak.fma);
    kernels_cpu.close(d);
}

int main(void)
{
    time_attention(DTYPE_BF16);
    time_attention(DTYPE_F32);
    return 0;
}
