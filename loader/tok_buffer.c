/* Growing buffers, and the small reads from tokenizer.json that every part shares. */
#include <stdlib.h>
#include <string.h>

#include "loader/tok.h"

enum status tok_grow(void *array, size_t *cap, size_t want, size_t size, struct err *e)
{
    size_t next = *cap ? *cap : 16;
    void *at, *grown;

    if (want <= *cap)
        return OK;
    while (next < want)
        next += next / 2;
    memcpy(&at, array, sizeof at); /* a pointer of any type */
    grown = next <= SIZE_MAX / size ? realloc(at, next * size) : NULL;
    if (!grown)
        return fail(e, ERR_FIT, "tokenizer: no memory for %zu items of %zu bytes", next, size);
    memcpy(array, &grown, sizeof grown);
    *cap = next;
    return OK;
}

void tok_text_free(struct tok_text *t)
{
    free(t->at);
    *t = (struct tok_text){0};
}

enum status tok_text_reserve(struct tok_text *t, size_t more, struct err *e)
{
    if (more > (size_t)2 * TOK_TEXT_MAX - t->n)
        return fail(e, ERR_DATA, "tokenizer: the text grows beyond %d bytes when normalized",
                    TOK_TEXT_MAX);
    return tok_grow(&t->at, &t->cap, t->n + more + 1, 1, e); /* an empty text has an address, too */
}

enum status tok_text_add(struct tok_text *t, const char *s, size_t n, struct err *e)
{
    if (t->n + n > t->cap || !t->at)
        TRY(tok_text_reserve(t, n, e));
    if (n)
        memcpy(t->at + t->n, s, n);
    t->n += n;
    return OK;
}

enum status tok_ids_add(struct tok_ids *ids, const int32_t *id, size_t n, struct err *e)
{
    if (ids->n + n > ids->cap)
        TRY(tok_grow(&ids->at, &ids->cap, ids->n + n, sizeof *ids->at, e));
    if (n)
        memcpy(ids->at + ids->n, id, n * sizeof *id);
    ids->n += n;
    return OK;
}

void tok_pieces_free(struct tok_pieces *p)
{
    tok_text_free(&p->text);
    free(p->span);
    *p = (struct tok_pieces){0};
}

enum status tok_pieces_add(struct tok_pieces *p, size_t at, size_t n, struct err *e)
{
    if (n == 0)
        return OK;
    if (p->n == p->cap)
        TRY(tok_grow(&p->span, &p->cap, p->n + 1, sizeof *p->span, e));
    p->span[p->n++] = (struct tok_span){at, n};
    return OK;
}

bool tok_is_null(const cJSON *item)
{
    return !item || cJSON_IsNull(item);
}

enum status tok_need(const struct json *j, const cJSON *object, const char *key, const cJSON **out,
                     struct err *e)
{
    if (!cJSON_IsObject(object))
        return json_fail(j, object, e, "not an object (it should hold %s)", key);
    *out = json_member(object, key);
    if (!*out)
        return json_fail(j, object, e, "%s is missing", key);
    return OK;
}

enum status tok_need_list(const struct json *j, const cJSON *object, const char *key,
                          const cJSON **out, struct err *e)
{
    TRY(tok_need(j, object, key, out, e));
    return cJSON_IsArray(*out) ? OK : json_fail(j, *out, e, "%s is not a list", key);
}

enum status tok_need_bool(const struct json *j, const cJSON *object, const char *key, bool *out,
                          struct err *e)
{
    const cJSON *item;
    int v;

    TRY(tok_need(j, object, key, &item, e));
    TRY(json_bool(j, item, key, &v, e));
    *out = v;
    return OK;
}

enum status tok_bool(const struct json *j, const cJSON *object, const char *key, bool standard,
                     bool *out, struct err *e)
{
    *out = standard;
    return tok_is_null(json_member(object, key)) ? OK : tok_need_bool(j, object, key, out, e);
}

enum status tok_string(const struct json *j, const cJSON *item, const char *what,
                       struct tok_text *out, struct err *e)
{
    const char *s, *nul;

    TRY(json_string(j, item, what, &s, e));
    while ((nul = strstr(s, "\xc0\x80")) != NULL) {
        TRY(tok_text_add(out, s, (size_t)(nul - s), e));
        TRY(tok_text_add(out, "", 1, e));
        s = nul + 2;
    }
    return tok_text_add(out, s, strlen(s), e);
}

enum status tok_type(const struct json *j, const cJSON *block, const char *what, const char **type,
                     struct err *e)
{
    const cJSON *item;

    if (!cJSON_IsObject(block))
        return json_fail(j, block, e, "%s is not an object", what);
    TRY(tok_need(j, block, "type", &item, e));
    return json_string(j, item, "type", type, e);
}
