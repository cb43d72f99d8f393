/* load.cuh - kernels are brought to the GPU at the start. Left alone, the driver loads each when it is
 * first launched, and takes its memory then, beside the plan. (CUDA_MODULE_LOADING=EAGER would load
 * all of cuBLAS as well, hundreds of MiB.) */
#ifndef KERNELS_CUDA_LOAD_CUH
#define KERNELS_CUDA_LOAD_CUH

#include "platform.cuh"

/* Asking for what a kernel takes loads it. */
template <class... K> static inline cudaError_t load_kernels(K... kernels)
{
    struct cudaFuncAttributes facts;
    cudaError_t code = cudaSuccess;

    for (const void *kernel : {(const void *)kernels...})
        code = code == cudaSuccess ? cudaFuncGetAttributes(&facts, kernel) : code;
    return code;
}

#endif
