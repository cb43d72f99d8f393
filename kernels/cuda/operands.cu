/* operands.cu - rows of activations as operands of a matrix product: in 16 bits, plain or quantized to
 * 4 bits on the way, or as 4-bit codes and scales; and its f32 sums back to rows. */
#include <float.h>
#include <math.h>

#include "kernels/cuda/load.cuh"
#include "kernels/cuda/numbers.cuh"

enum { THREADS = 256, E4M3_DROPPED = 20 /* f32 mantissa bits that e4m3 does not have */ };

/* out[p][at] for p < pieces: what v is the sum of, leading piece first. */
template <class P>
DEVICE void store_pieces(P *out, size_t stride, size_t at, int pieces, float v)
{
    for (int p = 0; p < pieces; p++) {
        P piece = from_float<P>(v);

        out[p * stride + at] = piece;
        v -= to_float(piece);
    }
}

/* Row of x that becomes row r of the product, or -1 for padding. */
DEVICE int source_row(const int32_t *row, int rows, int r)
{
    if (r >= rows)
        return -1;
    return row ? row[r] : r;
}

/* A thread per value. */
template <class T, class P>
__global__ void __launch_bounds__(THREADS)
    split_rows(P *__restrict__ out, int pieces, const T *__restrict__ x,
               const int32_t *__restrict__ row, int rows, int K)
{
    size_t i = global_thread(), values = (size_t)GEMM_TOKENS * K;
    int from;

    if (i >= values)
        return;
    from = source_row(row, rows, (int)(i / K));
    store_pieces(out, values, i, pieces,
                 from < 0 ? 0.0f : to_float(x[(size_t)from * K + i % K]));
}

/* The code of the e2m1 value nearest to x, ties to the even code; beyond 6: 6. The sign stays. */
DEVICE uint32_t e2m1_code(float x)
{
    float a = fabsf(x);
    uint32_t size = a <= 0.25f   ? 0
                    : a < 0.75f  ? 1
                    : a <= 1.25f ? 2
                    : a < 1.75f  ? 3
                    : a <= 2.5f  ? 4
                    : a < 3.5f   ? 5
                    : a <= 5.0f  ? 6
                                 : 7;

    return size | (__float_as_uint(x) >> 28 & 8);
}

DEVICE float round_e2m1(float x)
{
    return e2m1_to_float(e2m1_code(x));
}

/* The e4m3 value nearest to x >= 0, ties to even; beyond 448: 448. A NaN stays. Below 2^-6 the step
 * is 2^-9, which is the last bit of numbers from 2^14 on. */
DEVICE float round_e4m3(float x)
{
    float c = x > 448.0f ? 448.0f : x;
    uint32_t u = __float_as_uint(c);

    if (!(c == c))
        return c;
    if (c < 0x1p-6f)
        return (c + 0x1p14f) - 0x1p14f;
    u += (1u << (E4M3_DROPPED - 1)) - 1 + (u >> E4M3_DROPPED & 1);
    return __uint_as_float(u >> E4M3_DROPPED << E4M3_DROPPED);
}

/* max |x| as bits, so that a NaN wins. */
DEVICE float group_size_of(const float *x)
{
    uint32_t max = 0;

#pragma unroll
    for (int i = 0; i < NVFP4_GROUP; i++) {
        uint32_t size = __float_as_uint(x[i]) & 0x7fffffff;

        max = size > max ? size : max;
    }
    return __uint_as_float(max);
}

/* vLLM's scale of x[16], and what brings its values to e2m1. */
DEVICE float vllm_scale(const float *x, float gi)
{
    return round_e4m3(gi * (group_size_of(x) * (1.0f / 6.0f)));
}

DEVICE float vllm_to_code(float s, float gi)
{
    return s == 0 ? 0.0f : 1.0f / (s * (1.0f / gi));
}

