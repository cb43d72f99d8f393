/* reduce.cuh - one number from the threads of a block, in an order that their count alone fixes. */
#ifndef KERNELS_CUDA_REDUCE_CUH
#define KERNELS_CUDA_REDUCE_CUH

#include <math.h>

#include "platform.cuh"

enum { WARP_THREADS = 32, REDUCE_BYTES = WARP_THREADS * sizeof(float) };

struct sum_of {
    __device__ static float join(float a, float b)
    {
        return a + b;
    }
    static constexpr float EMPTY = 0;
};

/* A NaN is skipped. */
struct max_of {
    __device__ static float join(float a, float b)
    {
        return fmaxf(a, b);
    }
    static constexpr float EMPTY = -INFINITY;
};

template <class OP> DEVICE float warp_reduce(float v)
{
#pragma unroll
    for (int bits = WARP_THREADS / 2; bits > 0; bits /= 2)
        v = OP::join(v, __shfl_xor_sync(0xffffffffu, v, bits));
    return v;
}

/* Every thread of the block gets the result; `part` is shared memory of REDUCE_BYTES. */
template <class OP> DEVICE float block_reduce(float v, float *part)
{
    int lane = threadIdx.x % WARP_THREADS, warps = blockDim.x / WARP_THREADS;

    v = warp_reduce<OP>(v);
    __syncthreads(); /* part may still be read from the reduction before */
    if (lane == 0)
        part[threadIdx.x / WARP_THREADS] = v;
    __syncthreads();
    return warp_reduce<OP>(lane < warps ? part[lane] : OP::EMPTY);
}

DEVICE float block_sum(float v, float *part)
{
    return block_reduce<sum_of>(v, part);
}

DEVICE float block_max(float v, float *part)
{
    return block_reduce<max_of>(v, part);
}

#endif
