/* parts.h - rows and arrays are worked on in parts that fit the stack and the first-level cache. */
#ifndef KERNELS_CPU_PARTS_H
#define KERNELS_CPU_PARTS_H

#include <stddef.h>

#include "spec/types.h"

enum { PART = 1024 }; /* values of a part; sums over a row add its parts in order */

static inline size_t part_length(size_t at, size_t n)
{
    return n - at < PART ? n - at : PART;
}

/* Where value i of an array in dtype lies. */
static inline void *value_at(void *x, enum dtype t, size_t i)
{
    return (char *)x + i * dtype_bytes(t);
}

static inline const void *const_value_at(const void *x, enum dtype t, size_t i)
{
    return (const char *)x + i * dtype_bytes(t);
}

#endif
