// links: kernels_cpu
// timeout: 120
/* Proves: attention equals a double-precision reference over awkward shapes, masks, head groups and
 * all dtypes, and gives the same bits for every variant (one that sums pairs: its own in bfloat16),
 * thread count and company in the batch. */
#include "tests/cpu_values.h"

struct shape {
    int heads, kv_heads, D, sliding;
    int windows, length[4];
};

static const struct shape shapes[] = {
    {1, 1, 16, 0, 1, {1}},
    {4, 2, 64, 0, 1, {17}},
    {4, 2, 64, 0, 3, {33, 1, 100}},
    {16, 1, 32, 0, 2, {40, 7}},
    {3, 3, 80, 0, 1, {65}},
    {5, 1, 96, 96, 2, {300, 95}},
    {8, 8, 128, 1, 1, {50}},
    {2, 1, 256, 33, 4, {31, 32, 33, 64}},
    {2, 2, 18, 5, 1, {70}},
    {4, 1, 64, 0, 1, {600}}, /* more than one chain of keys */
    {2, 1, 64, 300, 1, {700}},
};

struct inputs {
    struct shape s;
    enum dtype t;
    int tokens, len_max;
    int32_t start[5];
    void *q, *k, *v;
};

static struct inputs inputs_of(const struct shape *s, enum dtype t, uint64_t state)
{
    struct inputs in = {.s = *s, .t = t};

    for (int w = 0; w < s->windows; w++) {
        in.tokens += s->length[w];
        in.start[w + 1] = in.tokens;
        in.len_max = s->length[w] > in.len_max ? s->length[w] : in.len_max;
    }
    in.q = random_values(t, (size_t)in.tokens * s->heads * s->D, 3, &state);
    in.k = random_values(t, (size_t)in.tokens * s->kv_heads * s->D, 3, &state);
    in.v = random_values(t, (size_t)in.tokens * s->kv_heads * s->D, 1, &state);
    return in;
}

static void inputs_free(struct inputs *in)
{
    free(in->q);
    free(in->k);
    free(in->v);
}

/* Runs windows [w0, w1) of the inputs; returns out[all tokens][heads*D], the others left 0. */
static void *attend(const struct inputs *in, int w0, int w1, const struct isa *isa, int threads)
{
    const struct shape *s = &in->s;
    struct device d = plain_device(in->t, isa, threads);
    struct attention a = {s->heads, s->kv_heads, s->D, s->sliding, 1 / sqrtf((float)s->D)};
    int32_t start[5];
    size_t from = (size_t)in->start[w0] * s->D * dtype_bytes(in->t);
    char *out = calloc((size_t)in->tokens * s->heads * s->D, dtype_bytes(in->t));
    struct err e;

    for (int w = w0; w <= w1; w++)
        start[w - w0] = in->start[w] - in->start[w0];
    struct batch b = {start[w1 - w0], w1 - w0, in->len_max, start};
    d.scratch_bytes = attention_scratch_bytes(&(struct work_shape){
        .tokens = b.tokens, .len_max = b.len_max, .head_dim = s->D, .threads = threads});
    d.scratch = aligned_alloc(CPU_ALIGN, d.scratch_bytes);
    EXPECT(out && d.scratch);
    memset(d.scratch, 0xff, d.scratch_bytes); /* NaN: what is not written must not be read */
    EXPECT(attention_cpu(&d, out + from * s->heads, (char *)in->q + from * s->heads,
                         (char *)in->k + from * s->kv_heads, (char *)in->v + from * s->kv_heads, &a,
                         &b, &e) == OK);
    free(d.scratch);
    return out;
}

