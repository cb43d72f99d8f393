#include "loader/config.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/file.h"
#include "spec/sha256.h"

enum {
    CONFIG_BYTES_MAX = 1 << 20,
    LAYERS_MAX = 4096,
    DIM_MAX = 1 << 24,  /* hidden, ffn, vocab, heads * head_dim */
    HEAD_DIM_MAX = 256, /* what the attention kernels take */
    DIM_STEP = 16 /* rows of a matrix are multiples of it: a group of NVFP4, a vector register */
};

static const struct {
    enum arch arch;
    const char *architecture, *model_type;
} archs[] = {
    {ARCH_LLAMA, "LlamaForCausalLM", "llama"},
    {ARCH_MISTRAL, "MistralForCausalLM", "mistral"},
    {ARCH_QWEN2, "Qwen2ForCausalLM", "qwen2"},
    {ARCH_QWEN3, "Qwen3ForCausalLM", "qwen3"},
};
enum { N_ARCHS = sizeof archs / sizeof archs[0] };

enum {
    ALL = ARCH_LLAMA | ARCH_MISTRAL | ARCH_QWEN2 | ARCH_QWEN3,
    LLAMA_QWEN3 = ARCH_LLAMA | ARCH_QWEN3,
    QWENS = ARCH_QWEN2 | ARCH_QWEN3
};

/* The fields that are read below. Any other must be harmless, or is refused. */
static const struct {
    const char *name;
    int archs;
} read_fields[] = {
    {"architectures", ALL},
    {"model_type", ALL},
    {"hidden_size", ALL},
    {"intermediate_size", ALL},
    {"num_hidden_layers", ALL},
    {"num_attention_heads", ALL},
    {"num_key_value_heads", ALL},
    {"head_dim", ALL},
    {"vocab_size", ALL},
    {"rms_norm_eps", ALL},
    {"hidden_act", ALL},
    {"tie_word_embeddings", ALL},
    {"rope_theta", ALL},
    {"rope_scaling", ALL},
    {"rope_parameters", ALL},
    {"partial_rotary_factor", ALL}, /* must be 1 */
    {"max_position_embeddings", ALL},
    {"layer_types", ALL},
    {"bos_token_id", ALL},
    {"eos_token_id", ALL},
    {"quantization_config", ALL},
    {"attention_bias", LLAMA_QWEN3},
    {"mlp_bias", ARCH_LLAMA},
    {"sliding_window", ARCH_MISTRAL | QWENS},
    {"use_sliding_window", QWENS},
    {"max_window_layers", QWENS},
};

/* Fields that never change the log-probabilities of a text. */
static const char *const harmless[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "auto_map", /* custom code: Hugging Face uses its own class unless told to trust it */
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token",
    "cache_implementation",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eos_token",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "max_sequence_length", /* Llama 1; max_position_embeddings is the one that is read */
    "min_length",
    "model_max_length",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "renormalize_logits",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attention_2",
};

/* null, false, {} and []: what a writer puts for a feature that the model does not have. */
static bool is_empty(const cJSON *item)
{
    return cJSON_IsNull(item) || cJSON_IsFalse(item) ||
           ((cJSON_IsObject(item) || cJSON_IsArray(item)) && !item->child);
}

static bool field_known(const char *name, enum arch arch)
{
    for (size_t i = 0; i < sizeof read_fields / sizeof read_fields[0]; i++)
        if (strcmp(read_fields[i].name, name) == 0)
            return (read_fields[i].archs & (int)arch) != 0;
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        if (strcmp(harmless[i], name) == 0)
            return true;
    return false;
}

static enum status check_fields(const struct config *c, const char *architecture, struct err *e)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_root(c->json)) if (
        !is_empty(item) &&
        !field_known(item->string,
                     c->arch)) return json_fail(c->json, item, e,
                                                "field '%s' is not known for %s and could change "
                                                "the result",
                                                item->string, architecture);
    return OK;
}

/* A member of the root that is there and not null. */
static const cJSON *field(const struct config *c, const char *name)
{
    const cJSON *item = json_member(json_root(c->json), name);

    return item && !cJSON_IsNull(item) ? item : NULL;
}

