#include "tests/bench/bench.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bench_figure(const char *key, double value)
{
    printf("figure %s %.6g\n", key, value);
    fflush(stdout);
}

void bench_part(const char *key, double value, const char *unit)
{
    printf("part %s %.9g %s\n", key, value, unit);
    fflush(stdout);
}

int bench_cores(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

const char *bench_checkpoint(const char *name, const char *options)
{
    static char folder[4096], config[4200];
    char words[512], *rest = words;
    struct args a = args_none();

    snprintf(folder, sizeof folder, "%s/%s", BENCH_FOLDER, name);
    snprintf(config, sizeof config, "%s/config.json", folder);
    if (file_exists(config))
        return folder;
    printf("making %s\n", folder);
    fflush(stdout);
    args_add(&a, "%s", MAKE_CHECKPOINT);
    args_add(&a, "--out");
    args_add(&a, "%s", folder);
    snprintf(words, sizeof words, "%s", options);
    for (char *word; (word = strsep(&rest, " "));)
        args_add(&a, "%s", word);
    struct run *r = run_program(&a, 600);
    if (r->code != 0) {
        run_print(r);
        exit(1);
    }
    run_close(r);
    return folder;
}

const char *bench_llama_1b(void)
{
    return bench_checkpoint("llama-3.2-1b", "--preset llama-3.2-1b --untied");
}

/* One-dimensional int32 .npy of version 1.0; ids below 1000 exist in any vocabulary. */
static void write_ids(const char *path, int n)
{
    char *file = calloc(1, 128 + 4 * (size_t)n);
    uint32_t state = 1;
    int text;

    if (!file)
        exit(1);
    memcpy(file, "\x93NUMPY\x01\x00\x76\x00", 10);
    memset(file + 10, ' ', 118);
    text = snprintf(file + 10, 118, "{'descr': '<i4', 'fortran_order': False, 'shape': (%d,), }", n);
    file[10 + text] = ' ';
    file[127] = '\n';
    for (int i = 0; i < n; i++) {
        int32_t id;

        state = state * 1664525u + 1013904223u;
        id = (int32_t)((state >> 16) % 1000u);
        memcpy(file + 128 + 4 * i, &id, 4);
    }
    file_write(path, file, 128 + 4 * (size_t)n);
    free(file);
}

const char *bench_spec(const struct bench_run *b)
{
    const char *spec = scratch_path("spec.json"), *ids = scratch_path("ids.npy");

    write_ids(ids, b->eval_len * b->rows + 1);
    file_printf(spec,
                "{ \"model_dir\": \"%s\", \"dtype\": \"bfloat16\", \"microbatch\": %d,\n"
                "  \"data\": { \"tokens\": \"%s\", \"eval_len\": %d, \"max_rows\": %d } }\n",
                b->model, b->microbatch, ids, b->eval_len, b->rows);
    return spec;
}

struct geometry bench_geometry(const char *model)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/config.json", model);
    cJSON *c = json_file(path);
    struct geometry g = {.hidden = json_number(c, "hidden_size"),
                         .ffn = json_number(c, "intermediate_size"),
                         .layers = json_number(c, "num_hidden_layers"),
                         .heads = json_number(c, "num_attention_heads"),
                         .kv_heads = json_number(c, "num_key_value_heads"),
                         .vocab = json_number(c, "vocab_size")};
    const cJSON *head_dim = cJSON_GetObjectItemCaseSensitive(c, "head_dim");
    g.head_dim = head_dim ? head_dim->valuedouble : g.hidden / g.heads;
    cJSON_Delete(c);
    return g;
}

double bench_window_flops(const struct geometry *g, double T)
{
    double q = g->heads * g->head_dim, kv = g->kv_heads * g->head_dim;
    double linear = 2 * g->hidden * (2 * q + 2 * kv) + 6 * g->hidden * g->ffn;
    double attention = 2 * 2 * q * (T + 1) / 2; /* a token sees (T+1)/2 keys on average */

    return T * (g->layers * (linear + attention) + 2 * g->hidden * g->vocab);
}
