#include "loader/quant.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/match.h"
#include "spec/file.h"
#include "spec/types.h"

enum { GROUPS_MAX = 64, OWN_BYTES_MAX = 1 << 24 };

static const char own_file[] = "hf_quant_config.json"; /* ModelOpt's */

enum input_kind { INPUT_PLAIN, INPUT_NVFP4, INPUT_FOREIGN };

struct group {
    const char *name;
    struct match *targets;
    bool nvfp4; /* its weights */
    enum input_kind input;
    bool unrounded;
};

struct quant {
    struct json *own; /* hf_quant_config.json, when that is what is read */
    const struct json *json;
    bool modelopt;
    const char *algo;    /* ModelOpt's quant_algo, or NULL */
    const cJSON *layers; /* its quantized_layers: module -> {"quant_algo": ..}, or NULL */
    bool kv_cache;
    struct match *ignore;
    struct group *group; /* [n_groups] */
    int n_groups;
};

static const cJSON *present(const cJSON *object, const char *key)
{
    const cJSON *item = json_member(object, key);

    return item && !cJSON_IsNull(item) ? item : NULL;
}

static bool is_text(const cJSON *item, const char *text)
{
    return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

static bool is_number(const cJSON *item, double v)
{
    return cJSON_IsNumber(item) && item->valuedouble == v;
}

/* 4-bit floats in groups of 16 */
static bool is_nvfp4(const cJSON *args)
{
    return is_number(json_member(args, "num_bits"), 4) &&
           is_text(json_member(args, "type"), "float") &&
           is_number(json_member(args, "group_size"), NVFP4_GROUP);
}

static enum input_kind input_kind_of(const cJSON *args, bool modelopt)
{
    const cJSON *dynamic = json_member(args, "dynamic");

    if (!args)
        return INPUT_PLAIN;
    /* the scale of a group always follows the input; what is calibrated is the global one */
    if (is_nvfp4(args) && (modelopt ? cJSON_IsFalse(dynamic) : is_text(dynamic, "local")))
        return INPUT_NVFP4;
    return INPUT_FOREIGN;
}

/* "NVFP4": ["Linear"] - the name of a preset, and its targets */
static enum status read_preset(const struct quant *q, const cJSON *item, struct group *g,
                               struct err *e)
{
    g->nvfp4 = strcmp(g->name, "NVFP4") == 0 || strcmp(g->name, "NVFP4A16") == 0;
    g->input = strcmp(g->name, "NVFP4") == 0 ? INPUT_NVFP4 : INPUT_PLAIN;
    if (!g->nvfp4)
        return json_fail(q->json, item, e,
                         "quantization preset '%s' is not supported "
                         "(NVFP4, NVFP4A16 are)",
                         g->name);
    return match_open(q->json, item, &g->targets, e);
}

static enum status read_group(const struct quant *q, const cJSON *item, struct group *g,
                              struct err *e)
{
    const cJSON *input = present(item, "input_activations");

    g->name = item->string;
    if (cJSON_IsArray(item))
        return read_preset(q, item, g, e);
    if (!cJSON_IsObject(item))
        return json_fail(q->json, item, e, "quantization group '%s' is no object", g->name);
    if (present(item, "output_activations"))
        return json_fail(q->json, item, e,
                         "quantization group '%s' has output_activations: not "
                         "supported",
                         g->name);
    g->nvfp4 = is_nvfp4(json_member(item, "weights"));
    g->input = input_kind_of(input, q->modelopt);
    g->unrounded = input && !q->modelopt && !present(input, "scale_dtype");
    return match_open(q->json, present(item, "targets"), &g->targets, e);
}

static enum status read_groups(struct quant *q, const cJSON *groups, struct err *e)
{
    const cJSON *item;

    if (!groups)
        return OK;
    if (!cJSON_IsObject(groups) || cJSON_GetArraySize(groups) > GROUPS_MAX)
        return json_fail(q->json, groups, e, "config_groups is no object of at most %d groups",
                         GROUPS_MAX);
    q->group = calloc(GROUPS_MAX, sizeof *q->group);
    if (!q->group)
        return fail(e, ERR_FIT, "%s: out of memory", json_name(q->json));
    cJSON_ArrayForEach(item, groups) TRY(read_group(q, item, &q->group[q->n_groups++], e));
    return OK;
}

/* Parts of compressed-tensors that change the forward pass and are not done here. */
static enum status refuse_extras(const struct quant *q, const cJSON *config, struct err *e)
{
    const cJSON *transform = present(config, "transform_config");
    const cJSON *sparsity = present(config, "sparsity_config");
    const cJSON *sparse = json_member(sparsity, "format");

    if (transform && transform->child)
        return json_fail(q->json, transform, e,
                         "transform_config is not supported (it rotates "
                         "activations at run time)");
    if (sparse && !cJSON_IsNull(sparse) && !is_text(sparse, "dense"))
        return json_fail(q->json, sparse, e,
                         "sparsity_config with a format other than 'dense' is "
                         "not supported");
    return OK;
}

static bool algo_known(const char *algo)
{
    static const char *const known[] = {"NVFP4", "NVFP4_AWQ", "W4A16_NVFP4", "MIXED_PRECISION"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i], algo) == 0)
            return true;
    return false;
}

static enum status read_modelopt(struct quant *q, const cJSON *config, struct err *e)
{
    const cJSON *algo = present(config, "quant_algo");

    q->modelopt = true;
    q->layers = present(config, "quantized_layers");
    if (algo)
        TRY(json_string(q->json, algo, "quant_algo", &q->algo, e));
    if (q->algo && !algo_known(q->algo))
        return json_fail(q->json, algo, e,
                         "quant_algo '%s' is not supported (NVFP4, NVFP4_AWQ, "
                         "W4A16_NVFP4, MIXED_PRECISION are)",
                         q->algo);
    return OK;
}

