/* head.cu - nll of tokens from logits that pass by in chunks of columns: a running maximum, the sum
 * of exponentials below it, and the target's logit. */
#include <math.h>

#include "kernels/cuda/load.cuh"
#include "kernels/cuda/numbers.cuh"
#include "kernels/cuda/reduce.cuh"

enum { THREADS = 256 };

/* A block per row. Within a chunk f32; chunks are joined in double. A NaN logit makes the sum NaN. */
__global__ void __launch_bounds__(THREADS)
    softmax_chunk(softmax_state *__restrict__ state, const float *__restrict__ sums, float g,
                  const float *__restrict__ bias, const int32_t *__restrict__ target, int v0, int n)
{
    SHARED_MEMORY(shared);
    float *part = (float *)shared;
    const float *z = sums + (size_t)blockIdx.x * n;
    float max = -INFINITY, sum = 0;

    for (int c = threadIdx.x; c < n; c += THREADS)
        max = fmaxf(max, z[c] * g + (bias ? bias[v0 + c] : 0));
    max = block_max(max, part);
    for (int c = threadIdx.x; c < n; c += THREADS)
        sum += expf(z[c] * g + (bias ? bias[v0 + c] : 0) - max);
    sum = block_sum(sum, part);
    if (threadIdx.x == 0) {
        softmax_state now = {0, -INFINITY, NAN};
        int at = target[blockIdx.x] - v0;
        float before;

        if (v0 > 0)
            now = state[blockIdx.x];
        before = now.max;
        now.max = fmaxf(before, max);
        /* exp(-inf) is 0: what was before the first chunk counts nothing */
        now.sum = now.sum * (double)expf(before - now.max) + (double)sum * (double)expf(max - now.max);
        if (at >= 0 && at < n)
            now.logit = z[at] * g + (bias ? bias[v0 + at] : 0);
        state[blockIdx.x] = now;
    }
}

__global__ void __launch_bounds__(THREADS)
    softmax_nll(double *__restrict__ nll, const softmax_state *__restrict__ state, int rows)
{
    size_t r = global_thread();

    if (r < (size_t)rows)
        nll[r] = log(state[r].sum) + ((double)state[r].max - (double)state[r].logit);
}

/* ------------------------------------------------------------------------------- launchers */

cudaError_t launch_softmax_chunk(struct softmax_state *state, const float *sums, float g,
                                 const float *bias, const int32_t *target, int rows, int v0, int n,
                                 cudaStream_t s)
{
    LAUNCH(softmax_chunk, (unsigned)rows, THREADS, REDUCE_BYTES, s, state, sums, g, bias, target,
           v0, n);
    return cudaGetLastError();
}

cudaError_t launch_softmax_nll(double *nll, const struct softmax_state *state, int rows,
                               cudaStream_t s)
{
    LAUNCH(softmax_nll, blocks_for((size_t)rows, THREADS), THREADS, 0, s, nll, state, rows);
    return cudaGetLastError();
}

cudaError_t load_head(void)
{
    return load_kernels(softmax_chunk, softmax_nll);
}
