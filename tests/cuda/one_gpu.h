/* one_gpu.h - for tests of the whole program: one GPU that is visible, real or emulated. */
#ifndef TESTS_CUDA_ONE_GPU_H
#define TESTS_CUDA_ONE_GPU_H

#include <stdbool.h>

#include "tests/cuda/device.h"

/* Skips where there is no GPU; of several only the first is shown to the runs that follow. The
 * emulated one gets a context of a real one's size. */
static inline bool one_gpu_is_emulated(void)
{
    const char *shown = getenv("CUDA_VISIBLE_DEVICES");
    char first[128] = "0";
    struct cudaDeviceProp p;

    require_device();
    if (shown)
        snprintf(first, sizeof first, "%.*s", (int)strcspn(shown, ","), shown);
    setenv("CUDA_VISIBLE_DEVICES", first, 1);
    setenv("CUDA_HOST_CONTEXT", "268435456", 0);
    EXPECT_CUDA(cudaGetDeviceProperties(&p, 0));
    printf("on %s\n", p.name);
    return strcmp(p.name, "CUDA on CPU") == 0;
}

#endif
