#include "stage/windows.h"

#include <stdlib.h>

/* Windows of one document of n ids when rolling: the first holds up to eval_len ids after the
 * prefix, each later one the next up to eval_len. */
static int64_t rolling_count(int64_t n, int eval_len)
{
    return (n + eval_len - 1) / eval_len;
}

static int64_t plain_count(const struct windows *w)
{
    int64_t n = w->corpus->n;

    switch (w->score) {
    case SCORE_WINDOW: /* a = 0, S, 2S, ... while a + content < n */
        return n > w->content ? (n - w->content - 1) / w->eval_stride + 1 : 0;
    case SCORE_LAST_STRIDE: /* the first window that reaches the end is the last */
        if (n < 2)
            return 0;
        return n <= w->content ? 1 : (n - w->content + w->eval_stride - 1) / w->eval_stride + 1;
    case SCORE_SECOND_HALF:
        return n / w->eval_len;
    case SCORE_ROLLING:
        break;
    }
    CHECK(!"a score without documents");
    return 0;
}

static enum status count_documents(struct windows *w, struct err *e)
{
    const struct corpus *c = w->corpus;

    if (w->prefix < 0)
        return fail(e, ERR_DATA,
                    "rolling scores need a token before each document: the model's config.json "
                    "has neither bos_token_id nor eos_token_id");
    w->before = malloc((size_t)(c->n_docs + 1) * sizeof *w->before);
    if (!w->before)
        return fail(e, ERR_FIT, "no memory for %lld documents", (long long)c->n_docs);
    w->before[0] = 0;
    for (int64_t d = 0; d < c->n_docs; d++)
        w->before[d + 1] =
            w->before[d] + rolling_count(c->doc[d + 1] - c->doc[d], w->eval_len);
    w->count = w->before[c->n_docs];
    return OK;
}

static enum status no_window(const struct windows *w, struct err *e)
{
    long long n = w->corpus->n, want = w->score == SCORE_WINDOW ? w->content + 1LL : w->eval_len;

    if (w->score == SCORE_ROLLING || w->score == SCORE_LAST_STRIDE)
        return fail(e, ERR_DATA, "the text has %lld token%s: nothing to score", n,
                    n == 1 ? "" : "s");
    return fail(e, ERR_DATA,
                "the text has %lld token%s: no window of eval_len %d fits (score \"%s\" needs at "
                "least %lld; a smaller eval_len would do)",
                n, n == 1 ? "" : "s", w->eval_len, score_name(w->score), want);
}

static void measure(struct windows *w)
{
    for (int64_t i = 0; i < w->all; i++) {
        struct window v = windows_at(w, i);

        w->scored += v.len - v.score_from;
        if (v.len > w->len_max)
            w->len_max = v.len;
    }
}

enum status windows_make(const struct spec_data *d, const struct corpus *c, int prefix,
                         struct windows **out, struct err *e)
{
    struct windows *w = calloc(1, sizeof *w);
    bool row = d->bos == BOS_ROW;
    enum status st = OK;

    if (!w)
        return fail(e, ERR_FIT, "no memory for the windows");
    *w = (struct windows){.corpus = c,
                          .score = d->score,
                          .eval_len = d->eval_len,
                          .eval_stride = d->eval_stride,
                          .content = d->eval_len,
                          .first = -1,
                          .prefix = prefix};
    if (row && c->bos < 0) {
        st = fail(e, ERR_SPEC, "bos \"row\": this tokenizer puts no BOS before a text");
        goto bad;
    }
    if (d->score == SCORE_SECOND_HALF && d->bos != BOS_NONE) {
        w->first = c->bos;
    } else if (row && d->score != SCORE_ROLLING) { /* rolling has its prefix */
        w->first = c->bos;
        w->content = d->eval_len - 1;
        if (d->score == SCORE_LAST_STRIDE && w->eval_stride > w->content)
            w->eval_stride = w->content; /* else every window would skip one id */
    }
    if (d->score == SCORE_ROLLING)
        st = count_documents(w, e);
    else
        w->count = plain_count(w);
    if (st != OK)
        goto bad;
    if (d->max_rows > 0 && w->count > d->max_rows)
        w->count = d->max_rows;
    w->all = w->count;
    measure(w);
    if (w->count == 0 || w->scored == 0) {
        st = no_window(w, e);
        goto bad;
    }
    *out = w;
    return OK;
bad:
    windows_free(w);
    return st;
}

