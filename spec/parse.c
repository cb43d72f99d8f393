#include "spec/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALL_MODELS = -1 };

void *spec_alloc(struct spec_owner *o, size_t bytes)
{
    struct block *b = calloc(1, sizeof *b + bytes);

    if (!b)
        return NULL;
    b->next = o->blocks;
    o->blocks = b;
    return b->data;
}

static enum status no_memory(struct err *e)
{
    return fail(e, ERR_FIT, "out of memory for the spec");
}

/* Two values of one key in one layer: the same twice is harmless, else which one counts? */
static enum status check_once(const struct setter *was, int layer, const struct source *src,
                              const cJSON *item, const char *what, struct err *e)
{
    if (was->layer != layer || cJSON_Compare(was->item, item, 1))
        return OK;
    return json_fail(src->doc, item, e, "%s: given twice with different values, want one", what);
}

/* A text comes from one place only; a later layer may name another. */
static enum status check_one_corpus(const struct reader *r, const struct source *src,
                                    const struct spec_key *k, const cJSON *item, const char *what,
                                    struct err *e)
{
    int n;
    const struct spec_key *key = spec_keys(&n);

    if (k->form != FORM_CORPUS && k->form != FORM_DATASET)
        return OK;
    for (int i = 0; i < n; i++)
        if ((key[i].form == FORM_CORPUS || key[i].form == FORM_DATASET) && &key[i] != k &&
            r->run[i].layer == r->layer)
            return json_fail(src->doc, item, e,
                             "%s: \"%s\" is given too, want one of text, jsonl, tokens and dataset",
                             what, strchr(key[i].name, '.') + 1);
    return OK;
}

static enum status set_one(struct reader *r, const struct source *src, const struct spec_key *k,
                           const cJSON *item, const char *what, struct setter *by, void *base,
                           struct err *e)
{
    TRY(check_once(by, r->layer, src, item, what, e));
    TRY(check_one_corpus(r, src, k, item, what, e));
    TRY(value_read(r, src, k, item, what, base, e));
    *by = (struct setter){r->layer, src, item};
    return OK;
}

/* Sets a key of the data or the run, or of one model or all of them. */
static enum status set_key(struct reader *r, const struct source *src, const struct spec_key *k,
                           const cJSON *item, const char *what, int model, struct err *e)
{
    int i = key_index(k);

    if (!key_of_model(k))
        return set_one(r, src, k, item, what, &r->run[i],
                       key_of_data(k) ? (void *)&r->s->data : (void *)r->s, e);
    for (int m = 0; m < r->s->n_models; m++)
        if (model == ALL_MODELS || model == m)
            TRY(set_one(r, src, k, item, what, &r->model[m][i], &r->s->model[m], e));
    return OK;
}

/* Notes a key of another tool, once. */
static enum status ignore_key(struct reader *r, const char *name, struct err *e)
{
    struct spec *s = r->s;
    const char **more;
    char *copy;

    for (int i = 0; i < s->n_ignored; i++)
        if (strcmp(s->ignored[i], name) == 0)
            return OK;
    more = spec_alloc(r->owner, ((size_t)s->n_ignored + 1) * sizeof *more);
    copy = spec_alloc(r->owner, strlen(name) + 1);
    if (!more || !copy)
        return no_memory(e);
    strcpy(copy, name);
    if (s->n_ignored)
        memcpy(more, s->ignored, (size_t)s->n_ignored * sizeof *more);
    more[s->n_ignored++] = copy;
    s->ignored = more;
    return OK;
}

static enum status read_object(struct reader *r, const struct source *src, const cJSON *object,
                               enum spec_place place, const char *name, int model, struct err *e);

/* "path", or ["path", {options of the tool that loaded it}]. */
static enum status read_model_dir(struct reader *r, const struct source *src,
                                  const struct spec_key *k, const cJSON *item, int model,
                                  struct err *e)
{
    const cJSON *options;

    if (!cJSON_IsArray(item))
        return set_key(r, src, k, item, k->name, model, e);
    if (cJSON_GetArraySize(item) < 1 || cJSON_GetArraySize(item) > 2)
        return json_fail(src->doc, item, e, "%s: want a path or [path, {options}]", k->name);
    TRY(set_key(r, src, k, item->child, k->name, model, e));
    options = item->child->next;
    return options ? read_object(r, src, options, IN_OPTIONS, "the options in model_dir", model, e)
                   : OK;
}

static enum status read_models(struct reader *r, const struct source *src, const cJSON *array,
                               struct err *e)
{
    int m = 0;

    r->layer++; /* a model's own keys override what the top level says for all */
    for (const cJSON *item = array->child; item; item = item->next, m++)
        TRY(read_object(r, src, item, IN_MODEL, "a model", m, e));
    return OK;
}