static enum status read_int(const struct config *c, const char *name, int min, int max, int *out,
                            struct err *e)
{
    const cJSON *item = field(c, name);
    int64_t v = 0;

    if (!item)
        return fail(e, ERR_DATA, "%s: '%s' is missing", json_name(c->json), name);
    TRY(json_int(c->json, item, name, min, max, &v, e));
    *out = (int)v;
    return OK;
}

static enum status read_int_or(const struct config *c, const char *name, int standard, int min,
                               int max, int *out, struct err *e)
{
    *out = standard;
    return field(c, name) ? read_int(c, name, min, max, out, e) : OK;
}

static enum status read_bool_or(const struct config *c, const char *name, bool standard, bool *out,
                                struct err *e)
{
    const cJSON *item = field(c, name);
    int v = standard;

    if (item)
        TRY(json_bool(c->json, item, name, &v, e));
    *out = v;
    return OK;
}

static enum status read_architecture(struct config *c, struct model *m, struct err *e)
{
    const cJSON *list = field(c, "architectures"), *type = field(c, "model_type");
    const char *name = "", *type_name = "";
    int i = 0;

    if (field(c, "text_config"))
        return json_fail(c->json, field(c, "text_config"), e,
                         "models with a text_config (vision, audio) are not supported");
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != 1)
        return fail(e, ERR_DATA, "%s: 'architectures' does not name one architecture",
                    json_name(c->json));
    TRY(json_string(c->json, list->child, "architectures", &name, e));
    while (i < N_ARCHS && strcmp(archs[i].architecture, name) != 0)
        i++;
    if (i == N_ARCHS)
        return json_fail(c->json, list->child, e,
                         "architecture '%s' is not supported (LlamaForCausalLM, "
                         "MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM are)",
                         name);
    if (type) {
        TRY(json_string(c->json, type, "model_type", &type_name, e));
        if (strcmp(type_name, archs[i].model_type) != 0)
            return json_fail(c->json, type, e, "model_type '%s' contradicts architecture %s",
                             type_name, name);
    }
    m->architecture = archs[i].architecture;
    c->arch = archs[i].arch;
    return OK;
}

static enum status read_heads(const struct config *c, struct model *m, struct err *e)
{
    int standard;

    TRY(read_int(c, "num_attention_heads", 1, DIM_MAX, &m->heads, e));
    if (c->arch == ARCH_LLAMA) /* Llama 1 has no such field */
        TRY(read_int_or(c, "num_key_value_heads", m->heads, 1, DIM_MAX, &m->kv_heads, e));
    else
        TRY(read_int(c, "num_key_value_heads", 1, DIM_MAX, &m->kv_heads, e));
    if (m->heads % m->kv_heads != 0)
        return fail(e, ERR_DATA,
                    "%s: num_attention_heads %d is no multiple of "
                    "num_key_value_heads %d",
                    json_name(c->json), m->heads, m->kv_heads);
    standard = c->arch == ARCH_QWEN3 ? 128 : m->hidden / m->heads;
    if (!field(c, "head_dim") && c->arch != ARCH_QWEN3 && m->hidden % m->heads != 0)
        return fail(e, ERR_DATA,
                    "%s: hidden_size %d is no multiple of num_attention_heads %d, "
                    "and there is no head_dim",
                    json_name(c->json), m->hidden, m->heads);
    TRY(read_int_or(c, "head_dim", standard, 2, HEAD_DIM_MAX, &m->head_dim, e));
    if (m->head_dim < 2 || m->head_dim > HEAD_DIM_MAX)
        return fail(e, ERR_DATA,
                    "%s: heads of %d, want 2 to %d (hidden_size / num_attention_heads)",
                    json_name(c->json), m->head_dim, HEAD_DIM_MAX);
    if (m->head_dim % 2 != 0)
        return fail(e, ERR_DATA, "%s: head_dim %d is odd", json_name(c->json), m->head_dim);
    if ((int64_t)m->heads * m->head_dim > DIM_MAX)
        return fail(e, ERR_DATA, "%s: %d heads of %d are more than %d", json_name(c->json),
                    m->heads, m->head_dim, DIM_MAX);
    return OK;
}

