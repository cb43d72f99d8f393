#include "loader/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/bind.h"

enum { WARNINGS_MAX = 8, MATRICES_OF_A_LAYER = 7 };

/* What model_open returns the first member of. */
struct opened {
    struct model model;
    char *dir;
    char **name; /* [n_names] of the matrices */
    int n_names;
};

static enum status warn(struct model *m, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static enum status warn(struct model *m, struct err *e, const char *fmt, ...)
{
    va_list ap;
    char *line;
    int n;

    CHECK(m->n_warnings < WARNINGS_MAX);
    va_start(ap, fmt);
    n = vasprintf(&line, fmt, ap);
    va_end(ap);
    if (n < 0)
        return fail(e, ERR_FIT, "%s: out of memory", m->dir);
    m->warning[m->n_warnings++] = line;
    return OK;
}

static bool globals_differ(const struct linear *a, const struct linear *b)
{
    return a->format == WEIGHT_NVFP4 && b->format == WEIGHT_NVFP4 &&
           a->global_stored != b->global_stored;
}

static enum status warn_fused(struct model *m, struct err *e)
{
    const struct layer *first = NULL;
    int n = 0;

    for (int i = m->n_layers - 1; i >= 0; i--) {
        const struct layer *l = &m->layer[i];

        if (globals_differ(&l->q, &l->k) || globals_differ(&l->q, &l->v) ||
            globals_differ(&l->gate, &l->up)) {
            first = l;
            n++;
        }
    }
    if (!n)
        return OK;
    return warn(m, e,
                "q/k/v or gate/up have different global scales in %d of %d layers (first: "
                "layer %d): each keeps its own here; vLLM takes the largest, its result will "
                "differ",
                n, m->n_layers, (int)(first - m->layer));
}

static enum status add_warnings(struct model *m, const struct bind *b, struct err *e)
{
    if (b->c->window_by_default)
        TRY(warn(m, e, "config.json: no sliding_window: 4096, as Hugging Face takes it"));
    if (quant_has_kv_cache(b->q) || b->n_kv_scales)
        TRY(warn(m, e, "a quantized KV cache is described: not applied"));
    if (b->n_unspoken)
        TRY(warn(m, e,
                 "no quantization config speaks of %d NVFP4 matrices (first: '%s'): "
                 "their input is never quantized",
                 b->n_unspoken, b->unspoken));
    return warn_fused(m, e);
}

static enum status bind_all(struct opened *o, const struct config *c, const struct quant *q,
                            struct err *e)
{
    struct model *m = &o->model;
    struct bind b = {.m = m, .c = c, .q = q};
    enum status s;

    o->name = calloc((size_t)m->n_layers * MATRICES_OF_A_LAYER + 2, sizeof *o->name);
    b.used = calloc((size_t)checkpoint_tensors(m->checkpoint) + 1, sizeof *b.used);
    b.name = o->name;
    s = o->name && b.used ? bind_model(&b, e) : fail(e, ERR_FIT, "%s: out of memory", m->dir);
    o->n_names = b.n_names;
    if (s == OK)
        s = add_warnings(m, &b, e);
    free(b.used);
    return s;
}

static enum status open_all(struct opened *o, const char *dir, struct config *c, struct quant **q,
                            struct err *e)
{
    struct model *m = &o->model;

    m->dir = o->dir = strdup(dir);
    m->warning = calloc(WARNINGS_MAX, sizeof *m->warning);
    if (!m->dir || !m->warning)
        return fail(e, ERR_FIT, "%s: out of memory", dir);
    TRY(config_open(dir, m, c, e));
    TRY(quant_open(dir, c, q, e));
    TRY(checkpoint_open(dir, &m->checkpoint, e));
    return bind_all(o, c, *q, e);
}

enum status model_open(const char *dir, struct model **out, struct err *e)
{
    struct opened *o = calloc(1, sizeof *o);
    struct config c = {0};
    struct quant *q = NULL;
    enum status s = o ? open_all(o, dir, &c, &q, e) : fail(e, ERR_FIT, "%s: out of memory", dir);

    quant_close(q);
    config_close(&c);
    *out = NULL;
    if (s == OK)
        *out = &o->model;
    else if (o)
        model_close(&o->model);
    return s;
}

void model_close(struct model *m)
{
    struct opened *o = (struct opened *)m;

    if (!m)
        return;
    checkpoint_close(m->checkpoint);
    for (int i = 0; i < o->n_names; i++)
        free(o->name[i]);
    free(o->name);
    for (int i = 0; i < m->n_warnings; i++)
        free(m->warning[i]);
    free(m->warning);
    free(m->layer);
    free(o->dir);
    free(o);
}

/* Good scales are the bytes 0x01 .. 0x7e: positive, finite, not zero. Less 1 and without sign, bad
 * ones are the largest; a maximum over a block is a loop that the compiler makes wide. */
static size_t first_bad_scale(const uint8_t *scale, size_t n)
{
    enum { BLOCK = 4096 };

    for (size_t at = 0; at < n; at += BLOCK) {
        size_t end = n - at < BLOCK ? n : at + BLOCK;
        uint8_t worst = 0;

        for (size_t i = at; i < end; i++) {
            uint8_t v = (uint8_t)(scale[i] - 1);

            worst = v > worst ? v : worst;
        }
        if (worst <= 0x7d)
            continue;
        while ((uint8_t)(scale[at] - 1) <= 0x7d)
            at++;
        return at;
    }
    return n;
}

enum status scales_check(const struct model *m, const struct linear *l, uint64_t first, uint64_t n,
                         const uint8_t *scale, struct err *e)
{
    size_t row = (size_t)l->K / NVFP4_GROUP, at = first_bad_scale(scale, n);
    uint8_t byte;

    if (at == n)
        return OK;
    byte = scale[at];
    at += first;
    return fail(e, ERR_DATA,
                "%s: '%s': row %zu, group %zu: the scale is %s (0x%02x), want a number "
                "above 0",
                checkpoint_file(m->checkpoint, l->scale->file), l->scale->name, at / row, at % row,
                (byte & 0x7f) == 0x7f ? "NaN"
                : (byte & 0x7f) == 0  ? "zero"
                                      : "negative",
                byte);
}
