/* attention.cu - softmax(scale q k^T, causal) v for bf16 and f16, in the manner of FlashAttention-2:
 * a block owns QUERIES queries of one head of one window and passes over the keys they see in tiles,
 * with a running maximum and sum per query. Tiles start at the window's first token, so a query's
 * bits depend on its window alone.
 *
 * Tensor-core products (mma.sync) with f32 scores and softmax; the exponentials are rounded to the
 * dtype before the product with v. Key and value tiles are fetched while the ones before are used. */
#include <math.h>

#include "kernels/cuda/load.cuh"
#include "kernels/cuda/numbers.cuh"

enum {
    THREADS = 128,
    WARP_QUERIES = 16,
    QUERIES = THREADS / 32 * WARP_QUERIES,
    CHUNK = 8 /* values of 16 bytes, what ldmatrix and cp.async move */
};

/* Shapes that head_dim D (a multiple of CHUNK) is padded to. */
template <int PADDED> struct tile {
    /* Keys of a tile: as many as shared memory of 99 KiB holds twice, with the queries. */
    static constexpr int KEYS = PADDED <= 128 ? 64 : 32;
    static constexpr int CHUNKS = PADDED / CHUNK;
    /* Chunks of a row are permuted by its number, so that the 8 rows of a matrix lie in different
     * banks; the permutation stays inside groups of this many. */
    static constexpr int SWIZZLE = CHUNKS % 8 == 0 ? 8 : 4;
    static constexpr int BYTES = (QUERIES + 4 * KEYS) * PADDED * 2;
    /* Queries stay in registers where there are enough. */
    static constexpr bool KEEP_QUERIES = PADDED <= 128;
};

/* q, k, v and out are those of all tokens; strides are between tokens, in values. */
struct attention_call {
    const int32_t *start; /* of windows */
    int tiles;            /* of queries, per window: grid.x = tiles * windows */
    int head_dim, group;  /* group: query heads that share a kv head */
    int window;           /* sliding, 0 = none */
    float scale_log2;     /* scale * log2(e) */
    size_t q_stride, kv_stride;
};

DEVICE void multiply(float *d, const uint32_t *a, const uint32_t *b, bf16)
{
    mma_bf16(d, a, b);
}

DEVICE void multiply(float *d, const uint32_t *a, const uint32_t *b, f16)
{
    mma_f16(d, a, b);
}

/* Offset of a chunk of a row in a tile, in values. */
template <int PADDED> DEVICE int chunk_at(int row, int chunk)
{
    return row * PADDED + (chunk ^ (row & (tile<PADDED>::SWIZZLE - 1))) * CHUNK;
}

/* Rows first .. first+rows-1 of a window of `len` tokens; zeros beyond its end and beyond head_dim. */
template <int PADDED, class T>
DEVICE void fetch(T *to, const T *from, size_t stride, int first, int rows, int len, int head_dim)
{
    for (int i = threadIdx.x; i < rows * tile<PADDED>::CHUNKS; i += THREADS) {
        int row = i / tile<PADDED>::CHUNKS, chunk = i % tile<PADDED>::CHUNKS;
        bool valid = first + row < len && chunk * CHUNK < head_dim;
        const T *source = from + (valid ? (size_t)(first + row) * stride + chunk * CHUNK : 0);

        copy_async_16(to + chunk_at<PADDED>(row, chunk), source, valid);
    }
}

/* A operand: 16 rows from `row`, 16 columns from `column`. */
template <int PADDED, class T>
DEVICE void load_rows(uint32_t *fragment, const T *from, int row, int column)
{
    int lane = threadIdx.x % 32;

    load_matrix_x4(fragment, from + chunk_at<PADDED>(row + lane % 16, column / CHUNK + lane / 16));
}

/* s[KEYS/8][4] = q k^T of the warp's queries and a tile of keys. */
template <int PADDED, class T>
DEVICE void scores(float (*s)[4], const uint32_t (*kept)[4], const T *queries, const T *keys)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

#pragma unroll
    for (int n = 0; n < tile<PADDED>::KEYS / 8; n++)
        for (int j = 0; j < 4; j++)
            s[n][j] = 0;
#pragma unroll
    for (int d = 0; d < PADDED / 16; d++) {
        uint32_t loaded[4];
        const uint32_t *a = loaded;

        if (tile<PADDED>::KEEP_QUERIES)
            a = kept[d];
        else
            load_rows<PADDED>(loaded, queries, warp * WARP_QUERIES, 16 * d);
#pragma unroll
        for (int n = 0; n < tile<PADDED>::KEYS / 8; n += 2) {
            uint32_t b[4]; /* keys 8n..8n+7 dims low, high; keys 8n+8..8n+15 dims low, high */

            load_matrix_x4(b, keys + chunk_at<PADDED>(8 * n + lane % 8 + lane / 16 * 8,
                                                      2 * d + lane / 8 % 2));
            multiply(s[n], a, b, T());
            multiply(s[n + 1], a, b + 2, T());
        }
    }
}

