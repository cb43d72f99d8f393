/* clock.h - time for measuring and for deadlines. */
#ifndef SPEC_CLOCK_H
#define SPEC_CLOCK_H

/* Seconds since some fixed moment, CLOCK_MONOTONIC: only differences mean something. */
double clock_seconds(void);

#endif
