/* Norm, rotary embedding, SwiGLU, residual add and the search for non-finite values, against double
 * precision, in every dtype, over row lengths that fill no warp, one, many, and a part of one. */
#include "kernels/cuda/cuda.h"
#include "tests/cuda/device.h"

/* sums of squares in f32: a few ulp, more for longer rows */
static const double SUM_ERROR = 4e-6;

static void rms_norm(enum dtype t, int rows, int cols)
{
    size_t n = (size_t)rows * cols, bytes = n * dtype_bytes(t);
    void *x = malloc(bytes), *y = malloc(bytes), *dx, *dg;
    float *gain = malloc((size_t)cols * sizeof *gain);
    const float eps = 1e-5f;

    fill_gauss(x, t, n, 2, 1);
    fill_gauss(gain, DTYPE_F32, (size_t)cols, 1, 2);
    dx = device_copy(x, bytes);
    dg = device_copy(gain, (size_t)cols * sizeof *gain);
    EXPECT_CUDA(launch_rms_norm(dx, dx, t, dg, rows, cols, eps, NULL)); /* in place */
    device_read(y, dx, bytes);
    for (int r = 0; r < rows; r++) {
        double sum = 0;

        for (int c = 0; c < cols; c++)
            sum += pow(stored_value(x, t, (size_t)r * cols + c), 2);
        for (int c = 0; c < cols; c++) {
            size_t i = (size_t)r * cols + c;
            double want = stored_value(x, t, i) / sqrt(sum / cols + eps) * gain[c];

            EXPECT_NEAR(stored_value(y, t, i), want, rounding(t, want) + SUM_ERROR * fabs(want));
        }
    }
    cudaFree(dx);
    cudaFree(dg);
    free(x);
    free(y);
    free(gain);
}

static void rope(enum dtype t, int heads, int D)
{
    static const int32_t start[] = {0, 1, 18, 20};
    enum { WINDOWS = 3, TOKENS = 20, LEN_MAX = 17 };
    size_t n = (size_t)TOKENS * heads * D, bytes = n * dtype_bytes(t);
    size_t angles = (size_t)LEN_MAX * (D / 2);
    void *x = malloc(bytes), *y = malloc(bytes), *dx = NULL;
    float *c = malloc(angles * sizeof *c), *s = malloc(angles * sizeof *s);
    struct batch b = {TOKENS, WINDOWS, LEN_MAX, device_copy(start, sizeof start)};
    float *dc, *ds;

    fill_gauss(x, t, n, 2, 1);
    for (size_t i = 0; i < angles; i++) {
        c[i] = cosf((float)i);
        s[i] = sinf((float)i);
    }
    dx = device_copy(x, bytes);
    dc = device_copy(c, angles * sizeof *c);
    ds = device_copy(s, angles * sizeof *s);
    EXPECT_CUDA(launch_rope(dx, t, heads, D, dc, ds, &b, NULL));
    device_read(y, dx, bytes);
    for (int w = 0; w < WINDOWS; w++)
        for (int token = start[w]; token < start[w + 1]; token++)
            for (int h = 0; h < heads; h++)
                for (int i = 0; i < D / 2; i++) {
                    size_t low = ((size_t)token * heads + h) * D + i, high = low + D / 2;
                    size_t angle = (size_t)(token - start[w]) * (D / 2) + i;
                    double a = stored_value(x, t, low), e = stored_value(x, t, high);
                    double size = fabs(a) + fabs(e);

                    EXPECT_NEAR(stored_value(y, t, low), a * c[angle] - e * s[angle],
                                rounding(t, a * c[angle] - e * s[angle]) + 2e-7 * size);
                    EXPECT_NEAR(stored_value(y, t, high), e * c[angle] + a * s[angle],
                                rounding(t, e * c[angle] + a * s[angle]) + 2e-7 * size);
                }
    cudaFree(dx);
    cudaFree(dc);
    cudaFree(ds);
    cudaFree((void *)b.start);
    free(x);
    free(y);
    free(c);
    free(s);
}

/* swiglu and add of n values, the first ones where exp overflows and underflows */
static void elementwise(enum dtype t, size_t n)
{
    static const float hard[] = {-200, 200, -88.5f, 88.5f, 0, -104};
    size_t bytes = n * dtype_bytes(t);
    void *x = malloc(bytes), *y = malloc(bytes), *got = malloc(bytes), *dx, *dy;

    fill_gauss(x, t, n, 4, 1);
    fill_gauss(y, t, n, 1, 2);
    for (size_t i = 0; i < n && i < sizeof hard / sizeof *hard; i++)
        store_value(x, t, i, hard[i]);
    dx = device_copy(x, bytes);
    dy = device_copy(y, bytes);
    EXPECT_CUDA(launch_swiglu(dx, dy, t, n, NULL));
    device_read(got, dx, bytes);
    for (size_t i = 0; i < n; i++) {
        double z = stored_value(x, t, i), want = z / (1 + exp(-z)) * stored_value(y, t, i);

        EXPECT_NEAR(stored_value(got, t, i), want, rounding(t, want) + 5e-7 * fabs(want) + 1e-35);
    }
    EXPECT_CUDA(cudaMemcpy(dx, x, bytes, cudaMemcpyHostToDevice));
    EXPECT_CUDA(launch_add(dx, dy, t, n, NULL));
    device_read(got, dx, bytes);
    for (size_t i = 0; i < n; i++)
        EXPECT(stored_value(got, t, i) ==
               round_value(t, stored_value(x, t, i) + stored_value(y, t, i)));
    cudaFree(dx);
    cudaFree(dy);
    free(x);
    free(y);
    free(got);
}

static int32_t flag_of(enum dtype t, size_t n, size_t at, float value)
{
    size_t bytes = n * dtype_bytes(t);
    void *x = malloc(bytes), *dx;
    int32_t flag = 0, *on_device = device_copy(&flag, sizeof flag);

    fill_gauss(x, t, n, 1, 1);
    store_value(x, t, at, value);
    dx = device_copy(x, bytes);
    EXPECT_CUDA(launch_nonfinite(on_device, dx, t, n, NULL));
    device_read(&flag, on_device, sizeof flag);
    cudaFree(dx);
    cudaFree(on_device);
    free(x);
    return flag;
}

int main(void)
{
    static const int cols[] = {1, 32, 48, 128, 257, 1000, 2100};
    static const size_t sizes[] = {1, 17, 256, 1025};

    require_device();
    for (int t = DTYPE_BF16; t <= DTYPE_F32; t++) {
        for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
            rms_norm((enum dtype)t, i % 2 ? 1 : 17, cols[i]);
        rope((enum dtype)t, 1, 2);
        rope((enum dtype)t, 3, 96);
        rope((enum dtype)t, 5, 128);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            elementwise((enum dtype)t, sizes[i]);
            EXPECT(flag_of((enum dtype)t, sizes[i], sizes[i] - 1, NAN) == 1);
            EXPECT(flag_of((enum dtype)t, sizes[i], 0, -INFINITY) == 1);
            EXPECT(flag_of((enum dtype)t, sizes[i], sizes[i] / 2, 60000) == 0);
        }
    }
    return 0;
}
