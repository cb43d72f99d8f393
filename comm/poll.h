/* poll.h - asking again and again, with naps that grow, until a limit: for what wakes nobody up. */
#ifndef COMM_POLL_H
#define COMM_POLL_H

#include <stdbool.h>
#include <stdint.h>

struct poll {
    int64_t end_ns, nap_ns;
};

struct poll poll_begin(double limit_s);
/* Naps; false when the limit has passed. */
bool poll_again(struct poll *p);

#endif
