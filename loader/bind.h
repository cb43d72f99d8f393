/* bind.h - from the tensors of a checkpoint to struct model: how each matrix is stored, every shape
 * checked, nothing left over that is not understood. For model.c. */
#ifndef LOADER_BIND_H
#define LOADER_BIND_H

#include "loader/config.h"
#include "loader/quant.h"

struct bind {
    struct model *m;
    const struct config *c;
    const struct quant *q; /* or NULL */
    char **name;           /* [n_names] the matrices' names; the caller frees them */
    int n_names;
    bool *used;           /* [tensors of the checkpoint] */
    int n_unspoken;       /* NVFP4 matrices that the quantization config does not speak of */
    const char *unspoken; /* the first of them */
    int n_kv_scales;      /* tensors of a quantized KV cache */
};

/* Fills embed, layer[], norm and head of b->m. */
MUST_USE enum status bind_model(struct bind *b, struct err *e);

#endif