/* The row lengths of all matrices. */
static enum status check_steps(const struct config *c, const struct model *m, struct err *e)
{
    const struct {
        const char *name;
        int dim;
    } row[] = {{"hidden_size", m->hidden},
               {"intermediate_size", m->ffn},
               {"num_attention_heads * head_dim", m->heads * m->head_dim}};

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (row[i].dim % DIM_STEP != 0)
            return fail(e, ERR_DATA, "%s: %s is %d, want a multiple of %d", json_name(c->json),
                        row[i].name, row[i].dim, DIM_STEP);
    return OK;
}

static enum status read_shape(const struct config *c, struct model *m, struct err *e)
{
    const cJSON *act = field(c, "hidden_act"), *eps = field(c, "rms_norm_eps");
    const char *act_name = "silu";
    double v = 0;

    TRY(read_int(c, "hidden_size", 1, DIM_MAX, &m->hidden, e));
    TRY(read_int(c, "intermediate_size", 1, DIM_MAX, &m->ffn, e));
    TRY(read_int(c, "num_hidden_layers", 1, LAYERS_MAX, &m->n_layers, e));
    TRY(read_int(c, "vocab_size", 1, DIM_MAX, &m->vocab, e));
    TRY(read_heads(c, m, e));
    TRY(check_steps(c, m, e));
    if (!eps)
        return fail(e, ERR_DATA, "%s: 'rms_norm_eps' is missing", json_name(c->json));
    TRY(json_double(c->json, eps, "rms_norm_eps", &v, e));
    if (!(v >= 0 && v <= 1))
        return json_fail(c->json, eps, e, "rms_norm_eps is %g, want 0 to 1", v);
    m->norm_eps = (float)v;
    if (act)
        TRY(json_string(c->json, act, "hidden_act", &act_name, e));
    if (strcmp(act_name, "silu") != 0 && strcmp(act_name, "swish") != 0) /* two names of one */
        return json_fail(c->json, act, e, "hidden_act '%s' is not supported (silu is)", act_name);
    return OK;
}

static enum status read_biases(struct config *c, struct err *e)
{
    bool attention = false;

    if (c->arch & LLAMA_QWEN3)
        TRY(read_bool_or(c, "attention_bias", false, &attention, e));
    if (c->arch == ARCH_LLAMA)
        TRY(read_bool_or(c, "mlp_bias", false, &c->mlp_bias, e));
    c->qkv_bias = attention || c->arch == ARCH_QWEN2;
    c->o_bias = attention;
    c->qk_norm = c->arch == ARCH_QWEN3;
    return OK;
}

/* The window that the fields other than layer_types give to each layer, 0 for none; *width: what a
 * sliding layer has. */
static enum status read_windows(struct config *c, struct model *m, int *width, struct err *e)
{
    bool use = c->arch == ARCH_MISTRAL;
    int first = 0;

    *width = 0;
    if (c->arch == ARCH_LLAMA)
        return OK;
    if (c->arch & QWENS) {
        TRY(read_bool_or(c, "use_sliding_window", false, &use, e));
        TRY(read_int_or(c, "max_window_layers", 28, 0, INT_MAX, &first, e));
    }
    if (use && !json_member(json_root(c->json), "sliding_window")) {
        c->window_by_default = true;
        *width = 4096;
    } else if (use) {
        TRY(read_int_or(c, "sliding_window", 0, 1, INT_MAX, width, e));
    }
    for (int i = first; i < m->n_layers; i++)
        m->layer[i].window = *width;
    return OK;
}

static enum status read_layer_types(const struct config *c, struct model *m, int width,
                                    struct err *e)
{
    const cJSON *list = field(c, "layer_types"), *item;
    int i = 0;