static enum status read_member(struct reader *r, const struct source *src, const cJSON *item,
                               enum spec_place place, int model, struct err *e)
{
    const struct spec_key *k = key_find(place, item->string);
    char advice[KEY_ADVICE];

    if (!k && key_is_foreign(item->string))
        return ignore_key(r, item->string, e);
    if (!k)
        return json_fail(src->doc, item, e, "unknown key \"%.64s\" here: %s", item->string,
                         key_advice(place, item->string, advice));
    if (k->form == FORM_MODELS) /* after everything else, see read_spec_file */
        return OK;
    if (k->form == FORM_DATA)
        return read_object(r, src, item, IN_DATA, "data", model, e);
    if (k->form == FORM_MODEL_DIR)
        return read_model_dir(r, src, k, item, model, e);
    return set_key(r, src, k, item, item->string, model, e);
}

static enum status read_object(struct reader *r, const struct source *src, const cJSON *object,
                               enum spec_place place, const char *name, int model, struct err *e)
{
    if (!cJSON_IsObject(object))
        return json_fail(src->doc, object, e, "%s: want an object, {...}", name);
    for (const cJSON *item = object->child; item; item = item->next)
        TRY(read_member(r, src, item, place, model, e));
    return OK;
}

static enum status open_file(struct reader *r, const char *path, const struct source **out,
                             struct err *e)
{
    struct source *src = &r->source[r->n_sources];

    TRY(json_open(path, SPEC_BYTES_MAX, JSON_COMMENTS, ERR_SPEC, &src->doc, e));
    src->path = path;
    r->n_sources++;
    *out = src;
    return OK;
}

/* `first` is a model, or an array of them. */
static enum status make_models(struct reader *r, const struct source *src, const cJSON *first,
                               struct err *e)
{
    int n = cJSON_IsArray(first) ? cJSON_GetArraySize(first) : 1;

    if (n < 1 || n > SPEC_MODELS_MAX)
        return json_fail(src->doc, first, e, "got %d models, want 1 to %d", n, SPEC_MODELS_MAX);
    r->s->model = spec_alloc(r->owner, (size_t)n * sizeof *r->s->model);
    r->model = spec_alloc(r->owner, (size_t)n * sizeof *r->model);
    r->model_item = spec_alloc(r->owner, (size_t)n * sizeof *r->model_item);
    if (!r->s->model || !r->model || !r->model_item)
        return no_memory(e);
    r->s->n_models = n;
    r->model_source = src;
    r->model_item[0] = first;
    if (cJSON_IsArray(first)) {
        int m = 0;

        for (const cJSON *item = first->child; item; item = item->next)
            r->model_item[m++] = item;
    }
    return OK;
}

static enum status read_spec_file(struct reader *r, const char *path, struct err *e)
{
    const struct source *src;
    const cJSON *root, *models, *own;

    TRY(open_file(r, path, &src, e));
    root = json_root(src->doc);
    if (!cJSON_IsObject(root))
        return json_fail(src->doc, root, e, "the spec: want an object, {...}");
    models = json_member(root, "models");
    if (models && !cJSON_IsArray(models))
        return json_fail(src->doc, models, e, "models: want an array of objects, [{...}, {...}]");
    TRY(make_models(r, src, models ? models : root, e));
    r->data_source = src;
    r->layer = 1;
    TRY(read_object(r, src, root, IN_SPEC, "the spec", ALL_MODELS, e));
    if (!models)
        return OK;
    own = json_member(root, "model_dir");
    if (!own)
        own = json_member(root, "label");
    if (own)
        return json_fail(src->doc, own, e, "%s: \"models\" is given too, want it in each of those",
                         own->string);
    return read_models(r, src, models, e);
}

static enum status read_pair(struct reader *r, const char *data_path, const char *model_path,
                             struct err *e)
{
    const struct source *data, *model;
    const cJSON *root;

    TRY(open_file(r, data_path, &data, e));
    TRY(open_file(r, model_path, &model, e));
    root = json_root(model->doc);
    TRY(make_models(r, model, root, e));
    r->data_source = data;
    r->layer = 1;
    TRY(read_object(r, data, json_root(data->doc), IN_DATA_FILE, "the data file", ALL_MODELS, e));
    if (cJSON_IsArray(root))
        return read_models(r, model, root, e);
    r->layer++;
    return read_object(r, model, root, IN_MODEL, "the model file", 0, e);
}

/* Keys whose values are taken as they stand, unless they are quoted. */
static bool takes_text(const struct spec_key *k)
{
    return k->form == FORM_TEXT || k->form == FORM_LINE || k->form == FORM_PATH ||
           k->form == FORM_CHOICE || k->form == FORM_CORPUS || k->form == FORM_DATASET ||
           k->form == FORM_MODEL_DIR;
}

