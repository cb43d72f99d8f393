/* The tensors of a made checkpoint. Weights are random with a variance of about 1/K, so that neither
 * activations nor nll explode. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/made_checkpoint.h"

static struct tensor *add(struct list *l, const char *dtype, int element, int rank, long rows,
                          long cols, const char *fmt, ...) __attribute__((format(printf, 7, 8)));

static struct tensor *add(struct list *l, const char *dtype, int element, int rank, long rows,
                          long cols, const char *fmt, ...)
{
    struct tensor *t;
    va_list ap;

    if (l->n == l->room) {
        l->room = 2 * l->room + 64;
        l->tensor = realloc(l->tensor, (size_t)l->room * sizeof *l->tensor);
        if (!l->tensor)
            die("out of memory");
    }
    t = &l->tensor[l->n++];
    *t = (struct tensor){.dtype = dtype, .rank = rank, .dim = {(uint64_t)rows, (uint64_t)cols}};
    t->bytes = (uint64_t)element * (rank > 0 ? t->dim[0] : 1) * (rank > 1 ? t->dim[1] : 1);
    va_start(ap, fmt);
    vsnprintf(t->name, sizeof t->name, fmt, ap);
    va_end(ap);
    return t;
}

static uint64_t repeat16(unsigned v)
{
    return v * UINT64_C(0x0001000100010001);
}

static uint64_t repeat32(uint32_t v)
{
    return v * UINT64_C(0x0000000100000001);
}

/* Elements of magnitude 2^exponent .. 2^(exponent+1), of either sign or positive. */
static void add_float(struct list *l, const char *format, int rank, long rows, long cols,
                      int exponent, bool positive, enum content content, const char *name)
{
    struct tensor *t;
    unsigned e = (unsigned)(exponent + (is(format, "f16") ? 15 : 127));

    if (is(format, "f32")) {
        t = add(l, "F32", 4, rank, rows, cols, "%s", name);
        t->keep = repeat32(positive ? 0x007fffff : 0x807fffff);
        t->fixed = repeat32((uint32_t)e << 23);
    } else if (is(format, "f16")) {
        t = add(l, "F16", 2, rank, rows, cols, "%s", name);
        t->keep = repeat16(positive ? 0x03ff : 0x83ff);
        t->fixed = repeat16(e << 10);
    } else {
        t = add(l, "BF16", 2, rank, rows, cols, "%s", name);
        t->keep = repeat16(positive ? 0x007f : 0x807f);
        t->fixed = repeat16(e << 7);
    }
    t->content = content;
}

static void add_scalar(struct list *l, int rank, float v, const char *name, const char *suffix)
{
    struct tensor *t = add(l, "F32", 4, rank, 1, 1, "%s.%s", name, suffix);
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    t->fixed = repeat32(bits);
    t->content = CONTENT_SMALL;
}

/* Codes: all 16 alike, mean square 8.5625. Scales: bytes 0x60..0x6f (32 to 120), mean square 5500.
 */
static void add_nvfp4(struct list *l, const struct job *j, long n, long k, const char *name)
{
    bool modelopt = is(j->format, "modelopt");
    float g = (float)(1 / sqrt((double)k * 8.5625 * 5500)), gi = 448;
    struct tensor *t;

    if (k % 16)
        die("%s: %ld inputs are no multiple of 16", name, k);
    t = add(l, "U8", 1, 2, n, k / 2, "%s.%s", name, modelopt ? "weight" : "weight_packed");
    t->keep = ~UINT64_C(0);
    t = add(l, "F8_E4M3", 1, 2, n, k / 16, "%s.weight_scale", name);
    t->keep = repeat16(0x0f0f);
    t->fixed = repeat16(0x6060);
    t->content = CONTENT_SCALE;
    if (modelopt) {
        add_scalar(l, 0, g, name, "weight_scale_2");
        add_scalar(l, 0, 1 / gi, name, "input_scale");
    } else {
        add_scalar(l, 1, 1 / g, name, "weight_global_scale");
        if (is(j->format, "ct"))
            add_scalar(l, 1, gi, name, "input_global_scale");
    }
}

