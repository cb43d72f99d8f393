/* quant.h - what quantization_config (or ModelOpt's hf_quant_config.json) says about the inputs of
 * each matrix. How weights are stored is read off the tensors, never from here. For model.c.
 *
 * Memory: quant_open allocates and borrows the config's document; quant_close frees (accepts NULL).
 */
#ifndef LOADER_QUANT_H
#define LOADER_QUANT_H

#include "loader/config.h"

struct quant;

/* What happens to the input of a matrix whose weight is NVFP4. */
struct input_rule {
    bool known;     /* some part of the config speaks of this matrix */
    bool quantized; /* by groups of 16, with a calibrated global scale */
    bool unrounded; /* the group scales of the input stay f32 (see struct linear) */
};

/* *out is NULL when neither file has a quantization config. */
MUST_USE enum status quant_open(const char *dir, const struct config *c, struct quant **out,
                                struct err *e);
MUST_USE enum status quant_parse(const struct json *j, const cJSON *config, struct quant **out,
                                 struct err *e);
void quant_close(struct quant *q);

/* `module` is "model.layers.0.mlp.up_proj", `class` its torch class ("Linear", "Embedding"). A
 * config that wants something else than NVFP4 with or without NVFP4 inputs is refused by name. */
MUST_USE enum status quant_input(const struct quant *q, const char *module, const char *class,
                                 struct input_rule *out, struct err *e);

bool quant_has_kv_cache(const struct quant *q); /* it asks for a quantized KV cache */

#endif
