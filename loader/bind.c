#include "loader/bind.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 256, TIED_SAMPLE = 1 << 16 };

static const char *file_of(const struct bind *b, const struct tensor *t)
{
    return checkpoint_file(b->m->checkpoint, t->file);
}

/* The tensor "module.suffix", marked as used; NULL when there is none. */
static const struct tensor *take(struct bind *b, const char *module, const char *suffix)
{
    char name[NAME_MAX_BYTES];
    const struct tensor *t;

    snprintf(name, sizeof name, "%s.%s", module, suffix);
    t = checkpoint_find(b->m->checkpoint, name);
    if (t)
        b->used[t - checkpoint_tensor(b->m->checkpoint, 0)] = true;
    return t;
}

static enum status need(struct bind *b, const char *module, const char *suffix,
                        const struct tensor **out, struct err *e)
{
    *out = take(b, module, suffix);
    if (!*out)
        return fail(e, ERR_DATA, "%s: '%s.%s' is missing", checkpoint_name(b->m->checkpoint),
                    module, suffix);
    return OK;
}

static bool is_float(enum tensor_type t)
{
    return t == TENSOR_BF16 || t == TENSOR_F16 || t == TENSOR_F32;
}

/* Has t this shape ([rows] when cols is 0), and a type that `type` names? */
static enum status want(const struct bind *b, const struct tensor *t, bool type_ok,
                        const char *type, uint64_t rows, uint64_t cols, struct err *e)
{
    char got[128], shape[48];

    if (type_ok && t->rank == (cols ? 2 : 1) && t->dim[0] == rows && (!cols || t->dim[1] == cols))
        return OK;
    if (cols)
        snprintf(shape, sizeof shape, "[%llu, %llu]", (unsigned long long)rows,
                 (unsigned long long)cols);
    else
        snprintf(shape, sizeof shape, "[%llu]", (unsigned long long)rows);
    return fail(e, ERR_DATA, "%s: '%s' is %s, want %s %s", file_of(b, t), t->name,
                tensor_describe(t, got, sizeof got), type, shape);
}

/* A global scale: one F32, BF16 or F16 number of shape [] or [1], finite and above 0. */
static enum status read_scalar(const struct bind *b, const struct tensor *t, float *out,
                               struct err *e)
{
    char got[128];
    uint32_t element = 0;

    if (!is_float(t->type) || t->rank > 1 || (t->rank == 1 && t->dim[0] != 1))
        return fail(e, ERR_DATA, "%s: '%s' is %s, want one F32, BF16 or F16", file_of(b, t),
                    t->name, tensor_describe(t, got, sizeof got));
    TRY(checkpoint_read(b->m->checkpoint, t, 0, t->bytes, &element, e));
    *out = tensor_float(t->type, &element);
    if (!(isfinite(*out) && *out > 0 && isfinite(1 / *out) && 1 / *out > 0))
        return fail(e, ERR_DATA, "%s: '%s' is %g, want a finite number above 0", file_of(b, t),
                    t->name, (double)*out);
    return OK;
}

/* Does something quantize the input of this matrix, and with which global scale? */
static enum status bind_input(struct bind *b, struct linear *l, const char *suffix, bool divides,
                              struct err *e)
{
    const struct tensor *t = take(b, l->name, suffix);
    struct input_rule rule = {0};
    float v;

    if (b->q)
        TRY(quant_input(b->q, l->name, "Linear", &rule, e));
    if (!rule.known && b->n_unspoken++ == 0)
        b->unspoken = l->name;
    if (!rule.quantized)
        return OK;
    if (!t)
        return need(b, l->name, suffix, &t, e);
    TRY(read_scalar(b, t, &v, e));
    l->input_global = divides ? v : 1 / v;
    l->input_scale_unrounded = rule.unrounded;
    b->m->quantizes_input = true;
    return OK;
}

static enum status bind_nvfp4(struct bind *b, struct linear *l, bool modelopt, struct err *e)
{
    const struct tensor *global;