/* log2 of the magnitude that makes the mean square of [2^e, 2^(e+1)), 7/3 4^e, about 1/k */
static int exponent_for(long k)
{
    return (int)lround(0.5 * log2(3.0 / (7.0 * (double)k)));
}

static void add_linear(struct list *l, const struct job *j, const char *format, long n, long k,
                       bool bias, const char *name)
{
    char full[112];

    if (is(format, "nvfp4")) {
        add_nvfp4(l, j, n, k, name);
    } else {
        snprintf(full, sizeof full, "%.100s.weight", name);
        add_float(l, format, 2, n, k, exponent_for(k), false, CONTENT_WEIGHT, full);
    }
    if (bias) {
        snprintf(full, sizeof full, "%.100s.bias", name);
        add_float(l, plain_format(j), 1, n, 1, -6, false, CONTENT_SMALL, full);
    }
}

static void add_norm(struct list *l, const struct job *j, long n, const char *name)
{
    add_float(l, plain_format(j), 1, n, 1, 0, true, CONTENT_SMALL, name);
}

static void add_layer(struct list *l, const struct job *j, long i)
{
    const struct geometry *g = &j->g;
    const char *format = packs(j) ? "nvfp4" : j->format;
    long q = g->heads * g->head_dim, kv = g->kv_heads * g->head_dim;
    bool qkv_bias = j->bias || is(g->arch, "qwen2"), o_bias = j->bias && !is(g->arch, "qwen2");
    bool mlp_bias = j->bias && is(g->arch, "llama");
    const struct {
        const char *name;
        long n, k;
        bool bias;
    } linear[] = {
        {"self_attn.q_proj", q, g->hidden, qkv_bias},
        {"self_attn.k_proj", kv, g->hidden, qkv_bias},
        {"self_attn.v_proj", kv, g->hidden, qkv_bias},
        {"self_attn.o_proj", g->hidden, q, o_bias},
        {"mlp.gate_proj", g->ffn, g->hidden, mlp_bias},
        {"mlp.up_proj", g->ffn, g->hidden, mlp_bias},
        {"mlp.down_proj", g->hidden, g->ffn, mlp_bias},
    };
    const struct {
        const char *name;
        long n;
        bool there;
    } norm[] = {
        {"input_layernorm", g->hidden, true},
        {"post_attention_layernorm", g->hidden, true},
        {"self_attn.q_norm", g->head_dim, is(g->arch, "qwen3")},
        {"self_attn.k_norm", g->head_dim, is(g->arch, "qwen3")},
    };
    char name[96];

    for (size_t k = 0; k < sizeof linear / sizeof linear[0]; k++) {
        snprintf(name, sizeof name, "model.layers.%ld.%s", i, linear[k].name);
        add_linear(l, j, format, linear[k].n, linear[k].k, linear[k].bias, name);
    }
    for (size_t k = 0; k < sizeof norm / sizeof norm[0]; k++) {
        snprintf(name, sizeof name, "model.layers.%ld.%s.weight", i, norm[k].name);
        if (norm[k].there)
            add_norm(l, j, norm[k].n, name);
    }
}

void list_tensors(struct list *l, const struct job *j)
{
    add_linear(l, j, plain_format(j), j->g.vocab, j->g.hidden, false, "model.embed_tokens");
    for (long i = 0; i < j->g.layers; i++)
        add_layer(l, j, i);
    add_norm(l, j, j->g.hidden, "model.norm.weight");
    if (!j->g.tied)
        add_linear(l, j, j->head_format, j->g.vocab, j->g.hidden, false, "lm_head");
}

void place_tensors(struct list *l, const struct job *j)
{
    uint64_t at = 0;
    int shard = 0;

    for (int i = 0; i < l->n; i++) {
        struct tensor *t = &l->tensor[i];

        if (at > 0 && at + t->bytes > (uint64_t)j->shard_bytes) {
            shard++;
            at = 0;
        }
        t->shard = shard;
        t->offset = at;
        at += t->bytes;
    }
    l->n_shards = shard + 1;
}
