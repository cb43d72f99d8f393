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
 * infinity in the v of a token reaches the up to 31 queries before it in its block.
 *
 * In bfloat16 all four operands are values of bf16, p too: where isa->dot is there, it multiplies
 * pairs of them, and a panel has half as many rows. */
#include <math.h>
#include <omp.h>
#include <string.h>
#include <xmmintrin.h>

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
    const struct gemm_ops *ops;
    int per; /* values of a dword of the panels: 1, or a pair */
    struct layout l;
    const void *q, *k, *v;
    void *out;
    float *keys, *values, *own; /* own: the per-thread parts, one after the other */
};

/* A window being worked on, for one kv head. */
struct window {
    int start, length; /* tokens */
    int padded;        /* length up to a multiple of GEMM_MR */
    float *keys;       /* [padded / 8][D / per][8] dwords */
    float *values;     /* [D_up / 8][padded / per][8] */
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

/* Rows of one head lie far apart, each a few cache lines: ask for those of up to 32 tokens while
 * something else is computed. */
static void fetch_rows(const struct job *j, const void *x, int token, int n, int heads, int head)
{
    size_t bytes = (size_t)j->l.D * dtype_bytes(j->d->dtype);

    for (int i = 0; i < n; i++) {
        const char *row = const_value_at(x, j->d->dtype, row_of(j, token + i, heads, head));

        for (size_t b = 0; b < bytes; b += CPU_ALIGN)
            __builtin_prefetch(row + b, 0, 2);
        __builtin_prefetch(row + bytes - 1, 0, 2);
    }
}

/* y[cols][rows] from x[rows][cols], in blocks of 4 x 4 as far as they go */
static void transpose(const float *x, int rows, int cols, float *y)
{
    int whole_rows = rows / 4 * 4, whole_cols = cols / 4 * 4;

    for (int r = 0; r < whole_rows; r += 4)
        for (int c = 0; c < whole_cols; c += 4) {
            __m128 v[4];

            for (int i = 0; i < 4; i++)
                v[i] = _mm_loadu_ps(x + (r + i) * cols + c);
            _MM_TRANSPOSE4_PS(v[0], v[1], v[2], v[3]);
            for (int i = 0; i < 4; i++)
                _mm_storeu_ps(y + (c + i) * rows + r, v[i]);
        }
    for (int r = 0; r < rows; r++)
        for (int c = r < whole_rows ? whole_cols : 0; c < cols; c++)
            y[c * rows + r] = x[r * cols + c];
}

/* Panels of 8 keys, and of 8 features from key0 on; both multiples of 8. */
static float *keys_at(const struct job *j, const struct window *w, int key0)
{
    return w->keys + (size_t)key0 * (size_t)(j->l.D / j->per);
}

static float *values_at(const struct job *j, const struct window *w, int feature, int key0)
{
    size_t row = (size_t)feature / GEMM_MR * (size_t)w->padded + (size_t)key0;

    return w->values + row / (size_t)j->per * GEMM_MR;
}

/* Rows of f32, as those of a panel where that takes them in pairs. */
static void join(const struct job *j, float *x, int rows, int columns)
{
    if (j->ops->join)
        j->ops->join(x, rows, columns, x);
}

/* Packs keys and values key0 .. key0+8) of a window; rows beyond its end are 0. */
static void pack_panel(const struct job *j, const struct window *w, int kv_head, int key0)
{
    const struct row_ops *ops = j->d->isa->rows;
    enum dtype t = j->d->dtype;
    int n = w->length - key0 < GEMM_MR ? w->length - key0 : GEMM_MR;
    size_t D = (size_t)j->l.D, D_up = (size_t)j->l.D_up;
    float k[GEMM_MR * D_MAX], v[GEMM_MR * D_MAX]; /* [8][D], [8][D_up] */

    memset(k, 0, GEMM_MR * D * sizeof *k);
    memset(v, 0, GEMM_MR * D_up * sizeof *v);
    for (size_t i = 0; i < (size_t)n; i++) {
        size_t at = row_of(j, w->start + key0 + (int)i, j->a->kv_heads, kv_head);

        ops->widen(t, const_value_at(j->k, t, at), k + i * D, D);
        ops->widen(t, const_value_at(j->v, t, at), v + i * D_up, D);
    }
    j->ops->pack(k, D, (int)D, keys_at(j, w, key0));
    join(j, v, GEMM_MR, (int)D_up);
    for (size_t c = 0; c < D_up; c += GEMM_MR)
        for (size_t i = 0; i < GEMM_MR / (size_t)j->per; i++)
            memcpy(values_at(j, w, (int)c, key0) + i * GEMM_MR, v + i * D_up + c,
                   GEMM_MR * sizeof *v);
}

/* panel[D][32] from up to 32 rows of q, missing rows 0; by way of rows[32][D] */
static void pack_queries(const struct job *j, int token, int n, int head, float *rows, float *panel)
{
    enum dtype t = j->d->dtype;
    size_t D = (size_t)j->l.D;

    for (int i = 0; i < n; i++) {
        size_t at = row_of(j, token + i, j->a->heads, head);

        j->d->isa->rows->widen(t, const_value_at(j->q, t, at), rows + (size_t)i * D, D);
    }
    memset(rows + (size_t)n * D, 0, (size_t)(QUERIES - n) * D * sizeof *rows);
    transpose(rows, QUERIES, j->l.D, panel);
    join(j, panel, j->l.D, QUERIES);
}

/* Stores the first n columns of out[D][32], by way of rows[32][D]. */
static void store_out(const struct job *j, const float *out, int token, int n, int head,
                      float *rows)
{
    enum dtype t = j->d->dtype;
    size_t D = (size_t)j->l.D;

    transpose(out, j->l.D, QUERIES, rows);
    for (int i = 0; i < n; i++) {
        size_t at = row_of(j, token + i, j->a->heads, head);

        j->d->isa->rows->narrow(t, rows + (size_t)i * D, value_at(j->out, t, at), D);
    }
}

/* Queries q0 .. q0+32) of a window, and the keys first .. end) that one of them may see. */
struct block {
    int q0, first, end;
    int sliding; /* 0, or how many keys a query sees */
    float *strip; /* [end - first][32] */
};

static float *strip_row(const struct block *b, int key)
{
    return b->strip + (size_t)(key - b->first) * QUERIES;
}

/* Scores of keys k .. end) that a query may not see become -inf. Columns beyond the window's last
 * query may lose every key; what they give is never stored. */
static void mask(const struct block *b, int k, int end)
{
    for (; k < end; k++) {
        int first = k - b->q0; /* the column whose query is the first to see key k */
        int last = b->sliding && first + b->sliding < QUERIES ? first + b->sliding : QUERIES;
        float *s = strip_row(b, k);

        for (int i = 0; i < first; i++)
            s[i] = -INFINITY;
        for (int i = last < 0 ? 0 : last; i < QUERIES; i++)
            s[i] = -INFINITY;
    }
}

/* Masked scores, and the greatest of each column. Keys in parts that stay in the L1 cache. */
static void score(const struct job *j, const struct window *w, const struct block *b,
                  const float *query, float *max)
{
    int D = j->l.D;

    for (int i = 0; i < QUERIES; i++)
        max[i] = -INFINITY;
    for (int k = b->first, next; k < b->end; k = next) {
        next = b->end - k < KEYS_KC ? b->end : k + KEYS_KC;
        for (int p = k; p < next; p += GEMM_MR)
            j->ops->micro(keys_at(j, w, p), query, D, strip_row(b, p), QUERIES, true);
        mask(b, k, next);
        j->d->isa->rows->column_max(strip_row(b, k), next - k, max);
    }
}

/* out[D_up][32] = v^T p, p = strip * inverse in dtype */
static void mix(const struct job *j, const struct window *w, const struct block *b,
                const float *inverse, float *out)
{
    for (int k = b->first; k < b->end; k += KEYS_KC) {
        int kc = b->end - k < KEYS_KC ? b->end - k : KEYS_KC;

        j->d->isa->rows->column_scale(strip_row(b, k), kc, inverse, j->d->dtype);
        join(j, strip_row(b, k), kc, QUERIES);
        for (int c = 0; c < j->l.D_up; c += GEMM_MR)
            j->ops->micro(values_at(j, w, c, k), strip_row(b, k), kc, out + (size_t)c * QUERIES,
                          QUERIES, k == b->first);
    }
}

static void attend_block(const struct job *j, const struct window *w, int head, int q0)
{
    const struct layout *l = &j->l;
    float *own = j->own + (size_t)omp_get_thread_num() * (l->strip + l->query + l->out);
    float *query = own + l->strip, *out = query + l->query;
    int n = w->length - q0 < QUERIES ? w->length - q0 : QUERIES, sliding = j->a->window;
    int oldest = sliding && q0 >= sliding ? q0 - sliding + 1 : 0;
    struct block b = {q0, oldest / GEMM_MR * GEMM_MR, round_up(q0 + n, GEMM_MR), sliding, own};
    float max[QUERIES], inverse[QUERIES];
    double sum[QUERIES];

    pack_queries(j, w->start + q0, n, head, out, query);
    fetch_rows(j, j->out, w->start + q0, n, j->a->heads, head);
    if (head + 1 < j->a->heads) /* most likely the next item of this thread */
        fetch_rows(j, j->q, w->start + q0, n, j->a->heads, head + 1);
    score(j, w, &b, query, max);
    j->d->isa->rows->column_exp_sum(b.strip, b.end - b.first, max, j->a->scale, sum);
    for (int i = 0; i < QUERIES; i++)
        inverse[i] = (float)(1 / sum[i]);
    mix(j, w, &b, inverse, out);
    store_out(j, out, w->start + q0, n, head, query);
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
    j.ops = gemm_ops_of(d, true);
    j.per = (int)(sizeof(float) / j.ops->panel_bytes);
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
