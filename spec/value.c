#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/parse.h"
#include "spec/size.h"

static enum status no_memory(struct err *e)
{
    return fail(e, ERR_FIT, "out of memory for the spec");
}

static enum status read_text(struct reader *r, const struct source *src, const struct spec_key *k,
                             const cJSON *item, const char *what, const char **out, struct err *e)
{
    const char *text;
    size_t n;
    char *copy;

    TRY(json_string(src->doc, item, what, &text, e));
    n = strlen(text);
    if ((int64_t)n < k->min || (int64_t)n > k->max)
        return json_fail(src->doc, item, e, "%s: got %zu bytes of text, want %d to %d", what, n,
                         (int)k->min, (int)k->max);
    for (const char *p = text; k->form == FORM_LINE && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return json_fail(src->doc, item, e, "%s: got a control character, want one line", what);
    copy = spec_alloc(r->owner, n + 1);
    if (!copy)
        return no_memory(e);
    memcpy(copy, text, n);
    *out = copy;
    return OK;
}

enum status value_path(struct reader *r, const struct source *src, const cJSON *item,
                       const char *what, const char **out, struct err *e)
{
    const char *text, *slash = src->path ? strrchr(src->path, '/') : NULL;
    size_t folder = 0, n;
    char *path;

    TRY(json_string(src->doc, item, what, &text, e));
    n = strlen(text);
    if (n == 0)
        return json_fail(src->doc, item, e, "%s: got an empty string, want a path", what);
    if (text[0] != '/' && slash)
        folder = (size_t)(slash + 1 - src->path);
    if (folder + n >= PATH_MAX)
        return json_fail(src->doc, item, e, "%s: got a path of %zu bytes, want less than %d", what,
                         folder + n, PATH_MAX);
    path = spec_alloc(r->owner, folder + n + 1);
    if (!path)
        return no_memory(e);
    if (folder)
        memcpy(path, src->path, folder);
    memcpy(path + folder, text, n);
    *out = path;
    return OK;
}

static enum status read_choice(const struct source *src, const struct spec_key *k,
                               const cJSON *item, const char *what, unsigned *out, struct err *e)
{
    char want[160] = "";
    const char *text;
    size_t n = 0;

    TRY(json_string(src->doc, item, what, &text, e));
    for (unsigned i = 0; k->choice[i]; i++) {
        if (strcmp(text, k->choice[i]) == 0) {
            *out = i;
            return OK;
        }
        n += (size_t)snprintf(want + n, sizeof want - n, "%s%s",
                              i == 0             ? ""
                              : k->choice[i + 1] ? ", "
                                                 : " or ",
                              k->choice[i]);
        CHECK(n < sizeof want);
    }
    if (strcmp(k->name, "dtype") == 0 && strcmp(text, "auto") == 0)
        return json_fail(src->doc, item, e,
                         "%s: got \"auto\", want %s (the number depends on it: "
                         "take \"torch_dtype\" or \"dtype\" of config.json)",
                         what, want);
    return json_fail(src->doc, item, e, "%s: got \"%.64s\", want %s", what, text, want);
}

static enum status read_size(const struct source *src, const cJSON *item, const char *what,
                             int64_t least, uint64_t *bytes, struct err *e)
{
    struct err wrong;
    int64_t number;

    if (cJSON_IsString(item)) {
        if (size_parse(item->valuestring, bytes, &wrong) != OK)
            return json_fail(src->doc, item, e, "%s: %s", what, wrong.msg);
    } else {
        TRY(json_int(src->doc, item, what, least, INT64_C(1) << 53, &number, e));
        *bytes = (uint64_t)number;
    }
    return OK;
}

static enum status read_cap_bytes(const struct source *src, const cJSON *item, const char *what,
                                  uint64_t *bytes, struct err *e)
{
    TRY(read_size(src, item, what, 1, bytes, e));
    if (*bytes == 0)
        return json_fail(src->doc, item, e,
                         "%s: got no bytes, want more (leave the entry out for no cap)", what);
    return OK;
}

/* "0" .. "1023", without a leading zero; else -1. */
static int rank_number(const char *text)
{
    int rank = 0;

    if (!*text || strlen(text) > 4 || (text[0] == '0' && text[1]))
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        rank = rank * 10 + (*text - '0');
    }
    return rank < SPEC_RANKS_MAX ? rank : -1;
}

