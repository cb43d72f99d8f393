#include "launch/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "spec/utf8.h"

static void write_string(FILE *f, const char *s)
{
    size_t left = strlen(s), good = utf8_check(s, left);

    putc('"', f);
    for (; left > 0; s++, left--) {
        unsigned char c = (unsigned char)*s;

        if (good == 0)
            fputs("\\ufffd", f);
        else if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(f, "\\u%04x", c);
        else
            putc(c, f);
        good = good > 0 ? good - 1 : utf8_check(s + 1, left - 1);
    }
    putc('"', f);
}

/* Everything before a value: comma, new line, key. */
static void begin_value(struct json_writer *w, const char *key)
{
    if (w->depth > 0)
        fprintf(w->f, "%s\n%*s", w->filled ? "," : "", 2 * w->depth, "");
    w->filled = true;
    if (key) {
        write_string(w->f, key);
        fputs(": ", w->f);
    }
}

void json_write_begin(struct json_writer *w, const char *key, char bracket)
{
    begin_value(w, key);
    putc(bracket, w->f);
    w->depth++;
    w->filled = false;
}

void json_write_end(struct json_writer *w, char bracket)
{
    w->depth--;
    if (w->filled)
        fprintf(w->f, "\n%*s", 2 * w->depth, "");
    putc(bracket, w->f);
    w->filled = true;
    if (w->depth == 0)
        putc('\n', w->f);
}

void json_write_text(struct json_writer *w, const char *key, const char *value)
{
    begin_value(w, key);
    if (value)
        write_string(w->f, value);
    else
        fputs("null", w->f);
}

void json_write_double(struct json_writer *w, const char *key, double value)
{
    begin_value(w, key);
    if (isfinite(value))
        fprintf(w->f, "%.17g", value);
    else
        fputs("null", w->f);
}

void json_write_int(struct json_writer *w, const char *key, int64_t value)
{
    begin_value(w, key);
    fprintf(w->f, "%" PRId64, value);
}

void json_write_bool(struct json_writer *w, const char *key, bool value)
{
    begin_value(w, key);
    fputs(value ? "true" : "false", w->f);
}
