/* attention_f32.cu - softmax(scale q k^T, causal) v for f32, in plain f32 arithmetic: no tensor core
 * multiplies f32 exactly. Blocks and windows as in attention.cu; a query belongs to 4 neighbouring
 * threads, each of which holds every fourth dimension. */
#include <math.h>

#include "kernels/cuda/load.cuh"
#include "kernels/cuda/numbers.cuh"

enum { THREADS = 128, SPLIT = 4, QUERIES = THREADS / SPLIT, KEYS = 32 };

template <int PADDED> struct tile_f32 {
    static constexpr int MINE = PADDED / SPLIT; /* dimensions of a thread */
    static constexpr int BYTES = 2 * KEYS * PADDED * (int)sizeof(float);
};

struct attention_f32_call {
    const int32_t *start;
    int tiles, head_dim, group, window;
    float scale;
    size_t q_stride, kv_stride;
};

/* Rows first .. first+KEYS-1 of a window; zeros beyond its end and beyond head_dim. */
template <int PADDED>
DEVICE void fetch(float *to, const float *from, size_t stride, int first, int len, int head_dim)
{
    for (int i = threadIdx.x; i < KEYS * PADDED; i += THREADS) {
        int row = first + i / PADDED, d = i % PADDED;

        to[i] = row < len && d < head_dim ? from[(size_t)row * stride + d] : 0;
    }
}

/* grid (tiles * windows, heads); 2 blocks of a multiprocessor, so that nothing spills for more */
template <int PADDED>
__global__ void __launch_bounds__(THREADS, 2)
    attention_f32(float *__restrict__ out, const float *__restrict__ q, const float *__restrict__ k,
                  const float *__restrict__ v, attention_f32_call c)
{
    constexpr int MINE = tile_f32<PADDED>::MINE;
    SHARED_MEMORY(shared);
    float *keys = (float *)shared, *values = keys + KEYS * PADDED;
    int which = blockIdx.x / c.tiles, head = blockIdx.y, lane = threadIdx.x % SPLIT;
    int begin = c.start[which], len = c.start[which + 1] - begin;
    int q0 = (c.tiles - 1 - (int)blockIdx.x % c.tiles) * QUERIES;
    int query = q0 + threadIdx.x / SPLIT;
    int first = c.window > 0 && q0 >= c.window ? (q0 - c.window + 1) / KEYS : 0;
    size_t q_at = (begin + query) * c.q_stride + head * (size_t)c.head_dim;
    size_t kv_at = begin * c.kv_stride + head / c.group * (size_t)c.head_dim;
    float mine[MINE], acc[MINE], max = -INFINITY, sum = 0;

    if (q0 >= len)
        return;
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        int d = SPLIT * i + lane;

        mine[i] = query < len && d < c.head_dim ? q[q_at + d] : 0;
        acc[i] = 0;
    }
    for (int key0 = first * KEYS; key0 < q0 + QUERIES && key0 < len; key0 += KEYS) {
        __syncthreads(); /* the tile before is still being read */
        fetch<PADDED>(keys, k + kv_at, c.kv_stride, key0, len, c.head_dim);
        fetch<PADDED>(values, v + kv_at, c.kv_stride, key0, len, c.head_dim);
        __syncthreads();
        for (int j = 0; j < KEYS; j++) {
            int key = key0 + j;
            bool seen = key <= query && (c.window == 0 || key > query - c.window);
            float s = 0, now, factor, p;

#pragma unroll
            for (int i = 0; i < MINE; i++)
                s = fmaf(mine[i], keys[j * PADDED + SPLIT * i + lane], s);
            s += __shfl_xor_sync(0xffffffffu, s, 1);
            s += __shfl_xor_sync(0xffffffffu, s, 2);
            if (!seen)
                continue;
            s *= c.scale;
            now = fmaxf(max, s);
            factor = expf(max - now);
            p = expf(s - now);
            max = now;
            sum = fmaf(sum, factor, p);
#pragma unroll
            for (int i = 0; i < MINE; i++)
                acc[i] = fmaf(p, values[j * PADDED + SPLIT * i + lane], acc[i] * factor);
        }
    }
#pragma unroll
    for (int i = 0; i < MINE; i++)
        if (query < len && SPLIT * i + lane < c.head_dim)
            out[q_at + SPLIT * i + lane] = acc[i] / sum;
}

/* ------------------------------------------------------------------------------- launchers */

template <int PADDED>
static cudaError_t launch_padded(float *out, const float *q, const float *k, const float *v,
                                 const attention_f32_call &c, dim3 grid, cudaStream_t s)
{
    auto kernel = attention_f32<PADDED>;
    cudaError_t e = cudaFuncSetAttribute((const void *)kernel,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         tile_f32<PADDED>::BYTES);

    if (e != cudaSuccess)
        return e;
    LAUNCH(kernel, grid, THREADS, tile_f32<PADDED>::BYTES, s, out, q, k, v, c);
    return cudaGetLastError();
}

cudaError_t launch_attention_f32(float *out, const float *q, const float *k, const float *v,
                                 const struct attention *a, const struct batch *b, cudaStream_t s)
{
    int tiles = (b->len_max + QUERIES - 1) / QUERIES;
    dim3 grid((unsigned)tiles * (unsigned)b->windows, (unsigned)a->heads);
    attention_f32_call c = {b->start,
                            tiles,
                            a->head_dim,
                            a->heads / a->kv_heads,
                            a->window,
                            a->scale,
                            (size_t)a->heads * a->head_dim,
                            (size_t)a->kv_heads * a->head_dim};

    if (a->head_dim > HEAD_DIM_MAX)
        return cudaErrorInvalidValue;
    if (a->head_dim <= 64)
        return launch_padded<64>(out, q, k, v, c, grid, s);
    if (a->head_dim <= 128)
        return launch_padded<128>(out, q, k, v, c, grid, s);
    return launch_padded<256>(out, q, k, v, c, grid, s);
}

cudaError_t load_attention_f32(void)
{
    return load_kernels(attention_f32<64>, attention_f32<128>, attention_f32<256>);
}
