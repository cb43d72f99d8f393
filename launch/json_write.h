/* json_write.h - JSON to a stream, member by member, in the order it is written.
 *
 * Doubles have 17 significant digits, so they read back to the same bits; NaN and infinities are
 * null. Text that is not UTF-8 gets U+FFFD in the place of each wrong byte: what is written always
 * parses.
 *
 * Memory: none but the struct. Errors: the stream's own (ferror, fclose). */
#ifndef LAUNCH_JSON_WRITE_H
#define LAUNCH_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_writer { /* zero-initialised but for f */
    FILE *f;
    int depth;
    bool filled; /* the object or array that is open has a member */
};

/* `key` is NULL in an array and at the top. */
void json_write_begin(struct json_writer *w, const char *key, char bracket); /* '{' or '[' */
void json_write_end(struct json_writer *w, char bracket);                    /* '}' or ']' */
void json_write_text(struct json_writer *w, const char *key, const char *value); /* NULL: null */
void json_write_double(struct json_writer *w, const char *key, double value);
void json_write_int(struct json_writer *w, const char *key, int64_t value);
void json_write_bool(struct json_writer *w, const char *key, bool value);

#endif
