/* peak.h - what this machine's vector units can do at most: the yardstick of the GEMM figures.
 *
 * Independent chains of multiply-adds, enough to hide their latency; nothing is read from memory.
 * A round takes about as long as what is compared with it and is repeated beside it, so that both meet
 * the same clock and the same neighbours, and the best of both are rates that were held as long: a
 * burst of a millisecond at a clock that no product can keep would be another yardstick. */
#ifndef TESTS_BENCH_PEAK_H
#define TESTS_BENCH_PEAK_H

#include <stdbool.h>

/* Best rates so far, GFLOP/s of all threads together; start with {0}. */
struct peak {
    double fma; /* f32 fused multiply-add in the widest vectors there are */
    double dot; /* vdpbf16ps; 0 where the processor does not have it */
};

/* One more round of each, of so many seconds. False where the processor has no vector FMA at all. */
bool peak_raise(struct peak *best, int threads, double seconds);

#endif
