// links: loader spec
// timeout: 60
/* Every config.json or set of tensors that this program would compute wrongly, or does not know, is
 * refused with its own line; and what only needs telling becomes one warning. */
#include <math.h>

#include "loader/model.h"
#include "tiny.h"

static int failures; /* all are told, not the first alone */

static void expect(enum status want, const char *message)
{
    struct model *m = NULL;
    struct err e = {0};
    enum status got = model_open(folder, &m, &e);

    if (got != want || (got != OK && m) || !message_is(e.msg, message)) {
        printf("FAIL got  %d %s\n     want %d %s\n", got, e.msg, want, message);
        failures++;
    }
    model_close(m);
    folder_clear();
}

/* config.json with `find` replaced. */
static const struct {
    const char *find, *replace, *message; /* after "config.json:" */
} configs[] = {
    {"{\n", "", "1:16: got ':', want nothing after the end of the document"},
    {"\"hidden_size\": 32,\n", "", " 'hidden_size' is missing"},
    {"\"rms_norm_eps\": 1e-05,\n", "", " 'rms_norm_eps' is missing"},
    {"\"hidden_size\": 32", "\"hidden_size\": \"32\"",
     "4:1: hidden_size: got \"32\", want an integer"},
    {"\"hidden_size\": 32", "\"hidden_size\": 0", "4:1: hidden_size: got 0, want 1 to 16777216"},
    {"\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1000000",
     "6:1: num_hidden_layers: got 1000000, want 1 to 4096"},
    {"\"vocab_size\": 64", "\"vocab_size\": 64.5", "9:1: vocab_size: got 64.5, want an integer"},
    {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": -1", "10:1: rms_norm_eps is -1, want 0 to 1"},
    {"\"num_attention_heads\": 2", "\"num_attention_heads\": 3",
     " hidden_size 32 is no multiple of num_attention_heads 3, and there is no head_dim"},
    {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3",
     " num_attention_heads 2 is no multiple of num_key_value_heads 3"},
    {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 1, \"head_dim\": 15",
     " head_dim 15 is odd"},
    {"\"intermediate_size\": 48", "\"intermediate_size\": 40",
     " intermediate_size is 40, want a multiple of 16"},
    {"\"hidden_size\": 32", "\"hidden_size\": 1024",
     " heads of 512, want 2 to 256 (hidden_size / num_attention_heads)"},
    {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 1, \"head_dim\": 512",
     "8:27: head_dim: got 512, want 2 to 256"},
    {"LlamaForCausalLM", "GemmaForCausalLM",
     "2:19: architecture 'GemmaForCausalLM' is not supported (LlamaForCausalLM, "
     "MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM are)"},
    {"[\"LlamaForCausalLM\"]", "[]", " 'architectures' does not name one architecture"},
    {"\"model_type\": \"llama\"", "\"model_type\": \"qwen2\"",
     "3:1: model_type 'qwen2' contradicts architecture LlamaForCausalLM"},
    {"\"model_type\"", "\"text_config\": {\"hidden_size\": 1}, \"model_type\"",
     "3:1: models with a text_config (vision, audio) are not supported"},
    {"\"silu\"", "\"gelu\"", "11:1: hidden_act 'gelu' is not supported (silu is)"},
    {"\"hidden_act\"", "\"final_logit_softcapping\": 30.0, \"hidden_act\"",
     "11:1: field 'final_logit_softcapping' is not known for LlamaForCausalLM and could change the "
     "result"},
    {"\"hidden_act\"", "\"num_experts\": 8, \"hidden_act\"",
     "11:1: field 'num_experts' is not known for LlamaForCausalLM and could change the result"},
    {"\"hidden_act\"", "\"query_pre_attn_scalar\": 256, \"hidden_act\"",
     "11:1: field 'query_pre_attn_scalar' is not known for LlamaForCausalLM and could change the "
     "result"},
    {"\"hidden_act\"", "\"residual_multiplier\": 0.22, \"hidden_act\"",
     "11:1: field 'residual_multiplier' is not known for LlamaForCausalLM and could change the "
     "result"},
    {"\"hidden_act\"", "\"partial_rotary_factor\": 0.5, \"hidden_act\"",
     "11:1: partial_rotary_factor is 0.5, only 1 is supported"},
    {"\"hidden_act\"", "\"sliding_window\": 4096, \"hidden_act\"",
     "11:1: field 'sliding_window' is not known for LlamaForCausalLM and could change the result"},
    {"\"hidden_act\"", "\"layer_types\": [\"chunked_attention\"], \"hidden_act\"",
     "11:17: layer type 'chunked_attention' is not supported (full_attention, sliding_attention "
     "are)"},
    {"\"hidden_act\"", "\"layer_types\": [\"sliding_attention\"], \"hidden_act\"",
     "11:17: layer 0 is 'sliding_attention', but no sliding_window is set"},
    {"\"hidden_act\"", "\"layer_types\": [\"full_attention\", \"full_attention\"], \"hidden_act\"",
     "11:1: layer_types is no array of 1 (num_hidden_layers)"},
    {"\"tie_word_embeddings\": false", "\"tie_word_embeddings\": 0",
     "12:1: tie_word_embeddings: got 0, want true or false"},
    {"\"rope_theta\": 10000.0", "\"rope_theta\": 1.0",
     "13:1: 'rope_theta' is 1, want at least 1.001"},
    {"\"rope_theta\": 10000.0", "\"rope_scaling\": 7",
     "13:1: 'rope_scaling' is no object of at most 64 fields"},
    {"\"rope_theta\": 10000.0", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}",
     "13:18: rope type 'dynamic' is not supported (default, linear, llama3, yarn are)"},
    {"\"rope_theta\": 10000.0", "\"rope_scaling\": {\"rope_type\": \"longrope\"}",
     "13:18: rope type 'longrope' is not supported (default, linear, llama3, yarn are)"},
    {"\"rope_theta\": 10000.0",
     "\"rope_scaling\": {\"type\": \"mrope\", \"rope_type\": \"default\"}",
     "13:18: rope type 'mrope' contradicts rope_type 'default'"},
    {"\"rope_theta\": 10000.0", "\"rope_scaling\": {\"type\": \"linear\"}",
     "13:1: rope: 'factor' is missing"},
    {"\"rope_theta\": 10000.0", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0.5}",
     "13:36: 'factor' is 0.5, want at least 1"},
    {"\"rope_theta\": 10000.0",
     "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2, \"llama_4_scaling_beta\": 0.1}",
     "13:49: 'llama_4_scaling_beta' is not known for rope type 'linear' and could change the "
     "result"},
    {"\"rope_theta\": 10000.0", "\"rope_theta\": 5.0, \"rope_parameters\": {\"rope_theta\": 6.0}",
     "13:1: rope_theta 5 contradicts rope_theta 6 inside"},
    {"\"rope_theta\": 10000.0",
     "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 5.0}, \"sliding_attention\": "
     "{\"rope_theta\": 6.0}}",
     "13:60: rope differs between layer types: not supported"},
    {"\"rope_theta\": 10000.0",
     "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
     "\"high_freq_factor\": 1, \"original_max_position_embeddings\": 64}",
     "13:1: rope: low_freq_factor 4 is not below high_freq_factor 1"},
    {"\"rope_theta\": 10000.0", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 8}",
     "13:1: rope: 'original_max_position_embeddings' is missing"},
    {"compressed-tensors", "gptq",
     "14:25: quant_method 'gptq' is not supported (compressed-tensors, modelopt are)"},
    {"\"ignore\"", "\"transform_config\": {\"config_groups\": {}}, \"ignore\"",
     "14:63: transform_config is not supported (it rotates activations at run time)"},
    {"\"ignore\"", "\"sparsity_config\": {\"format\": \"sparse-24-bitmask\"}, \"ignore\"",
     "14:83: sparsity_config with a format other than 'dense' is not supported"},
    {"[\"lm_head\"]", "[\"re:((\"]", "14:74: pattern 're:((': missing closing parenthesis"},
    {"\"num_bits\": 4, \"type\": \"float\", \"group_size\": 16}",
     "\"num_bits\": 8, \"type\": \"float\"}",
     " quantization group 'group_0' is not NVFP4, but 'model.layers.0.self_attn.q_proj' is stored "
     "as NVFP4"},
    {"\"local\"", "true",
     " quantization group 'group_0' quantizes the input of 'model.layers.0.self_attn.q_proj' in a "
     "way that is not supported (4-bit floats by 16 are)"},
    {"\"targets\"", "\"output_activations\": {\"num_bits\": 8}, \"targets\"",
     "15:19: quantization group 'group_0' has output_activations: not supported"},
};