enum status value_read_cap(struct reader *r, const struct source *src, const cJSON *item,
                           const char *what, const char *rank, struct spec_caps *caps,
                           struct err *e)
{
    char entry[128];
    int number = rank_number(rank);

    if (number < 0 && strcmp(rank, "cpu") != 0)
        return json_fail(src->doc, item, e, "%s: got \"%.64s\", want a rank (0 to %d) or \"cpu\"",
                         what, rank, SPEC_RANKS_MAX - 1);
    snprintf(entry, sizeof entry, "%s.%s", what, rank);
    if (number < 0) /* nothing to park in is a budget, too */
        return read_size(src, item, entry, 0, &caps->host, e);
    if (number >= caps->n_ranks) {
        uint64_t *more = spec_alloc(r->owner, ((size_t)number + 1) * sizeof *more);

        if (!more)
            return no_memory(e);
        if (caps->n_ranks)
            memcpy(more, caps->rank, (size_t)caps->n_ranks * sizeof *more);
        caps->rank = more;
        caps->n_ranks = number + 1;
    }
    return read_cap_bytes(src, item, entry, &caps->rank[number], e);
}

/* The highest rank comes first, so that one array serves them all. */
static enum status read_caps(struct reader *r, const struct source *src, const cJSON *item,
                             const char *what, struct spec_caps *caps, struct err *e)
{
    int highest = -1;

    if (!cJSON_IsObject(item))
        return json_fail(src->doc, item, e,
                         "%s: want an object such as {\"0\": \"38GiB\", \"cpu\": \"50GiB\"}", what);
    *caps = (struct spec_caps){0};
    for (const cJSON *entry = item->child; entry; entry = entry->next)
        if (rank_number(entry->string) > highest)
            highest = rank_number(entry->string);
    if (highest >= 0) {
        caps->rank = spec_alloc(r->owner, ((size_t)highest + 1) * sizeof *caps->rank);
        if (!caps->rank)
            return no_memory(e);
        caps->n_ranks = highest + 1;
    }
    for (const cJSON *entry = item->child; entry; entry = entry->next)
        TRY(value_read_cap(r, src, entry, what, entry->string, caps, e));
    return OK;
}

static enum status read_bytes_rate(const struct source *src, const cJSON *item, double *rate,
                                   struct err *e)
{
    uint64_t bytes;
    char what[32];

    snprintf(what, sizeof what, "rates.%s", item->string);
    TRY(read_size(src, item, what, 1, &bytes, e));
    *rate = (double)bytes;
    return bytes ? OK
                 : json_fail(src->doc, item, e, "%s: got no bytes a second, want more", what);
}

static enum status read_rate(const struct source *src, const cJSON *item, struct spec_rates *rates,
                             struct err *e)
{
    const double most = 1e9; /* GFLOP/s: 10^18 a second */

    if (strcmp(item->string, "compute") == 0) {
        TRY(json_double(src->doc, item, "rates.compute", &rates->compute, e));
        if (!(rates->compute >= 1e-3 && rates->compute <= most))
            return json_fail(src->doc, item, e,
                             "rates.compute: got %g, want GFLOP/s from 0.001 to %g", rates->compute,
                             most);
        rates->compute *= 1e9;
        return OK;
    }
    if (strcmp(item->string, "read") == 0)
        return read_bytes_rate(src, item, &rates->read, e);
    if (strcmp(item->string, "copy") == 0)
        return read_bytes_rate(src, item, &rates->copy, e);
    if (strcmp(item->string, "throttle") != 0)
        return json_fail(src->doc, item, e,
                         "rates: got \"%.64s\", want compute, read, copy or throttle", item->string);
    if (!cJSON_IsBool(item))
        return json_fail(src->doc, item, e, "rates.throttle: want true or false");
    rates->throttle = cJSON_IsTrue(item);
    return OK;
}

