/* tiny.h - a model folder small enough to be written in a test and bent in one place: Llama, one
 * layer, hidden 32, compressed-tensors NVFP4. Needs folder.h's folder. */
#ifndef TESTS_TINY_H
#define TESTS_TINY_H

#include <stdbool.h>

#include "folder.h"

enum { TINY_TENSORS = 64 };

struct tiny_tensor {
    char name[80];
    const char *dtype;
    int rank;
    long dim[2];
    double value; /* of an F32; other types are filled with 0x38 (e4m3: 1) */
};

struct tiny {
    char config[4096];
    struct tiny_tensor tensor[TINY_TENSORS];
    int n;
};

static const char tiny_config[] =
    "{\n"
    "\"architectures\": [\"LlamaForCausalLM\"],\n"
    "\"model_type\": \"llama\",\n"
    "\"hidden_size\": 32,\n"
    "\"intermediate_size\": 48,\n"
    "\"num_hidden_layers\": 1,\n"
    "\"num_attention_heads\": 2,\n"
    "\"num_key_value_heads\": 1,\n"
    "\"vocab_size\": 64,\n"
    "\"rms_norm_eps\": 1e-05,\n"
    "\"hidden_act\": \"silu\",\n"
    "\"tie_word_embeddings\": false,\n"
    "\"rope_theta\": 10000.0,\n"
    "\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"ignore\": "
    "[\"lm_head\"],\n"
    "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"],\n"
    "\"weights\": {\"num_bits\": 4, \"type\": \"float\", \"group_size\": 16},\n"
    "\"input_activations\": {\"num_bits\": 4, \"type\": \"float\", \"group_size\": 16,"
    " \"dynamic\": \"local\"}}}}\n"
    "}\n";

static inline void tiny_set(struct tiny *m, const char *name, const char *dtype, int rank, long d0,
                            long d1, double value)
{
    int i = 0;

    while (i < m->n && strcmp(m->tensor[i].name, name) != 0)
        i++;
    EXPECT(i < TINY_TENSORS);
    m->n += i == m->n;
    m->tensor[i] =
        (struct tiny_tensor){.dtype = dtype, .rank = rank, .dim = {d0, d1}, .value = value};
    snprintf(m->tensor[i].name, sizeof m->tensor[i].name, "%s", name);
}

static inline void tiny_remove(struct tiny *m, const char *name)
{
    for (int i = 0; i < m->n; i++) {
        if (strcmp(m->tensor[i].name, name) == 0) {
            m->tensor[i] = m->tensor[--m->n];
            return;
        }
    }
    EXPECT(!"a tensor to remove");
}

/* Replaces the one place where `find` stands in config.json. */
static inline void tiny_edit(struct tiny *m, const char *find, const char *replace)
{
    char *at = strstr(m->config, find), rest[sizeof m->config];

    EXPECT(at && strlen(m->config) + strlen(replace) < sizeof m->config);
    strcpy(rest, at + strlen(find));
    sprintf(at, "%s%s", replace, rest);
}

static inline void tiny_linear(struct tiny *m, const char *name, long n, long k)
{
    char full[80];

    snprintf(full, sizeof full, "%s.weight_packed", name);
    tiny_set(m, full, "U8", 2, n, k / 2, 0);
    snprintf(full, sizeof full, "%s.weight_scale", name);
    tiny_set(m, full, "F8_E4M3", 2, n, k / 16, 0);
    snprintf(full, sizeof full, "%s.weight_global_scale", name);
    tiny_set(m, full, "F32", 1, 1, 0, 500);
    snprintf(full, sizeof full, "%s.input_global_scale", name);
    tiny_set(m, full, "F32", 1, 1, 0, 100);
}

static inline void tiny_make(struct tiny *m)
{
    *m = (struct tiny){0};
    strcpy(m->config, tiny_config);
    tiny_set(m, "model.embed_tokens.weight", "BF16", 2, 64, 32, 0);
    tiny_set(m, "lm_head.weight", "BF16", 2, 64, 32, 0);
    tiny_set(m, "model.norm.weight", "BF16", 1, 32, 0, 0);
    tiny_set(m, "model.layers.0.input_layernorm.weight", "BF16", 1, 32, 0, 0);
    tiny_set(m, "model.layers.0.post_attention_layernorm.weight", "BF16", 1, 32, 0, 0);
    tiny_linear(m, "model.layers.0.self_attn.q_proj", 32, 32);
    tiny_linear(m, "model.layers.0.self_attn.k_proj", 16, 32);
    tiny_linear(m, "model.layers.0.self_attn.v_proj", 16, 32);
    tiny_linear(m, "model.layers.0.self_attn.o_proj", 32, 32);
    tiny_linear(m, "model.layers.0.mlp.gate_proj", 48, 32);
    tiny_linear(m, "model.layers.0.mlp.up_proj", 48, 32);
    tiny_linear(m, "model.layers.0.mlp.down_proj", 32, 48);
}

static inline long tiny_bytes(const struct tiny_tensor *t)
{
    const char *d = t->dtype;
    long element = strstr(d, "16") ? 2 : strstr(d, "32") ? 4 : 1;

    return element * (t->rank > 0 ? t->dim[0] : 1) * (t->rank > 1 ? t->dim[1] : 1);
}

/* Writes config.json and model.safetensors into the folder. */
static inline void tiny_write(const struct tiny *m)
{
    static uint8_t file[1 << 17];
    char *header = (char *)file + 8;
    size_t n = 0;
    long at = 0;

    for (int i = 0; i < m->n; i++) {
        const struct tiny_tensor *t = &m->tensor[i];

        n += (size_t)sprintf(header + n, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? ',' : '{',
                             t->name, t->dtype);
        for (int d = 0; d < t->rank; d++)
            n += (size_t)sprintf(header + n, "%s%ld", d ? "," : "", t->dim[d]);
        n += (size_t)sprintf(header + n, "],\"data_offsets\":[%ld,%ld]}", at, at + tiny_bytes(t));
        at += tiny_bytes(t);
    }
    n += (size_t)sprintf(header + n, m->n ? "}" : "{}");
    EXPECT(8 + n + (size_t)at < sizeof file);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(n >> 8 * i);
    memset(header + n, 0x38, (size_t)at);
    at = 0;
    for (int i = 0; i < m->n; i++) {
        float v = (float)m->tensor[i].value;

        if (strcmp(m->tensor[i].dtype, "F32") == 0)
            memcpy(header + n + at, &v, sizeof v);
        at += tiny_bytes(&m->tensor[i]);
    }
    folder_write("model.safetensors", file, 8 + n + (size_t)at);
    folder_write("config.json", m->config, strlen(m->config));
}

#endif
