#include "spec/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/file.h"
#include "spec/json_scan.h"
#include "spec/utf8.h"

/* `text` is what the user wrote, with comments blanked: cJSON keeps no places, so they are found by
 * walking the text again, value by value, in step with the tree. */
struct json {
    char *name;
    char *text;
    size_t bytes;
    int flags;
    enum status bad;
    cJSON *root;
};

static void place_of_offset(const struct json *j, size_t at, int *line, int *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at && i < j->bytes; i++) {
        unsigned char c = (unsigned char)j->text[i];

        if (c == '\n') {
            ++*line;
            *column = 1;
        } else if ((c & 0xc0) != 0x80) { /* columns count characters, not bytes */
            ++*column;
        }
    }
}

static enum status fail_at(const struct json *j, size_t at, struct err *e, const char *message)
{
    int line, column;

    if (j->flags & JSON_ARGUMENT)
        return fail(e, j->bad, "%s: %s", j->name, message);
    place_of_offset(j, at, &line, &column);
    if (j->flags & JSON_LINE)
        return fail(e, j->bad, "%s:%d: %s", j->name, column, message);
    return fail(e, j->bad, "%s:%d:%d: %s", j->name, line, column, message);
}

static enum status check_text(struct json *j, size_t *nul_escapes, struct err *e)
{
    struct json_scan s = {.text = j->text, .bytes = j->bytes, .flags = j->flags, .stop = SIZE_MAX};
    size_t good = utf8_check(j->text, j->bytes);

    if (good < j->bytes)
        return fail_at(j, good, e, "not valid UTF-8");
    if (j->bytes >= 3 && memcmp(j->text, "\xef\xbb\xbf", 3) == 0)
        return fail_at(j, 0, e, "got a byte order mark, want JSON (save it as plain UTF-8)");
    if (!json_scan(&s))
        return fail_at(j, s.at, e, s.wrong);
    *nul_escapes = s.nul_escapes;
    return OK;
}

/* A copy in which every \u0000 escape is the two bytes C0 80, which valid UTF-8 never holds: a C
 * string cannot carry the 0 byte that cJSON would make of it. */
static char *without_nul_escapes(const char *text, size_t bytes, size_t *out_bytes)
{
    char *copy = malloc(bytes + 1);
    size_t n = 0;

    if (!copy)
        return NULL;
    for (size_t i = 0; i < bytes;) {
        if (text[i] != '\\') {
            copy[n++] = text[i++];
        } else if (bytes - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0) {
            copy[n++] = (char)0xc0;
            copy[n++] = (char)0x80;
            i += 6;
        } else { /* the escaped character goes along: "\\u0000" in text is a backslash and u0000 */
            copy[n++] = text[i++];
            copy[n++] = text[i++];
        }
    }
    copy[n] = 0;
    *out_bytes = n;
    return copy;
}

static enum status build_tree(struct json *j, size_t nul_escapes, struct err *e)
{
    char *copy = NULL;
    const char *text = j->text;
    size_t bytes = j->bytes;

    if (nul_escapes) {
        text = copy = without_nul_escapes(j->text, j->bytes, &bytes);
        if (!copy)
            return fail(e, ERR_FIT, "%s: out of memory", j->name);
    }
    j->root = cJSON_ParseWithLength(text, bytes);
    free(copy);
    if (!j->root) /* the text was checked: nothing is left to go wrong but memory */
        return fail(e, ERR_FIT, "%s: out of memory for a JSON document of %zu bytes", j->name,
                    j->bytes);
    return OK;
}

struct keyed {
    uint64_t hash;
    const cJSON *item;
    size_t order;
};

static uint64_t key_hash(const char *s) /* FNV-1a */
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return h;
}

