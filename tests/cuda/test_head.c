/* The softmax over columns in chunks: nll against double precision for logits in one chunk and in
 * several, the maximum in any of them, targets everywhere, with a global scale and a bias; NaN where
 * a logit is NaN or the target is in no chunk. */
#include "kernels/cuda/cuda.h"
#include "tests/cuda/device.h"

enum { ROWS = 17 };

struct head {
    int vocab, chunk;
    float g;
    const float *logits, *bias; /* logits [ROWS][vocab] before g and bias */
    const int32_t *target;
};

static void run(const struct head *h, double *nll)
{
    struct softmax_state *state = device_space(ROWS * sizeof *state);
    float *bias = device_copy(h->bias, (size_t)h->vocab * sizeof *bias);
    int32_t *target = device_copy(h->target, ROWS * sizeof *target);
    double *out = device_space(ROWS * sizeof *out);

    for (int v0 = 0; v0 < h->vocab; v0 += h->chunk) {
        int n = h->vocab - v0 < h->chunk ? h->vocab - v0 : h->chunk;
        float *part = malloc((size_t)ROWS * n * sizeof *part), *sums;

        for (int r = 0; r < ROWS; r++)
            memcpy(part + (size_t)r * n, h->logits + (size_t)r * h->vocab + v0,
                   (size_t)n * sizeof *part);
        sums = device_copy(part, (size_t)ROWS * n * sizeof *part);
        EXPECT_CUDA(launch_softmax_chunk(state, sums, h->g, bias, target, ROWS, v0, n, NULL));
        cudaFree(sums);
        free(part);
    }
    EXPECT_CUDA(launch_softmax_nll(out, state, ROWS, NULL));
    device_read(nll, out, ROWS * sizeof *nll);
    cudaFree(state);
    cudaFree(bias);
    cudaFree(target);
    cudaFree(out);
}

static double reference(const struct head *h, int r)
{
    const float *z = h->logits + (size_t)r * h->vocab;
    double max = -INFINITY, sum = 0;

    for (int v = 0; v < h->vocab; v++)
        max = fmax(max, (double)z[v] * h->g + h->bias[v]);
    for (int v = 0; v < h->vocab; v++)
        sum += exp((double)z[v] * h->g + h->bias[v] - max);
    return log(sum) + max - ((double)z[h->target[r]] * h->g + h->bias[h->target[r]]);
}

static void check(int vocab, int chunk)
{
    float *logits = malloc((size_t)ROWS * vocab * sizeof *logits);
    float *bias = malloc((size_t)vocab * sizeof *bias);
    int32_t target[ROWS];
    double nll[ROWS];
    struct head h = {vocab, chunk, 0.37f, logits, bias, target};

    fill_gauss(logits, DTYPE_F32, (size_t)ROWS * vocab, 20, 1);
    fill_gauss(bias, DTYPE_F32, (size_t)vocab, 1, 2);
    for (int r = 0; r < ROWS; r++)
        target[r] = r == 0 ? vocab - 1 : (int)((int64_t)r * vocab / (ROWS + 1));
    run(&h, nll);
    for (int r = 0; r < ROWS; r++)
        EXPECT_NEAR(nll[r], reference(&h, r), 1e-5);
    logits[(size_t)3 * vocab + vocab / 2] = NAN;
    target[5] = vocab;
    target[6] = -1;
    run(&h, nll);
    for (int r = 0; r < ROWS; r++)
        EXPECT(isnan(nll[r]) == (r == 3 || r == 5 || r == 6));
    free(logits);
    free(bias);
}

int main(void)
{
    require_device();
    check(1, 1);
    check(17, 17);
    check(1000, 1000);
    check(1000, 384); /* the last chunk is partial */
    check(65, 1);
    return 0;
}
