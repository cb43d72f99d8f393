#include "stage/shard.h"

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

enum {
    PARTS = 32,         /* of a layer: 7 matrices, their scales and biases, 4 norms */
    HALF = 16 << 20,    /* bytes of pinned memory being read or uploaded */
    BLOCK = 4096        /* direct reads want file and memory alike in this */
};

/* A tensor and its place in the arena. scale_of: the matrix whose scales it holds, to be checked;
 * widen: to f32. */
struct part {
    const struct tensor *tensor;
    const struct linear *scale_of;
    bool widen;
    char *to;
};

/* What one batch loads. */
struct parts {
    struct part part[PARTS];
    int n;
    char *end; /* of what is placed so far */
};

static const char *place(struct parts *l, const struct tensor *t, const struct linear *scale_of,
                         bool widen, uint64_t bytes)
{
    char *to = l->end;

    CHECK(l->n < PARTS);
    l->part[l->n++] = (struct part){t, scale_of, widen, to};
    l->end += bytes;
    return to;
}

/* NULL where there is no such tensor. */
static const float *place_vector(struct parts *l, const struct tensor *t)
{
    return t ? (const float *)place(l, t, NULL, true, shard_vector_bytes(t).arena) : NULL;
}

static struct weight place_linear(struct parts *l, const struct linear *from)
{
    struct weight w = {.format = from->format,
                       .N = from->N,
                       .K = from->K,
                       .global_stored = from->global_stored,
                       .global_divides = from->global_divides,
                       .input_global = from->input_global,
                       .input_scale_unrounded = from->input_scale_unrounded};

    w.data = place(l, from->data, NULL, false, shard_align(from->data->bytes));
    if (from->scale)
        w.scale = (const uint8_t *)place(l, from->scale, from, false,
                                         shard_align(from->scale->bytes));
    w.bias = place_vector(l, from->bias);
    return w;
}

static void widen(enum tensor_type type, const char *raw, uint64_t n, float *out)
{
    uint64_t size = type == TENSOR_F32 ? 4 : 2;

    for (uint64_t i = 0; i < n; i++)
        out[i] = tensor_float(type, raw + i * size);
}

/* A vector is read to the end of its place, and widened from its start: no element is written over
 * before it was used. */
static char *raw_place(const struct part *p)
{
    return p->to + (p->widen ? vector_elements(p->tensor) * sizeof(float) - p->tensor->bytes : 0);
}

static enum status load_here(struct shard_reader *r, const struct parts *l, struct err *e)
{
    struct file_span span[PARTS];

    for (int i = 0; i < l->n; i++)
        span[i] = checkpoint_span(r->model->checkpoint, l->part[i].tensor, 0,
                                  l->part[i].tensor->bytes, raw_place(&l->part[i]));
    file_reader_begin(r->files, span, l->n);
    TRY(file_reader_wait(r->files, e));
    for (int i = 0; i < l->n; i++) {
        const struct part *p = &l->part[i];

        r->read += p->tensor->bytes;
        if (p->scale_of)
            TRY(scales_check(r->model, p->scale_of, 0, p->tensor->bytes, (const uint8_t *)p->to, e));
        if (p->widen)
            widen(p->tensor->type, raw_place(p), vector_elements(p->tensor), (float *)p->to);
    }
    return OK;
}

/* Bytes [at, at + bytes) of a part, in a half at `raw`; as f32 at `wide` if it is to be widened. */
struct chunk {
    const struct part *part;
    uint64_t at, bytes;
    char *raw, *wide;
};

struct half {
    char *buffer;
    struct chunk chunk[PARTS];
    struct file_span span[PARTS];
    int n;
};

/* How far the parts are handed out. */
struct cursor {
    const struct parts *parts;
    int part;
    uint64_t at;
};

/* The next chunk, if it fits the half behind `used` bytes; it lies there as in the blocks of the file.
 * A widened one takes three times its size at most, and an alignment. */
static bool next_chunk(struct cursor *c, struct half *h, uint64_t *used)
{
    const struct part *p = &c->parts->part[c->part];
    uint64_t from = p->tensor->offset + c->at, left = p->tensor->bytes - c->at, room;
    uint64_t start = (*used + BLOCK - 1) / BLOCK * BLOCK + from % BLOCK;
    struct chunk *k = &h->chunk[h->n];

    if (start + 4 * BLOCK > HALF)
        return false;
    room = p->widen ? (HALF - start) / 4 / BLOCK * BLOCK : HALF - start;
    *k = (struct chunk){.part = p, .at = c->at, .bytes = left < room ? left : room,
                        .raw = h->buffer + start};
    *used = start + k->bytes;
    if (p->widen) {
        k->wide = h->buffer + shard_align(*used);
        *used = shard_align(*used) + 2 * k->bytes;
    }
    c->at += k->bytes;
    return true;
}

