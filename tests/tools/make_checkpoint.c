/* make_checkpoint - writes a model folder of any geometry with seeded weights: for benchmarks,
 * plans and tests. What a tensor holds depends on the seed and its name alone, not on the shards.
 *
 *     make_checkpoint --out DIR --preset llama-3.2-1b --format modelopt
 *     make_checkpoint --out DIR --preset 123b --sparse all
 *     make_checkpoint --out DIR --arch qwen3 --layers 2 --hidden 128 --ffn 256 --heads 4 --kv-heads
 * 2
 *
 * Weights are random with a variance of about 1/K, so that neither activations nor nll explode.
 * Every element is (random & keep) | fixed: a fixed exponent, random sign and mantissa. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "make_checkpoint --out DIR [options]\n"
    "  --preset NAME        a known geometry; options after it change it (--preset list: all)\n"
    "  --arch NAME          llama, mistral, qwen2, qwen3\n"
    "  --layers N --hidden N --ffn N --heads N --kv-heads N --head-dim N --vocab N\n"
    "  --rope-theta X       default 10000\n"
    "  --sliding-window N   mistral, qwen2, qwen3; default none\n"
    "  --format NAME        ct, ct-a16, modelopt, bf16, f16, f32; default ct\n"
    "  --head-format NAME   nvfp4, bf16, f16, f32; default bf16 (f16, f32 where --format is)\n"
    "  --tied, --untied     the head is the embedding, or not\n"
    "  --bias               attention (and for llama MLP) biases\n"
    "  --shard-bytes N      start a new file before one grows over N; default 5000000000\n"
    "  --seed N             default 1\n"
    "  --sparse weights     holes for all weights; scales, norms and biases are written\n"
    "  --sparse all         holes for scales, too: for plans only, a loader refuses zero scales\n"
    "  --tokenizer DIR      copies DIR/tokenizer.json (and tokenizer_config.json)\n";

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "make_checkpoint: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    exit(1);
}

/* ---- what to write ---- */

enum sparse { SPARSE_NONE, SPARSE_WEIGHTS, SPARSE_ALL };

struct geometry {
    const char *preset, *arch;
    long layers, hidden, ffn, heads, kv_heads, head_dim, vocab;
    double theta, eps;
    bool tied, llama3; /* llama3: rope scaling of Llama 3.1 */
    double llama3_factor;
};

