/* npy.h - NumPy array files: frozen ids in, nll and ids out.
 *
 * Memory: npy_read_ids allocates *ids with malloc for the caller. */
#ifndef LOADER_NPY_H
#define LOADER_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"

/* One-dimensional (or [1][n]) little-endian int32, int64, uint16 or uint32; values in int32. */
MUST_USE enum status npy_read_ids(const char *path, int32_t **ids, int64_t *n, struct err *e);
/* As spec/outfile.h writes: the old file or the whole new one. */
MUST_USE enum status npy_write_ids(const char *path, const int32_t *ids, int64_t n, struct err *e);
/* value[rows][cols]. */
MUST_USE enum status npy_write_f64(const char *path, const double *value, int64_t rows, int64_t cols,
                                   struct err *e);

#endif
