/* wave_store.h - the hidden states of an unfinished wave, kept outside this process: a table that the
 * caller of the schedule fills in, and the way of a microbatch there and back.
 *
 * Between two layers a wave is nothing but the hidden states of its windows. Their bits depend on no
 * microbatch, wave, cap or number of ranks, so they are kept by window: whoever computes these
 * windows next goes on from them.
 *
 * Order:  begin; add for every window of the wave in the order of the text, piece by piece; end. What
 *         was kept of the same wave before stays until `end` has put the new one in its place. read: the
 *         same pieces of a window in the same order, and windows in the order of the text.
 * Errors: a wave that cannot be kept is no failure of the run: the table's owner says so and answers
 *         false, and the rest of that wave is not copied. read fails as any reading does.
 * Memory: one piece on the stack. */
#ifndef STAGE_WAVE_STORE_H
#define STAGE_WAVE_STORE_H

#include "stage/microbatch.h"
#include "stage/stage.h"

enum { WAVE_PIECE = 32 << 10 }; /* bytes; the last piece of a window may be shorter */

struct wave_store {
    void *context;
    /* Hidden states as layer `layer` is to find them, of so many windows of the text; `first` is the
     * first of them. */
    bool (*begin)(void *context, int layer, int64_t first, int64_t windows);
    /* n bytes of a window of the text, `at` bytes into its hidden states [tokens][H]. */
    bool (*add)(void *context, int64_t window, uint64_t at, const void *bytes, size_t n);
    /* All is there: lasts once it returns. */
    void (*end)(void *context);
    enum status (*read)(void *context, int layer, int64_t window, uint64_t at, void *bytes, size_t n,
                        struct err *e);
};

/* Microbatch k of all, whose hidden states lie at a place; row: bytes of a token's; layer: the one that
 * is to find them. *going: false, and nothing more is done, once the store has had enough. */
MUST_USE enum status wave_keep(const struct wave_store *to, struct stage *s,
                               const struct microbatches *of, int64_t k, struct stage_place from,
                               uint64_t row, bool *going, struct err *e);
MUST_USE enum status wave_restore(const struct wave_store *from, int layer, struct stage *s,
                                  const struct microbatches *of, int64_t k, struct stage_place to,
                                  uint64_t row, struct err *e);

#endif
