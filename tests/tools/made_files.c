/* The files of a made checkpoint. What a tensor holds depends on the seed and its name alone, not on
 * the shards. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/tools/made_checkpoint.h"

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

void write_shard(const struct list *l, const struct job *j, int shard)
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

void write_index(const struct list *l, const struct job *j)
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

void write_config(const struct job *j)
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

void copy_tokenizer(const struct job *j)
{
    copy_file(j, "tokenizer.json", true);
    copy_file(j, "tokenizer_config.json", false);
}
