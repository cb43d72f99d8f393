/* peak.h - what this machine's vector units can do at most: the yardstick of the GEMM figures.
 *
 * Independent chains of multiply-adds, enough to hide their latency; nothing is read from memory.
 * One round takes milliseconds, so that it can be repeated beside what is compared with it and both
 * meet the same clock and the same neighbours. */
#ifndef TESTS_BENCH_PEAK_H
#define TESTS_BENCH_PEAK_H

#include <stdbool.h>

/* Best rates so far, GFLOP/s of all threads together; start with {0}. */
struct peak {
    double fma; /* f32 fused multiply-add in the widest vectors there are */
    double dot; /* vdpbf16ps; 0 where the processor does not have it */
};

/* One more round. False where the processor has no vector FMA at all. */
bool peak_raise(struct peak *best, int threads);

#endif