/* Scales, masks and takes in the maximum of a tile: s becomes log2 of the unnormalized
 * probabilities plus the new maximum; sums and output so far are brought to it. */
template <int PADDED>
DEVICE void rescale(float (*s)[4], float (*out)[4], float *max, float *sum, int query, int key,
                    const attention_call &c)
{
    float now[2] = {max[0], max[1]};

#pragma unroll
    for (int n = 0; n < tile<PADDED>::KEYS / 8; n++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int q = query + 8 * (j / 2), k = key + 8 * n + j % 2;
            bool seen = k <= q && (c.window == 0 || k > q - c.window);

            s[n][j] = seen ? s[n][j] * c.scale_log2 : -INFINITY;
            now[j / 2] = fmaxf(now[j / 2], s[n][j]);
        }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float factor;

        now[r] = fmaxf(now[r], __shfl_xor_sync(0xffffffffu, now[r], 1));
        now[r] = fmaxf(now[r], __shfl_xor_sync(0xffffffffu, now[r], 2));
        /* No key seen yet: any finite maximum keeps -inf - max from being NaN. */
        now[r] = now[r] == -INFINITY ? 0 : now[r];
        factor = exp2_fast(max[r] - now[r]);
        max[r] = now[r];
        sum[r] *= factor;
#pragma unroll
        for (int d = 0; d < PADDED / 8; d++) {
            out[d][2 * r] *= factor;
            out[d][2 * r + 1] *= factor;
        }
    }
}

/* out += p v, p = exp2(s - max) rounded; sums take p before it is rounded. */
template <int PADDED, class T>
DEVICE void weigh_values(float (*out)[4], float *sum, const float (*s)[4], const float *max,
                         const T *values)
{
    int lane = threadIdx.x % 32;

#pragma unroll
    for (int k = 0; k < tile<PADDED>::KEYS / 16; k++) {
        uint32_t p[4];

#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float *pair = s[2 * k + j / 2] + 2 * (j % 2);
            float low = exp2_fast(pair[0] - max[j % 2]), high = exp2_fast(pair[1] - max[j % 2]);

            sum[j % 2] += low + high;
            p[j] = pack<T>(low, high);
        }
#pragma unroll
        for (int d = 0; d < PADDED / 8; d += 2) {
            uint32_t b[4];

            load_matrix_x4_transposed(
                b, values + chunk_at<PADDED>(16 * k + lane % 16, d + lane / 16));
            multiply(out[d], p, b, T());
            multiply(out[d + 1], p, b + 2, T());
        }
    }
}

/* Divides by the sums and stores the warp's queries. */
template <int PADDED, class T>
DEVICE void store(T *to, const float (*out)[4], float *sum, int query, int len,
                  const attention_call &c)
{
    int column = threadIdx.x % 4 * 2;

#pragma unroll
    for (int r = 0; r < 2; r++) {
        int q = query + 8 * r;
        float inverse;

        sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
        sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
        inverse = 1.0f / sum[r];
#pragma unroll
        for (int d = 0; d < PADDED / 8; d++)
            if (q < len && 8 * d < c.head_dim)
                *(uint32_t *)(to + (size_t)q * c.q_stride + 8 * d + column) =
                    pack<T>(out[d][2 * r] * inverse, out[d][2 * r + 1] * inverse);
    }
}

