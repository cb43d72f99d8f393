#include "spec/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A message stays one line whatever a file name or a key holds. */
static void keep_one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
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