    l->format = WEIGHT_NVFP4;
    l->global_divides = !modelopt;
    TRY(want(b, l->data, l->data->type == TENSOR_U8, "U8", (uint64_t)l->N, (uint64_t)l->K / 2, e));
    TRY(need(b, l->name, "weight_scale", &l->scale, e));
    TRY(want(b, l->scale, l->scale->type == TENSOR_F8_E4M3, "F8_E4M3", (uint64_t)l->N,
             (uint64_t)l->K / NVFP4_GROUP, e));
    TRY(need(b, l->name, modelopt ? "weight_scale_2" : "weight_global_scale", &global, e));
    return read_scalar(b, global, &l->global_stored, e);
}

static enum status bind_plain(struct bind *b, struct linear *l, struct err *e)
{
    const struct tensor *t = l->data;
    char got[128];

    if (t->type == TENSOR_F8_E4M3 || t->type == TENSOR_F8_E5M2)
        return fail(e, ERR_DATA, "%s: '%s' is %s: FP8 weights are not supported", file_of(b, t),
                    t->name, tensor_describe(t, got, sizeof got));
    TRY(want(b, t, is_float(t->type), "BF16, F16, F32 or packed U8", (uint64_t)l->N, (uint64_t)l->K,
             e));
    l->format = t->type == TENSOR_BF16  ? WEIGHT_BF16
                : t->type == TENSOR_F16 ? WEIGHT_F16
                                        : WEIGHT_F32;
    return OK;
}

static enum status bind_weight(struct bind *b, struct linear *l, bool modelopt, bool packed,
                               struct err *e)
{
    if (!packed && !modelopt)
        return bind_plain(b, l, e);
    TRY(bind_nvfp4(b, l, modelopt, e));
    if (l != &b->m->embed) /* its input is ids */
        return bind_input(b, l, modelopt ? "input_scale" : "input_global_scale", !modelopt, e);
    return OK;
}

/* Which bytes are there says how the matrix is stored: weight_packed (compressed-tensors), weight
 * of U8 (ModelOpt), weight of a float type. */
static enum status bind_linear(struct bind *b, struct linear *l, int N, int K, bool bias,
                               struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));

static enum status bind_linear(struct bind *b, struct linear *l, int N, int K, bool bias,
                               struct err *e, const char *fmt, ...)
{
    const struct tensor *packed, *t;
    char *name;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&name, fmt, ap);
    va_end(ap);
    if (n < 0)
        return fail(e, ERR_FIT, "%s: out of memory", checkpoint_name(b->m->checkpoint));
    b->name[b->n_names++] = name;
    *l = (struct linear){.name = name, .N = N, .K = K};
    packed = l->data = take(b, name, "weight_packed");
    if (!packed)
        TRY(need(b, name, "weight", &l->data, e));
    TRY(bind_weight(b, l, !packed && l->data->type == TENSOR_U8, packed != NULL, e));
    t = take(b, name, "bias");
    if (bias && !t)
        return need(b, name, "bias", &t, e);
    if (!bias && t)
        return fail(e, ERR_DATA, "%s: '%s' is there, but %s has no such bias by config.json",
                    file_of(b, t), t->name, b->m->architecture);
    l->bias = t;
    return t ? want(b, t, is_float(t->type), "BF16, F16 or F32", (uint64_t)N, 0, e) : OK;
}

static enum status bind_norm(struct bind *b, const char *module, int n, const struct tensor **out,
                             struct err *e)
{
    TRY(need(b, module, "weight", out, e));
    return want(b, *out, is_float((*out)->type), "BF16, F16 or F32", (uint64_t)n, 0, e);
}

static enum status bind_layer(struct bind *b, int i, struct err *e)
{
    const struct model *m = b->m;
    const struct config *c = b->c;
    struct layer *l = &b->m->layer[i];
    int q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    char name[64];