/* out[D] of one query and head in double, and how large its terms are */
static double reference(const struct inputs *in, int w, int i, int h, double *out)
{
    const struct shape *s = &in->s;
    int first = s->sliding && i >= s->sliding ? i - s->sliding + 1 : 0;
    size_t D = (size_t)s->D, t0 = (size_t)in->start[w], group = (size_t)(s->heads / s->kv_heads);
    double *p = malloc((size_t)(i + 1) * sizeof *p), max = -INFINITY, sum = 0, size = 0;

    EXPECT(p);
    for (int j = first; j <= i; j++) {
        p[j] = 0;
        for (size_t c = 0; c < D; c++)
            p[j] += (double)get_value(in->t, in->q, ((t0 + i) * s->heads + h) * D + c) *
                    get_value(in->t, in->k, ((t0 + j) * s->kv_heads + h / group) * D + c);
        p[j] /= sqrt((double)D);
        max = p[j] > max ? p[j] : max;
    }
    for (int j = first; j <= i; j++)
        sum += exp(p[j] - max);
    memset(out, 0, D * sizeof *out);
    for (int j = first; j <= i; j++) {
        double largest = 0;

        for (size_t c = 0; c < D; c++) {
            double v = get_value(in->t, in->v, ((t0 + j) * s->kv_heads + h / group) * D + c);

            out[c] += exp(p[j] - max) / sum * v;
            largest = fabs(v) > largest ? fabs(v) : largest;
        }
        size += exp(p[j] - max) / sum * largest;
    }
    free(p);
    return size;
}

/* The probabilities carry one rounding to dtype and the result another; in f32 a score of size up
 * to 3*3*16 = 144 carries some 1e-5 of absolute error, which exp makes relative. */
static void check_against_reference(const struct inputs *in, const void *got)
{
    const struct shape *s = &in->s;
    double want[256];

    for (int w = 0; w < s->windows; w++)
        for (int i = 0; i < s->length[w]; i += s->length[w] > 200 ? 7 : 1)
            for (int h = 0; h < s->heads; h++) {
                double size = reference(in, w, i, h, want);
                size_t row = ((size_t)(in->start[w] + i) * s->heads + h) * s->D;

                for (int c = 0; c < s->D; c++)
                    EXPECT_NEAR(get_value(in->t, got, row + c), want[c],
                                size * (2.1 * rounding_of(in->t) + 3e-5) + 1e-7);
            }
}

static void check_same(const struct inputs *in, const void *want, void *got)
{
    size_t bytes = (size_t)in->tokens * in->s.heads * in->s.D * dtype_bytes(in->t);

    EXPECT(memcmp(want, got, bytes) == 0);
    free(got);
}

/* The bits of `isa` are `want` for any number of threads, and for each window alone. */
static void check_variant(const struct inputs *in, const struct isa *isa, const char *want)
{
    const struct shape *s = &in->s;
    size_t row = (size_t)s->heads * s->D * dtype_bytes(in->t);

    for (int threads = 1; threads <= 3; threads++)
        check_same(in, want, attend(in, 0, s->windows, isa, threads));
    for (int w = 0; w < s->windows; w++) {
        char *alone = attend(in, w, w + 1, isa, 2);
        size_t at = in->start[w] * row;

        EXPECT(memcmp(want + at, alone + at, s->length[w] * row) == 0);
        free(alone);
    }
}

static void check_shape(const struct shape *s, enum dtype t)
{
    struct inputs in = inputs_of(s, t, (uint64_t)s->D * 31 + s->windows);
    char *want = attend(&in, 0, s->windows, portable_isa(), 1);

    check_against_reference(&in, want);
    for (const struct isa *i = cpu_isas; i->name; i++) {
        if (!i->usable())
            continue;
        if (i->dot && t == DTYPE_BF16) {
            char *own = attend(&in, 0, s->windows, i, 1);

            check_against_reference(&in, own);
            check_variant(&in, i, own);
            free(own);
        } else {
            check_variant(&in, i, want);
        }
    }
    free(want);
    inputs_free(&in);
}

/* A NaN in the keys of a token changes no query before it, and reaches all that see it. */
static void check_nan_stays_behind(void)
{
    struct inputs in = inputs_of(&(struct shape){2, 1, 16, 0, 1, {80}}, DTYPE_F32, 5);
    float *clean = attend(&in, 0, 1, portable_isa(), 1), *got;

    ((float *)in.k)[40 * 16] = NAN;
    got = attend(&in, 0, 1, portable_isa(), 1);
    EXPECT(memcmp(clean, got, 40 * 2 * 16 * sizeof *got) == 0);
    for (int i = 40 * 2 * 16; i < 80 * 2 * 16; i++)
        EXPECT(isnan(got[i]));
    free(clean);
    free(got);
    inputs_free(&in);
}

int main(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (enum dtype t = DTYPE_BF16; t <= DTYPE_F32; t++)
            check_shape(&shapes[i], t);
    check_nan_stays_behind();
    return 0;
}
