#include "comm/poll.h"

#include <time.h>

/* The first naps are short against the transfer of a hidden state, the last ones cost no core that
 * threads compute on. */
static const int64_t nap_first_ns = 20 * 1000, nap_last_ns = 500 * 1000;

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct poll poll_begin(double limit_s)
{
    return (struct poll){now_ns() + (int64_t)(limit_s * 1e9), nap_first_ns};
}

bool poll_again(struct poll *p)
{
    const struct timespec nap = {0, p->nap_ns};

    nanosleep(&nap, NULL);
    p->nap_ns += p->nap_ns / 4;
    if (p->nap_ns > nap_last_ns)
        p->nap_ns = nap_last_ns;
    return now_ns() < p->end_ns;
}
