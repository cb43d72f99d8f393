/* rows.cu - operations that take each row, or each value, for itself. */
#include <math.h>

#include "kernels/cuda/load.cuh"
#include "kernels/cuda/numbers.cuh"
#include "kernels/cuda/reduce.cuh"

enum { THREADS = 256 };

/* y[r][c] = x[r][c] / sqrt(mean of squares + eps) * gain[c]; a block per row. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    rms_norm(T *y, const T *x, const float *__restrict__ gain, int cols, float eps)
{
    SHARED_MEMORY(shared);
    const T *from = x + (size_t)blockIdx.x * cols;
    T *to = y + (size_t)blockIdx.x * cols;
    float sum = 0, inverse;

    for (int c = threadIdx.x; c < cols; c += blockDim.x) {
        float v = to_float(from[c]);

        sum += v * v;
    }
    sum = block_sum(sum, (float *)shared);
    inverse = 1.0f / sqrtf(sum / (float)cols + eps);
    for (int c = threadIdx.x; c < cols; c += blockDim.x)
        to[c] = from_float<T>(to_float(from[c]) * inverse * gain[c]);
}

/* The window that token t lies in: the last w with start[w] <= t. */
DEVICE int window_of(const int32_t *start, int windows, int t)
{
    int low = 0, high = windows;

    while (high - low > 1) {
        int middle = (low + high) / 2;

        if (start[middle] <= t)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* A block per token; a thread per pair (i, i + D/2) of a head. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    rope(T *x, int heads, int half, const float *__restrict__ cos, const float *__restrict__ sin,
         const int32_t *__restrict__ start, int windows)
{
    int t = blockIdx.x;
    size_t angle = (size_t)(t - start[window_of(start, windows, t)]) * half;

    for (int p = threadIdx.x; p < heads * half; p += THREADS) {
        int i = p % half;
        T *low = x + ((size_t)t * heads + p / half) * 2 * half + i, *high = low + half;
        float a = to_float(*low), b = to_float(*high), c = cos[angle + i], s = sin[angle + i];

        *low = from_float<T>(a * c - b * s);
        *high = from_float<T>(b * c + a * s);
    }
}

template <class T>
__global__ void __launch_bounds__(THREADS) swiglu(T *gate, const T *__restrict__ up, size_t n)
{
    size_t i = global_thread();
    float z;

    if (i >= n)
        return;
    z = to_float(gate[i]);
    gate[i] = from_float<T>(z / (1.0f + expf(-z)) * to_float(up[i]));
}

template <class T>
__global__ void __launch_bounds__(THREADS) add(T *x, const T *__restrict__ y, size_t n)
{
    size_t i = global_thread();

    if (i < n)
        x[i] = from_float<T>(to_float(x[i]) + to_float(y[i]));
}

template <class T>
__global__ void __launch_bounds__(THREADS) nonfinite(int32_t *flag, const T *__restrict__ x, size_t n)
{
    size_t i = global_thread();

    if (i < n && !(fabsf(to_float(x[i])) < INFINITY))
        *flag = 1; /* all that write, write the same */
}

/* ------------------------------------------------------------------------------- launchers */

/* A warp for short rows (heads), more for long ones. */
static unsigned threads_of_row(int cols)
{
    return cols <= 256 ? 32 : cols <= 1024 ? 128 : THREADS;
}

template <class T>
static cudaError_t rms_norm_as(void *y, const void *x, const float *gain, int rows, int cols,
                               float eps, cudaStream_t s)
{
    auto kernel = rms_norm<T>;

    LAUNCH(kernel, (unsigned)rows, threads_of_row(cols), REDUCE_BYTES, s, (T *)y, (const T *)x,
           gain, cols, eps);
    return cudaGetLastError();
}

cudaError_t launch_rms_norm(void *y, const void *x, enum dtype t, const float *gain, int rows,
                            int cols, float eps, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return rms_norm_as<float>(y, x, gain, rows, cols, eps, s);
    if (t == DTYPE_F16)
        return rms_norm_as<f16>(y, x, gain, rows, cols, eps, s);
    return rms_norm_as<bf16>(y, x, gain, rows, cols, eps, s);
}

template <class T>
static cudaError_t rope_as(void *x, int heads, int D, const float *cos, const float *sin,
                           const struct batch *b, cudaStream_t s)
{
    auto kernel = rope<T>;

    LAUNCH(kernel, (unsigned)b->tokens, THREADS, 0, s, (T *)x, heads, D / 2, cos, sin, b->start,
           b->windows);
    return cudaGetLastError();
}

cudaError_t launch_rope(void *x, enum dtype t, int heads, int D, const float *cos, const float *sin,
                        const struct batch *b, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return rope_as<float>(x, heads, D, cos, sin, b, s);
    if (t == DTYPE_F16)
        return rope_as<f16>(x, heads, D, cos, sin, b, s);
    return rope_as<bf16>(x, heads, D, cos, sin, b, s);
}

template <class T>
static cudaError_t swiglu_as(void *gate, const void *up, size_t n, cudaStream_t s)
{
    auto kernel = swiglu<T>;

    LAUNCH(kernel, blocks_for(n, THREADS), THREADS, 0, s, (T *)gate, (const T *)up, n);
    return cudaGetLastError();
}

cudaError_t launch_swiglu(void *gate, const void *up, enum dtype t, size_t n, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return swiglu_as<float>(gate, up, n, s);
    if (t == DTYPE_F16)
        return swiglu_as<f16>(gate, up, n, s);
    return swiglu_as<bf16>(gate, up, n, s);
}

template <class T> static cudaError_t add_as(void *x, const void *y, size_t n, cudaStream_t s)
{
    auto kernel = add<T>;

    LAUNCH(kernel, blocks_for(n, THREADS), THREADS, 0, s, (T *)x, (const T *)y, n);
    return cudaGetLastError();
}

cudaError_t launch_add(void *x, const void *y, enum dtype t, size_t n, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return add_as<float>(x, y, n, s);
    if (t == DTYPE_F16)
        return add_as<f16>(x, y, n, s);
    return add_as<bf16>(x, y, n, s);
}

template <class T>
static cudaError_t nonfinite_as(int32_t *flag, const void *x, size_t n, cudaStream_t s)
{
    auto kernel = nonfinite<T>;

    LAUNCH(kernel, blocks_for(n, THREADS), THREADS, 0, s, flag, (const T *)x, n);
    return cudaGetLastError();
}

cudaError_t launch_nonfinite(int32_t *flag, const void *x, enum dtype t, size_t n, cudaStream_t s)
{
    if (t == DTYPE_F32)
        return nonfinite_as<float>(flag, x, n, s);
    if (t == DTYPE_F16)
        return nonfinite_as<f16>(flag, x, n, s);
    return nonfinite_as<bf16>(flag, x, n, s);
}

template <class T> static cudaError_t load_rows_as()
{
    return load_kernels(rms_norm<T>, rope<T>, swiglu<T>, add<T>, nonfinite<T>);
}

cudaError_t load_rows(void)
{
    cudaError_t e = load_rows_as<float>();

    if (e == cudaSuccess)
        e = load_rows_as<f16>();
    return e == cudaSuccess ? load_rows_as<bf16>() : e;
}
