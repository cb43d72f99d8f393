/* head.c - nll of tokens, without ever storing a row of logits: the columns of each block of the
 * product with the head leave only their maximum and the sum of their exponentials. Blocks are
 * always GEMM_COLUMNS wide and joined in order, so the bits depend on the row alone. */
#include "kernels/cpu/elementary.h"
#include "kernels/cpu/gemm.h"

enum { HEAD_ROWS = 512 }; /* rows of a pass: enough to make up for unpacking the head */

/* A pass of the softmax, in scratch; [blocks][HEAD_ROWS] and [HEAD_ROWS]. */
struct partial {
    double *sum;  /* of exp(logit - max) over a block */
    float *max;   /* over a block */
    float *logit; /* of the target */
    const int32_t *target;
};

static size_t partial_bytes(int vocab)
{
    size_t blocks = round_up(vocab, GEMM_COLUMNS) / GEMM_COLUMNS;

    return HEAD_ROWS * (blocks * (sizeof(double) + sizeof(float)) + sizeof(float));
}

static size_t pass_bytes(int rows, int K, int vocab, int threads)
{
    return partial_bytes(vocab) + gemm_scratch_bytes(rows, K, threads);
}

size_t head_scratch_bytes(const struct work_shape *w)
{
    int rows = w->tokens < HEAD_ROWS ? w->tokens : HEAD_ROWS;

    return pass_bytes(rows, w->hidden, w->vocab, w->threads);
}

static void reduce_columns(const struct gemm *g, float *c, int i0, int rows, int n0, int n,
                           void *arg)
{
    struct partial *p = arg;
    const struct row_ops *ops = g->d->isa->rows;
    size_t at = (size_t)n0 / GEMM_COLUMNS * HEAD_ROWS;

    for (int i = i0; i < i0 + rows; i++, c += GEMM_COLUMNS) {
        int target = p->target[i] - n0;

        gemm_scale_row(g, c, n0, n);
        if (target >= 0 && target < n)
            p->logit[i] = c[target];
        p->max[at + i] = ops->max(c, n);
        p->sum[at + i] = ops->exp_sum(c, n, p->max[at + i]);
    }
}

/* log(sum over all blocks of exp) - logit of the target. A NaN anywhere makes it NaN. */
static double join_blocks(const struct partial *p, int i, int blocks)
{
    float max = p->max[i];
    double sum = 0;

    for (int b = 1; b < blocks; b++)
        if (p->max[(size_t)b * HEAD_ROWS + i] > max)
            max = p->max[(size_t)b * HEAD_ROWS + i];
    for (int b = 0; b < blocks; b++) {
        size_t at = (size_t)b * HEAD_ROWS + i;

        sum += p->sum[at] * (double)exp_f32(p->max[at] - max);
    }
    return log_f64(sum) + ((double)max - (double)p->logit[i]);
}

enum status head_nll_cpu(struct device *d, double *nll, const void *x, const struct weight *head,
                         const int32_t *row, const int32_t *target, int rows, int vocab,
                         struct err *e)
{
    struct weight w = *head;
    int blocks = (int)(round_up(vocab, GEMM_COLUMNS) / GEMM_COLUMNS);
    int pass = rows < HEAD_ROWS ? rows : HEAD_ROWS;
    struct partial p;

    CHECK(vocab > 0 && vocab <= head->N);
    CHECK(pass_bytes(pass, w.K, vocab, d->threads) <= d->scratch_bytes);
    for (int i = 0; i < rows; i++)
        if (target[i] < 0 || target[i] >= vocab)
            return fail(e, ERR_DATA, "head: target %d of row %d is outside the %d rows of the softmax",
                        target[i], i, vocab);
    w.N = vocab;
    p.sum = (double *)d->scratch;
    p.max = (float *)(p.sum + (size_t)blocks * HEAD_ROWS);
    p.logit = p.max + (size_t)blocks * HEAD_ROWS;

    struct gemm g = gemm_with(d, &w);

    g.columns = GEMM_COLUMNS;
    g.x = x;
    for (int i = 0; i < rows; i += g.rows) {
        g.rows = rows - i < HEAD_ROWS ? rows - i : HEAD_ROWS;
        g.row = row + i;
        p.target = target + i;
        gemm_run(&g, d->scratch + partial_bytes(vocab), reduce_columns, &p);
#pragma omp parallel for num_threads(d->threads)
        for (int r = 0; r < g.rows; r++)
            nll[i + r] = join_blocks(&p, r, blocks);
    }
    return OK;
}
