/* clock.h - time for measuring, and deadlines that a change of the system's date does not move. */
#ifndef SPEC_CLOCK_H
#define SPEC_CLOCK_H

#include <pthread.h>
#include <time.h>

/* Seconds since some fixed moment, CLOCK_MONOTONIC: only differences mean something. */
double clock_seconds(void);

/* That clock so many seconds from now. */
struct timespec clock_after(double seconds);
/* Initialises a condition whose timed waits take deadlines of clock_after. */
void clock_condition(pthread_cond_t *c);

#endif
