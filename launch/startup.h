/* startup.h - a limit on how long the ranks may take to meet.
 *
 * MPI_Init and the first messages have no limit of their own, and hang where hosts share the address
 * of a bridge or drop long packets. A thread says after a while that ranks are waited for, and at
 * the limit what to try, and ends this process.
 *
 * Memory: startup_begin allocates; startup_end stops and frees (accepts NULL). */
#ifndef LAUNCH_STARTUP_H
#define LAUNCH_STARTUP_H

#include "spec/err.h"

struct startup;

MUST_USE enum status startup_begin(double note_s, double limit_s, struct startup **out,
                                   struct err *e);
void startup_end(struct startup *s);

#endif
