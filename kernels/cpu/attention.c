/* attention.c - causal attention without a T x T matrix, made of gemm_ops.micro.
 *
 * All products are taken transposed, so that a softmax runs down the columns of a strip and its
 * result is at once the B panel of the next product; nothing is transposed but the small q and out:
 *
 *   strip[keys][32 queries] = k[keys][D] q^T       A panels of 8 keys [D][8], B panel q^T [D][32]
 *   p = softmax of each column of the strip
 *   out^T[D][32 queries]    = v^T[D][keys] p       A panels of 8 features [keys][8], B panel p
 *
 * Keys and values are packed into panels once per kv head and shared by its query heads and all
 * blocks of 32 queries. A block sees the keys of its window from the oldest one its first query may
 * see (down to a multiple of 8) to its last query (up to a multiple of 8): the order of every sum
 * depends on a query's position in its window alone. Masked keys take part with p = 0, so a NaN or
 * infinity in the v of a token reaches the up to 31 queries before it in its block. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parts.h"

enum {
    QUERIES = GEMM_NR, /* of a block */
    KEYS_KC = 256,     /* keys of one chain of sums: p and v of that many fit the L1 cache */
    D_MAX = 256        /* head_dim */
};

static int round_up(int n, int to)
{
    return (n + to - 1) / to * to;
}

/* Where things lie in the scratch; all in floats, all multiples of 16. */
struct layout {
    int rows;    /* of the packed keys and values, each window padded to GEMM_MR rows */
    int D, D_up; /* head_dim; rounded up to GEMM_MR */
    size_t keys, values, strip, query, out; /* sizes; the last three per thread */
};

static struct layout layout_of(int tokens, int len_max, int head_dim)
{
    size_t rows = (size_t)round_up(tokens > len_max ? tokens : len_max, 2 * GEMM_MR);
    size_t D = (size_t)head_dim, D_up = (size_t)round_up(head_dim, GEMM_MR);

    return (struct layout){.rows = (int)rows,
                           .D = (int)D,
                           .D_up = (int)D_up,
                           .keys = rows * D,
                           .values = rows * D_up,
                           .strip = (size_t)round_up(len_max, GEMM_MR) * QUERIES,
                           .query = D * QUERIES,
                           .out = D_up * QUERIES};
}

static size_t layout_bytes(const struct layout *l, int threads)
{
    size_t own = l->strip + l->query + l->out;

    return (l->keys + l->values + (size_t)threads * own) * sizeof(float);
}

size_t attention_scratch_bytes(const struct work_shape *w)
{
    struct layout l = layout_of(w->tokens, w->len_max, w->head_dim);

    return layout_bytes(&l, w->threads);
}

/* One attention call, as its threads see it. */
struct job {
    const struct device *d;
    const struct attention *a;
    const struct batch *b;
    struct layout l;
    const void *q, *k, *v;
    void *out;
    float *keys, *values, *own; /* own: the per-thread parts, one after the other */
};

/* A window being worked on, for one kv head. */
struct window {
    int start, length; /* tokens */
    int padded;        /* length up to a multiple of GEMM_MR */
    float *keys;       /* [padded / 8][D][8] */
    float *values;     /* [D_up / 8][padded][8] */
};

/* `row` counts the packed rows of the windows before it. */
static struct window window_at(const struct job *j, int w, int row)
{
    int start = j->b->start[w], length = j->b->start[w + 1] - start;

    return (struct window){.start = start,
                           .length = length,
                           .padded = round_up(length, GEMM_MR),
                           .keys = j->keys + (size_t)row * (size_t)j->l.D,
                           .values = j->values + (size_t)row * (size_t)j->l.D_up};
}

/* Row of token t, head h of x[T][heads][D]. */
static size_t row_of(const struct job *j, int t, int heads, int h)
{
    return ((size_t)t * (size_t)heads + (size_t)h) * (size_t)j->l.D;
}

