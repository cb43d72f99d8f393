// links: loader spec
/* What is not written in config.json, and what several fields decide together: sliding windows by
 * layer, head_dim, biases, tied embeddings, ids - as the transformers classes of each architecture
 * have it. */
#include "loader/config.h"
#include "test.h"

#define SHAPE                                                                                      \
    "\"hidden_size\":256,\"intermediate_size\":64,\"num_hidden_layers\":4,"                        \
    "\"num_attention_heads\":4,\"vocab_size\":100,\"rms_norm_eps\":1e-6"
#define LLAMA   "{\"architectures\":[\"LlamaForCausalLM\"]," SHAPE
#define MISTRAL "{\"architectures\":[\"MistralForCausalLM\"],\"num_key_value_heads\":2," SHAPE
#define QWEN2   "{\"architectures\":[\"Qwen2ForCausalLM\"],\"num_key_value_heads\":2," SHAPE
#define QWEN3   "{\"architectures\":[\"Qwen3ForCausalLM\"],\"num_key_value_heads\":2," SHAPE

static void parse(const char *text, struct model *m, struct config *c)
{
    struct err e;

    *m = (struct model){0};
    if (config_parse(text, strlen(text), m, c, &e) != OK) {
        printf("FAIL %s: %s\n", text, e.msg);
        exit(1);
    }
}

static void done(struct model *m, struct config *c)
{
    config_close(c);
    free(m->layer);
}

static const struct {
    const char *text;
    int window[4];
} windows[] = {
    {LLAMA "}", {0, 0, 0, 0}},
    {MISTRAL ",\"sliding_window\":null}", {0, 0, 0, 0}},
    {MISTRAL ",\"sliding_window\":96}", {96, 96, 96, 96}},
    {MISTRAL "}", {4096, 4096, 4096, 4096}}, /* the class's default */
    {QWEN2 ",\"sliding_window\":96}", {0, 0, 0, 0}},
    {QWEN2 ",\"use_sliding_window\":false,\"sliding_window\":96}", {0, 0, 0, 0}},
    {QWEN2 ",\"use_sliding_window\":true,\"sliding_window\":96}", {0, 0, 0, 0}}, /* from layer 28 */
    {QWEN2 ",\"use_sliding_window\":true,\"sliding_window\":96,\"max_window_layers\":2}",
     {0, 0, 96, 96}},
    {QWEN3 ",\"use_sliding_window\":true,\"sliding_window\":96,\"max_window_layers\":0}",
     {96, 96, 96, 96}},
    {QWEN3 ",\"use_sliding_window\":true,\"sliding_window\":null,\"max_window_layers\":0}",
     {0, 0, 0, 0}},
    /* layer_types beat max_window_layers */
    {QWEN3 ",\"use_sliding_window\":true,\"sliding_window\":96,\"max_window_layers\":0,"
           "\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\","
           "\"sliding_attention\"]}",
     {0, 96, 0, 96}},
};

static void test_windows(void)
{
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        struct model m;
        struct config c;

        parse(windows[i].text, &m, &c);
        for (int l = 0; l < 4; l++) {
            if (m.layer[l].window != windows[i].window[l]) {
                printf("FAIL %s: layer %d has %d, want %d\n", windows[i].text, l, m.layer[l].window,
                       windows[i].window[l]);
                exit(1);
            }
        }
        done(&m, &c);
    }
}

static const struct {
    const char *text;
    int kv_heads, head_dim;
    bool qkv_bias, o_bias, mlp_bias, qk_norm;
} shapes[] = {
    {LLAMA "}", 4, 64, false, false, false, false}, /* Llama 1 has no num_key_value_heads */
    {LLAMA ",\"head_dim\":null}", 4, 64, false, false, false, false},
    {LLAMA ",\"head_dim\":48}", 4, 48, false, false, false, false},
    {LLAMA ",\"attention_bias\":true}", 4, 64, true, true, false, false},
    {LLAMA ",\"mlp_bias\":true}", 4, 64, false, false, true, false},
    {MISTRAL ",\"attention_bias\":false}", 2, 64, false, false, false, false},
    {QWEN2 "}", 2, 64, true, false, false, false},
    {QWEN3 "}", 2, 128, false, false, false, true}, /* the class's default is 128 */
    {QWEN3 ",\"attention_bias\":true,\"head_dim\":32}", 2, 32, true, true, false, true},
};

static void test_shapes(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct model m;
        struct config c;

        parse(shapes[i].text, &m, &c);
        EXPECT(m.kv_heads == shapes[i].kv_heads && m.head_dim == shapes[i].head_dim);
        EXPECT(c.qkv_bias == shapes[i].qkv_bias && c.o_bias == shapes[i].o_bias);
        EXPECT(c.mlp_bias == shapes[i].mlp_bias && c.qk_norm == shapes[i].qk_norm);
        EXPECT(!m.tied && m.bos == -1 && m.eos == -1 && m.rope.theta == 10000);
        done(&m, &c);
    }
}

/* What transformers 4 writes when it writes every field, and what others add: none of it changes a
 * log-probability. */
static void test_harmless(void)
{
    static const char more[] =
        ",\"hidden_act\":\"swish\",\"_name_or_path\":\"x\",\"add_cross_attention\":false,\"attention_dropout\":0.0,"
        "\"bad_words_ids\":null,\"chunk_size_feed_forward\":0,\"diversity_penalty\":0.0,"
        "\"do_sample\":false,\"early_stopping\":false,\"encoder_no_repeat_ngram_size\":0,"
        "\"id2label\":{\"0\":\"LABEL_0\"},\"initializer_range\":0.02,\"is_decoder\":false,"
        "\"label2id\":{\"LABEL_0\":0},\"length_penalty\":1.0,\"max_length\":20,\"min_length\":0,"
        "\"no_repeat_ngram_size\":0,\"num_beam_groups\":1,\"num_beams\":1,"
        "\"num_return_sequences\":1,\"output_scores\":false,\"pruned_heads\":{},\"prefix\":\"\","
        "\"repetition_penalty\":1.0,\"return_dict\":true,\"suppress_tokens\":[1],"
        "\"temperature\":1.0,\"tf_legacy_loss\":false,\"top_k\":50,\"top_p\":1.0,"
        "\"typical_p\":1.0,\"use_cache\":true,\"_flash_attn_2_enabled\":true,"
        "\"is_llama_config\":true,\"max_sequence_length\":2048,"
        "\"rope_interleaved\":false,\"transformers.js_config\":{\"dtype\":\"q4\"},"
        "\"keys_to_ignore_at_inference\":[\"past_key_values\"],\"unsloth_fixed\":true}";
    static const char *const start[] = {LLAMA, MISTRAL, QWEN2, QWEN3};
    char text[4096];
    struct model m;
    struct config c;

    for (size_t i = 0; i < sizeof start / sizeof start[0]; i++) {
        snprintf(text, sizeof text, "%s%s", start[i], more);
        parse(text, &m, &c);
        done(&m, &c);
    }
}

int main(void)
{
    struct model m;
    struct config c;

    test_windows();
    test_shapes();
    test_harmless();
    parse(LLAMA ",\"tie_word_embeddings\":true,\"bos_token_id\":3,\"eos_token_id\":[5,6]}", &m, &c);
    EXPECT(m.tied && m.bos == 3 && m.eos == 5);
    done(&m, &c);
    return 0;
}
