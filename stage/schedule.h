/* schedule.h - the pipeline: microbatches of whole windows flow through the stages (design §7).
 *
 * GPipe without backward: while a rank computes microbatch k it receives k+1 and sends k-1, each in
 * a hidden-state buffer of its own. nll returns from the last rank to rank 0, which scores it.
 *
 * With replicas, each pipeline takes its share of the microbatches, and the nll of all come to rank 0.
 *
 * A rank works in waves, layer-major: each layer runs over all microbatches of the wave before the
 * next layer does. Resident ranks have waves of one microbatch. A microbatch lives in one hidden
 * buffer from its arrival to its departure; the last ones of a wave, if the plan parks them, give
 * theirs back after each layer and take one before the next. Where the plan has two buffers for that,
 * the next one is fetched, and the one before brought back, while one is computed. The buffer that was
 * free for longest is taken first, so ranks with waves of different sizes fit together: each receives
 * as soon as a buffer is free that no parked microbatch waits for.
 *
 * Memory: schedule_run allocates the host side of one microbatch (ids, rows, nll: a few bytes per
 *         token) at the start and frees it at the end; not when it fails among several ranks, for an
 *         nll may still be on its way from there, and would arrive as what the heap made of it.
 * Order:  the same call on every rank, after stage_open everywhere. */
#ifndef STAGE_SCHEDULE_H
#define STAGE_SCHEDULE_H

#include <stdint.h>

#include "comm/comm.h"
#include "stage/plan.h"
#include "stage/score.h"
#include "stage/stage.h"
#include "stage/wave_store.h"
#include "stage/windows.h"

struct schedule_request {
    struct stage *stage;
    struct comm *comm;
    const struct plan *plan;
    const struct windows *windows;
    int hidden;           /* size of a hidden state */
    enum dtype dtype;
    struct score *score;  /* rank 0; NULL elsewhere */
    /* Where waves are kept and the first one goes on from, as the plan says; NULL: nowhere. */
    const struct wave_store *store;
    /* Rank 0, after windows were scored; may be NULL. */
    void (*on_score)(void *context, struct score *score);
    void *context;
};

struct schedule_times {
    double compute, wait; /* seconds of this rank in its operations, and waiting for other ranks */
    double keep;          /* keeping waves */
    int kept;             /* how often */
};

MUST_USE enum status schedule_run(const struct schedule_request *q, struct schedule_times *times,
                                  struct err *e);

#endif