    if (!list)
        return OK;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != m->n_layers)
        return json_fail(c->json, list, e, "layer_types is no array of %d (num_hidden_layers)",
                         m->n_layers);
    cJSON_ArrayForEach(item, list)
    {
        const char *type = "";
        bool sliding;

        TRY(json_string(c->json, item, "layer_types", &type, e));
        sliding = strcmp(type, "sliding_attention") == 0;
        if (!sliding && strcmp(type, "full_attention") != 0)
            return json_fail(c->json, item, e,
                             "layer type '%s' is not supported "
                             "(full_attention, sliding_attention are)",
                             type);
        if (sliding && !width)
            return json_fail(c->json, item, e, "layer %d is '%s', but no sliding_window is set", i,
                             type);
        if (c->arch == ARCH_MISTRAL && !sliding && width) /* Mistral's class never looks here */
            return json_fail(c->json, item, e, "layer %d is '%s', but sliding_window is %d", i,
                             type, width);
        m->layer[i++].window = sliding ? width : 0;
    }
    return OK;
}

/* An id, or a list of which the first counts; -1 when absent. */
static enum status read_token(const struct config *c, const char *name, int *out, struct err *e)
{
    const cJSON *item = field(c, name);
    int64_t v = -1;

    *out = -1;
    if (cJSON_IsArray(item))
        item = item->child;
    if (!item)
        return OK;
    TRY(json_int(c->json, item, name, -1, INT_MAX, &v, e));
    *out = (int)v;
    return OK;
}

static enum status read_rope(const struct config *c, struct model *m, struct err *e)
{
    const cJSON *partial = field(c, "partial_rotary_factor");
    int max_len;
    double v = 1;

    if (partial)
        TRY(json_double(c->json, partial, "partial_rotary_factor", &v, e));
    if (v != 1)
        return json_fail(c->json, partial, e, "partial_rotary_factor is %g, only 1 is supported",
                         v);
    TRY(read_int_or(c, "max_position_embeddings", 0, 1, INT_MAX, &max_len, e));
    return rope_read(c->json, max_len, &m->rope, e);
}

static enum status read_all(struct config *c, struct model *m, struct err *e)
{
    int width;

    if (!cJSON_IsObject(json_root(c->json)))
        return fail(e, ERR_DATA, "%s: is no JSON object", json_name(c->json));
    TRY(read_architecture(c, m, e));
    TRY(check_fields(c, m->architecture, e));
    TRY(read_shape(c, m, e));
    TRY(read_biases(c, e));
    TRY(read_rope(c, m, e));
    TRY(read_bool_or(c, "tie_word_embeddings", false, &m->tied, e));
    TRY(read_token(c, "bos_token_id", &m->bos, e));
    TRY(read_token(c, "eos_token_id", &m->eos, e));
    m->layer = calloc((size_t)m->n_layers, sizeof *m->layer);
    if (!m->layer)
        return fail(e, ERR_FIT, "%s: out of memory for %d layers", json_name(c->json), m->n_layers);
    TRY(read_windows(c, m, &width, e));
    return read_layer_types(c, m, width, e);
}

enum status config_parse(const char *text, size_t bytes, struct model *m, struct config *c,
                         struct err *e)
{
    *c = (struct config){0};
    sha256_of(text, bytes, m->config_sha256);
    TRY(json_parse("config.json", text, bytes, JSON_STRICT, ERR_DATA, &c->json, e));
    return read_all(c, m, e);
}

enum status config_open(const char *dir, struct model *m, struct config *c, struct err *e)
{
    char path[PATH_MAX], *text;
    size_t bytes;
    enum status s;

    *c = (struct config){0};
    if (snprintf(path, sizeof path, "%s/config.json", dir) >= (int)sizeof path)
        return fail(e, ERR_NO_INPUT, "%.100s...: the path is too long", dir);
    TRY(file_read_whole(path, CONFIG_BYTES_MAX, ERR_DATA, &text, &bytes, e));
    s = config_parse(text, bytes, m, c, e);
    free(text);
    return s;
}

void config_close(struct config *c)
{
    json_close(c->json);
    c->json = NULL;
}
