// links: loader spec
// timeout: 60
/* The eight golden models open, and every field is what their config.json and safetensors headers
 * say (read off those files by hand). Five of them are carried by the tree itself. */
#include <unistd.h>

#include "loader/model.h"
#include "test.h"

static struct model *open_ok(const char *dir)
{
    struct model *m;
    struct err e;

    if (model_open(dir, &m, &e) != OK) {
        printf("FAIL %s: %s\n", dir, e.msg);
        exit(1);
    }
    EXPECT(m->n_warnings == 0);
    EXPECT_TEXT(m->dir, dir);
    EXPECT(strlen(m->config_sha256) == 64 && strlen(checkpoint_fingerprint(m->checkpoint)) == 64);
    return m;
}

static void expect_shape(const struct model *m, int hidden, int ffn, int n_layers, int heads,
                         int kv_heads, int head_dim)
{
    EXPECT(m->hidden == hidden);
    EXPECT(m->ffn == ffn);
    EXPECT(m->n_layers == n_layers);
    EXPECT(m->heads == heads);
    EXPECT(m->kv_heads == kv_heads);
    EXPECT(m->head_dim == head_dim);
    EXPECT(m->vocab == 4096 && m->bos == 0 && m->eos == 1);
}

static void expect_linear(const struct linear *l, const char *name, enum weight_format format,
                          int N, int K)
{
    EXPECT_TEXT(l->name, name);
    EXPECT(l->format == format && l->N == N && l->K == K);
    EXPECT(l->data->bytes == weight_data_bytes(format, (size_t)N, (size_t)K));
    if (format == WEIGHT_NVFP4)
        EXPECT(l->scale && l->scale->bytes == weight_scale_bytes(format, (size_t)N, (size_t)K));
    else
        EXPECT(!l->scale && l->global_stored == 0 && l->input_global == 0);
}

/* Every scale of the model is good, and a bad one put among them is named. */
static void expect_good_scales(const struct model *m)
{
    for (int i = 0; i < m->n_layers; i++) {
        const struct linear *l = &m->layer[i].down;
        struct err e;
        uint8_t *scale;

        if (l->format != WEIGHT_NVFP4)
            continue;
        scale = malloc(l->scale->bytes);
        EXPECT(scale);
        EXPECT(checkpoint_read(m->checkpoint, l->scale, 0, l->scale->bytes, scale, &e) == OK);
        EXPECT(scales_check(m, l, 0, l->scale->bytes, scale, &e) == OK);
        scale[l->scale->bytes - 1] = 0x7f;
        EXPECT(scales_check(m, l, 0, l->scale->bytes, scale, &e) == ERR_DATA);
        free(scale);
    }
}

static void check_llama(const struct model *m, enum weight_format format)
{
    const struct layer *l = &m->layer[7];

    EXPECT_TEXT(m->architecture, "LlamaForCausalLM");
    expect_shape(m, 256, 704, 8, 4, 2, 64);
    EXPECT(m->norm_eps == 1e-5f && !m->tied);
    EXPECT(m->rope.kind == ROPE_DEFAULT && m->rope.theta == 500000);
    expect_linear(&l->q, "model.layers.7.self_attn.q_proj", format, 256, 256);
    expect_linear(&l->k, "model.layers.7.self_attn.k_proj", format, 128, 256);
    expect_linear(&l->v, "model.layers.7.self_attn.v_proj", format, 128, 256);
    expect_linear(&l->o, "model.layers.7.self_attn.o_proj", format, 256, 256);
    expect_linear(&l->gate, "model.layers.7.mlp.gate_proj", format, 704, 256);
    expect_linear(&l->up, "model.layers.7.mlp.up_proj", format, 704, 256);
    expect_linear(&l->down, "model.layers.7.mlp.down_proj", format, 256, 704);
    expect_linear(&m->embed, "model.embed_tokens", WEIGHT_BF16, 4096, 256);
    expect_linear(&m->head, "lm_head", WEIGHT_BF16, 4096, 256);
    EXPECT_TEXT(l->attn_norm->name, "model.layers.7.input_layernorm.weight");
    EXPECT_TEXT(l->mlp_norm->name, "model.layers.7.post_attention_layernorm.weight");
    EXPECT_TEXT(m->norm->name, "model.norm.weight");
    EXPECT(!l->q_norm && !l->k_norm && !l->q.bias && !l->o.bias && !l->down.bias && !l->window);
    expect_good_scales(m);
}

static void check_llama_nvfp4(const struct model *m)
{
    check_llama(m, WEIGHT_NVFP4);
    EXPECT(m->quantizes_input && m->layer[0].q.global_divides);
    EXPECT(m->layer[0].q.global_stored > 1 && m->layer[0].q.input_global > 1);
    EXPECT(!m->layer[0].q.input_scale_unrounded);
    EXPECT(m->head.input_global == 0);
}

static void check_llama_a16(const struct model *m)
{
    check_llama(m, WEIGHT_NVFP4);
    EXPECT(!m->quantizes_input && m->layer[0].q.input_global == 0);
}

