/* The windows of each score, against the plain loops that define them (design §5). */
// links: stage
#include "stage/windows.h"
#include "tests/test.h"

enum { N_MAX = 64 };

static struct windows *make(const struct spec_data *d, const struct corpus *c, struct err *e)
{
    struct windows *w = NULL;

    return windows_make(d, c, 7, &w, e) == OK ? w : NULL;
}

/* for a in 0, S, 2S, ...: while a + L < N, at most R; positions 1..L-1 */
static void check_window(const struct spec_data *d, const struct corpus *c)
{
    struct err e;
    struct windows *w = make(d, c, &e);
    int64_t i = 0;

    for (int64_t a = 0; a + d->eval_len < c->n; a += d->eval_stride, i++) {
        struct window v;

        if (d->max_rows > 0 && i == d->max_rows)
            break;
        EXPECT(w);
        v = windows_get(w, i);
        EXPECT(v.start == a && v.len == d->eval_len && v.score_from == 1 && v.first == -1);
        EXPECT(windows_token(w, &v, 0) == c->ids[a]);
    }
    EXPECT(i == (w ? w->count : 0));
    if (w)
        EXPECT(w->scored == i * (d->eval_len - 1));
    windows_free(w);
}

/* begin in 0, S, ...: end = min(begin + L, N); scored: what the window before did not reach; stop
 * at the end of the text. Where windows overlap, every token but the first is scored once. */
static void check_last_stride(const struct spec_data *d, const struct corpus *c)
{
    struct err e;
    struct windows *w = make(d, c, &e);
    int64_t i = 0, previous = 0;

    for (int64_t begin = 0; begin < c->n; begin += d->eval_stride, i++) {
        int64_t end = begin + d->eval_len < c->n ? begin + d->eval_len : c->n;
        int64_t from = end - begin - (end - previous) < 1 ? 1 : end - begin - (end - previous);
        struct window v;

        if (c->n < 2)
            break;
        EXPECT(w && i < w->count);
        v = windows_get(w, i);
        EXPECT(v.start == begin && v.len == end - begin && v.score_from == from);
        previous = end;
        if (end == c->n) {
            i++;
            break;
        }
    }
    EXPECT(i == (w ? w->count : 0));
    if (w && d->eval_stride < d->eval_len)
        EXPECT(w->scored == c->n - 1);
    windows_free(w);
}

static void check_second_half(const struct spec_data *d, const struct corpus *c)
{
    struct err e;
    struct windows *w = make(d, c, &e);
    int64_t chunks = c->n / d->eval_len;

    if (chunks == 0 || d->eval_len < 3) {
        EXPECT(!w);
        return;
    }
    EXPECT(w && w->count == chunks);
    for (int64_t i = 0; i < chunks; i++) {
        struct window v = windows_get(w, i);

        EXPECT(v.start == i * d->eval_len && v.len == d->eval_len);
        EXPECT(v.score_from == d->eval_len / 2 + 1);
        EXPECT(windows_token(w, &v, 0) == c->bos);
        EXPECT(windows_token(w, &v, 1) == c->ids[v.start + 1]);
    }
    windows_free(w);
}

/* Each id of each document is a target exactly once, in order, and no window is longer than
 * eval_len + 1 tokens; the first token of a document follows the prefix. */
static void check_rolling(const struct spec_data *d, const struct corpus *c)
{
    struct err e;
    struct windows *w = make(d, c, &e);
    int64_t next = 0;

    EXPECT((w == NULL) == (c->n == 0));
    for (int64_t i = 0; w && i < w->count; i++) {
        struct window v = windows_get(w, i);

        EXPECT(v.len >= 2 && v.len <= d->eval_len + 1);
        for (int p = v.score_from; p < v.len; p++)
            EXPECT(windows_token(w, &v, p) == c->ids[next++]);
        if (v.first >= 0)
            EXPECT(windows_token(w, &v, 0) == 7 && v.score_from == 1);
        else
            EXPECT(v.len == d->eval_len + 1); /* later windows keep their whole context */
    }
    EXPECT(next == c->n);
    windows_free(w);
}

/* bos "row": the token before the window's ids is BOS, and those ids are all scored. */
static void check_row(const struct spec_data *d, const struct corpus *c)
{
    struct err e;
    struct windows *w = make(d, c, &e);

    for (int64_t i = 0; w && i < w->count; i++) {
        struct window v = windows_get(w, i);

        EXPECT(windows_token(w, &v, 0) == c->bos);
        EXPECT(windows_token(w, &v, 1) == c->ids[i * w->eval_stride]);
        EXPECT(v.len <= d->eval_len);
        if (d->score == SCORE_WINDOW)
            EXPECT(v.score_from == 1 && v.len == d->eval_len);
    }
    if (w && d->score == SCORE_LAST_STRIDE)
        EXPECT(w->scored == c->n);
    windows_free(w);
}

static void refuses(void)
{
    int32_t ids[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    int64_t doc[2] = {0, 8};
    struct corpus c = {.n = 8, .ids = ids, .n_docs = 1, .doc = doc, .bos = -1};
    struct spec_data d = {.eval_len = 8, .eval_stride = 8, .score = SCORE_WINDOW};
    struct err e;

    EXPECT(!make(&d, &c, &e) && e.code == ERR_DATA);
    EXPECT_TEXT(e.msg, "the text has 8 tokens: no window of eval_len 8 fits (score \"window\" needs "
                       "at least 9; a smaller eval_len would do)");
    c.n = 1;
    d.score = SCORE_LAST_STRIDE;
    EXPECT(!make(&d, &c, &e) && e.code == ERR_DATA);
    EXPECT_TEXT(e.msg, "the text has 1 token: nothing to score");
    d.score = SCORE_ROLLING;
    c.n = doc[1] = 0;
    EXPECT(!make(&d, &c, &e) && e.code == ERR_DATA);
    EXPECT_TEXT(e.msg, "the text has 0 tokens: nothing to score");
    c.n = doc[1] = 8;
    d.score = SCORE_WINDOW;
    d.bos = BOS_ROW;
    EXPECT(!make(&d, &c, &e) && e.code == ERR_SPEC);
}

int main(void)
{
    int32_t ids[N_MAX];
    int64_t doc[5];
    struct corpus c = {.ids = ids, .n_docs = 4, .doc = doc, .bos = 1000};

    for (int i = 0; i < N_MAX; i++)
        ids[i] = i + 1;
    for (c.n = 0; c.n <= N_MAX; c.n += c.n < 20 ? 1 : 11)
        for (int len = 2; len <= 20; len += 3)
            for (int stride = 1; stride <= len; stride += 2)
                for (int rows = 0; rows <= 3; rows += 3) {
                    struct spec_data d = {.eval_len = len, .eval_stride = stride, .max_rows = rows};

                    doc[0] = 0; /* four documents, one of them empty */
                    doc[1] = doc[2] = c.n / 3;
                    doc[3] = c.n - c.n / 4;
                    doc[4] = c.n;
                    d.score = SCORE_WINDOW;
                    check_window(&d, &c);
                    d.bos = BOS_ROW;
                    check_row(&d, &c);
                    d.max_rows = 0;
                    d.score = SCORE_LAST_STRIDE;
                    check_row(&d, &c);
                    d.bos = BOS_AUTO;
                    check_last_stride(&d, &c);
                    d.score = SCORE_SECOND_HALF;
                    check_second_half(&d, &c);
                    d.score = SCORE_ROLLING;
                    check_rolling(&d, &c);
                }
    refuses();
    return 0;
}