static enum status read_rates(const struct source *src, const cJSON *item,
                              struct spec_rates *rates, struct err *e)
{
    if (!cJSON_IsObject(item))
        return json_fail(src->doc, item, e,
                         "rates: want an object such as {\"compute\": 400, \"read\": \"2GB\"}");
    *rates = (struct spec_rates){0};
    for (const cJSON *one = item->child; one; one = one->next)
        TRY(read_rate(src, one, rates, e));
    if (rates->throttle && rates->read <= 0)
        return json_fail(src->doc, item, e, "rates: \"throttle\" wants a \"read\" rate, too");
    return OK;
}

static enum status read_layers(struct reader *r, const struct source *src, const cJSON *item,
                               const char *what, struct spec_model *m, struct err *e)
{
    int n = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 0, i = 0;
    int64_t layers;

    if (n < 1 || n > SPEC_RANKS_MAX)
        return json_fail(src->doc, item, e,
                         "%s: want an array with the layers of each stage, such as [30, 58]", what);
    m->layers_by_hand = spec_alloc(r->owner, (size_t)n * sizeof *m->layers_by_hand);
    if (!m->layers_by_hand)
        return no_memory(e);
    for (const cJSON *of = item->child; of; of = of->next) {
        TRY(json_int(src->doc, of, what, 0, 100000, &layers, e));
        m->layers_by_hand[i++] = (int)layers;
    }
    m->n_layers_by_hand = n;
    return OK;
}

static enum status read_number(const struct source *src, const struct spec_key *k,
                               const cJSON *item, const char *what, void *field, struct err *e)
{
    int64_t number;
    double seconds;

    if (k->form == FORM_SECONDS) {
        TRY(json_double(src->doc, item, what, &seconds, e));
        if (!(seconds > (double)k->min && seconds <= (double)k->max))
            return json_fail(src->doc, item, e, "%s: got %g, want more than %d and at most %d",
                             what, seconds, (int)k->min, (int)k->max);
        *(double *)field = seconds;
        return OK;
    }
    TRY(json_int(src->doc, item, what, k->min, k->max, &number, e));
    if (k->form == FORM_COUNT)
        *(int64_t *)field = number;
    else
        *(int *)field = (int)number;
    return OK;
}

static enum status read_dataset(const struct source *src, const cJSON *item, const char *what,
                                struct spec_data *data, struct err *e)
{
    const char *text;

    TRY(json_string(src->doc, item, what, &text, e));
    if (strcmp(text, "wiki2") != 0)
        return json_fail(src->doc, item, e,
                         "%s: got \"%.64s\", want \"wiki2\" (for a file of yours: \"text\", "
                         "\"jsonl\" or \"tokens\" in its place)",
                         what, text);
    data->kind = CORPUS_WIKI2;
    data->path = NULL;
    return OK;
}

enum status value_read(struct reader *r, const struct source *src, const struct spec_key *k,
                       const cJSON *item, const char *what, void *base, struct err *e)
{
    void *field = (char *)base + k->field;

    switch ((enum key_form)k->form) {
    case FORM_INT:
    case FORM_COUNT:
    case FORM_SECONDS:
        return read_number(src, k, item, what, field, e);
    case FORM_TEXT:
    case FORM_LINE:
        return read_text(r, src, k, item, what, field, e);
    case FORM_CORPUS:
        ((struct spec_data *)base)->kind = (enum corpus_kind)k->min;
        return value_path(r, src, item, what, field, e);
    case FORM_PATH:
    case FORM_MODEL_DIR:
        return value_path(r, src, item, what, field, e);
    case FORM_CHOICE:
        return read_choice(src, k, item, what, field, e);
    case FORM_DATASET:
        return read_dataset(src, item, what, base, e);
    case FORM_CAPS:
        return read_caps(r, src, item, what, field, e);
    case FORM_RATES:
        return read_rates(src, item, field, e);
    case FORM_LAYERS:
        return read_layers(r, src, item, what, base, e);
    case FORM_DATA:
    case FORM_MODELS:
        break;
    }
    CHECK(!"a key with a value");
    return ERR_INTERNAL;
}
