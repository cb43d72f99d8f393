/* Attention against a double-precision reference: every padded head_dim and one between, 1 to 16
 * query heads per kv head, windows of 1, 17 and a few tiles of tokens side by side, sliding windows
 * down to 1. The tolerance is what rounding the probabilities and the result allows. */
#include "kernels/cuda/cuda.h"
#include "tests/cuda/device.h"

struct shape {
    int D, heads, kv_heads, window;
};

static const int32_t start[] = {0, 1, 18, 82, 212};
enum { WINDOWS = 4, TOKENS = 212, LEN_MAX = 130 };

/* out[D] of one query, and the sum of |p v|; `begin`: first token of its window. */
static void reference(const struct shape *s, enum dtype t, const void *q, const void *k,
                      const void *v, int token, int head, int begin, double *out, double *size)
{
    static double p[LEN_MAX];
    size_t q_at = ((size_t)token * s->heads + head) * s->D;
    int kv_head = head / (s->heads / s->kv_heads), n = token - begin + 1;
    int first = s->window > 0 && n > s->window ? n - s->window : 0;
    double max = -INFINITY, sum = 0;

    for (int j = first; j < n; j++) {
        size_t k_at = ((size_t)(begin + j) * s->kv_heads + kv_head) * s->D;

        p[j] = 0;
        for (int d = 0; d < s->D; d++)
            p[j] += (double)stored_value(q, t, q_at + d) * stored_value(k, t, k_at + d);
        p[j] /= sqrt(s->D);
        max = fmax(max, p[j]);
    }
    for (int j = first; j < n; j++)
        sum += p[j] = exp(p[j] - max);
    for (int d = 0; d < s->D; d++) {
        out[d] = size[d] = 0;
        for (int j = first; j < n; j++) {
            size_t v_at = ((size_t)(begin + j) * s->kv_heads + kv_head) * s->D + d;
            double term = p[j] / sum * stored_value(v, t, v_at);

            out[d] += term;
            size[d] += fabs(term);
        }
    }
}

static void check(const struct shape *s, enum dtype t, const void *q, const void *k, const void *v,
                  const void *got)
{
    static double want[HEAD_DIM_MAX], size[HEAD_DIM_MAX];

    for (int w = 0; w < WINDOWS; w++)
        for (int token = start[w]; token < start[w + 1]; token++)
            for (int h = 0; h < s->heads; h++) {
                reference(s, t, q, k, v, token, h, start[w], want, size);
                for (int d = 0; d < s->D; d++) {
                    double value =
                        stored_value(got, t, ((size_t)token * s->heads + h) * s->D + d);
                    double tolerance = rounding(t, want[d]) + rounding(t, size[d]) + 3e-6 * size[d];

                    if (!(fabs(value - want[d]) <= tolerance)) {
                        printf("FAIL %s D %d heads %d/%d window %d: token %d head %d dim %d: got "
                               "%.9g, want %.9g +- %g\n",
                               dtype_name(t), s->D, s->heads, s->kv_heads, s->window, token, h, d,
                               value, want[d], tolerance);
                        exit(1);
                    }
                }
            }
}

static void run(const struct shape *s, enum dtype t)
{
    size_t nq = (size_t)TOKENS * s->heads * s->D, nk = (size_t)TOKENS * s->kv_heads * s->D;
    size_t size = dtype_bytes(t);
    void *q = malloc(nq * size), *k = malloc(nk * size), *v = malloc(nk * size);
    void *got = malloc(nq * size);
    void *dq, *dk, *dv, *out = device_space(nq * size);
    struct attention a = {s->heads, s->kv_heads, s->D, s->window, 1.0f / sqrtf((float)s->D)};
    struct batch b = {TOKENS, WINDOWS, LEN_MAX, device_copy(start, sizeof start)};

    fill_gauss(q, t, nq, 2, 1);
    fill_gauss(k, t, nk, 1, 2);
    fill_gauss(v, t, nk, 1, 3);
    dq = device_copy(q, nq * size);
    dk = device_copy(k, nk * size);
    dv = device_copy(v, nk * size);
    if (t == DTYPE_F32)
        EXPECT_CUDA(launch_attention_f32(out, dq, dk, dv, &a, &b, NULL));
    else
        EXPECT_CUDA(launch_attention(out, dq, dk, dv, t, &a, &b, NULL));
    device_read(got, out, nq * size);
    check(s, t, q, k, v, got);
    cudaFree(dq);
    cudaFree(dk);
    cudaFree(dv);
    cudaFree(out);
    cudaFree((void *)b.start);
    free(q);
    free(k);
    free(v);
    free(got);
}

int main(void)
{
    static const struct shape shapes[] = {{32, 16, 1, 0},  {64, 2, 2, 5},  {80, 2, 1, 0},
                                          {96, 3, 1, 64},  {128, 4, 2, 0}, {128, 1, 1, 1},
                                          {128, 2, 1, 65}, {256, 2, 1, 0}, {256, 1, 1, 33}};

    require_device();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = DTYPE_BF16; t <= DTYPE_F32; t++)
            run(&shapes[i], (enum dtype)t);
    return 0;
}
