#include "spec/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    uint64_t bytes;
} size_unit[] = {
    {"", 1},
    {"B", 1},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", UINT64_C(1000000000000)},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
};

static enum status bad_size(const char *text, struct err *e)
{
    return fail(e, ERR_SPEC,
                "got \"%.64s\", want a size such as \"38GiB\", \"38.5GB\", \"512MiB\" or bytes",
                text);
}

/* value = whole + fraction / scale; digits of the fraction beyond the ninth are dropped, and what
 * is left is rounded down to bytes: a cap never grows by parsing it. */
enum status size_parse(const char *text, uint64_t *bytes, struct err *e)
{
    const char *p = text;
    uint64_t fraction = 0, scale = 1, unit = 0;
    unsigned __int128 whole = 0, total;

    if (*p < '0' || *p > '9')
        return bad_size(text, e);
    for (; *p >= '0' && *p <= '9'; p++) {
        whole = whole * 10 + (unsigned)(*p - '0');
        if (whole > UINT64_MAX)
            return fail(e, ERR_SPEC, "got \"%.64s\", want less than 2^64 bytes", text);
    }
    if (*p == '.') {
        p++;
        if (*p < '0' || *p > '9')
            return bad_size(text, e);
        for (; *p >= '0' && *p <= '9'; p++) {
            if (scale < 1000000000) {
                fraction = fraction * 10 + (uint64_t)(*p - '0');
                scale *= 10;
            }
        }
    }
    if (*p == ' ' && p[1])
        p++;
    for (size_t i = 0; i < sizeof size_unit / sizeof *size_unit; i++)
        if (strcasecmp(p, size_unit[i].name) == 0)
            unit = size_unit[i].bytes;
    if (unit == 0)
        return bad_size(text, e);
    total = whole * unit + (unsigned __int128)fraction * unit / scale;
    if (total > UINT64_MAX)
        return fail(e, ERR_SPEC, "got \"%.64s\", want less than 2^64 bytes", text);
    *bytes = (uint64_t)total;
    return OK;
}

const char *size_format(uint64_t bytes, char out[SIZE_TEXT])
{
    static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB"};
    enum { UNITS = sizeof unit / sizeof *unit };
    double v = (double)bytes / 1024;
    int i = 0, decimals;

    if (bytes < 1024) {
        snprintf(out, SIZE_TEXT, "%" PRIu64 " B", bytes);
        return out;
    }
    while (v >= 1023.5 && i < UNITS - 1) { /* what would print as 1024 is 1.000 of the next unit */
        v /= 1024;
        i++;
    }
    decimals = v < 9.9995 ? 3 : v < 99.995 ? 2 : v < 999.95 ? 1 : 0;
    snprintf(out, SIZE_TEXT, "%.*f %s", decimals, v, unit[i]);
    return out;
}
