/* score.h - nll of every scored token, and what is made of them.
 *
 * Rank 0 keeps one. Windows arrive in any order; totals are always summed over tokens in text
 * order, in double, so they do not depend on who computed what (design N4).
 *
 *   ppl      = exp(mean nll)
 *   se_iid   = ppl * sqrt(var / (n - 1)), var = mean of squares - square of mean: the tokens taken as
 *              independent, as llama-perplexity prints it
 *   se_block = ppl * sqrt(sum_w (S_w - mean n_w)^2 * W/(W-1)) / n, S_w and n_w sum and count of
 *              window w of W: windows taken as independent (batch means); NaN for one window
 *
 * A window is named by its index in the text, whichever windows are selected to be run.
 *
 * Memory: 8 bytes per position of every window, taken in score_open; score_close frees it.
 * Threads: score_add by one thread while all else may be called by others. */
#ifndef STAGE_SCORE_H
#define STAGE_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "stage/windows.h"

struct score;

struct totals {
    int64_t windows, tokens;     /* complete windows, scored tokens in them */
    int64_t nonfinite;           /* tokens whose nll is NaN or infinite */
    int64_t bad_window;          /* first of them, -1 = none */
    int bad_position;
    double mean_nll, ppl, se_iid, se_block;
    double sum_nll;
};

MUST_USE enum status score_open(const struct windows *w, struct score **out, struct err *e);
void score_close(struct score *s);

/* nll[0 .. len - score_from) of a window; once for each. */
void score_add(struct score *s, int64_t window, const double *nll);
bool score_done(struct score *s, int64_t window);
/* One that was added is on the disk, too; and is it? */
void score_save(struct score *s, int64_t window);
bool score_saved(struct score *s, int64_t window);
/* The window that came n-th (from 0), n < windows of score_running; and its nll, score_from first:
 * what has been added never changes. */
int64_t score_arrival(struct score *s, int64_t n);
const double *score_row(const struct score *s, int64_t window);
/* Over the windows added so far. */
struct totals score_totals(struct score *s);
/* Cheap running values for a progress line: windows, tokens and their plain sum in order of arrival. */
struct totals score_running(struct score *s);

/* The whole table [windows][columns], NaN where nothing was scored. */
const double *score_table(const struct score *s);

#endif