/* Packs keys and values key0 .. key0+8) of a window; rows beyond its end are 0. */
static void pack_panel(const struct job *j, const struct window *w, int kv_head, int key0)
{
    const struct row_ops *ops = j->d->isa->rows;
    enum dtype t = j->d->dtype;
    int D = j->l.D, heads = j->a->kv_heads;
    float *keys = w->keys + (size_t)key0 * (size_t)D;

    for (int i = 0; i < GEMM_MR; i++) {
        float k[D_MAX] = {0}, v[D_MAX] = {0};

        if (key0 + i < w->length) {
            size_t at = row_of(j, w->start + key0 + i, heads, kv_head);

            ops->widen(t, const_value_at(j->k, t, at), k, (size_t)D);
            ops->widen(t, const_value_at(j->v, t, at), v, (size_t)D);
        }
        for (int c = 0; c < D; c++)
            keys[c * GEMM_MR + i] = k[c];
        for (int c = 0; c < j->l.D_up; c += GEMM_MR)
            memcpy(w->values + ((size_t)c * (size_t)w->padded + (size_t)(key0 + i) * GEMM_MR),
                   v + c, GEMM_MR * sizeof *v);
    }
}

/* panel[D][32] from up to 32 rows of q; missing rows are 0. */
static void pack_queries(const struct job *j, int token, int n, int head, float *panel)
{
    const struct row_ops *ops = j->d->isa->rows;
    enum dtype t = j->d->dtype;
    int D = j->l.D;
    float row[D_MAX];

    memset(row, 0, sizeof row);
    for (int i = 0; i < QUERIES; i++) {
        if (i < n)
            ops->widen(t, const_value_at(j->q, t, row_of(j, token + i, j->a->heads, head)), row,
                       (size_t)D);
        else if (i == n)
            memset(row, 0, sizeof row);
        for (int c = 0; c < D; c++)
            panel[c * QUERIES + i] = row[c];
    }
}

static void store_out(const struct job *j, const float *out, int token, int n, int head)
{
    enum dtype t = j->d->dtype;
    int D = j->l.D;
    float row[D_MAX];

    for (int i = 0; i < n; i++) {
        for (int c = 0; c < D; c++)
            row[c] = out[c * QUERIES + i];
        size_t at = row_of(j, token + i, j->a->heads, head);
        j->d->isa->rows->narrow(t, row, value_at(j->out, t, at), (size_t)D);
    }
}

/* Scores of keys that a query may not see become -inf. strip row 0 is key `first`, column 0 query
 * q0; only the rows near the diagonal and near the far end of a sliding window need a look. Columns
 * beyond the window's last query may lose every key; what they give is never stored. */
static void mask(float *strip, int first, int end, int q0, int sliding)
{
    for (int k = q0 + 1; k < end; k++)
        for (int i = 0; i < QUERIES && q0 + i < k; i++)
            strip[(size_t)(k - first) * QUERIES + (size_t)i] = -INFINITY;
    if (!sliding)
        return;
    for (int k = first; k < end && k <= q0 + QUERIES - 1 - sliding; k++)
        for (int i = 0; i < QUERIES; i++)
            if (k <= q0 + i - sliding)
                strip[(size_t)(k - first) * QUERIES + (size_t)i] = -INFINITY;
}

/* strip[keys][32]: scores to probabilities */
static void softmax(const struct job *j, float *strip, int keys)
{
    const struct row_ops *ops = j->d->isa->rows;
    float max[QUERIES], inverse[QUERIES];
    double sum[QUERIES];

    ops->column_max(strip, keys, max);
    ops->column_exp_sum(strip, keys, max, j->a->scale, sum);
    for (int i = 0; i < QUERIES; i++)
        inverse[i] = (float)(1 / sum[i]);
    ops->column_scale(strip, keys, inverse, j->d->dtype);
}