static const struct geometry presets[] = {
    {"tiny", "llama", 2, 128, 256, 4, 2, 32, 4096, 1e4, 1e-5, false, false, 0},
    {"llama-3.2-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 5e5, 1e-5, true, true, 32},
    {"llama-3.2-3b", "llama", 28, 3072, 8192, 24, 8, 128, 128256, 5e5, 1e-5, true, true, 32},
    {"llama-3.1-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 5e5, 1e-5, false, true, 8},
    {"qwen3-8b", "qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 1e6, 1e-6, false, false, 0},
    {"mistral-nemo-12b", "mistral", 40, 5120, 14336, 32, 8, 128, 131072, 1e6, 1e-5, false, false,
     0},
    {"qwen3-14b", "qwen3", 40, 5120, 17408, 40, 8, 128, 151936, 1e6, 1e-6, false, false, 0},
    {"qwen3-32b", "qwen3", 64, 5120, 25600, 64, 8, 128, 151936, 1e6, 1e-6, false, false, 0},
    {"llama-3.1-70b", "llama", 80, 8192, 28672, 64, 8, 128, 128256, 5e5, 1e-5, false, true, 8},
    {"qwen2.5-72b", "qwen2", 80, 8192, 29568, 64, 8, 128, 152064, 1e6, 1e-6, false, false, 0},
    {"123b", "mistral", 88, 12288, 28672, 96, 8, 128, 32768, 1e6, 1e-5, false, false, 0},
    {"405b", "llama", 126, 16384, 53248, 128, 8, 128, 128256, 5e5, 1e-5, false, true, 8},
};
enum { N_PRESETS = sizeof presets / sizeof presets[0] };

struct job {
    const char *out, *format, *head_format, *tokenizer;
    struct geometry g;
    long window, shard_bytes, seed;
    bool bias;
    enum sparse sparse;
};

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool packs(const struct job *j) /* are the linear layers NVFP4? */
{
    return is(j->format, "ct") || is(j->format, "ct-a16") || is(j->format, "modelopt");
}

/* ---- the tensors ---- */

enum content { CONTENT_WEIGHT, CONTENT_SCALE, CONTENT_SMALL }; /* what --sparse leaves out */

struct tensor {
    char name[112];
    const char *dtype;
    int rank;
    uint64_t dim[2], bytes;
    uint64_t keep, fixed; /* element = (random & keep) | fixed, repeated to 8 bytes */
    enum content content;
    int shard;
    uint64_t offset; /* in the data of its shard */
};

struct list {
    struct tensor *tensor;
    int n, room, n_shards;
};

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

static const char *plain_format(const struct job *j)
{
    return packs(j) ? "bf16" : j->format;
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

static void list_tensors(struct list *l, const struct job *j)
{
    add_linear(l, j, plain_format(j), j->g.vocab, j->g.hidden, false, "model.embed_tokens");
    for (long i = 0; i < j->g.layers; i++)
        add_layer(l, j, i);
    add_norm(l, j, j->g.hidden, "model.norm.weight");
    if (!j->g.tied)
        add_linear(l, j, j->head_format, j->g.vocab, j->g.hidden, false, "lm_head");
}

static void place_tensors(struct list *l, const struct job *j)
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

/* ---- files ---- */

static FILE *open_text(const struct job *j, const char *name)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", j->out, name);
    f = fopen(path, "w");
    if (!f)
        die("%s: %s", path, strerror(errno));
    return f;
}

static void close_text(FILE *f, const char *name)
{
    if (ferror(f) || fclose(f) != 0)
        die("%s: %s", name, strerror(errno));
}

static void shard_name(const struct list *l, int shard, char *out, size_t size)
{
    if (l->n_shards == 1)
        snprintf(out, size, "model.safetensors");
    else
        snprintf(out, size, "model-%05d-of-%05d.safetensors", shard + 1, l->n_shards);
}

static void write_at(int fd, const void *data, size_t bytes, uint64_t offset)
{
    const char *from = data;

    while (bytes) {
        ssize_t n = pwrite(fd, from, bytes, (off_t)offset);

        if (n < 0 && errno != EINTR)
            die("write: %s", strerror(errno));
        if (n > 0) {
            from += n;
            offset += (uint64_t)n;
            bytes -= (size_t)n;
        }
    }
}

/* splitmix64 of a counter */
static uint64_t random64(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void write_tensor(int fd, const struct tensor *t, uint64_t base, long seed)
{
    enum { WORDS = 1 << 17 };
    static uint64_t block[WORDS];
    uint64_t state = (uint64_t)seed * UINT64_C(0x2545f4914f6cdd1d);

    for (const char *s = t->name; *s; s++)
        state = (state ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    for (uint64_t done = 0; done < t->bytes;) {
        uint64_t left = t->bytes - done, n = left < sizeof block ? left : sizeof block;

        for (uint64_t i = 0; i < (n + 7) / 8; i++)
            block[i] = (random64(&state) & t->keep) | t->fixed;
        write_at(fd, block, n, base + done);
        done += n;
    }
}

static char *make_header(const struct list *l, int shard, size_t *bytes)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        die("out of memory");
    fprintf(f, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < l->n; i++) {
        const struct tensor *t = &l->tensor[i];

        if (t->shard != shard)
            continue;
        fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, t->dtype);
        for (int d = 0; d < t->rank; d++)
            fprintf(f, "%s%llu", d ? "," : "", (unsigned long long)t->dim[d]);
        fprintf(f, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->offset,
                (unsigned long long)(t->offset + t->bytes));
    }
    fprintf(f, "}");
    while (ftell(f) % 8 != 0)
        fputc(' ', f);
    close_text(f, "header");
    *bytes = size;
    return text;
}

static void write_shard(const struct list *l, const struct job *j, int shard)
{
    char name[64], path[4096];
    size_t bytes;
    char *header = make_header(l, shard, &bytes);
    uint64_t base = 8 + bytes, end = base;
    unsigned char length[8];
    int fd;

    shard_name(l, shard, name, sizeof name);
    snprintf(path, sizeof path, "%s/%s", j->out, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(bytes >> 8 * i);
    write_at(fd, length, sizeof length, 0);
    write_at(fd, header, bytes, 8);
    free(header);
    for (int i = 0; i < l->n; i++) {
        const struct tensor *t = &l->tensor[i];

        if (t->shard != shard)
            continue;
        end = base + t->offset + t->bytes;
        if (t->content == CONTENT_SMALL || j->sparse == SPARSE_NONE ||
            (t->content == CONTENT_SCALE && j->sparse == SPARSE_WEIGHTS))
            write_tensor(fd, t, base + t->offset, j->seed);
    }
    if (ftruncate(fd, (off_t)end) != 0 || close(fd) != 0)
        die("%s: %s", path, strerror(errno));
}

static void write_index(const struct list *l, const struct job *j)
{
    FILE *f = open_text(j, "model.safetensors.index.json");
    uint64_t total = 0;

    for (int i = 0; i < l->n; i++)
        total += l->tensor[i].bytes;
    fprintf(f, "{\"metadata\": {\"total_size\": %llu},\n \"weight_map\": {\n",
            (unsigned long long)total);
    for (int i = 0; i < l->n; i++) {
        char name[64];

        shard_name(l, l->tensor[i].shard, name, sizeof name);
        fprintf(f, "  \"%s\": \"%s\"%s\n", l->tensor[i].name, name, i + 1 < l->n ? "," : "");
    }
    fprintf(f, " }}\n");
    close_text(f, "model.safetensors.index.json");
}

static void write_quantization(FILE *f, const struct job *j)
{
    bool modelopt = is(j->format, "modelopt");
    const char *ignore = is(j->head_format, "nvfp4") && !j->g.tied ? "" : "\"lm_head\"";
    const char *weights = modelopt ? "\"dynamic\": false, \"num_bits\": 4, \"type\": \"float\", "
                                     "\"group_size\": 16"
                                   : "\"dynamic\": false, \"num_bits\": 4, \"type\": \"float\", "
                                     "\"group_size\": 16, \"strategy\": \"tensor_group\", "
                                     "\"symmetric\": true, "
                                     "\"scale_dtype\": \"torch.float8_e4m3fn\"";

    fprintf(f, ",\n  \"quantization_config\": {\n    \"quant_method\": \"%s\",\n",
            modelopt ? "modelopt" : "compressed-tensors");
    fprintf(f, modelopt ? "    \"quant_algo\": \"NVFP4\",\n"
                        : "    \"format\": \"nvfp4-pack-quantized\",\n");
    fprintf(f, "    \"ignore\": [%s],\n    \"config_groups\": {\"group_0\": {\n", ignore);
    fprintf(f, "      \"targets\": [\"Linear\"],\n      \"weights\": {%s},\n", weights);
    if (is(j->format, "ct-a16"))
        fprintf(f, "      \"input_activations\": null}}\n  }");
    else if (modelopt)
        fprintf(f, "      \"input_activations\": {%s}}}\n  }", weights);
    else
        fprintf(f, "      \"input_activations\": {\"dynamic\": \"local\", \"num_bits\": 4, "
                   "\"type\": \"float\", \"group_size\": 16, \"strategy\": \"tensor_group\", "
                   "\"symmetric\": true, \"scale_dtype\": \"torch.float8_e4m3fn\"}}}\n  }");
}

static void write_arch_fields(FILE *f, const struct job *j)
{
    const struct geometry *g = &j->g;
    const char *arch = g->arch;

    if (is(arch, "llama"))
        fprintf(f, ",\n  \"attention_bias\": %s,\n  \"mlp_bias\": %s", j->bias ? "true" : "false",
                j->bias ? "true" : "false");
    if (is(arch, "qwen3"))
        fprintf(f, ",\n  \"attention_bias\": %s", j->bias ? "true" : "false");
    if (strncmp(arch, "qwen", 4) == 0)
        fprintf(f, ",\n  \"use_sliding_window\": %s,\n  \"max_window_layers\": 0",
                j->window ? "true" : "false");
    if (!is(arch, "llama") && j->window)
        fprintf(f, ",\n  \"sliding_window\": %ld", j->window);
    else if (!is(arch, "llama"))
        fprintf(f, ",\n  \"sliding_window\": null");
    if (g->llama3)
        fprintf(f,
                ",\n  \"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": %.17g, "
                "\"factor\": %g, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                "\"original_max_position_embeddings\": 8192}",
                g->theta, g->llama3_factor);
    else
        fprintf(f, ",\n  \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": %.17g}",
                g->theta);
}

static void write_config(const struct job *j)
{
    static const char *const class[][2] = {{"llama", "LlamaForCausalLM"},
                                           {"mistral", "MistralForCausalLM"},
                                           {"qwen2", "Qwen2ForCausalLM"},
                                           {"qwen3", "Qwen3ForCausalLM"}};
    const struct geometry *g = &j->g;
    FILE *f = open_text(j, "config.json");
    int k = 0;

    while (!is(class[k][0], g -> arch))
        k++;
    fprintf(f, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n", class[k][1],
            g -> arch);
    fprintf(f, "  \"bos_token_id\": 0,\n  \"eos_token_id\": 1,\n  \"hidden_act\": \"silu\",\n");
    fprintf(f, "  \"hidden_size\": %ld,\n  \"intermediate_size\": %ld,\n", g->hidden, g->ffn);
    fprintf(f, "  \"num_hidden_layers\": %ld,\n  \"num_attention_heads\": %ld,\n", g->layers,
            g->heads);
    fprintf(f, "  \"num_key_value_heads\": %ld,\n  \"head_dim\": %ld,\n", g->kv_heads, g->head_dim);
    fprintf(f, "  \"vocab_size\": %ld,\n  \"rms_norm_eps\": %.17g,\n", g->vocab, g->eps);
    fprintf(f, "  \"max_position_embeddings\": 131072,\n  \"dtype\": \"bfloat16\",\n");
    fprintf(f, "  \"tie_word_embeddings\": %s", g->tied ? "true" : "false");
    write_arch_fields(f, j);
    if (packs(j))
        write_quantization(f, j);
    fprintf(f, "\n}\n");
    close_text(f, "config.json");
}

static void copy_file(const struct job *j, const char *name, bool must)
{
    char path[4096], block[1 << 16];
    FILE *from, *to;
    size_t n;

    snprintf(path, sizeof path, "%s/%s", j->tokenizer, name);
    from = fopen(path, "r");
    if (!from && must)
        die("%s: %s", path, strerror(errno));
    if (!from)
        return;
    to = open_text(j, name);
    while ((n = fread(block, 1, sizeof block, from)) > 0)
        fwrite(block, 1, n, to);
    close_text(to, name);
    close_text(from, path);
}

/* ---- options ---- */

static void take_preset(struct job *j, const char *name)
{
    for (int i = 0; i < N_PRESETS; i++) {
        if (is(name, presets[i].preset)) {
            j->g = presets[i];
            return;
        }
    }
    for (int i = 0; i < N_PRESETS; i++)
        printf("%s\n", presets[i].preset);
    if (!is(name, "list"))
        die("--preset %s: not one of these", name);
    exit(0);
}

static long to_number(const char *option, const char *text, long least)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < least)
        die("%s %s: want a number of at least %ld", option, text, least);
    return v;
}

static const char *one_of(const char *option, const char *text, const char *names)
{
    char list[128], *rest = list;

    snprintf(list, sizeof list, "%s", names);
    for (char *name; (name = strsep(&rest, " "));)
        if (is(name, text))
            return text;
    die("%s %s: want one of %s", option, text, names);
}

static bool take_geometry(struct job *j, const char *option, const char *value)
{
    const struct {
        const char *name;
        long *to;
    } number[] = {
        {"--layers", &j->g.layers},     {"--hidden", &j->g.hidden},
        {"--ffn", &j->g.ffn},           {"--heads", &j->g.heads},
        {"--kv-heads", &j->g.kv_heads}, {"--head-dim", &j->g.head_dim},
        {"--vocab", &j->g.vocab},       {"--sliding-window", &j->window},
        {"--seed", &j->seed},           {"--shard-bytes", &j->shard_bytes},
    };

    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++) {
        if (is(option, number[i].name)) {
            *number[i].to = to_number(option, value, 1);
            return true;
        }
    }
    return false;
}

