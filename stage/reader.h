/* reader.h - the thread that reads streamed layers ahead of the computation.
 *
 * A streaming rank goes through its streamed layers in order, once per wave. The reader keeps the
 * next one coming into whichever of the PLAN_SLOTS slots is free: never more than one layer ahead of
 * the one that is computed.
 *
 * Memory: slots lie in the rank's arena. reader_open starts the thread; reader_close stops and joins
 *         it (accepts NULL).
 * Order:  reader_acquire and reader_release in turns, by one thread; one acquire per streamed layer
 *         and wave, in order.
 * Time:   an acquire waits as long as bytes come; the shard's file_reader says when they do not. */
#ifndef STAGE_READER_H
#define STAGE_READER_H

#include "stage/plan.h"
#include "stage/shard.h"

struct reader;

struct reader_request {
    struct shard_reader *shard; /* the thread's own until reader_close */
    const struct plan *plan;
    int rank;
    char *arena;
    double read_limit; /* bytes per second; 0 = as fast as it goes */
};

MUST_USE enum status reader_open(const struct reader_request *q, struct reader **out,
                                 struct err *e);
void reader_close(struct reader *r);

/* Waits until the first layer is there; not counted as a stall. */
MUST_USE enum status reader_wait_first(struct reader *r, struct err *e);
/* The weights of the next streamed layer, which must be `layer`; waits for them. */
MUST_USE enum status reader_acquire(struct reader *r, int layer,
                                    const struct layer_weights **weights, struct err *e);
/* The layer last acquired is no longer needed: its slot may be overwritten. */
void reader_release(struct reader *r);

/* Seconds that acquires waited, and file bytes read so far. */
double reader_stall(const struct reader *r);
uint64_t reader_bytes(struct reader *r);

#endif
