#include "spec/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/utf8.h"

/* A message stays one line of valid UTF-8 (it also goes into JSON), whatever a file name or a key
 * holds and wherever it was cut. */
static void keep_one_line(char *s)
{
    size_t bytes = strlen(s), at;

    for (at = 0; at < bytes; at++)
        if ((unsigned char)s[at] < 0x20 || s[at] == 0x7f)
            s[at] = '?';
    for (at = utf8_check(s, bytes); at < bytes; at += utf8_check(s + at, bytes - at))
        s[at] = '?';
}

enum status fail(struct err *e, enum status code, const char *fmt, ...)
{
    va_list ap;

    CHECK(e != NULL && code != OK);
    e->code = code;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    keep_one_line(e->msg);
    return code;
}

enum status fail_in(struct err *e, const char *fmt, ...)
{
    char prefix[512], rest[sizeof e->msg];
    va_list ap;

    CHECK(e != NULL && e->code != OK);
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    memcpy(rest, e->msg, sizeof rest);
    snprintf(e->msg, sizeof e->msg, "%.400s: %.600s", prefix, rest);
    keep_one_line(e->msg);
    return e->code;
}

void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "nvfp4_ppl: bug: %s:%d: %s does not hold\n", file, line, what);
    abort();
}