static enum status read_method(struct quant *q, const cJSON *config, struct err *e)
{
    const cJSON *method = present(config, "quant_method");

    if (!cJSON_IsObject(config))
        return json_fail(q->json, config, e, "the quantization config is no object");
    if (q->own || is_text(method, "modelopt") || is_text(method, "modelopt_fp4") ||
        is_text(method, "modelopt_mixed"))
        return read_modelopt(q, config, e);
    if (is_text(method, "compressed-tensors"))
        return refuse_extras(q, config, e);
    return json_fail(q->json, method ? method : config, e,
                     "quant_method '%s' is not supported "
                     "(compressed-tensors, modelopt are)",
                     cJSON_IsString(method) ? method->valuestring : "(missing)");
}

static enum status read_config(struct quant *q, const cJSON *config, struct err *e)
{
    TRY(read_method(q, config, e));
    q->kv_cache = present(config, "kv_cache_scheme") || present(config, "kv_cache_quant_algo");
    TRY(match_open(q->json, q->modelopt ? NULL : present(config, "ignore"), &q->ignore, e));
    return read_groups(q, present(config, "config_groups"), e);
}

/* Takes over `own`. */
static enum status open_config(const struct json *j, struct json *own, const cJSON *config,
                               struct quant **out, struct err *e)
{
    struct quant *q = calloc(1, sizeof *q);
    enum status s;

    *out = NULL;
    if (!q) {
        json_close(own);
        return fail(e, ERR_FIT, "%s: out of memory", "quantization config");
    }
    q->json = j;
    q->own = own;
    s = read_config(q, config, e);
    if (s != OK) {
        quant_close(q);
        return s;
    }
    *out = q;
    return OK;
}

enum status quant_parse(const struct json *j, const cJSON *config, struct quant **out,
                        struct err *e)
{
    return open_config(j, NULL, config, out, e);
}

static enum status open_own(const char *path, struct json **out, struct err *e)
{
    char *text;
    size_t bytes;
    enum status s;

    TRY(file_read_whole(path, OWN_BYTES_MAX, ERR_DATA, &text, &bytes, e));
    s = json_parse(own_file, text, bytes, JSON_STRICT, ERR_DATA, out, e);
    free(text);
    return s;
}

enum status quant_open(const char *dir, const struct config *c, struct quant **out, struct err *e)
{
    const cJSON *config = present(json_root(c->json), "quantization_config");
    char path[PATH_MAX];
    struct json *own;

    *out = NULL;
    if (config)
        return quant_parse(c->json, config, out, e);
    if (snprintf(path, sizeof path, "%s/%s", dir, own_file) >= (int)sizeof path ||
        access(path, F_OK) != 0)
        return OK;
    TRY(open_own(path, &own, e));
    config = json_member(json_root(own), "quantization");
    return open_config(own, own, config ? config : json_root(own), out, e);
}

void quant_close(struct quant *q)
{
    if (!q)
        return;
    for (int i = 0; i < q->n_groups; i++)
        match_close(q->group[i].targets);
    free(q->group);
    match_close(q->ignore);
    json_close(q->own);
    free(q);
}

/* The group that speaks of a module: by its full name, else by pattern, else by class. */
static enum status find_group(const struct quant *q, const char *module, const char *class,
                              const struct group **out, struct err *e)
{
    enum match_kind best = MATCH_NONE, kind;

    *out = NULL;
    TRY(match_find(q->ignore, module, class, &kind, e));
    if (kind != MATCH_NONE)
        return OK;
    for (int i = 0; i < q->n_groups; i++) {
        TRY(match_find(q->group[i].targets, module, class, &kind, e));
        if (kind > best) {
            best = kind;
            *out = &q->group[i];
        }
    }
    return OK;
}

static enum status modelopt_input(const struct quant *q, const char *module, struct input_rule *out,
                                  struct err *e)
{
    const char *algo = q->algo;

    if (strcmp(algo, "MIXED_PRECISION") == 0) {
        const cJSON *own = present(present(q->layers, module), "quant_algo");

        if (!own)
            return OK;
        TRY(json_string(q->json, own, "quant_algo", &algo, e));
        if (!algo_known(algo) || strcmp(algo, "MIXED_PRECISION") == 0)
            return json_fail(q->json, own, e, "'%s' has quant_algo '%s', but is stored as NVFP4",
                             module, algo);
    }
    *out = (struct input_rule){.known = true, .quantized = strcmp(algo, "W4A16_NVFP4") != 0};
    return OK;
}

enum status quant_input(const struct quant *q, const char *module, const char *class,
                        struct input_rule *out, struct err *e)
{
    const struct group *g;

    *out = (struct input_rule){0};
    if (q->modelopt && q->algo)
        return modelopt_input(q, module, out, e);
    TRY(find_group(q, module, class, &g, e));
    if (!g)
        return OK;
    if (!g->nvfp4)
        return fail(e, ERR_DATA,
                    "%s: quantization group '%s' is not NVFP4, but '%s' is stored as "
                    "NVFP4",
                    json_name(q->json), g->name, module);
    if (g->input == INPUT_FOREIGN)
        return fail(e, ERR_DATA,
                    "%s: quantization group '%s' quantizes the input of '%s' in a way "
                    "that is not supported (4-bit floats by 16 are)",
                    json_name(q->json), g->name, module);
    *out = (struct input_rule){.known = true,
                               .quantized = g->input == INPUT_NVFP4,
                               .unrounded = g->input == INPUT_NVFP4 && g->unrounded};
    return OK;
}

bool quant_has_kv_cache(const struct quant *q)
{
    return q && q->kv_cache;
}
