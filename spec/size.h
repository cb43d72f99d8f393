/* size.h - "38GiB", "38GB", "512MiB", plain bytes; and back. */
#ifndef SPEC_SIZE_H
#define SPEC_SIZE_H

#include <stdint.h>

#include "spec/err.h"

/* Accepts digits with an optional fraction and one of: nothing, B, KB, MB, GB, TB (powers of 1000),
 * KiB, MiB, GiB, TiB (powers of 1024), with or without a space before the unit, any case.
 * The error message holds the text only; the caller says where it stood. */
MUST_USE enum status size_parse(const char *text, uint64_t *bytes, struct err *e);

enum { SIZE_TEXT = 24 };
/* "38.00 GiB", "511.9 MiB", "17 B": four significant digits, binary units. Returns `out`. */
const char *size_format(uint64_t bytes, char out[SIZE_TEXT]);

#endif