static void check_configs(void)
{
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        struct tiny m;
        char message[512];

        tiny_make(&m);
        tiny_edit(&m, configs[i].find, configs[i].replace);
        tiny_write(&m);
        snprintf(message, sizeof message, "config.json:%s", configs[i].message);
        expect(ERR_DATA, message);
    }
}

/* A tensor removed (no dtype), bent or added. */
static const struct {
    const char *name, *dtype;
    int rank;
    long dim[2];
    double value;
    const char *message; /* after "model.safetensors: " */
} tensors[] = {
    {"model.norm.weight", NULL, 0, {0}, 0, "'model.norm.weight' is missing"},
    {"lm_head.weight", NULL, 0, {0}, 0, "'lm_head.weight' is missing"},
    {"model.layers.0.mlp.up_proj.weight_packed",
     NULL,
     0,
     {0},
     0,
     "'model.layers.0.mlp.up_proj.weight' is missing"},
    {"model.layers.0.mlp.up_proj.weight_scale",
     NULL,
     0,
     {0},
     0,
     "'model.layers.0.mlp.up_proj.weight_scale' is missing"},
    {"model.layers.0.mlp.up_proj.weight_global_scale",
     NULL,
     0,
     {0},
     0,
     "'model.layers.0.mlp.up_proj.weight_global_scale' is missing"},
    {"model.layers.0.mlp.up_proj.input_global_scale",
     NULL,
     0,
     {0},
     0,
     "'model.layers.0.mlp.up_proj.input_global_scale' is missing"},
    {"model.layers.0.mlp.down_proj.weight_scale",
     "F8_E4M3",
     2,
     {32, 2},
     0,
     "'model.layers.0.mlp.down_proj.weight_scale' is F8_E4M3 [32, 2], want F8_E4M3 [32, 3]"},
    {"model.layers.0.mlp.down_proj.weight_scale",
     "U8",
     2,
     {32, 3},
     0,
     "'model.layers.0.mlp.down_proj.weight_scale' is U8 [32, 3], want F8_E4M3 [32, 3]"},
    {"model.layers.0.mlp.down_proj.weight_packed",
     "U8",
     2,
     {32, 12},
     0,
     "'model.layers.0.mlp.down_proj.weight_packed' is U8 [32, 12], want U8 [32, 24]"},
    {"model.layers.0.mlp.down_proj.weight_packed",
     "I32",
     2,
     {32, 6},
     0,
     "'model.layers.0.mlp.down_proj.weight_packed' is I32 [32, 6], want U8 [32, 24]"},
    {"model.layers.0.mlp.down_proj.weight_packed",
     "U8",
     1,
     {768, 0},
     0,
     "'model.layers.0.mlp.down_proj.weight_packed' is U8 [768], want U8 [32, 24]"},
    {"model.layers.0.mlp.down_proj.weight_global_scale",
     "F32",
     1,
     {1, 0},
     0,
     "'model.layers.0.mlp.down_proj.weight_global_scale' is 0, want a finite number above 0"},
    {"model.layers.0.mlp.down_proj.weight_global_scale",
     "F32",
     1,
     {1, 0},
     -2,
     "'model.layers.0.mlp.down_proj.weight_global_scale' is -2, want a finite number above 0"},
    {"model.layers.0.mlp.down_proj.weight_global_scale",
     "F32",
     1,
     {1, 0},
     NAN,
     "'model.layers.0.mlp.down_proj.weight_global_scale' is nan, want a finite number above 0"},
    {"model.layers.0.mlp.down_proj.weight_global_scale",
     "F32",
     1,
     {1, 0},
     INFINITY,
     "'model.layers.0.mlp.down_proj.weight_global_scale' is inf, want a finite number above 0"},
    {"model.layers.0.mlp.down_proj.weight_global_scale",
     "F32",
     1,
     {2, 0},
     1,
     "'model.layers.0.mlp.down_proj.weight_global_scale' is F32 [2], want one F32, BF16 or F16"},
    {"model.layers.0.mlp.down_proj.input_global_scale",
     "F32",
     1,
     {1, 0},
     NAN,
     "'model.layers.0.mlp.down_proj.input_global_scale' is nan, want a finite number above 0"},
    {"model.layers.0.self_attn.q_proj.bias",
     "BF16",
     1,
     {32, 0},
     0,
     "'model.layers.0.self_attn.q_proj.bias' is there, but LlamaForCausalLM has no such bias by "
     "config.json"},
    {"model.layers.0.input_layernorm.weight",
     "BF16",
     1,
     {31, 0},
     0,
     "'model.layers.0.input_layernorm.weight' is BF16 [31], want BF16, F16 or F32 [32]"},
    {"model.layers.0.input_layernorm.weight",
     "I16",
     1,
     {32, 0},
     0,
     "'model.layers.0.input_layernorm.weight' is I16 [32], want BF16, F16 or F32 [32]"},
    {"model.embed_tokens.weight",
     "BF16",
     2,
     {65, 32},
     0,
     "'model.embed_tokens.weight' is BF16 [65, 32], want BF16, F16, F32 or packed U8 [64, 32]"},
    {"lm_head.weight",
     "F8_E4M3",
     2,
     {64, 32},
     0,
     "'lm_head.weight' is F8_E4M3 [64, 32]: FP8 weights are not supported"},
    {"model.layers.1.mlp.up_proj.weight",
     "BF16",
     2,
     {48, 32},
     0,
     "'model.layers.1.mlp.up_proj.weight' is no known part of LlamaForCausalLM and could change "
     "the result"},
    {"model.layers.0.self_attn.q_norm.weight",
     "BF16",
     1,
     {16, 0},
     0,
     "'model.layers.0.self_attn.q_norm.weight' is no known part of LlamaForCausalLM and could "
     "change the result"},
    {"model.layers.0.mlp.up_proj.pre_quant_scale",
     "BF16",
     1,
     {32, 0},
     0,
     "'model.layers.0.mlp.up_proj.pre_quant_scale' is no known part of LlamaForCausalLM and could "
     "change the result"},
    {"model.layers.0.mlp.up_proj.svdquant_lora_a",
     "BF16",
     2,
     {4, 32},
     0,
     "'model.layers.0.mlp.up_proj.svdquant_lora_a' is no known part of LlamaForCausalLM and could "
     "change the result"},
    {"model.layers.0.mlp.up_proj.weight",
     "BF16",
     2,
     {48, 32},
     0,
     "'model.layers.0.mlp.up_proj.weight' is no known part of LlamaForCausalLM and could change "
     "the result"},
    {"visual.patch_embed.weight",
     "BF16",
     2,
     {4, 4},
     0,
     "'visual.patch_embed.weight' is no known part of LlamaForCausalLM and could change the "
     "result"},
};