/* By hash to touch few strings, by text where hashes meet: n log n whatever the keys are. */
static int keyed_order(const void *left, const void *right)
{
    const struct keyed *a = left, *b = right;
    int by_text;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    by_text = strcmp(a->item->string, b->item->string);
    if (by_text != 0)
        return by_text;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* The first member of `object`, in document order, whose key came before; NULL when all differ. */
static enum status find_duplicate(const cJSON *object, const cJSON **found)
{
    const cJSON *item;
    struct keyed *key;
    size_t n = 0, first = SIZE_MAX;

    *found = NULL;
    for (item = object->child; item; item = item->next)
        n++;
    if (n < 2)
        return OK;
    key = malloc(n * sizeof *key);
    if (!key)
        return ERR_FIT;
    n = 0;
    for (item = object->child; item; item = item->next, n++)
        key[n] = (struct keyed){key_hash(item->string), item, n};
    qsort(key, n, sizeof *key, keyed_order);
    for (size_t i = 1; i < n; i++) {
        if (key[i].hash == key[i - 1].hash && key[i].order < first &&
            strcmp(key[i].item->string, key[i - 1].item->string) == 0) {
            first = key[i].order;
            *found = key[i].item;
        }
    }
    free(key);
    return OK;
}

/* Recursion: no deeper than JSON_DEPTH_MAX, which the scan has checked. */
static enum status check_duplicates(const struct json *j, const cJSON *item, struct err *e)
{
    const cJSON *twice;

    if (cJSON_IsObject(item)) {
        if (find_duplicate(item, &twice) != OK)
            return fail(e, ERR_FIT, "%s: out of memory", j->name);
        if (twice)
            return json_fail(j, twice, e, "key \"%.100s\" appears twice in one object",
                             twice->string);
    }
    for (item = item->child; item; item = item->next)
        if (item->child)
            TRY(check_duplicates(j, item, e));
    return OK;
}

/* Takes over `text`. */
static enum status open_text(const char *name, char *text, size_t bytes, int flags, enum status bad,
                             struct json **out, struct err *e)
{
    struct json *j = calloc(1, sizeof *j);
    size_t nul_escapes = 0;
    enum status code;

    *out = NULL;
    if (!j || !(j->name = strdup(name))) {
        free(text);
        free(j);
        return fail(e, ERR_FIT, "%s: out of memory", name);
    }
    j->text = text;
    j->bytes = bytes;
    j->flags = flags;
    j->bad = bad;
    code = check_text(j, &nul_escapes, e);
    if (code == OK)
        code = build_tree(j, nul_escapes, e);
    if (code == OK)
        code = check_duplicates(j, j->root, e);
    if (code != OK) {
        json_close(j);
        return code;
    }
    *out = j;
    return OK;
}

enum status json_open(const char *path, size_t max_bytes, int flags, enum status bad,
                      struct json **out, struct err *e)
{
    char *text;
    size_t bytes;

    *out = NULL;
    TRY(file_read_whole(path, max_bytes, bad, &text, &bytes, e));
    return open_text(path, text, bytes, flags, bad, out, e);
}

enum status json_parse(const char *name, const char *text, size_t bytes, int flags, enum status bad,
                       struct json **out, struct err *e)
{
    char *copy = malloc(bytes + 1);

    *out = NULL;
    if (!copy)
        return fail(e, ERR_FIT, "%s: out of memory", name);
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    return open_text(name, copy, bytes, flags, bad, out, e);
}

void json_close(struct json *j)
{
    if (!j)
        return;
    cJSON_Delete(j->root);
    free(j->text);
    free(j->name);
    free(j);
}

const cJSON *json_root(const struct json *j)
{
    return j->root;
}

const char *json_name(const struct json *j)
{
    return j->name;
}

/* Counts values in document order (an object or array before what it holds) until `item`. */
static bool count_until(const cJSON *node, const cJSON *item, size_t *count)
{
    for (; node; node = node->next) {
        if (node == item)
            return true;
        ++*count;
        if (node->child && count_until(node->child, item, count))
            return true;
    }
    return false;
}

static size_t offset_of(const struct json *j, const cJSON *item)
{
    struct json_scan s = {.text = j->text, .bytes = j->bytes, .flags = j->flags, .stop = 0};

    CHECK(count_until(j->root, item, &s.stop));
    CHECK(json_scan(&s));
    return s.place;
}

void json_place(const struct json *j, const cJSON *item, int *line, int *column)
{
    place_of_offset(j, offset_of(j, item), line, column);
}

enum status json_fail(const struct json *j, const cJSON *item, struct err *e, const char *fmt, ...)
{
    char message[sizeof e->msg];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return fail_at(j, offset_of(j, item), e, message);
}

const cJSON *json_member(const cJSON *object, const char *key)
{
    if (!cJSON_IsObject(object))
        return NULL;
    for (const cJSON *item = object->child; item; item = item->next)
        if (strcmp(item->string, key) == 0)
            return item;
    return NULL;
}

enum { GOT_TEXT = 96 };

/* What stands there, for "got X". */
static const char *got(const cJSON *item, char out[GOT_TEXT])
{
    if (cJSON_IsNumber(item)) {
        snprintf(out, GOT_TEXT, "%.15g", item->valuedouble); /* 0.1 as it was written */
        if (strtod(out, NULL) != item->valuedouble)
            snprintf(out, GOT_TEXT, "%.17g", item->valuedouble);
        return out;
    }
    if (cJSON_IsString(item)) {
        snprintf(out, GOT_TEXT, "\"%.64s\"", item->valuestring);
        return out;
    }
    return cJSON_IsTrue(item)     ? "true"
           : cJSON_IsFalse(item)  ? "false"
           : cJSON_IsObject(item) ? "an object"
           : cJSON_IsArray(item)  ? "an array"
                                  : "null";
}

enum status json_int(const struct json *j, const cJSON *item, const char *what, int64_t min,
                     int64_t max, int64_t *out, struct err *e)
{
    const double exact = 9007199254740992.0; /* 2^53 */
    char text[GOT_TEXT];
    double v;

    if (!cJSON_IsNumber(item))
        return json_fail(j, item, e, "%s: got %s, want an integer", what, got(item, text));
    v = item->valuedouble;
    if (!(fabs(v) <= exact) || v != floor(v))
        return json_fail(j, item, e, "%s: got %s, want an integer", what, got(item, text));
    if ((int64_t)v < min || (int64_t)v > max)
        return json_fail(j, item, e, "%s: got %s, want %" PRId64 " to %" PRId64, what,
                         got(item, text), min, max);
    *out = (int64_t)v;
    return OK;
}

enum status json_double(const struct json *j, const cJSON *item, const char *what, double *out,
                        struct err *e)
{
    char text[GOT_TEXT];

    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble))
        return json_fail(j, item, e, "%s: got %s, want a finite number", what, got(item, text));
    *out = item->valuedouble;
    return OK;
}

enum status json_string(const struct json *j, const cJSON *item, const char *what, const char **out,
                        struct err *e)
{
    char text[GOT_TEXT];

    if (!cJSON_IsString(item))
        return json_fail(j, item, e, "%s: got %s, want a string", what, got(item, text));
    *out = item->valuestring;
    return OK;
}

enum status json_bool(const struct json *j, const cJSON *item, const char *what, int *out,
                      struct err *e)
{
    char text[GOT_TEXT];

    if (!cJSON_IsBool(item))
        return json_fail(j, item, e, "%s: got %s, want true or false", what, got(item, text));
    *out = cJSON_IsTrue(item) ? 1 : 0;
    return OK;
}
