#include "loader/match.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATTERNS_MAX = 256,
    PATTERN_BYTES_MAX = 4096,
    STEPS_MAX = 100000 /* of backtracking; names are short, honest patterns need a few hundred */
};

struct match {
    const char **name; /* [n_names] sorted: full names and class names */
    int n_names;
    struct pattern {
        const char *text;
        pcre2_code *code;
    } * pattern; /* [n_patterns] */
    int n_patterns;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum status add_pattern(const struct json *j, const cJSON *item, struct match *m,
                               struct err *e)
{
    const char *text = item->valuestring + strlen("re:");
    struct pattern *p = &m->pattern[m->n_patterns];
    PCRE2_SIZE at;
    int code;

    if (m->n_patterns == PATTERNS_MAX)
        return json_fail(j, item, e, "more than %d patterns", PATTERNS_MAX);
    if (strlen(text) > PATTERN_BYTES_MAX)
        return json_fail(j, item, e, "a pattern of more than %d bytes", PATTERN_BYTES_MAX);
    p->text = text;
    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_UTF,
                            &code, &at, NULL);
    if (!p->code) {
        char why[128];

        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return json_fail(j, item, e, "pattern '%s': %s", item->valuestring, why);
    }
    m->n_patterns++;
    return OK;
}

static enum status fill(const struct json *j, const cJSON *list, struct match *m, struct err *e)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            return json_fail(j, item, e, "a list of modules holds something that is no string");
        if (strncmp(item->valuestring, "re:", 3) == 0)
            TRY(add_pattern(j, item, m, e));
        else
            m->name[m->n_names++] = item->valuestring;
    }
    qsort(m->name, (size_t)m->n_names, sizeof *m->name, by_text);
    return OK;
}

enum status match_open(const struct json *j, const cJSON *list, struct match **out, struct err *e)
{
    struct match *m = calloc(1, sizeof *m);
    enum status s;

    *out = NULL;
    if (m) {
        m->name = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *m->name);
        m->pattern = calloc(PATTERNS_MAX, sizeof *m->pattern);
        m->data = pcre2_match_data_create(1, NULL);
        m->context = pcre2_match_context_create(NULL);
    }
    if (!m || !m->name || !m->pattern || !m->data || !m->context) {
        match_close(m);
        return fail(e, ERR_FIT, "%s: out of memory", json_name(j));
    }
    pcre2_set_match_limit(m->context, STEPS_MAX);
    s = list && !cJSON_IsArray(list) ? json_fail(j, list, e, "want an array of modules")
                                     : fill(j, list, m, e);
    if (s != OK) {
        match_close(m);
        return s;
    }
    *out = m;
    return OK;
}

void match_close(struct match *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n_patterns; i++)
        pcre2_code_free(m->pattern[i].code);
    pcre2_match_context_free(m->context);
    pcre2_match_data_free(m->data);
    free(m->pattern);
    free(m->name);
    free(m);
}

static int has_name(const struct match *m, const char *name)
{
    return bsearch(&name, m->name, (size_t)m->n_names, sizeof *m->name, by_text) != NULL;
}

enum status match_find(const struct match *m, const char *module, const char *class,
                       enum match_kind *out, struct err *e)
{
    *out = MATCH_NAME;
    if (has_name(m, module))
        return OK;
    *out = MATCH_PATTERN;
    for (int i = 0; i < m->n_patterns; i++) {
        int n = pcre2_match(m->pattern[i].code, (PCRE2_SPTR)module, strlen(module), 0, 0, m->data,
                            m->context);

        if (n >= 0)
            return OK;
        if (n != PCRE2_ERROR_NOMATCH)
            return fail(e, ERR_DATA,
                        "quantization_config: pattern 're:%s' cannot be matched with "
                        "'%s' (PCRE2 error %d)",
                        m->pattern[i].text, module, n);
    }
    *out = has_name(m, class) ? MATCH_CLASS : MATCH_NONE;
    return OK;
}
