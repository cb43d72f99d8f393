/* shard.h - the weights of one rank: how they lie in its arena, and reading them there.
 *
 * A layer is one contiguous block, its tensors in a fixed order, each aligned to SHARD_ALIGN, so it
 * can also be streamed as a whole. Matrices lie as in the file (4-bit stays 4-bit); norms and
 * biases, a few kilobytes, are widened to f32 on the way in.
 *
 * A layer is read as one batch of a file_reader. Into an arena of the host it goes straight to its
 * place; into another through two halves of pinned memory, one of which is uploaded while the other
 * is read. Both run beside the device's operations.
 *
 * Memory: the arena is the caller's. shard_*_bytes are pure. shard_reader_open allocates the
 *         file_reader and, where the arena is not host memory, the two halves; shard_reader_close
 *         frees them. shard_load_* allocate nothing.
 * Order:  plan with the *_bytes functions; open; load, by one thread at a time; close; use the
 *         struct weight tables. */
#ifndef STAGE_SHARD_H
#define STAGE_SHARD_H

#include <stdint.h>

#include "kernels/kernels.h"
#include "loader/model.h"

enum { SHARD_ALIGN = 256 };

struct layer_weights {
    struct weight q, k, v, o, gate, up, down;
    const float *attn_norm, *mlp_norm; /* [hidden] */
    const float *q_norm, *k_norm;      /* [head_dim] or NULL */
};

/* Bytes in the arena (aligned) and bytes in the file. */
struct shard_bytes {
    uint64_t arena, file;
};

static inline uint64_t shard_align(uint64_t bytes)
{
    return (bytes + SHARD_ALIGN - 1) / SHARD_ALIGN * SHARD_ALIGN;
}

struct shard_bytes shard_layer_bytes(const struct layer *l);
struct shard_bytes shard_linear_bytes(const struct linear *l);
struct shard_bytes shard_vector_bytes(const struct tensor *t); /* NULL: nothing */

/* Where things go: `kernels` and `device` say how to write there. */
struct shard_reader {
    const struct model *model;
    const struct kernels *kernels;
    struct device *device;
    struct file_reader *files; /* NULL: nothing is read or written, only described */
    char *half[2];
    uint64_t read; /* file bytes read so far */
};

MUST_USE enum status shard_reader_open(struct shard_reader *r, const struct model *m,
                                       const struct kernels *k, struct device *d,
                                       const struct file_reader_options *o, struct err *e);
/* Also when open failed. What is described (struct weight) stays. */
void shard_reader_close(struct shard_reader *r);

/* Read to `base` (arena memory of shard_*_bytes().arena bytes) and describe what lies there.
 * Bad scales are ERR_DATA naming file, tensor and place. */
MUST_USE enum status shard_load_layer(struct shard_reader *r, int layer, void *base,
                                      struct layer_weights *out, struct err *e);
MUST_USE enum status shard_load_linear(struct shard_reader *r, const struct linear *l, void *base,
                                       struct weight *out, struct err *e);
MUST_USE enum status shard_load_vector(struct shard_reader *r, const struct tensor *t, void *base,
                                       const float **out, struct err *e);

#endif
