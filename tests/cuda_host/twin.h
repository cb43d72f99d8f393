/* twin.h - what a test may ask of the CUDA runtime's twin, and how it may disturb it. */
#ifndef CUDA_HOST_TWIN_H
#define CUDA_HOST_TWIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct twin_usage {
    size_t used, peak, limit; /* bytes of device memory */
    int allocations;          /* cudaMalloc calls that succeeded */
};

struct twin_usage twin_memory(void);
/* Device memory of this process from now on; else CUDA_HOST_MEMORY (bytes), else 4 GiB. Peak and
 * allocations count from here. */
void twin_limit_memory(size_t bytes);
/* The order in which streams run; else CUDA_HOST_SEED, else 1. 0: each once it is waited for, and what it
 * waits for. */
void twin_seed(uint64_t seed);
/* The nth launch from now on fails with `code`, and so does every call after it, as on a GPU after an
 * illegal address; n = 0: none. Else CUDA_HOST_FAIL_LAUNCH = n (illegal address).
 * CUDA_HOST_FAIL_MALLOC = n does so to the nth cudaMalloc alone, and CUDA_HOST_DIE_LAUNCH = n ends the
 * process at the nth launch, CUDA_HOST_HANG_LAUNCH = n makes it one that never ends.
 * cuBLAS's are told in cublas.cpp. CUDA_HOST_FAULT_RANK = r: only in that rank of the job. */
void twin_fail_launch(int n, int code);

#ifdef __cplusplus
}
#endif

#endif
