/* microbatch.h - windows in microbatches, as the stages and the head take them.
 *
 * Microbatch k holds windows k*size .. of those to run; the last may have fewer. Its tokens are the
 * windows' tokens but each one's last, which is only predicted.
 *
 * Memory: microbatches_open allocates the arrays of one microbatch (16 bytes a token);
 *         microbatches_close frees them (accepts NULL). `windows` must outlive it. */
#ifndef STAGE_MICROBATCH_H
#define STAGE_MICROBATCH_H

#include <stdint.h>

#include "stage/windows.h"

struct microbatches {
    const struct windows *windows;
    int size;              /* windows in a full one */
    int32_t *start;        /* [size + 1] of the last microbatch_start: as struct batch says */
    int32_t *ids;          /* [T] of the last microbatch_ids */
    int32_t *row, *target; /* [T] of the last microbatch_targets */
};

/* tokens: T, of a full microbatch of the longest windows. */
MUST_USE enum status microbatches_open(const struct windows *w, int size, int tokens,
                                       struct microbatches **out, struct err *e);
void microbatches_close(struct microbatches *m);

/* These need `windows` and `size` alone. */
int microbatch_windows(const struct microbatches *m, int64_t k);
int64_t microbatch_tokens(const struct microbatches *m, int64_t k);
int64_t microbatch_scored(const struct microbatches *m, int64_t k); /* nll that it gives */
/* The i-th window, and its place among those to run. */
struct window microbatch_window(const struct microbatches *m, int64_t k, int i, int64_t *place);

/* Fills start; then ids, which needs it. */
void microbatch_start(struct microbatches *m, int64_t k);
void microbatch_ids(struct microbatches *m, int64_t k);
/* The head's rows, after microbatch_start: position p of a window is predicted from token p - 1.
 * Returns how many. */
int microbatch_targets(struct microbatches *m, int64_t k);

#endif