/* The value of one --set as a document of its own: JSON where it is JSON, else its text. */
static enum status open_set(struct reader *r, const char *value, bool text,
                            const struct source **out, struct err *e)
{
    struct source *src = &r->source[r->n_sources];
    const int flags = JSON_COMMENTS | JSON_ARGUMENT;
    const char *name = "command line";
    bool maybe_json = !text || value[0] == '"' || value[0] == '[';
    struct err not_json;
    cJSON *string;
    char *quoted;
    enum status code;

    *out = src;
    if (strlen(value) > SPEC_BYTES_MAX)
        return fail(e, ERR_SPEC, "%s: a value of --set is longer than %d bytes", name,
                    SPEC_BYTES_MAX);
    r->n_sources++;
    code = maybe_json
               ? json_parse(name, value, strlen(value), flags, ERR_SPEC, &src->doc, &not_json)
               : ERR_SPEC;
    if (code == OK)
        return OK;
    if (code != ERR_SPEC) { /* it may be JSON: that cannot be said without memory */
        *e = not_json;
        return code;
    }
    string = cJSON_CreateString(value);
    quoted = string ? cJSON_PrintUnformatted(string) : NULL;
    cJSON_Delete(string);
    if (!quoted)
        return no_memory(e);
    code = json_parse(name, quoted, strlen(quoted), flags, ERR_SPEC, &src->doc, e);
    cJSON_free(quoted);
    return code;
}

/* What stands left of '=': [models.N.]KEY, or [models.N.]max_memory.RANK. */
struct target {
    const struct spec_key *key;
    int model;
    char rank[64]; /* of max_memory.RANK, else "" */
};

static enum status find_target(const struct reader *r, const char *name, struct target *t,
                               struct err *e)
{
    static const char caps[] = "max_memory.";
    char advice[KEY_ADVICE];
    const char *key = name;
    int used = 0;

    *t = (struct target){.model = ALL_MODELS};
    if (sscanf(name, "models.%9d.%n", &t->model, &used) == 1 && used > 0) {
        if (t->model < 0 || t->model >= r->s->n_models)
            return fail(e, ERR_SPEC, "command line: %.64s: got model %d, want 0 to %d", name,
                        t->model, r->s->n_models - 1);
        key = name + used;
    }
    t->key = key_find_full(key);
    if (strncmp(key, caps, sizeof caps - 1) == 0) {
        t->key = key_find_full("max_memory");
        snprintf(t->rank, sizeof t->rank, "%s", key + sizeof caps - 1);
    }
    if (!t->key || (key != name && !key_of_model(t->key)))
        return fail(e, ERR_SPEC, "command line: unknown key \"%.64s\": %s", name,
                    key_advice(0, key, advice));
    if (t->key->form == FORM_DATA || t->key->form == FORM_MODELS)
        return fail(e, ERR_SPEC, "command line: %s: want one key of it, such as %s", t->key->name,
                    t->key->form == FORM_DATA ? "data.eval_len" : "models.0.dtype");
    return OK;
}

static enum status read_set(struct reader *r, const char *set, struct err *e)
{
    const char *equals = strchr(set, '=');
    const struct source *src;
    const cJSON *value;
    struct target t;
    char name[128];

    if (!equals || equals == set)
        return fail(e, ERR_USAGE, "command line: got --set %.64s, want --set KEY=VALUE", set);
    if ((size_t)(equals - set) >= sizeof name)
        return fail(e, ERR_SPEC, "command line: unknown key \"%.64s...\"", set);
    snprintf(name, sizeof name, "%.*s", (int)(equals - set), set);
    TRY(find_target(r, name, &t, e));
    TRY(open_set(r, equals + 1, takes_text(t.key), &src, e));
    value = json_root(src->doc);
    r->layer++;
    if (t.key->form == FORM_MODEL_DIR)
        return read_model_dir(r, src, t.key, value, t.model, e);
    if (!t.rank[0])
        return set_key(r, src, t.key, value, t.key->name, t.model, e);
    for (int m = 0; m < r->s->n_models; m++)
        if (t.model == ALL_MODELS || t.model == m)
            TRY(value_read_cap(r, src, value, t.key->name, t.rank, &r->s->model[m].caps, e));
    return OK;
}

enum status spec_parse(struct reader *r, const struct spec_source *from, struct err *e)
{
    if (from->spec_path)
        TRY(read_spec_file(r, from->spec_path, e));
    else
        TRY(read_pair(r, from->data_path, from->model_path, e));
    for (int i = 0; i < from->n_set; i++)
        TRY(read_set(r, from->set[i], e));
    return OK;
}