void windows_free(struct windows *w)
{
    if (!w)
        return;
    free(w->before);
    free(w->chosen);
    free(w);
}

enum status windows_select(struct windows *w, const uint8_t *done, struct err *e)
{
    int64_t n = 0;

    CHECK(!w->chosen);
    w->chosen = malloc((size_t)w->all * sizeof *w->chosen);
    if (!w->chosen)
        return fail(e, ERR_FIT, "no memory for %lld windows", (long long)w->all);
    for (int64_t i = 0; i < w->all; i++)
        if (!done[i])
            w->chosen[n++] = i;
    w->count = n;
    return OK;
}

int64_t windows_index(const struct windows *w, int64_t i)
{
    CHECK(i >= 0 && i < w->count);
    return w->chosen ? w->chosen[i] : i;
}

int64_t windows_place(const struct windows *w, int64_t index)
{
    for (int64_t i = 0; w->chosen && i < w->count; i++)
        if (w->chosen[i] == index)
            return i;
    return w->chosen ? -1 : index;
}

static int64_t document_of(const struct windows *w, int64_t i)
{
    int64_t low = 0, high = w->corpus->n_docs; /* before[low] <= i < before[high] */

    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;

        if (w->before[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Window k of a document: eval_len inputs and as many targets; the last one keeps its length and
 * scores only what is left, so it has more context. */
static struct window rolling_get(const struct windows *w, int64_t i)
{
    int64_t d = document_of(w, i), k = i - w->before[d];
    int64_t begin = w->corpus->doc[d], n = w->corpus->doc[d + 1] - begin;
    int64_t done = k * w->eval_len;
    int fresh = (int)(n - done < w->eval_len ? n - done : w->eval_len);

    if (k == 0)
        return (struct window){begin - 1, fresh + 1, 1, w->prefix};
    return (struct window){begin + done + fresh - w->eval_len - 1, w->eval_len + 1,
                           w->eval_len + 1 - fresh, -1};
}

struct window windows_get(const struct windows *w, int64_t i)
{
    return windows_at(w, windows_index(w, i));
}

struct window windows_at(const struct windows *w, int64_t i)
{
    int own = w->first >= 0 && w->content < w->eval_len; /* a BOS besides the text's ids */
    int64_t start = i * w->eval_stride, end, fresh, from;

    CHECK(i >= 0 && i < w->all);
    switch (w->score) {
    case SCORE_WINDOW:
        return (struct window){start - own, w->eval_len, 1, w->first};
    case SCORE_SECOND_HALF:
        return (struct window){i * w->eval_len, w->eval_len, w->eval_len / 2 + 1, w->first};
    case SCORE_LAST_STRIDE:
        end = start + w->content < w->corpus->n ? start + w->content : w->corpus->n;
        fresh = i == 0 ? end - 1 + own : end - (start - w->eval_stride + w->content);
        from = end - start + own - fresh; /* 0 when windows do not overlap: it has no context */
        return (struct window){start - own, (int)(end - start) + own, from > 1 ? (int)from : 1,
                               w->first};
    case SCORE_ROLLING:
        break;
    }
    return rolling_get(w, i);
}

int32_t windows_token(const struct windows *w, const struct window *v, int p)
{
    CHECK(p >= 0 && p < v->len);
    return p == 0 && v->first >= 0 ? v->first : w->corpus->ids[v->start + p];
}
