/* Totals do not depend on the order in which windows arrive, standard errors follow their formulas,
 * and a NaN is counted and placed. */
// links: stage
#include "stage/score.h"
#include "tests/test.h"

/* Two windows of 3 tokens: nll 1, 2 | 3, 6. mean 3, variance (1+4+9+36)/4 - 9 = 3.5,
 * se_iid = e^3 sqrt(3.5/3); window sums deviate by -3 and +3 from their mean:
 * se_block = e^3 sqrt(18 * 2/1) / 4 = e^3 * 1.5. */
static void totals_by_hand(const struct windows *w)
{
    const double first[2] = {1, 2}, second[2] = {3, 6};
    struct score *s = NULL;
    struct totals t;
    struct err e;

    EXPECT(score_open(w, &s, &e) == OK);
    score_add(s, 1, second);
    t = score_totals(s);
    EXPECT(t.windows == 1 && t.tokens == 2 && t.mean_nll == 4.5 && isnan(t.se_block));
    EXPECT(isnan(score_table(s)[0]) && score_table(s)[2] == 3);
    score_add(s, 0, first);
    t = score_totals(s);
    EXPECT(t.windows == 2 && t.tokens == 4 && t.nonfinite == 0 && t.bad_window == -1);
    EXPECT(t.mean_nll == 3);
    EXPECT_NEAR(t.ppl, exp(3), 1e-12);
    EXPECT_NEAR(t.se_iid, exp(3) * sqrt(3.5 / 3), 1e-12);
    EXPECT_NEAR(t.se_block, exp(3) * 1.5, 1e-12);
    score_close(s);
}

static void nonfinite_is_placed(const struct windows *w)
{
    const double first[2] = {1, 2}, second[2] = {3, NAN};
    struct score *s = NULL;
    struct totals t;
    struct err e;

    EXPECT(score_open(w, &s, &e) == OK);
    score_add(s, 0, first);
    score_add(s, 1, second);
    t = score_totals(s);
    EXPECT(t.nonfinite == 1 && t.bad_window == 1 && t.bad_position == 2 && isnan(t.ppl));
    score_close(s);
}

int main(void)
{
    int32_t ids[7] = {0};
    int64_t doc[2] = {0, 7};
    struct corpus c = {.n = 7, .ids = ids, .n_docs = 1, .doc = doc};
    struct spec_data d = {.eval_len = 3, .eval_stride = 3};
    struct windows *w = NULL;
    struct err e;

    EXPECT(windows_make(&d, &c, -1, &w, &e) == OK && w->count == 2);
    totals_by_hand(w);
    nonfinite_is_placed(w);
    windows_free(w);
    return 0;
}