static void fill(struct shard_reader *r, struct cursor *c, struct half *h)
{
    uint64_t used = 0;

    h->n = 0;
    while (c->part < c->parts->n && h->n < PARTS && next_chunk(c, h, &used)) {
        const struct chunk *k = &h->chunk[h->n];

        h->span[h->n++] = checkpoint_span(r->model->checkpoint, k->part->tensor, k->at, k->bytes,
                                          k->raw);
        if (c->at == k->part->tensor->bytes) {
            c->part++;
            c->at = 0;
        }
    }
    if (h->n > 0)
        file_reader_begin(r->files, h->span, h->n);
}

static enum status upload(struct shard_reader *r, const struct half *h, struct err *e)
{
    for (int i = 0; i < h->n; i++) {
        const struct chunk *k = &h->chunk[i];
        const struct part *p = k->part;
        uint64_t size = p->tensor->type == TENSOR_F32 ? 4 : 2, n = k->bytes / size;

        r->read += k->bytes;
        if (p->scale_of)
            TRY(scales_check(r->model, p->scale_of, k->at, k->bytes, (const uint8_t *)k->raw, e));
        if (p->widen) {
            widen(p->tensor->type, k->raw, n, (float *)k->wide);
            TRY(r->kernels->copy(r->device, COPY_LAYERS, p->to + k->at / size * sizeof(float),
                                 k->wide, n * sizeof(float), e));
        } else {
            TRY(r->kernels->copy(r->device, COPY_LAYERS, p->to + k->at, k->raw, k->bytes, e));
        }
    }
    return r->kernels->copy_wait(r->device, COPY_LAYERS, e);
}

static enum status load_there(struct shard_reader *r, const struct parts *l, struct err *e)
{
    struct half half[2] = {{.buffer = r->half[0]}, {.buffer = r->half[1]}};
    struct cursor c = {.parts = l};
    enum status st = OK;
    struct err other;
    int now = 0;

    fill(r, &c, &half[0]);
    while (half[now].n > 0) { /* also after a failed upload: the other half is being read to */
        enum status read = file_reader_wait(r->files, st == OK ? e : &other);

        if (st != OK || read != OK)
            return st != OK ? st : read;
        fill(r, &c, &half[1 - now]);
        st = upload(r, &half[now], e);
        now = 1 - now;
    }
    return st;
}

static enum status load(struct shard_reader *r, const struct parts *l, struct err *e)
{
    if (!r->files)
        return OK;
    return r->kernels->arena_is_host ? load_here(r, l, e) : load_there(r, l, e);
}

enum status shard_reader_open(struct shard_reader *r, const struct model *m,
                              const struct kernels *k, struct device *d,
                              const struct file_reader_options *o, struct err *e)
{
    *r = (struct shard_reader){.model = m, .kernels = k, .device = d};
    if (!o->keep)
        checkpoint_open_direct(m->checkpoint);
    TRY(file_reader_open(o, &r->files, e));
    for (int i = 0; i < 2 && !k->arena_is_host; i++) {
        void *half;

        TRY(k->pin(d, HALF, &half, e));
        r->half[i] = half;
    }
    return OK;
}

void shard_reader_close(struct shard_reader *r)
{
    file_reader_close(r->files);
    for (int i = 0; i < 2; i++)
        if (r->half[i])
            r->kernels->unpin(r->device, r->half[i], HALF);
    *r = (struct shard_reader){0};
}

enum status shard_load_vector(struct shard_reader *r, const struct tensor *t, void *base,
                              const float **out, struct err *e)
{
    struct parts l = {.end = base};

    *out = place_vector(&l, t);
    return load(r, &l, e);
}

enum status shard_load_linear(struct shard_reader *r, const struct linear *from, void *base,
                              struct weight *out, struct err *e)
{
    struct parts l = {.end = base};

    *out = place_linear(&l, from);
    return load(r, &l, e);
}

enum status shard_load_layer(struct shard_reader *r, int layer, void *base,
                             struct layer_weights *out, struct err *e)
{
    const struct layer *l = &r->model->layer[layer];
    struct parts parts = {.end = base};

    out->q = place_linear(&parts, &l->q);
    out->k = place_linear(&parts, &l->k);
    out->v = place_linear(&parts, &l->v);
    out->o = place_linear(&parts, &l->o);
    out->gate = place_linear(&parts, &l->gate);
    out->up = place_linear(&parts, &l->up);
    out->down = place_linear(&parts, &l->down);
    out->attn_norm = place_vector(&parts, l->attn_norm);
    out->mlp_norm = place_vector(&parts, l->mlp_norm);
    out->q_norm = place_vector(&parts, l->q_norm);
    out->k_norm = place_vector(&parts, l->k_norm);
    CHECK((uint64_t)(parts.end - (char *)base) == shard_layer_bytes(l).arena);
    return load(r, &parts, e);
}