static void check_tensors(void)
{
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        struct tiny m;
        char message[512];

        tiny_make(&m);
        if (tensors[i].dtype)
            tiny_set(&m, tensors[i].name, tensors[i].dtype, tensors[i].rank, tensors[i].dim[0],
                     tensors[i].dim[1], tensors[i].value);
        else
            tiny_remove(&m, tensors[i].name);
        tiny_write(&m);
        snprintf(message, sizeof message, "model.safetensors: %s", tensors[i].message);
        expect(ERR_DATA, message);
    }
}

/* Faults that need config.json and tensors to disagree. */
static void check_both(void)
{
    struct tiny m;

    tiny_make(&m); /* a tied model with another head: transformers 4 and 5 differ */
    tiny_edit(&m, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    tiny_set(&m, "lm_head.weight", "F32", 2, 64, 32, 0);
    tiny_write(&m);
    expect(ERR_DATA, "model.safetensors: 'lm_head.weight' differs from the embedding, but "
                     "config.json says tie_word_embeddings (set it to false to use this head)");
    tiny_make(&m);
    tiny_edit(&m, "\"hidden_act\"", "\"mlp_bias\": true, \"hidden_act\"");
    tiny_write(&m);
    expect(ERR_DATA, "model.safetensors: 'model.layers.0.mlp.gate_proj.bias' is missing");
    tiny_make(&m);
    tiny_edit(&m, "LlamaForCausalLM", "Qwen3ForCausalLM");
    tiny_edit(&m, "\"model_type\": \"llama\"", "\"head_dim\": 16");
    tiny_write(&m);
    expect(ERR_DATA, "model.safetensors: 'model.layers.0.self_attn.q_norm.weight' is missing");
    tiny_make(&m);
    tiny_write(&m);
    unlink(folder_path("config.json", m.config));
    expect(ERR_NO_INPUT, "DIR/config.json: cannot be opened: No such file or directory");
}

static struct model *open_ok(void)
{
    struct model *m;
    struct err e;

    if (model_open(folder, &m, &e) != OK) {
        printf("FAIL: %s\n", e.msg);
        exit(1);
    }
    return m;
}

static void expect_warning(const struct tiny *t, const char *warning)
{
    struct model *m;

    tiny_write(t);
    m = open_ok();
    if (m->n_warnings != 1 || strcmp(m->warning[0], warning) != 0) {
        printf("FAIL got  %d warnings: %s\n     want %s\n", m->n_warnings,
               m->n_warnings ? m->warning[0] : "", warning);
        failures++;
    }
    model_close(m);
    folder_clear();
}

static void check_warnings(void)
{
    struct tiny t;

    tiny_make(&t);
    tiny_set(&t, "model.layers.0.self_attn.k_proj.weight_global_scale", "F32", 1, 1, 0, 501);
    expect_warning(&t, "q/k/v or gate/up have different global scales in 1 of 1 layers (first: "
                       "layer 0): each keeps its own here; vLLM takes the largest, its result will "
                       "differ");
    tiny_make(&t);
    tiny_set(&t, "model.layers.0.self_attn.k_proj.k_scale", "F32", 0, 0, 0, 1);
    expect_warning(&t, "a quantized KV cache is described: not applied");
    tiny_make(&t);
    tiny_edit(&t, "\"ignore\"", "\"kv_cache_scheme\": {\"num_bits\": 8}, \"ignore\"");
    expect_warning(&t, "a quantized KV cache is described: not applied");
    tiny_make(&t);
    tiny_edit(&t, "[\"lm_head\"]", "[\"lm_head\", \"re:.*mlp[.](up|down)_proj$\"]");
    expect_warning(&t, "no quantization config speaks of 2 NVFP4 matrices (first: "
                       "'model.layers.0.mlp.up_proj'): their input is never quantized");
    tiny_make(&t);
    tiny_edit(&t, "LlamaForCausalLM", "MistralForCausalLM");
    tiny_edit(&t, "\"llama\"", "\"mistral\"");
    expect_warning(&t, "config.json: no sliding_window: 4096, as Hugging Face takes it");
}

/* What must not be refused: harmless and empty fields, scalars of other types, leftovers. */
static void check_accepted(void)
{
    struct model *m;
    struct tiny t;

    tiny_make(&t);
    tiny_edit(&t, "\"hidden_act\"",
              "\"use_cache\": true, \"attn_logit_softcapping\": null, \"num_experts\": [], "
              "\"use_mrope\": false, \"pretraining_tp\": 1, \"bos_token_id\": 5, "
              "\"eos_token_id\": [7, 8], \"layer_types\": [\"full_attention\"], \"hidden_act\"");
    tiny_set(&t, "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 1, 8, 0, 0);
    tiny_set(&t, "model.layers.0.mlp.up_proj.weight_zero_point", "F8_E4M3", 2, 48, 2, 0);
    /* 0x3838 is 0.52734375 in F16 and 4.3869e-05 in BF16 */
    tiny_set(&t, "model.layers.0.mlp.gate_proj.weight_global_scale", "F16", 0, 0, 0, 0);
    tiny_set(&t, "model.layers.0.mlp.up_proj.weight_global_scale", "F16", 1, 1, 0, 0);
    tiny_set(&t, "model.layers.0.mlp.down_proj.weight_global_scale", "BF16", 1, 1, 0, 0);
    tiny_write(&t);
    m = open_ok();
    EXPECT(m->n_warnings == 0 && m->bos == 5 && m->eos == 7);
    EXPECT(m->layer[0].gate.global_stored == 0.52734375f);
    EXPECT_NEAR(m->layer[0].down.global_stored, 4.38690186e-05, 1e-12); /* 0x38380000 */
    EXPECT(m->layer[0].q.global_stored == 500 && m->layer[0].q.input_global == 100);
    EXPECT(m->layer[0].q.input_scale_unrounded); /* the config has no scale_dtype */
    model_close(m);
    folder_clear();

    tiny_make(&t); /* a tied head that is stored once more, with the same bytes */
    tiny_edit(&t, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    tiny_write(&t);
    m = open_ok();
    EXPECT(m->tied && m->head.data == m->embed.data && m->n_warnings == 0);
    model_close(m);
    folder_clear();
}

/* Scales as bytes: only 0x01..0x7e are good, wherever they stand. */
static void check_scales(void)
{
    static const struct {
        uint8_t byte;
        const char *what;
    } bad[] = {{0x00, "zero"}, {0x80, "zero"},     {0x7f, "NaN"},
               {0xff, "NaN"},  {0x81, "negative"}, {0xfe, "negative"}};
    struct linear l = {.name = "x", .format = WEIGHT_NVFP4, .N = 100, .K = 48 * 16};
    struct model *m;
    struct tiny t;
    struct err e;
    uint8_t scale[100 * 48];
    char want[256];

    tiny_make(&t);
    tiny_write(&t);
    m = open_ok();
    l.scale = m->layer[0].up.scale; /* for its name */
    for (size_t i = 0; i < sizeof scale; i++)
        scale[i] = (uint8_t)(1 + i % 0x7e);
    EXPECT(scales_check(m, &l, 0, sizeof scale, scale, &e) == OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t at = i * 959; /* the first and the last byte, both blocks */

        scale[at] = bad[i].byte;
        EXPECT(scales_check(m, &l, 0, sizeof scale, scale, &e) == ERR_DATA);
        snprintf(want, sizeof want,
                 "model.safetensors: 'model.layers.0.mlp.up_proj.weight_scale': "
                 "row %zu, group %zu: the scale is %s (0x%02x), want a number above 0",
                 at / 48, at % 48, bad[i].what, bad[i].byte);
        EXPECT_TEXT(e.msg, want);
        scale[at] = 0x38;
    }
    model_close(m);
    folder_clear();
}

int main(void)
{
    folder_make();
    check_configs();
    check_tensors();
    check_both();
    check_warnings();
    check_accepted();
    check_scales();
    return failures > 0;
}
