/* weights.cu - matrices on their way to a product, and rows of the embedding table. */
#include "kernels/cuda/load.cuh"
#include "kernels/cuda/numbers.cuh"

enum { THREADS = 256, CODES = 8 /* of a thread: one word in, 16 bytes out */ };

/* One thread: 8 codes, half of a group. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    dequantize(uint4 *__restrict__ out, const uint32_t *__restrict__ codes,
               const uint8_t *__restrict__ scale, size_t words)
{
    size_t i = global_thread();
    uint32_t word, pair[4];
    float s;

    if (i >= words)
        return;
    word = codes[i];
    s = e4m3_to_float(scale[i / 2]);
#pragma unroll
    for (int j = 0; j < 4; j++, word >>= 8)
        pair[j] = pack<T>(e2m1_to_float(word & 15) * s, e2m1_to_float(word >> 4 & 15) * s);
    out[i] = make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

/* A thread: the 4 scales of a row in a tile. */
__global__ void __launch_bounds__(THREADS)
    swizzle(uint32_t *__restrict__ out, const uint8_t *__restrict__ scale, int N, int groups,
            size_t words)
{
    size_t i = global_thread(), tiles = (size_t)group_tiles(groups);
    int row = (int)(i / tiles), group = (int)(i % tiles) * SCALE_GROUPS;
    uint32_t word = 0;

    if (i >= words)
        return;
#pragma unroll
    for (int j = 0; j < SCALE_GROUPS; j++)
        if (row < N && group + j < groups)
            word |= (uint32_t)scale[(size_t)row * groups + group + j] << 8 * j;
    out[scale_place(row, group, groups) / SCALE_GROUPS] = word;
}

DEVICE float scale_with_global(uint32_t scale, float stored, bool divides)
{
    float s = e4m3_to_float(scale);

    return divides ? s / stored : s * stored;
}