    TRY(bind_linear(b, &l->q, q, m->hidden, c->qkv_bias, e, "model.layers.%d.self_attn.q_proj", i));
    TRY(bind_linear(b, &l->k, kv, m->hidden, c->qkv_bias, e, "model.layers.%d.self_attn.k_proj",
                    i));
    TRY(bind_linear(b, &l->v, kv, m->hidden, c->qkv_bias, e, "model.layers.%d.self_attn.v_proj",
                    i));
    TRY(bind_linear(b, &l->o, m->hidden, q, c->o_bias, e, "model.layers.%d.self_attn.o_proj", i));
    TRY(bind_linear(b, &l->gate, m->ffn, m->hidden, c->mlp_bias, e, "model.layers.%d.mlp.gate_proj",
                    i));
    TRY(bind_linear(b, &l->up, m->ffn, m->hidden, c->mlp_bias, e, "model.layers.%d.mlp.up_proj",
                    i));
    TRY(bind_linear(b, &l->down, m->hidden, m->ffn, c->mlp_bias, e, "model.layers.%d.mlp.down_proj",
                    i));
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm", i);
    TRY(bind_norm(b, name, m->hidden, &l->attn_norm, e));
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm", i);
    TRY(bind_norm(b, name, m->hidden, &l->mlp_norm, e));
    if (!c->qk_norm)
        return OK;
    snprintf(name, sizeof name, "model.layers.%d.self_attn.q_norm", i);
    TRY(bind_norm(b, name, m->head_dim, &l->q_norm, e));
    snprintf(name, sizeof name, "model.layers.%d.self_attn.k_norm", i);
    return bind_norm(b, name, m->head_dim, &l->k_norm, e);
}

/* A tied model may carry its head once more. transformers 4 ignores it, 5 uses it when it differs:
 * only an equal one has one meaning. Three samples tell, without reading all. */
static enum status check_tied_head(struct bind *b, struct err *e)
{
    const struct checkpoint *c = b->m->checkpoint;
    const struct tensor *head = take(b, "lm_head", "weight"), *embed = b->m->embed.data;
    static const int parts = 2;
    bool same;
    char *x, *y;
    enum status s = OK;

    if (!head)
        return OK;
    same = head->type == embed->type && head->bytes == embed->bytes;
    x = malloc(TIED_SAMPLE);
    y = malloc(TIED_SAMPLE);
    if (!x || !y)
        s = fail(e, ERR_FIT, "%s: out of memory", checkpoint_name(c));
    for (int i = 0; i <= parts && same && s == OK; i++) {
        uint64_t n = head->bytes < TIED_SAMPLE ? head->bytes : TIED_SAMPLE;
        uint64_t at = (head->bytes - n) / (uint64_t)parts * (uint64_t)i;

        s = checkpoint_read(c, head, at, n, x, e);
        if (s == OK)
            s = checkpoint_read(c, embed, at, n, y, e);
        same = s == OK && memcmp(x, y, n) == 0;
    }
    free(x);
    free(y);
    if (s == OK && !same)
        return fail(e, ERR_DATA,
                    "%s: 'lm_head.weight' differs from the embedding, but config.json "
                    "says tie_word_embeddings (set it to false to use this head)",
                    file_of(b, head));
    return s;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && strcmp(s + n - k, end) == 0;
}

/* What is left must not change the result. */
static enum status check_unused(struct bind *b, struct err *e)
{
    static const char *const kv[] = {".k_scale", ".v_scale", ".q_scale", ".kv_scale"};
    const struct checkpoint *c = b->m->checkpoint;

    for (int i = 0; i < checkpoint_tensors(c); i++) {
        const struct tensor *t = checkpoint_tensor(c, i);
        bool known = b->used[i] || ends_with(t->name, ".rotary_emb.inv_freq") ||
                     ends_with(t->name, ".weight_zero_point"); /* 0 where weights are symmetric */

        for (size_t k = 0; k < sizeof kv / sizeof kv[0] && !known; k++) {
            known = ends_with(t->name, kv[k]);
            b->n_kv_scales += known;
        }
        if (!known)
            return fail(e, ERR_DATA, "%s: '%s' is no known part of %s and could change the result",
                        file_of(b, t), t->name, b->m->architecture);
    }
    return OK;
}

enum status bind_model(struct bind *b, struct err *e)
{
    struct model *m = b->m;

    if (checkpoint_tensors(m->checkpoint) == 0)
        return fail(e, ERR_DATA, "%s: holds no tensor", checkpoint_name(m->checkpoint));
    TRY(bind_linear(b, &m->embed, m->vocab, m->hidden, false, e, "model.embed_tokens"));
    for (int i = 0; i < m->n_layers; i++)
        TRY(bind_layer(b, i, e));
    TRY(bind_norm(b, "model.norm", m->hidden, &m->norm, e));
    if (m->tied) {
        m->head = m->embed;
        TRY(check_tied_head(b, e));
    } else {
        TRY(bind_linear(b, &m->head, m->vocab, m->hidden, false, e, "lm_head"));
    }
    return check_unused(b, e);
}
