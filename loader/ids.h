/* ids.h - token ids as files hold them: whole numbers of several widths, little endian. */
#ifndef LOADER_IDS_H
#define LOADER_IDS_H

#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"

enum id_type { ID_I32, ID_I64, ID_U16, ID_U32 };

size_t id_bytes(enum id_type t);

/* raw[n] to ids[n]. An id below 0 or above INT32_MAX is ERR_DATA; raw[0] is at position `first`. */
MUST_USE enum status ids_convert(const char *name, const void *raw, enum id_type t, int64_t first,
                                 size_t n, int32_t *ids, struct err *e);

#endif
