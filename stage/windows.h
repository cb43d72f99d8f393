/* windows.h - which tokens the model sees together, and which of them are scored (design §5).
 *
 * A window of `len` tokens feeds its first len-1 tokens to the model and scores positions
 * score_from .. len-1, each predicted from the tokens before it. Windows are computed, not stored
 * (rolling keeps one count per document), so memory does not grow with their number.
 *
 * Memory: windows_make allocates; windows_free frees (accepts NULL). The corpus must outlive it. */
#ifndef STAGE_WINDOWS_H
#define STAGE_WINDOWS_H

#include <stdint.h>

#include "loader/corpus.h"
#include "spec/spec.h"

struct window {
    int64_t start;  /* corpus index of position 0 (of position 1, less one, where `first` is set) */
    int len;        /* tokens; 2 at least */
    int score_from; /* first scored position, 1 .. len-1 */
    int32_t first;  /* token that stands at position 0 instead of the text's; -1 = the text's own */
};

struct windows {
    const struct corpus *corpus;
    enum score_kind score;
    int64_t count;
    int64_t scored;  /* targets in all windows */
    int len_max;     /* longest window */
    int eval_len, eval_stride;
    int content;     /* ids of the text in a full window: eval_len, less the row's own BOS */
    int32_t first;   /* token at position 0 of each window, or -1 */
    int32_t prefix;  /* rolling: token before a document */
    int64_t *before; /* rolling: [n_docs + 1] windows before each document; else NULL */
};

/* prefix: for rolling, the token that stands before a document (BOS, else EOS; -1 = none known).
 * ERR_DATA when the text gives no window, saying what it would need. */
MUST_USE enum status windows_make(const struct spec_data *d, const struct corpus *c, int prefix,
                                  struct windows **out, struct err *e);
void windows_free(struct windows *w);

struct window windows_get(const struct windows *w, int64_t i);
/* Token at position p of a window. */
int32_t windows_token(const struct windows *w, const struct window *v, int p);
/* Columns of the nll file: the most targets that a window can have. */
static inline int windows_columns(const struct windows *w)
{
    return w->len_max - 1;
}

#endif
