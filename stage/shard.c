#include "stage/shard.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 4 << 20 }; /* bytes of staging when the arena is not host memory */

static uint64_t vector_elements(const struct tensor *t)
{
    return t->bytes / (t->type == TENSOR_F32 ? 4 : 2);
}

struct shard_bytes shard_vector_bytes(const struct tensor *t)
{
    if (!t)
        return (struct shard_bytes){0, 0};
    return (struct shard_bytes){shard_align(vector_elements(t) * sizeof(float)), t->bytes};
}

static struct shard_bytes plus(struct shard_bytes a, struct shard_bytes b)
{
    return (struct shard_bytes){a.arena + b.arena, a.file + b.file};
}

struct shard_bytes shard_linear_bytes(const struct linear *l)
{
    struct shard_bytes sum = {shard_align(l->data->bytes), l->data->bytes};

    if (l->scale)
        sum = plus(sum, (struct shard_bytes){shard_align(l->scale->bytes), l->scale->bytes});
    return plus(sum, shard_vector_bytes(l->bias));
}

struct shard_bytes shard_layer_bytes(const struct layer *l)
{
    const struct linear *matrix[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
    const struct tensor *vector[] = {l->attn_norm, l->mlp_norm, l->q_norm, l->k_norm};
    struct shard_bytes sum = {0, 0};

    for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++)
        sum = plus(sum, shard_linear_bytes(matrix[i]));
    for (size_t i = 0; i < sizeof vector / sizeof *vector; i++)
        sum = plus(sum, shard_vector_bytes(vector[i]));
    return sum;
}

/* Through a staging buffer, for an arena the host cannot write to. */
static enum status load_staged(struct shard_reader *r, const struct tensor *t,
                               const struct linear *scale_of, char *to, struct err *e)
{
    char *stage = malloc(scale_of ? t->bytes : PIECE);
    uint64_t piece = scale_of ? t->bytes : PIECE;
    enum status st = OK;

    if (!stage)
        return fail(e, ERR_FIT, "no memory for a staging buffer");
    for (uint64_t at = 0; st == OK && at < t->bytes; at += piece) {
        uint64_t n = t->bytes - at < piece ? t->bytes - at : piece;

        st = checkpoint_read(r->model->checkpoint, t, at, n, stage, e);
        if (st == OK && scale_of)
            st = scales_check(r->model, scale_of, (const uint8_t *)stage, e);
        if (st == OK)
            st = r->kernels->upload(r->device, to + at, stage, n, e);
        if (st == OK)
            st = r->kernels->sync(r->device, e);
    }
    free(stage);
    return st;
}

/* A tensor as it is. scale_of: the matrix whose scales it holds, to be checked; else NULL. */
static enum status load_raw(struct shard_reader *r, const struct tensor *t,
                            const struct linear *scale_of, char *to, struct err *e)
{
    if (r->blank)
        return OK;
    r->read += t->bytes;
    if (!r->kernels->arena_is_host)
        return load_staged(r, t, scale_of, to, e);
    TRY(checkpoint_read(r->model->checkpoint, t, 0, t->bytes, to, e));
    return scale_of ? scales_check(r->model, scale_of, (const uint8_t *)to, e) : OK;
}

enum status shard_load_vector(struct shard_reader *r, const struct tensor *t, void *base,
                              const float **out, struct err *e)
{
    enum { CHUNK = 1024 };
    uint64_t n = vector_elements(t), size = t->bytes / n;
    unsigned char raw[CHUNK * sizeof(float)];
    float wide[CHUNK];

    *out = base;
    if (r->blank)
        return OK;
    for (uint64_t at = 0; at < n; at += CHUNK) {
        uint64_t count = n - at < CHUNK ? n - at : CHUNK;

        TRY(checkpoint_read(r->model->checkpoint, t, at * size, count * size, raw, e));
        for (uint64_t i = 0; i < count; i++)
            wide[i] = tensor_float(t->type, raw + i * size);
        TRY(r->kernels->upload(r->device, (float *)base + at, wide, count * sizeof *wide, e));
        TRY(r->kernels->sync(r->device, e));
    }
    r->read += t->bytes;
    return OK;
}

enum status shard_load_linear(struct shard_reader *r, const struct linear *l, void *base,
                              struct weight *out, struct err *e)
{
    char *at = base;
    const float *bias = NULL;

    *out = (struct weight){.format = l->format,
                           .N = l->N,
                           .K = l->K,
                           .data = at,
                           .global_stored = l->global_stored,
                           .global_divides = l->global_divides,
                           .input_global = l->input_global,
                           .input_scale_unrounded = l->input_scale_unrounded};
    TRY(load_raw(r, l->data, NULL, at, e));
    at += shard_align(l->data->bytes);
    if (l->scale) {
        out->scale = (const uint8_t *)at;
        TRY(load_raw(r, l->scale, l, at, e));
        at += shard_align(l->scale->bytes);
    }
    if (l->bias)
        TRY(shard_load_vector(r, l->bias, at, &bias, e));
    out->bias = bias;
    return OK;
}

enum status shard_load_layer(struct shard_reader *r, int layer, void *base,
                             struct layer_weights *out, struct err *e)
{
    const struct layer *l = &r->model->layer[layer];
    struct {
        const struct linear *from;
        struct weight *to;
    } matrix[] = {{&l->q, &out->q}, {&l->k, &out->k},       {&l->v, &out->v},      {&l->o, &out->o},
                  {&l->gate, &out->gate}, {&l->up, &out->up}, {&l->down, &out->down}};
    struct {
        const struct tensor *from;
        const float **to;
    } vector[] = {{l->attn_norm, &out->attn_norm},
                  {l->mlp_norm, &out->mlp_norm},
                  {l->q_norm, &out->q_norm},
                  {l->k_norm, &out->k_norm}};
    char *at = base;

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++) {
        TRY(shard_load_linear(r, matrix[i].from, at, matrix[i].to, e));
        at += shard_linear_bytes(matrix[i].from).arena;
    }
    for (size_t i = 0; i < sizeof vector / sizeof *vector; i++) {
        if (vector[i].from)
            TRY(shard_load_vector(r, vector[i].from, at, vector[i].to, e));
        at += shard_vector_bytes(vector[i].from).arena;
    }
    CHECK((uint64_t)(at - (char *)base) == shard_layer_bytes(l).arena);
    return OK;
}
