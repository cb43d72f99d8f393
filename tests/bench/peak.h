/* peak.h - what this machine's vector units can do at most: the yardstick of the GEMM figures.
 *
 * 14 independent chains per thread, enough to hide the latency of a fused multiply-add; nothing is
 * read from memory. Best of several rounds, so that a disturbed one does not count. */
#ifndef TESTS_BENCH_PEAK_H
#define TESTS_BENCH_PEAK_H

struct peak {
    double f32_gflops;  /* f32 fused multiply-add at the widest vectors there are */
    double bf16_gflops; /* vdpbf16ps; 0 where the processor does not have it */
};

/* `threads` cores together. */
struct peak peak_measure(int threads);

#endif
