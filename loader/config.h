/* config.h - config.json of the four architectures, checked: every field is either read here, known
 * to be harmless, or refused by name. For model.c.
 *
 * Memory: config_open allocates model->layer and keeps the document; config_close frees the
 *         document only (accepts a zeroed struct). */
#ifndef LOADER_CONFIG_H
#define LOADER_CONFIG_H

#include "loader/model.h"
#include "spec/json.h"

enum arch { ARCH_LLAMA = 1, ARCH_MISTRAL = 2, ARCH_QWEN2 = 4, ARCH_QWEN3 = 8 };

/* What config.json says beyond struct model. */
struct config {
    struct json *json;
    enum arch arch;
    bool qkv_bias, o_bias, mlp_bias, qk_norm;
    bool window_by_default; /* Mistral without the key: 4096, as Hugging Face */
};

/* Fills the numbers of *m, m->rope, m->layer[].window and *c. */
MUST_USE enum status config_open(const char *dir, struct model *m, struct config *c, struct err *e);
/* The same from memory, for tests and fuzzing. */
MUST_USE enum status config_parse(const char *text, size_t bytes, struct model *m, struct config *c,
                                  struct err *e);
void config_close(struct config *c);

/* rope.c: the rotary embedding, from rope_theta and rope_scaling (transformers 4) or
 * rope_parameters (transformers 5). `max_len` is max_position_embeddings, 0 when absent. */
MUST_USE enum status rope_read(const struct json *j, double max_len, struct rope *r, struct err *e);

#endif
