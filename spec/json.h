/* json.h - reading JSON that may be hostile: cJSON behind a few checked getters.
 *
 * cJSON parses. This module adds what a program that must name mistakes needs: a size limit before
 * reading, `//` comments (JSON_COMMENTS), rejection of duplicate keys, trailing bytes and invalid
 * UTF-8, a nesting limit, and the line and column of any value.
 *
 * Memory: json_open and json_parse allocate; json_close frees the document and every cJSON in it
 *         (accepts NULL). Strings from getters live as long as the document.
 * Errors: a document that is not JSON is the caller's `bad` code (ERR_SPEC for a spec, ERR_DATA for
 *         a model file), as "FILE:LINE:COLUMN: ...". A file that cannot be opened is ERR_NO_INPUT. */
#ifndef SPEC_JSON_H
#define SPEC_JSON_H

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"

enum json_flags {
    JSON_STRICT = 0,
    JSON_COMMENTS = 1, /* `// ...` to the end of the line is white space */
    JSON_NUL = 2,      /* a \u0000 escape becomes the bytes C0 80 in the string; else refused */
    JSON_ARGUMENT = 4, /* from the command line: messages give the name without line and column */
    JSON_LINE = 8      /* one line, whose number is in the name: messages give name and column */
};

struct json;

/* Reads and parses a whole file of at most max_bytes. */
MUST_USE enum status json_open(const char *path, size_t max_bytes, int flags, enum status bad,
                               struct json **out, struct err *e);
/* The same from memory; `name` is what messages call it. Copies the text. */
MUST_USE enum status json_parse(const char *name, const char *text, size_t bytes, int flags,
                                enum status bad, struct json **out, struct err *e);
void json_close(struct json *j);

const cJSON *json_root(const struct json *j);
const char *json_name(const struct json *j);

/* 1-based place of `item` (its key where it has one) in the text. */
void json_place(const struct json *j, const cJSON *item, int *line, int *column);

/* Records "NAME:LINE:COLUMN: message" with the document's `bad` code and returns it. */
enum status json_fail(const struct json *j, const cJSON *item, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), cold));

/* Member of an object by exact key; NULL when absent or `object` is no object. */
const cJSON *json_member(const cJSON *object, const char *key);

/* Typed reads. `item` must not be NULL; `what` names it in the message. An integer must have no
 * fraction, be exact in a double (|v| <= 2^53) and lie in [min, max]. */
MUST_USE enum status json_int(const struct json *j, const cJSON *item, const char *what, int64_t min,
                              int64_t max, int64_t *out, struct err *e);
MUST_USE enum status json_double(const struct json *j, const cJSON *item, const char *what,
                                 double *out, struct err *e); /* finite */
MUST_USE enum status json_string(const struct json *j, const cJSON *item, const char *what,
                                 const char **out, struct err *e);
MUST_USE enum status json_bool(const struct json *j, const cJSON *item, const char *what, int *out,
                               struct err *e);

#endif
