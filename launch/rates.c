#include "launch/rates.h"

#include <stdlib.h>
#include <string.h>

#include "spec/clock.h"
#include "stage/shard.h"

enum { SIDE = 2048, TOKENS = 512, READ_BUFFER = 64 << 20 };

struct plan_rates rates_nominal(void)
{
    return (struct plan_rates){.flops = 1e12, .read = 1e9};
}

struct plan_rates rates_given(const struct spec_rates *spec, struct plan_rates other)
{
    return (struct plan_rates){.flops = spec->compute > 0 ? spec->compute : other.flops,
                               .read = spec->read > 0 ? spec->read : other.read};
}

/* y[TOKENS][SIDE] = x[TOKENS][SIDE] W^T, W NVFP4 of zeros: as fast as any other values. */
static enum status compute_rate(const struct kernels *k, const struct device_options *o,
                                struct device *d, double *flops, struct err *e)
{
    size_t data = weight_data_bytes(WEIGHT_NVFP4, SIDE, SIDE);
    size_t scale = weight_scale_bytes(WEIGHT_NVFP4, SIDE, SIDE);
    size_t x_bytes = (size_t)TOKENS * SIDE * dtype_bytes(o->dtype);
    struct work_shape shape = {.tokens = TOKENS, .len_max = 1, .hidden = SIDE, .k_max = SIDE,
                               .n_max = SIDE, .dtype = o->dtype, .arithmetic = o->arithmetic,
                               .threads = k->threads(d)};
    size_t scratch = k->scratch_bytes(&shape);
    uint64_t at_scale = shard_align(data), at_x = at_scale + shard_align(scale);
    uint64_t at_y = at_x + shard_align(x_bytes), at_scratch = at_y + shard_align(x_bytes);
    struct weight w = {.format = WEIGHT_NVFP4, .N = SIDE, .K = SIDE, .global_stored = 1};
    double best = 0, until = clock_seconds() + 0.5;
    void *base = NULL;

    TRY(k->arena(d, at_scratch + shard_align(scratch), &base, e));
    k->use_scratch(d, (char *)base + at_scratch, scratch);
    w.data = base;
    w.scale = (const uint8_t *)base + at_scale;
    while (clock_seconds() < until) {
        double before = clock_seconds(), rate;

        TRY(k->linear(d, (char *)base + at_y, (char *)base + at_x, &w, TOKENS, e));
        TRY(k->sync(d, e));
        rate = 2.0 * TOKENS * SIDE * SIDE / (clock_seconds() - before);
        best = rate > best ? rate : best;
    }
    *flops = best;
    return OK;
}

/* The matrices of the first layers, as often as half a second allows. */
static enum status read_rate(const struct model *m, double *rate, struct err *e)
{
    char *buffer = malloc(READ_BUFFER);
    double begin = clock_seconds(), until = begin + 0.5;
    uint64_t bytes = 0;
    enum status st = buffer ? OK : fail(e, ERR_FIT, "no memory to measure the read rate");

    for (int i = 0; st == OK && clock_seconds() < until; i = (i + 1) % m->n_layers) {
        const struct tensor *t = m->layer[i].down.data;
        uint64_t n = t->bytes < READ_BUFFER ? t->bytes : READ_BUFFER;

        st = checkpoint_read(m->checkpoint, t, 0, n, buffer, e);
        bytes += n;
    }
    free(buffer);
    *rate = (double)bytes / (clock_seconds() - begin);
    return st;
}

enum status rates_measure(const struct model *m, const struct kernels *k,
                          const struct device_options *o, struct plan_rates *out, struct err *e)
{
    struct device *d = NULL;
    enum status st;

    TRY(k->open(o, &d, e));
    st = compute_rate(k, o, d, &out->flops, e);
    k->close(d);
    return st == OK ? read_rate(m, &out->read, e) : st;
}