/* Queries q0 .. q0+32) of a window and one query head. */
static void attend_block(const struct job *j, const struct window *w, int head, int q0)
{
    const struct gemm_ops *gemm = j->d->isa->gemm;
    const struct layout *l = &j->l;
    float *strip = j->own + (size_t)omp_get_thread_num() * (l->strip + l->query + l->out);
    float *query = strip + l->strip, *out = query + l->query;
    int n = w->length - q0 < QUERIES ? w->length - q0 : QUERIES;
    int sliding = j->a->window, oldest = sliding && q0 >= sliding ? q0 - sliding + 1 : 0;
    int first = oldest / GEMM_MR * GEMM_MR, end = round_up(q0 + n, GEMM_MR);

    pack_queries(j, w->start + q0, n, head, query);
    for (int k = first; k < end; k += GEMM_MR)
        gemm->micro(w->keys + (size_t)k * (size_t)l->D, query, l->D,
                    strip + (size_t)(k - first) * QUERIES, QUERIES, true);
    mask(strip, first, end, q0, sliding);
    softmax(j, strip, end - first);
    for (int k = first; k < end; k += KEYS_KC) {
        int kc = end - k < KEYS_KC ? end - k : KEYS_KC;

        for (int c = 0; c < l->D_up; c += GEMM_MR)
            gemm->micro(w->values + (size_t)c * (size_t)w->padded + (size_t)k * GEMM_MR,
                        strip + (size_t)(k - first) * QUERIES, kc, out + (size_t)c * QUERIES,
                        QUERIES, k == first);
    }
    store_out(j, out, w->start + q0, n, head);
}

/* Windows w0 .. w1) of one kv head, whose panels fit the scratch together. */
static void attend_windows(const struct job *j, int kv_head, int w0, int w1)
{
    int group = j->a->heads / j->a->kv_heads;

#pragma omp parallel num_threads(j->d->threads)
    {
        for (int w = w0, row = 0; w < w1; w++) {
            struct window now = window_at(j, w, row);

#pragma omp for schedule(static) nowait
            for (int k = 0; k < now.padded; k += GEMM_MR)
                pack_panel(j, &now, kv_head, k);
            row += now.padded;
        }
#pragma omp barrier
        for (int w = w0, row = 0; w < w1; w++) {
            struct window now = window_at(j, w, row);
            int blocks = round_up(now.length, QUERIES) / QUERIES;

            /* from the last block, which costs most, to the first: the threads end together */
#pragma omp for schedule(dynamic) nowait
            for (int item = 0; item < group * blocks; item++)
                attend_block(j, &now, kv_head * group + item % group,
                             (blocks - 1 - item / group) * QUERIES);
            row += now.padded;
        }
    }
}

enum status attention_cpu(struct device *d, void *out, const void *q, const void *k, const void *v,
                          const struct attention *a, const struct batch *b, struct err *e)
{
    struct job j = {.d = d, .a = a, .b = b, .q = q, .k = k, .v = v, .out = out};

    (void)e;
    CHECK(a->head_dim > 0 && a->head_dim <= D_MAX && a->head_dim % 2 == 0 && a->scale > 0);
    CHECK(a->kv_heads > 0 && a->heads % a->kv_heads == 0 && a->window >= 0);
    j.l = layout_of(b->tokens, b->len_max, a->head_dim);
    CHECK(layout_bytes(&j.l, d->threads) <= d->scratch_bytes);
    j.keys = (float *)d->scratch;
    j.values = j.keys + j.l.keys;
    j.own = j.values + j.l.values;

    for (int w0 = 0, w1; w0 < b->windows; w0 = w1) {
        int rows = 0;

        for (w1 = w0; w1 < b->windows; w1++) {
            int more = round_up(b->start[w1 + 1] - b->start[w1], GEMM_MR);

            CHECK(b->start[w1 + 1] - b->start[w1] <= b->len_max);
            if (rows + more > j.l.rows)
                break;
            rows += more;
        }
        for (int kv_head = 0; kv_head < a->kv_heads; kv_head++)
            attend_windows(&j, kv_head, w0, w1);
    }
    return OK;
}
