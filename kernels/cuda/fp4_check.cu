/* fp4_check.cu - what products of 4-bit operands are tried with (fp4.c).
 *
 * All codes and all finite scales occur. A row has scales of one power of two, so the products of a row
 * of x with a row of w are whole multiples of one unit, at most (2*6)^2 * 15^2 of it. Their signs are
 * random: a sum of K is about 4700 * sqrt(K) units, far below 2^24 (K = 28672: 2^20, 25 times less).
 * So f32 holds every partial sum exactly, whatever the order: sums in f32 must come out equal. */
#include "kernels/cuda/numbers.cuh"

enum { THREADS = 256, SIGN = 8, SIX = 7, E4M3_LARGEST = 0x7e };

/* Bits without a pattern. */
DEVICE uint32_t noise(uint32_t i, uint32_t seed)
{
    uint32_t u = (i + seed) * 0x9e3779b9u;

    u = (u ^ u >> 16) * 0x85ebca6bu;
    u = (u ^ u >> 13) * 0xc2b2ae35u;
    return u ^ u >> 16;
}

/* Any mantissa; the exponent is the row's. */
DEVICE uint32_t some_scale(int row, uint32_t bits)
{
    uint32_t code = (uint32_t)row % 16 << 3 | (bits & 7);

    return code > E4M3_LARGEST ? (uint32_t)E4M3_LARGEST : code;
}

/* A thread per group. */
__global__ void __launch_bounds__(THREADS)
    check_weights(uint2 *__restrict__ codes, uint8_t *__restrict__ scale, int groups, size_t n)
{
    size_t i = global_thread();
    uint32_t at = (uint32_t)i;

    if (i >= n)
        return;
    codes[i] = make_uint2(noise(at, 1), noise(at, 2));
    scale[i] = (uint8_t)some_scale((int)(i / groups), noise(at, 3));
}

/* A thread per group; its first value is a 6, which makes the scale. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    check_rows(T *__restrict__ x, int groups, float global, size_t n)
{
    size_t i = global_thread();
    uint32_t at = (uint32_t)i;
    float s;

    if (i >= n)
        return;
    s = e4m3_to_float(some_scale((int)(i / groups), noise(at, 4))) / global;
    for (int j = 0; j < NVFP4_GROUP; j++) {
        uint32_t code = noise(at, 5 + j) % 16;

        x[i * NVFP4_GROUP + j] = from_float<T>(e2m1_to_float(j == 0 ? code | SIX : code) * s);
    }
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    differ(int32_t *__restrict__ flag, const T *__restrict__ a, const T *__restrict__ b, size_t n)
{
    size_t i = global_thread();

    if (i < n && !(to_float(a[i]) == to_float(b[i])))
        *flag = 1;
}

/* ------------------------------------------------------------------------------- launchers */

cudaError_t launch_check_weights(void *codes, uint8_t *scale, int N, int K, cudaStream_t s)
{
    size_t n = (size_t)N * (size_t)(K / NVFP4_GROUP);

    LAUNCH(check_weights, blocks_for(n, THREADS), THREADS, 0, s, (uint2 *)codes, scale,
           K / NVFP4_GROUP, n);
    return cudaGetLastError();
}

template <class T>
static cudaError_t check_rows_of(void *x, int K, float global, cudaStream_t s)
{
    size_t n = (size_t)GEMM_TOKENS * (size_t)(K / NVFP4_GROUP);
    auto kernel = check_rows<T>;

    LAUNCH(kernel, blocks_for(n, THREADS), THREADS, 0, s, (T *)x, K / NVFP4_GROUP, global, n);
    return cudaGetLastError();
}

cudaError_t launch_check_rows(void *x, enum dtype t, int K, float global, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return check_rows_of<float>(x, K, global, s);
    if (t == DTYPE_F16)
        return check_rows_of<f16>(x, K, global, s);
    return check_rows_of<bf16>(x, K, global, s);
}

template <class T>
static cudaError_t differ_of(int32_t *flag, const void *a, const void *b, size_t n, cudaStream_t s)
{
    auto kernel = differ<T>;

    LAUNCH(kernel, blocks_for(n, THREADS), THREADS, 0, s, flag, (const T *)a, (const T *)b, n);
    return cudaGetLastError();
}

cudaError_t launch_differ(int32_t *flag, const void *a, const void *b, enum dtype t, size_t n,
                          cudaStream_t s)
{
    if (t == DTYPE_F32)
        return differ_of<float>(flag, a, b, n, s);
    if (t == DTYPE_F16)
        return differ_of<f16>(flag, a, b, n, s);
    return differ_of<bf16>(flag, a, b, n, s);
}