static void check_llama_modelopt(const struct model *m)
{
    check_llama(m, WEIGHT_NVFP4);
    EXPECT(m->quantizes_input && !m->layer[0].q.global_divides);
    EXPECT(m->layer[0].q.global_stored < 1 && m->layer[0].q.input_global > 1);
}

static void check_llama_bf16(const struct model *m)
{
    check_llama(m, WEIGHT_BF16);
    EXPECT(!m->quantizes_input);
}

static void check_mistral(const struct model *m)
{
    EXPECT_TEXT(m->architecture, "MistralForCausalLM");
    expect_shape(m, 160, 432, 3, 5, 1, 32);
    EXPECT(m->norm_eps == 1e-6f && !m->tied && m->rope.theta == 10000);
    for (int i = 0; i < 3; i++)
        EXPECT(m->layer[i].window == 96);
    expect_linear(&m->layer[2].down, "model.layers.2.mlp.down_proj", WEIGHT_NVFP4, 160, 432);
    expect_linear(&m->layer[0].k, "model.layers.0.self_attn.k_proj", WEIGHT_NVFP4, 32, 160);
    expect_good_scales(m);
}

static void check_qwen2(const struct model *m)
{
    const struct layer *l = &m->layer[2];

    EXPECT_TEXT(m->architecture, "Qwen2ForCausalLM");
    expect_shape(m, 128, 352, 3, 4, 2, 32);
    EXPECT(m->tied && m->rope.theta == 1000000 && !l->window);
    EXPECT_TEXT(l->q.bias->name, "model.layers.2.self_attn.q_proj.bias");
    EXPECT(l->k.bias && l->v.bias && !l->o.bias && !l->gate.bias && !l->q_norm);
    EXPECT(m->head.data == m->embed.data && m->head.format == WEIGHT_BF16);
    EXPECT(m->quantizes_input && m->head.input_global == 0);
}

static void check_qwen3(const struct model *m)
{
    EXPECT_TEXT(m->architecture, "Qwen3ForCausalLM");
    expect_shape(m, 128, 384, 4, 4, 2, 64);
    EXPECT(m->tied);
    expect_linear(&m->layer[0].q, "model.layers.0.self_attn.q_proj", WEIGHT_NVFP4, 256, 128);
    expect_linear(&m->layer[0].o, "model.layers.0.self_attn.o_proj", WEIGHT_NVFP4, 128, 256);
    expect_linear(&m->layer[1].q, "model.layers.1.self_attn.q_proj", WEIGHT_BF16, 256, 128);
    expect_linear(&m->layer[1].up, "model.layers.1.mlp.up_proj", WEIGHT_NVFP4, 384, 128);
    expect_linear(&m->layer[3].down, "model.layers.3.mlp.down_proj", WEIGHT_BF16, 128, 384);
    EXPECT(m->layer[3].q_norm->dim[0] == 64 && m->layer[3].k_norm->dim[0] == 64);
    EXPECT_TEXT(checkpoint_file(m->checkpoint, m->embed.data->file),
                "model-00001-of-00003.safetensors");
}

static void check_llama3(const struct model *m)
{
    const struct layer *l = &m->layer[1];

    expect_shape(m, 192, 512, 3, 3, 3, 64);
    EXPECT(m->rope.kind == ROPE_LLAMA3 && m->rope.theta == 500000 && m->rope.factor == 8);
    EXPECT(m->rope.low_freq_factor == 1 && m->rope.high_freq_factor == 4);
    EXPECT(m->rope.original_len == 256);
    EXPECT(l->q.bias && l->k.bias && l->v.bias && l->o.bias);
    EXPECT(l->gate.bias && l->up.bias && l->down.bias && l->down.bias->dim[0] == 192);
    expect_linear(&m->head, "lm_head", WEIGHT_NVFP4, 4096, 192);
    EXPECT(m->head.input_global > 0 && !m->head.bias);
    expect_good_scales(m);
}

static const struct {
    const char *name;
    void (*check)(const struct model *m);
    int in_tree;
} models[] = {
    {"llama-nvfp4", check_llama_nvfp4, 1},
    {"mistral-nvfp4", check_mistral, 1},
    {"qwen2-nvfp4", check_qwen2, 1},
    {"qwen3-mixed", check_qwen3, 1},
    {"llama3-head", check_llama3, 1},
    {"llama-nvfp4a16", check_llama_a16, 0},
    {"llama-modelopt", check_llama_modelopt, 0},
    {"llama-bf16", check_llama_bf16, 0},
};

int main(void)
{
    char dir[4096];
    int skipped = 0;

    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct model *m;

        if (models[i].in_tree)
            snprintf(dir, sizeof dir, "%s/models/%s", TEST_DATA, models[i].name);
        else
            snprintf(dir, sizeof dir, "%s/models/%s", golden_dir(), models[i].name);
        if (!models[i].in_tree && access(dir, F_OK) != 0) {
            skipped++;
            continue;
        }
        m = open_ok(dir);
        models[i].check(m);
        model_close(m);
    }
    model_close(NULL);
    if (skipped)
        SKIP("%d models: no golden data at %s", skipped, golden_dir());
    return 0;
}
