#include "spec/keys.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "spec/nearest.h"

static const char *const dtype_choice[] = {
    [DTYPE_BF16] = "bfloat16", [DTYPE_F16] = "float16", [DTYPE_F32] = "float32", NULL};
static const char *const arithmetic_choice[] = {[W4A16] = "w4a16",
                                                [W4A16_HF] = "w4a16-hf",
                                                [W4A4_HF] = "w4a4-hf",
                                                [W4A4_VLLM] = "w4a4-vllm",
                                                NULL};
static const char *const score_choice[] = {[SCORE_WINDOW] = "window",
                                           [SCORE_LAST_STRIDE] = "last_stride",
                                           [SCORE_SECOND_HALF] = "second_half",
                                           [SCORE_ROLLING] = "rolling",
                                           NULL};
static const char *const bos_choice[] = {
    [BOS_AUTO] = "auto", [BOS_ROW] = "row", [BOS_NONE] = "none", NULL};
static const char *const softmax_choice[] = {
    [SOFTMAX_MODEL] = "model", [SOFTMAX_TOKENIZER] = "tokenizer", NULL};
static const char *const stream_choice[] = {
    [STREAM_AUTO] = "auto", [STREAM_NEVER] = "never", [STREAM_ALWAYS] = "always", NULL};
static const char *const backend_choice[] = {
    [BACKEND_AUTO] = "auto", [BACKEND_CPU] = "cpu", [BACKEND_CUDA] = "cuda", NULL};
static const char *const transport_choice[] = {[TRANSPORT_AUTO] = "auto",
                                               [TRANSPORT_NCCL] = "nccl",
                                               [TRANSPORT_MPI] = "mpi",
                                               [TRANSPORT_LOOP] = "loop",
                                               NULL};

#define DATA(member)  .field = offsetof(struct spec_data, member), .in = IN_DATA | IN_DATA_FILE
#define MODEL(member) .field = offsetof(struct spec_model, member)
#define RUN(member)   .field = offsetof(struct spec, member), .in = IN_SPEC | IN_DATA_FILE

static const struct spec_key table[] = {
    {"data", "object", "required", "the data.* keys below (one-file form)", .form = FORM_DATA,
     .in = IN_SPEC},
    {"data.text", "path", "none", "a plain text file", .form = FORM_CORPUS, .min = CORPUS_TEXT,
     DATA(path)},
    {"data.jsonl", "path", "none", "a file with one JSON object a line", .form = FORM_CORPUS,
     .min = CORPUS_JSONL, DATA(path)},
    {"data.tokens", "path", "none", "frozen ids: .npy or .safetensors", .form = FORM_CORPUS,
     .min = CORPUS_TOKENS, DATA(path)},
    {"data.dataset", "text", "none", "\"wiki2\": WikiText-2 raw test, from wiki.test.raw",
     .form = FORM_DATASET, DATA(path)},
    {"data.text_column", "text", "text", "jsonl: the key that holds the text", .form = FORM_TEXT,
     .min = 1, .max = 256, DATA(text_column)},
    {"data.joiner", "text", "\\n\\n", "jsonl: what stands between rows", .form = FORM_TEXT,
     .min = 0, .max = 256, DATA(joiner)},
    {"data.eval_len", "integer", "2048", "tokens of a window", .form = FORM_INT, .min = 2,
     .max = SPEC_LEN_MAX, DATA(eval_len)},
    {"data.eval_stride", "integer", "eval_len", "tokens from one window to the next",
     .form = FORM_INT, .min = 1, .max = SPEC_LEN_MAX, DATA(eval_stride)},
    {"data.max_rows", "integer", "0", "windows at most; 0 = all", .form = FORM_COUNT, .min = 0,
     .max = INT64_C(1) << 40, DATA(max_rows)},
    {"data.score", "choice", "window", "window | last_stride | second_half | rolling",
     .form = FORM_CHOICE, .choice = score_choice, DATA(score)},
    {"data.bos", "choice", "auto", "auto (as the tokenizer does) | row (each window) | none",
     .form = FORM_CHOICE, .choice = bos_choice, DATA(bos)},
    {"data.softmax", "choice", "model", "model (all rows of the head) | tokenizer (its vocabulary)",
     .form = FORM_CHOICE, .choice = softmax_choice, DATA(softmax)},
    {"models", "array", "none", "several models, each an object of the keys below (one-file form)",
     .form = FORM_MODELS, .in = IN_SPEC},
    {"model_dir", "path", "required", "the model's folder, or [folder, {options}]",
     .form = FORM_MODEL_DIR, .in = IN_SPEC | IN_MODEL, MODEL(model_dir)},
    {"label", "text", "last part of model_dir", "what tables call the model", .form = FORM_LINE,
     .min = 1, .max = 128, .in = IN_SPEC | IN_MODEL, MODEL(label)},
    {"tokenizer_dir", "path", "model_dir", "folder of tokenizer.json, or the file",
     .form = FORM_PATH, .in = IN_SPEC | IN_MODEL | IN_DATA_FILE, MODEL(tokenizer_dir)},
    {"dtype", "choice", "bfloat16", "of hidden states: bfloat16 | float16 | float32",
     .alias = "torch_dtype", .form = FORM_CHOICE, .choice = dtype_choice,
     .in = IN_SPEC | IN_MODEL | IN_OPTIONS, MODEL(dtype)},
    {"arithmetic", "choice", "w4a16", "w4a16 | w4a16-hf | w4a4-hf | w4a4-vllm", .form = FORM_CHOICE,
     .choice = arithmetic_choice, .in = IN_SPEC | IN_MODEL | IN_OPTIONS, MODEL(arithmetic)},
    {"max_memory", "sizes", "what is free",
     "caps by rank and host: {\"0\": \"38GiB\", \"cpu\": \"50GiB\"}", .form = FORM_CAPS,
     .in = IN_SPEC | IN_MODEL | IN_OPTIONS, MODEL(caps)},
    {"stages", "integer", "0", "ranks in a pipeline; the rest are replicas of it; 0 = by the plan",
     .form = FORM_INT, .min = 0, .max = SPEC_RANKS_MAX, .in = IN_SPEC | IN_MODEL | IN_OPTIONS,
     MODEL(stages)},
    {"layers", "integers", "by the plan", "layers of each stage: [30, 58]", .form = FORM_LAYERS,
     .in = IN_SPEC | IN_MODEL | IN_OPTIONS, MODEL(n_layers_by_hand)},
    {"microbatch", "integer", "0", "windows in a microbatch; 0 = by the plan", .form = FORM_INT,
     .min = 0, .max = 65536, RUN(microbatch)},
    {"stream", "choice", "auto", "read layers again each wave: auto (if need be) | never | always",
     .form = FORM_CHOICE, .choice = stream_choice, RUN(stream)},
    {"rates", "object", "measured",
     "streamed: {\"compute\": GFLOP/s, \"read\": \"2GB\", \"copy\": \"9GB\"}",
     .form = FORM_RATES, RUN(rates)},
    {"threads", "integer", "0", "of a CPU rank; 0 = the cores it may use", .form = FORM_INT,
     .min = 0, .max = 4096, RUN(threads)},
    {"isa", "text", "auto", "variant of the CPU backend; GPU: other than auto, no FP4",
     .form = FORM_LINE,
     .min = 1, .max = 32, RUN(isa)},
    {"backend", "choice", "auto", "auto | cpu | cuda", .form = FORM_CHOICE,
     .choice = backend_choice, RUN(backend)},
    {"transport", "choice", "auto", "auto | nccl | mpi | loop", .form = FORM_CHOICE,
     .choice = transport_choice, RUN(transport)},
    {"stall_timeout", "seconds", "600", "without progress before a wait gives up",
     .form = FORM_SECONDS, .min = 0, .max = 10000000, RUN(stall_timeout)},
    {"out", "path", "none", "folder of the run: journal, status.json, result.json, nll.npy",
     .form = FORM_PATH, RUN(out)},
};
enum { KEYS = sizeof table / sizeof *table };

