/* spare.cu - device memory that is there before the arena. */
#include "kernels/cuda/cuda.h"
#include "platform.cuh"

static __device__ unsigned char spare[DEVICE_SPARE];

extern "C" cudaError_t find_spare(void **out)
{
    return cudaGetSymbolAddress(out, spare);
}
