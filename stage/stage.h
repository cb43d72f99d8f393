/* stage.h - the part of the model that one rank owns, at work on one microbatch at a time.
 *
 * Memory: stage_open takes the rank's one arena and its host memory for parked hidden states, at their
 *         planned sizes, and reads the resident weights into the arena; nothing is allocated
 *         afterwards. stage_close frees (accepts NULL); the device stays the caller's.
 * Order:  stage_open. Per wave: stage_embed for its microbatches (first rank); then for each layer
 *         stage_acquire, stage_layer for its microbatches, stage_release; stage_head for its
 *         microbatches (last rank). stage_begin names the microbatch before each of these. */
#ifndef STAGE_STAGE_H
#define STAGE_STAGE_H

#include <stdint.h>

#include "stage/plan.h"
#include "stage/shard.h"

struct stage;

struct stage_request {
    const struct model *model;
    const struct kernels *kernels;
    struct device *device;
    const struct plan *plan;
    int rank;
    enum dtype dtype;
    int len_max;          /* as in the plan's request */
    int vocab;            /* softmax width */
    struct file_reader_options files; /* how weights are read */
    double read_limit;    /* bytes per second that streamed layers are read at most; 0 = any */
    bool blank;           /* resident weights are not read, but zero: to see how fast they are */
    /* Called now and then while weights are read; may be NULL. */
    void (*on_load)(void *context, uint64_t read, uint64_t owned);
    void *context;
};

/* The first microbatch, and the first layer in it, whose hidden states were not finite here. */
struct stage_fault {
    int64_t microbatch; /* -1 = none */
    int layer;          /* -1 = the embedding */
};

MUST_USE enum status stage_open(const struct stage_request *q, struct stage **out, struct err *e);
void stage_close(struct stage *s);

/* Hidden-state buffer `slot` (arena), dtype [T][H]; transports read and write it. */
void *stage_hidden(const struct stage *s, int slot);
uint64_t stage_bytes_read(const struct stage *s);
uint64_t stage_parked(const struct stage *s); /* most bytes of host memory used for hidden states */
double stage_stall(const struct stage *s); /* seconds waited for streamed layers */
struct stage_fault stage_first_fault(const struct stage *s);

/* The microbatch that the next calls are about: its windows are start[windows + 1] (host), as
 * struct batch says. */
MUST_USE enum status stage_begin(struct stage *s, int64_t microbatch, const int32_t *start,
                                 int windows, struct err *e);
/* hidden[slot] = embeddings of ids[T] (host). */
MUST_USE enum status stage_embed(struct stage *s, int slot, const int32_t *ids, struct err *e);
/* Makes the weights of a layer (first <= layer < last) available; waits for a streamed one. */
MUST_USE enum status stage_acquire(struct stage *s, int layer, struct err *e);
void stage_release(struct stage *s, int layer);
/* hidden[slot] through the acquired layer. Returns when the result is there. */
MUST_USE enum status stage_layer(struct stage *s, int layer, int slot, struct err *e);
/* Begins to copy the hidden states of so many tokens from buffer `slot` to host memory, or back: `place`
 * is less than the plan's `parked`. Copies run in order, on a GPU beside a layer; stage_copied waits
 * until all are done: before that, no one may write to the first buffer nor read the second. */
MUST_USE enum status stage_park(struct stage *s, int slot, int place, int tokens, struct err *e);
MUST_USE enum status stage_fetch(struct stage *s, int slot, int place, int tokens, struct err *e);
MUST_USE enum status stage_copied(struct stage *s, struct err *e);
/* Where hidden states lie between layers: in buffer `slot`, or if that is negative parked. */
struct stage_place {
    int slot, parked;
};
/* n bytes of host memory from the hidden states at a place, `at` bytes into them, and back. */
MUST_USE enum status stage_copy_out(struct stage *s, struct stage_place from, uint64_t at, void *to,
                                    size_t n, struct err *e);
MUST_USE enum status stage_copy_in(struct stage *s, struct stage_place to, uint64_t at,
                                   const void *from, size_t n, struct err *e);
/* nll[i] (host) of target[i] predicted from token row[i] (host), i < rows. */
MUST_USE enum status stage_head(struct stage *s, int slot, const int32_t *row,
                                const int32_t *target, int rows, double *nll, struct err *e);

#endif