/* What the files of other evaluation tools and the loading options of Hugging Face hold that says
 * how those tools do their work, not what is measured. */
static const char *const foreign[] = {
    "load_fn",
    "fwd_fn",
    "tokenize_fn",
    "out_logits",
    "trust_remote_code",
    "device_map",
    "attn_implementation",
    "low_cpu_mem_usage",
    "use_safetensors",
    "use_cache",
    "local_files_only",
    "cache_dir",
    "token",
    "tp_plan",
    "offload_folder",
    "offload_state_dict",
    "offload_buffers",
    "display_rows",
    "display_eval_len",
    "dataset_display_name",
    "override_bpw_head",
    "override_bpw_layer",
    "override_vram_bits",
    "use_fast",
};

const struct spec_key *spec_keys(int *n)
{
    *n = KEYS;
    return table;
}

int key_index(const struct spec_key *k)
{
    return (int)(k - table);
}

/* "eval_len" of "data.eval_len": how the key stands in a file. */
static const char *bare_name(const struct spec_key *k)
{
    const char *dot = strchr(k->name, '.');

    return dot ? dot + 1 : k->name;
}

static bool is_named(const struct spec_key *k, const char *own, const char *name)
{
    return strcmp(own, name) == 0 || (k->alias && strcmp(k->alias, name) == 0);
}

const struct spec_key *key_find(enum spec_place place, const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if ((table[i].in & place) && is_named(&table[i], bare_name(&table[i]), name))
            return &table[i];
    return NULL;
}

const struct spec_key *key_find_full(const char *name)
{
    for (int i = 0; i < KEYS; i++)
        if (is_named(&table[i], table[i].name, name))
            return &table[i];
    return NULL;
}

bool key_is_foreign(const char *name)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (strcmp(foreign[i], name) == 0)
            return true;
    return false;
}

/* A known key at the wrong place. */
static const char *right_place(const struct spec_key *k, unsigned place)
{
    if (k->in & IN_DATA)
        return "the object \"data\" (or the -d file)";
    if (k->form == FORM_DATA || k->form == FORM_MODELS)
        return "the top level of the one-file form";
    if (!key_of_model(k))
        return "the top level of the spec or of the -d file";
    return place == IN_OPTIONS ? "the model's object, beside \"model_dir\""
                               : "the model's object (top level, \"models\" or the -m file)";
}

const char *key_advice(unsigned place, const char *name, char out[KEY_ADVICE])
{
    const struct spec_key *best = NULL;
    int least = INT_MAX;

    for (int i = 0; i < KEYS; i++) {
        const char *own = place ? bare_name(&table[i]) : table[i].name;
        int distance;

        if (is_named(&table[i], bare_name(&table[i]), name)) {
            if (place)
                snprintf(out, KEY_ADVICE, "want it in %s", right_place(&table[i], place));
            else
                snprintf(out, KEY_ADVICE, "want \"%s\"", table[i].name);
            return out;
        }
        distance = word_distance(name, own);
        if ((!place || (table[i].in & place)) && distance < least) {
            least = distance;
            best = &table[i];
        }
    }
    snprintf(out, KEY_ADVICE, "the nearest known one is \"%s\"",
             place ? bare_name(best) : best->name);
    return out;
}

const char *score_name(enum score_kind k)
{
    return score_choice[k];
}

const char *bos_name(enum bos_kind k)
{
    return bos_choice[k];
}