/* grid (tiles * windows, heads). A lane holds, of the warp's 16 queries, rows lane/4 and lane/4 + 8. */
template <int PADDED, class T>
__global__ void __launch_bounds__(THREADS)
    flash_attention(T *__restrict__ out, const T *__restrict__ q, const T *__restrict__ k,
                    const T *__restrict__ v, attention_call c)
{
    constexpr int KEYS = tile<PADDED>::KEYS;
    SHARED_MEMORY(shared);
    T *queries = (T *)shared, *keys = queries + QUERIES * PADDED, *values = keys + 2 * KEYS * PADDED;
    int which = blockIdx.x / c.tiles, head = blockIdx.y;
    int begin = c.start[which], len = c.start[which + 1] - begin;
    int q0 = (c.tiles - 1 - (int)blockIdx.x % c.tiles) * QUERIES; /* the longest work first */
    int query = q0 + threadIdx.x / 32 * WARP_QUERIES + threadIdx.x % 32 / 4;
    int first = c.window > 0 && q0 >= c.window ? (q0 - c.window + 1) / KEYS : 0;
    int last = (q0 + QUERIES - 1) / KEYS;
    size_t q_at = begin * c.q_stride + head * (size_t)c.head_dim;
    size_t kv_at = begin * c.kv_stride + head / c.group * (size_t)c.head_dim;
    float acc[PADDED / 8][4], max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    uint32_t kept[PADDED / 16][4];

    if (q0 >= len)
        return;
    last = last < (len - 1) / KEYS ? last : (len - 1) / KEYS;
#pragma unroll
    for (int d = 0; d < PADDED / 8; d++)
        for (int j = 0; j < 4; j++)
            acc[d][j] = 0;
    fetch<PADDED>(queries, q + q_at, c.q_stride, q0, QUERIES, len, c.head_dim);
    fetch<PADDED>(keys, k + kv_at, c.kv_stride, first * KEYS, KEYS, len, c.head_dim);
    fetch<PADDED>(values, v + kv_at, c.kv_stride, first * KEYS, KEYS, len, c.head_dim);
    copy_async_commit();
    for (int i = first; i <= last; i++) {
        int here = (i - first) % 2 * KEYS * PADDED, there = KEYS * PADDED - here;
        float s[KEYS / 8][4];

        if (i < last) {
            fetch<PADDED>(keys + there, k + kv_at, c.kv_stride, (i + 1) * KEYS, KEYS, len,
                          c.head_dim);
            fetch<PADDED>(values + there, v + kv_at, c.kv_stride, (i + 1) * KEYS, KEYS, len,
                          c.head_dim);
        }
        copy_async_commit(); /* empty in the last round, so that the wait below fits both */
        copy_async_wait(1);
        __syncthreads();
        if (tile<PADDED>::KEEP_QUERIES && i == first)
#pragma unroll
            for (int d = 0; d < PADDED / 16; d++)
                load_rows<PADDED>(kept[d], queries, threadIdx.x / 32 * WARP_QUERIES, 16 * d);
        scores<PADDED>(s, kept, queries, keys + here);
        rescale<PADDED>(s, acc, max, sum, query, i * KEYS + threadIdx.x % 4 * 2, c);
        weigh_values<PADDED>(acc, sum, s, max, values + here);
        __syncthreads(); /* the next round overwrites what this one read */
    }
    copy_async_wait(0);
    store<PADDED>(out + q_at, acc, sum, query, len, c);
}

/* ------------------------------------------------------------------------------- launchers */

template <int PADDED, class T>
static cudaError_t launch_padded(void *out, const void *q, const void *k, const void *v,
                                 const attention_call &c, dim3 grid, cudaStream_t s)
{
    auto kernel = flash_attention<PADDED, T>;
    cudaError_t e = cudaFuncSetAttribute((const void *)kernel,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         tile<PADDED>::BYTES);

    if (e != cudaSuccess)
        return e;
    LAUNCH(kernel, grid, THREADS, tile<PADDED>::BYTES, s, (T *)out, (const T *)q, (const T *)k,
           (const T *)v, c);
    return cudaGetLastError();
}

template <class T>
static cudaError_t launch_as(void *out, const void *q, const void *k, const void *v,
                             const attention_call &c, dim3 grid, cudaStream_t s)
{
    if (c.head_dim <= 32)
        return launch_padded<32, T>(out, q, k, v, c, grid, s);
    if (c.head_dim <= 64)
        return launch_padded<64, T>(out, q, k, v, c, grid, s);
    if (c.head_dim <= 96)
        return launch_padded<96, T>(out, q, k, v, c, grid, s);
    if (c.head_dim <= 128)
        return launch_padded<128, T>(out, q, k, v, c, grid, s);
    return launch_padded<256, T>(out, q, k, v, c, grid, s);
}

cudaError_t launch_attention(void *out, const void *q, const void *k, const void *v, enum dtype t,
                             const struct attention *a, const struct batch *b, cudaStream_t s)
{
    int tiles = (b->len_max + QUERIES - 1) / QUERIES;
    dim3 grid((unsigned)tiles * (unsigned)b->windows, (unsigned)a->heads);
    attention_call c = {b->start,
                        tiles,
                        a->head_dim,
                        a->heads / a->kv_heads,
                        a->window,
                        a->scale * 1.4426950408889634f,
                        (size_t)a->heads * a->head_dim,
                        (size_t)a->kv_heads * a->head_dim};

    if (a->head_dim % CHUNK != 0 || a->head_dim > HEAD_DIM_MAX)
        return cudaErrorInvalidValue;
    if (t == DTYPE_F16)
        return launch_as<f16>(out, q, k, v, c, grid, s);
    return launch_as<bf16>(out, q, k, v, c, grid, s);
}

template <class T> static cudaError_t load_as()
{
    return load_kernels(flash_attention<32, T>, flash_attention<64, T>, flash_attention<96, T>,
                        flash_attention<128, T>, flash_attention<256, T>);
}

cudaError_t load_attention(void)
{
    cudaError_t e = load_as<bf16>();

    return e == cudaSuccess ? load_as<f16>() : e;
}
