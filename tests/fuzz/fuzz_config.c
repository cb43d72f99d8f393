/* A config.json of any bytes: refused with a message, or numbers within their limits; and its
 * quantization_config can be asked about any matrix. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "loader/config.h"
#include "loader/quant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const struct model *m)
{
    float *freq = malloc(sizeof *freq * (size_t)m->head_dim / 2);
    double factor;

    CHECK(freq && m->hidden > 0 && m->ffn > 0 && m->vocab > 0 && m->n_layers > 0);
    CHECK(m->kv_heads > 0 && m->heads % m->kv_heads == 0 && m->head_dim % 2 == 0);
    CHECK(m->heads <= (1 << 24) / m->head_dim);
    factor = rope_inv_freq(&m->rope, m->head_dim, freq);
    CHECK(isfinite(factor) && factor > 0);
    for (int i = 0; i < m->head_dim / 2; i++)
        CHECK(isfinite(freq[i]));
    for (int i = 0; i < m->n_layers; i++)
        CHECK(m->layer[i].window >= 0);
    free(freq);
}

static void ask(const struct config *c)
{
    const cJSON *config = json_member(json_root(c->json), "quantization_config");
    struct quant *q = NULL;
    struct input_rule rule;
    struct err e = {0};

    if (config && quant_parse(c->json, config, &q, &e) == OK) {
        CHECK(quant_input(q, "model.layers.0.mlp.up_proj", "Linear", &rule, &e) == OK ||
              e.code != OK);
        CHECK(quant_input(q, "lm_head", "Linear", &rule, &e) == OK || e.code != OK);
    }
    quant_close(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct model m = {0};
    struct config c;
    struct err e = {0};

    if (config_parse((const char *)data, bytes, &m, &c, &e) == OK) {
        check(&m);
        ask(&c);
    } else {
        CHECK(e.code != OK && e.msg[0]);
    }
    config_close(&c);
    free(m.layer);
    return 0;
}
