#include "launch/json_write.h"

#include <inttypes.h>
#include <math.h>

/* Bytes of the UTF-8 character at s (shortest form, no surrogates, up to U+10FFFF); 0 = none. */
static int utf8_length(const unsigned char *s)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    int n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    uint32_t c;

    if (n <= 1)
        return n;
    c = s[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if (s[i] >> 6 != 2) /* also the final NUL */
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    return c >= least[n] && c <= 0x10ffff && c >> 11 != 0x1b ? n : 0;
}

static void write_string(FILE *f, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    putc('"', f);
    while (*s) {
        int n = utf8_length(s);

        if (n == 0)
            fputs("\\ufffd", f);
        else if (*s == '"' || *s == '\\')
            fprintf(f, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            fprintf(f, "\\u%04x", *s);
        else
            fwrite(s, 1, (size_t)n, f);
        s += n ? n : 1;
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
