/* fake_model.h - a struct model without files, for tests that only plan. */
#ifndef TESTS_FAKE_MODEL_H
#define TESTS_FAKE_MODEL_H

#include <stdlib.h>

#include "loader/model.h"

struct fake {
    struct model model;
    int n;
    struct tensor tensor[4096];
};

static inline const struct tensor *fake_tensor(struct fake *f, enum tensor_type type, uint64_t bytes)
{
    struct tensor *t = &f->tensor[f->n++];

    *t = (struct tensor){.name = "fake", .type = type, .bytes = bytes};
    return t;
}

static inline struct linear fake_linear(struct fake *f, int N, int K, int plain)
{
    uint64_t n = (uint64_t)N * (uint64_t)K;

    return (struct linear){.name = "fake",
                           .format = plain ? WEIGHT_BF16 : WEIGHT_NVFP4,
                           .N = N,
                           .K = K,
                           .data = fake_tensor(f, plain ? TENSOR_BF16 : TENSOR_U8, plain ? 2 * n : n / 2),
                           .scale = plain ? NULL : fake_tensor(f, TENSOR_F8_E4M3, n / 16),
                           .global_stored = 1};
}

static inline struct model *fake_model(int layers, int hidden, int ffn, int kv_heads, int group,
                                       int head_dim, int vocab, int tied)
{
    struct fake *f = calloc(1, sizeof *f);
    struct model *m = &f->model;
    int q_dim = kv_heads * group * head_dim, kv_dim = kv_heads * head_dim;

    *m = (struct model){.hidden = hidden, .ffn = ffn, .n_layers = layers, .heads = kv_heads * group,
                        .kv_heads = kv_heads, .head_dim = head_dim, .vocab = vocab, .tied = tied};
    m->embed = fake_linear(f, vocab, hidden, 1);
    m->head = tied ? m->embed : fake_linear(f, vocab, hidden, 1);
    m->norm = fake_tensor(f, TENSOR_BF16, 2 * (uint64_t)hidden);
    m->layer = calloc((size_t)layers, sizeof *m->layer);
    for (int i = 0; i < layers; i++) {
        struct layer *l = &m->layer[i];
        int plain = i % 7 == 3; /* a mixture: some layers are four times as large */

        l->q = fake_linear(f, q_dim, hidden, plain);
        l->k = fake_linear(f, kv_dim, hidden, plain);
        l->v = fake_linear(f, kv_dim, hidden, plain);
        l->o = fake_linear(f, hidden, q_dim, plain);
        l->gate = fake_linear(f, ffn, hidden, plain);
        l->up = fake_linear(f, ffn, hidden, plain);
        l->down = fake_linear(f, hidden, ffn, plain);
        l->attn_norm = l->mlp_norm = m->norm;
    }
    return m;
}

/* File bytes of all tensors; norms once per use, a tied matrix once. */
static inline uint64_t fake_model_bytes(const struct model *m)
{
    const struct fake *f = (const struct fake *)m; /* the model is its first member */
    uint64_t sum = 0;

    for (int i = 0; i < f->n; i++)
        sum += f->tensor[i].bytes;
    return sum + 2 * (uint64_t)m->n_layers * m->norm->bytes;
}

static inline void fake_model_free(struct model *m)
{
    free(m->layer);
    free(m); /* the fake begins with it */
}

#endif