static void take_option(struct job *j, const char *option, const char *value)
{
    if (is(option, "--out"))
        j->out = value;
    else if (is(option, "--preset"))
        take_preset(j, value);
    else if (is(option, "--arch"))
        j->g.arch = one_of(option, value, "llama mistral qwen2 qwen3");
    else if (is(option, "--format"))
        j->format = one_of(option, value, "ct ct-a16 modelopt bf16 f16 f32");
    else if (is(option, "--head-format"))
        j->head_format = one_of(option, value, "nvfp4 bf16 f16 f32");
    else if (is(option, "--rope-theta"))
        j->g.theta = (double)to_number(option, value, 2);
    else if (is(option, "--sparse"))
        j->sparse = is(one_of(option, value, "weights all"), "all") ? SPARSE_ALL : SPARSE_WEIGHTS;
    else if (is(option, "--tokenizer"))
        j->tokenizer = value;
    else if (!take_geometry(j, option, value))
        die("%s: no such option (--help)", option);
}

static void take_options(struct job *j, int argc, char **argv)
{
    bool head_dim_given = false;

    for (int i = 1; i < argc; i++) {
        if (is(argv[i], "--help")) {
            printf("%s", usage);
            exit(0);
        } else if (is(argv[i], "--tied")) {
            j->g.tied = true;
        } else if (is(argv[i], "--untied")) {
            j->g.tied = false;
        } else if (is(argv[i], "--bias")) {
            j->bias = true;
        } else if (i + 1 == argc) {
            die("%s: wants a value, or is no option (--help)", argv[i]);
        } else {
            head_dim_given |= is(argv[i], "--head-dim") || is(argv[i], "--preset");
            take_option(j, argv[i], argv[i + 1]);
            i++;
        }
    }
    if (!j->out)
        die("--out is missing (--help)");
    if (!head_dim_given)
        j->g.head_dim = j->g.hidden / j->g.heads;
    if (!j->head_format)
        j->head_format = plain_format(j);
    if (is(j->head_format, "nvfp4") && !packs(j))
        die("--head-format nvfp4 goes with --format ct, ct-a16 or modelopt");
    if (j->bias && is(j->g.arch, "mistral"))
        die("--bias: mistral has none");
    if (j->window && is(j->g.arch, "llama"))
        die("--sliding-window: llama has none");
}

int main(int argc, char **argv)
{
    struct job j = {.format = "ct", .seed = 1, .shard_bytes = 5000000000, .g = presets[0]};
    struct list l = {0};

    take_options(&j, argc, argv);
    if (mkdir(j.out, 0755) != 0 && errno != EEXIST)
        die("%s: %s", j.out, strerror(errno));
    list_tensors(&l, &j);
    place_tensors(&l, &j);
    for (int shard = 0; shard < l.n_shards; shard++)
        write_shard(&l, &j, shard);
    if (l.n_shards > 1)
        write_index(&l, &j);
    write_config(&j);
    if (j.tokenizer) {
        copy_file(&j, "tokenizer.json", true);
        copy_file(&j, "tokenizer_config.json", false);
    }
    free(l.tensor);
    return 0;
}