__global__ void __launch_bounds__(THREADS)
    dequantize_hf(uint4 *__restrict__ out, const uint32_t *__restrict__ codes,
                  const uint8_t *__restrict__ scale, float stored, bool divides, size_t words)
{
    size_t i = global_thread();
    uint32_t word, pair[4];
    float s;

    if (i >= words)
        return;
    word = codes[i];
    s = scale_with_global(scale[i / 2], stored, divides);
#pragma unroll
    for (int j = 0; j < 4; j++, word >>= 8)
        pair[j] = pack<bf16>(e2m1_to_float(word & 15) * s, e2m1_to_float(word >> 4 & 15) * s);
    out[i] = make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    weight_piece(bf16 *__restrict__ out, const T *__restrict__ w, int piece, size_t n)
{
    size_t i = global_thread();
    float rest;

    if (i >= n)
        return;
    rest = to_float(w[i]);
    for (int p = 0; p < piece; p++)
        rest -= to_float(from_float<bf16>(rest));
    out[i] = from_float<bf16>(rest);
}

/* y[t][c] = table[ids[t]][c]; a block per token. */
template <class T, class W>
__global__ void __launch_bounds__(THREADS)
    embed_plain(T *__restrict__ y, const W *__restrict__ table, const int32_t *__restrict__ ids,
                int H)
{
    const W *from = table + (size_t)ids[blockIdx.x] * H;
    T *to = y + (size_t)blockIdx.x * H;

    for (int c = threadIdx.x; c < H; c += THREADS)
        to[c] = from_float<T>(to_float(from[c]));
}

/* q*s*g rounded to f32 once (in double it is exact up to g), or bf16(q * f32(s*g)) with hf; then to
 * T. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    embed_nvfp4(T *__restrict__ y, const uint8_t *__restrict__ codes,
                const uint8_t *__restrict__ scale, float stored, bool divides, bool hf,
                const int32_t *__restrict__ ids, int H)
{
    size_t row = (size_t)ids[blockIdx.x] * H;
    double g = divides ? 1.0 / stored : stored;

    for (int c = threadIdx.x; c < H; c += THREADS) {
        size_t at = row + c;
        uint32_t byte = codes[at / 2], code = c % 2 ? byte >> 4 : byte & 15;
        float q = e2m1_to_float(code), value;

        if (hf)
            value = to_float(from_float<bf16>(
                q * scale_with_global(scale[at / NVFP4_GROUP], stored, divides)));
        else
            value = (float)((double)(q * e4m3_to_float(scale[at / NVFP4_GROUP])) * g);
        y[(size_t)blockIdx.x * H + c] = from_float<T>(value);
    }
}

/* ------------------------------------------------------------------------------- launchers */

cudaError_t launch_dequantize(void *out, enum operand type, const void *codes, const uint8_t *scale,
                              size_t n, cudaStream_t s)
{
    auto kernel = type == OPERAND_F16 ? dequantize<f16> : dequantize<bf16>;
    size_t words = n / CODES;

    LAUNCH(kernel, blocks_for(words, THREADS), THREADS, 0, s, (uint4 *)out, (const uint32_t *)codes,
           scale, words);
    return cudaGetLastError();
}

cudaError_t launch_swizzle(void *out, const uint8_t *scale, int N, int K, cudaStream_t s)
{
    size_t words = swizzled_bytes((size_t)N, (size_t)K) / SCALE_GROUPS;

    LAUNCH(swizzle, blocks_for(words, THREADS), THREADS, 0, s, (uint32_t *)out, scale, N,
           K / NVFP4_GROUP, words);
    return cudaGetLastError();
}

cudaError_t launch_dequantize_hf(void *out, const void *codes, const uint8_t *scale,
                                 float global_stored, bool global_divides, size_t n,
                                 cudaStream_t s)
{
    size_t words = n / CODES;

    LAUNCH(dequantize_hf, blocks_for(words, THREADS), THREADS, 0, s, (uint4 *)out,
           (const uint32_t *)codes, scale, global_stored, global_divides, words);
    return cudaGetLastError();
}

template <class T>
static cudaError_t launch_piece(void *out, const void *w, int piece, size_t n, cudaStream_t s)
{
    auto kernel = weight_piece<T>;

    LAUNCH(kernel, blocks_for(n, THREADS), THREADS, 0, s, (bf16 *)out, (const T *)w, piece, n);
    return cudaGetLastError();
}

cudaError_t launch_weight_piece(void *out, enum weight_format format, const void *w, int piece,
                                size_t n, cudaStream_t s)
{
    switch (format) {
    case WEIGHT_F32:
        return launch_piece<float>(out, w, piece, n, s);
    case WEIGHT_F16:
        return launch_piece<f16>(out, w, piece, n, s);
    case WEIGHT_BF16:
        return launch_piece<bf16>(out, w, piece, n, s);
    case WEIGHT_NVFP4:
        break;
    }
    return cudaErrorInvalidValue;
}

template <class T, class W>
static cudaError_t launch_embed_plain(void *y, const struct weight *w, const int32_t *ids, int tokens,
                                      cudaStream_t s)
{
    auto kernel = embed_plain<T, W>;

    LAUNCH(kernel, (unsigned)tokens, THREADS, 0, s, (T *)y, (const W *)w->data, ids, w->K);
    return cudaGetLastError();
}

template <class T>
static cudaError_t launch_embed_as(void *y, const struct weight *w, bool hf, const int32_t *ids,
                                   int tokens, cudaStream_t s)
{
    auto kernel = embed_nvfp4<T>;

    switch (w->format) {
    case WEIGHT_F32:
        return launch_embed_plain<T, float>(y, w, ids, tokens, s);
    case WEIGHT_F16:
        return launch_embed_plain<T, f16>(y, w, ids, tokens, s);
    case WEIGHT_BF16:
        return launch_embed_plain<T, bf16>(y, w, ids, tokens, s);
    case WEIGHT_NVFP4:
        LAUNCH(kernel, (unsigned)tokens, THREADS, 0, s, (T *)y, (const uint8_t *)w->data, w->scale,
               w->global_stored, w->global_divides, hf, ids, w->K);
        return cudaGetLastError();
    }
    return cudaErrorInvalidValue;
}

cudaError_t launch_embed(void *y, enum dtype t, const struct weight *table, bool hf,
                         const int32_t *ids, int T, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return launch_embed_as<float>(y, table, hf, ids, T, s);
    if (t == DTYPE_F16)
        return launch_embed_as<f16>(y, table, hf, ids, T, s);
    return launch_embed_as<bf16>(y, table, hf, ids, T, s);
}

template <class T> static cudaError_t load_weights_as()
{
    return load_kernels(weight_piece<T>, embed_nvfp4<T>, embed_plain<T, float>, embed_plain<T, f16>,
                        embed_plain<T, bf16>);
}

cudaError_t load_weights(void)
{
    cudaError_t e = load_kernels(dequantize<f16>, dequantize<bf16>, dequantize_hf, swizzle);

    if (e == cudaSuccess)
        e = load_weights_as<float>();
    if (e == cudaSuccess)
        e = load_weights_as<f16>();
    return e == cudaSuccess ? load_weights_as<bf16>() : e;
}
