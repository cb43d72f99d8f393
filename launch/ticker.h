/* ticker.h - a thread that does one thing soon after it is asked to, and from time to time unasked.
 *
 * What takes long or may wait for a disk is done there, and whoever asks goes on computing; asked
 * many times in a short while it does it once.
 *
 * Memory: ticker_start allocates; ticker_stop waits for the thread and frees (accepts NULL). It must
 *         not be called by `tick` itself. */
#ifndef LAUNCH_TICKER_H
#define LAUNCH_TICKER_H

#include "spec/err.h"

struct ticker;

/* tick(context) runs within about `least` seconds of being asked (and no more often than that), and
 * every `most` seconds unasked. */
MUST_USE enum status ticker_start(void (*tick)(void *context), void *context, double least,
                                  double most, struct ticker **out, struct err *e);
/* Cheap; NULL: does nothing. */
void ticker_ask(struct ticker *t);
void ticker_stop(struct ticker *t);

#endif