/* What x[16] stands for when it is stored in 4 bits; see struct input_quantizer. */
template <class T> DEVICE void quantize_group(float *x, const input_quantizer &q)
{
    float gi = q.global;

    if (q.arithmetic == W4A4_HF) {
        float c = gi * to_float(from_float<T>(group_size_of(x) / 6.0f)), s;

        if (!q.unrounded)
            c = round_e4m3(c);
        if (c == 0)
            c = q.unrounded ? FLT_EPSILON : 0.125f;
        s = c / gi;
#pragma unroll
        for (int i = 0; i < NVFP4_GROUP; i++)
            x[i] = to_float(from_float<T>(round_e2m1(x[i] / s) * s));
    } else {
        float s = vllm_scale(x, gi), to_code = vllm_to_code(s, gi);

#pragma unroll
        for (int i = 0; i < NVFP4_GROUP; i++)
            x[i] = round_e2m1(x[i] * to_code) * s;
    }
}

/* A thread per group of 16. */
template <class T, class P>
__global__ void __launch_bounds__(THREADS)
    quantize_rows(P *__restrict__ out, int pieces, const T *__restrict__ x,
                  const int32_t *__restrict__ row, int rows, int K, input_quantizer q)
{
    size_t i = global_thread() * NVFP4_GROUP, values = (size_t)GEMM_TOKENS * K;
    float group[NVFP4_GROUP];
    int from;

    if (i >= values)
        return;
    from = source_row(row, rows, (int)(i / K));
#pragma unroll
    for (int j = 0; j < NVFP4_GROUP; j++)
        group[j] = from < 0 ? 0.0f : to_float(x[(size_t)from * K + i % K + j]);
    quantize_group<T>(group, q);
#pragma unroll
    for (int j = 0; j < NVFP4_GROUP; j++)
        store_pieces(out, values, i + j, pieces, group[j]);
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    store_sums(T *__restrict__ y, const float *__restrict__ acc, float g,
               const float *__restrict__ bias, int N)
{
    size_t c = global_thread(), at = (size_t)blockIdx.y * N + c;

    if (c < (size_t)N)
        y[at] = from_float<T>(acc[at] * g + (bias ? bias[c] : 0.0f));
}

/* A thread per group of 16, also those that only fill up a tile of scales. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    quantize_codes(uint2 *__restrict__ codes, uint8_t *__restrict__ scale,
                   const T *__restrict__ x, int rows, int K, float global)
{
    int groups = K / NVFP4_GROUP;
    size_t i = global_thread(), all = (size_t)group_tiles(groups) * SCALE_GROUPS;
    int r = (int)(i / all), g = (int)(i % all), from = source_row(NULL, rows, r);
    float group[NVFP4_GROUP], s, to_code;
    uint32_t word[2] = {0, 0};

    if (r >= GEMM_TOKENS)
        return;
#pragma unroll
    for (int j = 0; j < NVFP4_GROUP; j++)
        group[j] = from < 0 || g >= groups ? 0.0f
                                           : to_float(x[(size_t)from * K + g * NVFP4_GROUP + j]);
    s = vllm_scale(group, global);
    to_code = vllm_to_code(s, global);
#pragma unroll
    for (int j = 0; j < NVFP4_GROUP; j++)
        word[j / 8] |= e2m1_code(group[j] * to_code) << 4 * (j % 8);
    scale[scale_place(r, g, groups)] = e4m3_code(s);
    if (g < groups)
        codes[(size_t)r * groups + g] = make_uint2(word[0], word[1]);
}

/* ------------------------------------------------------------------------------- launchers */

/* The call of a kernel of T (values) and P (operands), chosen at run time. */
struct operand_call {
    void *out;
    int pieces;
    const void *x;
    const int32_t *row;
    int rows, K;
    const input_quantizer *quantizer; /* NULL: split only */
    cudaStream_t stream;
};

template <class T, class P> static cudaError_t make_operands(const operand_call &a)
{
    size_t values = (size_t)GEMM_TOKENS * a.K;
    unsigned grid = blocks_for(a.quantizer ? values / NVFP4_GROUP : values, THREADS);
    auto quantize = quantize_rows<T, P>;
    auto split = split_rows<T, P>;

    if (a.quantizer)
        LAUNCH(quantize, grid, THREADS, 0, a.stream, (P *)a.out, a.pieces, (const T *)a.x, a.row,
               a.rows, a.K, *a.quantizer);
    else
        LAUNCH(split, grid, THREADS, 0, a.stream, (P *)a.out, a.pieces, (const T *)a.x, a.row,
               a.rows, a.K);
    return cudaGetLastError();
}

template <class P> static cudaError_t make_operands_from(enum dtype t, const operand_call &a)
{
    if (t == DTYPE_F32)
        return make_operands<float, P>(a);
    if (t == DTYPE_F16)
        return make_operands<f16, P>(a);
    return make_operands<bf16, P>(a);
}

cudaError_t launch_split_rows(void *out, enum operand type, int pieces, const void *x, enum dtype t,
                              const int32_t *row, int rows, int K, cudaStream_t s)
{
    operand_call a = {out, pieces, x, row, rows, K, NULL, s};

    return type == OPERAND_F16 ? make_operands_from<f16>(t, a) : make_operands_from<bf16>(t, a);
}

cudaError_t launch_quantize_rows(void *out, enum operand type, int pieces, const void *x,
                                 enum dtype t, const int32_t *row, int rows, int K,
                                 struct input_quantizer q, cudaStream_t s)
{
    operand_call a = {out, pieces, x, row, rows, K, &q, s};

    return type == OPERAND_F16 ? make_operands_from<f16>(t, a) : make_operands_from<bf16>(t, a);
}

template <class T>
static cudaError_t quantize_codes_of(void *codes, uint8_t *scale, const void *x, int rows, int K,
                                     float global, cudaStream_t s)
{
    auto kernel = quantize_codes<T>;

    /* a byte of swizzled scales for each */
    LAUNCH(kernel, blocks_for(swizzled_bytes(GEMM_TOKENS, (size_t)K), THREADS), THREADS, 0, s, (uint2 *)codes, scale,
           (const T *)x, rows, K, global);
    return cudaGetLastError();
}

cudaError_t launch_quantize_codes(void *codes, uint8_t *scale, const void *x, enum dtype t, int rows,
                                  int K, float global, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return quantize_codes_of<float>(codes, scale, x, rows, K, global, s);
    if (t == DTYPE_F16)
        return quantize_codes_of<f16>(codes, scale, x, rows, K, global, s);
    return quantize_codes_of<bf16>(codes, scale, x, rows, K, global, s);
}

template <class T>
static cudaError_t store_sums_as(void *y, const float *acc, float g, const float *bias, int rows,
                                 int N, cudaStream_t s)
{
    dim3 grid(blocks_for((size_t)N, THREADS), (unsigned)rows);
    auto kernel = store_sums<T>;

    LAUNCH(kernel, grid, THREADS, 0, s, (T *)y, acc, g, bias, N);
    return cudaGetLastError();
}

cudaError_t launch_store_sums(void *y, enum dtype t, const float *acc, float g, const float *bias,
                              int rows, int N, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return store_sums_as<float>(y, acc, g, bias, rows, N, s);
    if (t == DTYPE_F16)
        return store_sums_as<f16>(y, acc, g, bias, rows, N, s);
    return store_sums_as<bf16>(y, acc, g, bias, rows, N, s);
}

template <class T> static cudaError_t load_operands_as()
{
    return load_kernels(split_rows<T, f16>, split_rows<T, bf16>, quantize_rows<T, f16>,
                        quantize_rows<T, bf16>, quantize_codes<T>, store_sums<T>);
}

cudaError_t load_operands(void)
{
    cudaError_t e = load_operands_as<float>();

    if (e == cudaSuccess)
        e = load_operands_as<f16>();
    return e == cudaSuccess ? load_operands_as<bf16>() : e;
}
