/* windows.h - which tokens the model sees together, and which of them are scored (design §5).
 *
 * A window of `len` tokens feeds its first len-1 tokens to the model and scores positions
 * score_from .. len-1, each predicted from the tokens before it. Windows are computed, not stored
 * (rolling keeps one count per document), so memory does not grow with their number.
 *
 * A run that goes on where another one ended has only some windows left: windows_select keeps
 * those, and windows_get counts among them. A window's index is always its place in the text.
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
    int64_t all;     /* windows of the text */
    int64_t count;   /* of them to run: all, or those selected */
    int64_t *chosen; /* [count] their indices, ascending; NULL = all */
    int64_t scored;  /* targets in all windows */
    int len_max;     /* longest window of all */
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

/* Leaves only the windows with done[index] == 0 to be run; count may become 0. Once, right after
 * windows_make. */
MUST_USE enum status windows_select(struct windows *w, const uint8_t *done, struct err *e);

/* The i-th window to run, and its index in the text. */
struct window windows_get(const struct windows *w, int64_t i);
int64_t windows_index(const struct windows *w, int64_t i);
/* The place of a window of the text among those to run; -1 = it is not one of them. */
int64_t windows_place(const struct windows *w, int64_t index);
/* A window of the text, to run or not. */
struct window windows_at(const struct windows *w, int64_t index);
/* Token at position p of a window. */
int32_t windows_token(const struct windows *w, const struct window *v, int p);
/* Columns of the nll file: the most targets that a window can have. */
static inline int windows_columns(const struct windows *w)
{
    return w->len_max - 1;
}

#endif
