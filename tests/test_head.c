// links: kernels_cpu
// timeout: 120
/* head_nll against log-softmax in double: subsets of rows in any order, a softmax narrower than the
 * head, logits that would overflow exp, and NaN; and the same bits in every variant, for any number
 * of threads and any rows beside a row. */
#include "tests/cpu_case.h"

enum { T = 21, H = 80, V = 419 };

static const struct work_shape largest = {.tokens = 600, .len_max = 64, .hidden = H, .ffn = 64,
                                          .q_dim = 64, .kv_dim = 64, .head_dim = 16, .vocab = V,
                                          .k_max = H, .n_max = 64};

static double want(const float *x, const struct weight *w, int row, int target, int vocab)
{
    double z[V], max = -INFINITY, sum = 0;

    for (int n = 0; n < vocab; n++) {
        z[n] = 0;
        for (int k = 0; k < H; k++)
            z[n] += (double)x[row * H + k] * ((const float *)w->data)[n * H + k];
        max = z[n] > max ? z[n] : max;
    }
    for (int n = 0; n < vocab; n++)
        sum += exp(z[n] - max);
    return log(sum) + max - z[target];
}

/* Largest sum of |x w| over the softmax: what f32 sums may be off by, times their length. */
static double size_of(const float *x, const struct weight *w, int row)
{
    double most = 0;

    for (int n = 0; n < V; n++) {
        double size = 0;

        for (int k = 0; k < H; k++)
            size += fabs((double)x[row * H + k] * ((const float *)w->data)[n * H + k]);
        most = size > most ? size : most;
    }
    return most;
}

static void run(const char *isa, int threads, double *nll, const float *x, const struct weight *w,
                const int32_t *row, const int32_t *target, int rows, int vocab)
{
    struct device *d = open_device(isa, DTYPE_F32, W4A16, threads, &largest);
    struct err e = {0};

    EXPECT(kernels_cpu.head_nll(d, nll, x, w, row, target, rows, vocab, &e) == OK);
    kernels_cpu.close(d);
}

static void check_vocab(const float *x, const struct weight *w, int vocab, uint64_t *state)
{
    enum { ROWS = 17 };
    int32_t row[ROWS], target[ROWS];
    double nll[ROWS], other[ROWS];

    for (int i = 0; i < ROWS; i++) {
        row[i] = (int32_t)(next_random(state) % T);
        target[i] = (int32_t)(next_random(state) % vocab);
    }
    target[3] = vocab - 1;
    target[4] = 0;
    run("portable", 1, nll, x, w, row, target, ROWS, vocab);
    for (int i = 0; i < ROWS; i++)
        EXPECT_NEAR(nll[i], want(x, w, row[i], target[i], vocab),
                    size_of(x, w, row[i]) * H * 0x1p-24 + 1e-6);
    for (const struct isa *isa = cpu_isas; isa->name; isa++)
        for (int threads = 1; isa->usable() && !isa->dot && threads <= 3; threads++) {
            run(isa->name, threads, other, x, w, row, target, ROWS, vocab);
            EXPECT(memcmp(nll, other, sizeof nll) == 0);
        }
    for (int i = 0; i < ROWS; i++) {
        run("auto", 2, other, x, w, row + i, target + i, 1, vocab);
        EXPECT(other[0] == nll[i]);
    }
}

/* More rows than a pass takes: each equals the same row alone. */
static void check_passes(const float *x, const struct weight *w)
{
    enum { ROWS = 600 };
    int32_t row[ROWS], target[ROWS];
    double nll[ROWS], one;

    for (int i = 0; i < ROWS; i++) {
        row[i] = i % T;
        target[i] = i % V;
    }
    run("auto", 2, nll, x, w, row, target, ROWS, V);
    for (int i = 0; i < ROWS; i += 37) {
        run("auto", 1, &one, x, w, row + i, target + i, 1, V);
        EXPECT(one == nll[i]);
    }
}

static void check_nan(float *x, const struct weight *w)
{
    int32_t row[] = {1, 2}, target[] = {5, 6};
    double nll[2];
    float kept = x[2 * H + 3];

    x[2 * H + 3] = NAN;
    run("auto", 2, nll, x, w, row, target, 2, V);
    EXPECT(isfinite(nll[0]) && isnan(nll[1]));
    x[2 * H + 3] = kept;

    /* one logit only, in the last block */
    struct weight poisoned = *w;
    float *data = must_alloc((size_t)V * H * sizeof *data);

    memcpy(data, w->data, (size_t)V * H * sizeof *data);
    data[(V - 1) * H] = NAN;
    poisoned.data = data;
    run("auto", 2, nll, x, &poisoned, row, target, 2, V);
    EXPECT(isnan(nll[0]) && isnan(nll[1]));
    run("auto", 2, nll, x, &poisoned, row, target, 2, V - 1);
    EXPECT(isfinite(nll[0]) && isfinite(nll[1]));
    free(data);
}

static void check_bad_target(const float *x, const struct weight *w)
{
    struct device *d = open_device("auto", DTYPE_F32, W4A16, 1, &largest);
    int32_t row = 0, target = V - 9;
    struct err e = {0};
    double nll;

    EXPECT(kernels_cpu.head_nll(d, &nll, x, w, &row, &target, 1, V - 9, &e) == ERR_DATA);
    EXPECT_TEXT(e.msg, "head: target 410 of row 0 is outside the 410 rows of the softmax");
    kernels_cpu.close(d);
}

int main(void)
{
    uint64_t state = 4;
    float *x = must_alloc(T * H * sizeof *x);
    struct weight w = random_weight(WEIGHT_F32, V, H, &state);

    for (int i = 0; i < T * H; i++)
        x[i] = next_float(&state) * (i / H == 7 ? 500 : 3); /* row 7: logits in the thousands */
    check_vocab(x, &w, V, &state);
    check_vocab(x, &w, V - 1, &state);
    check_vocab(x, &w, 129, &state);
    check_vocab(x, &w, 128, &state);
    check_vocab(x, &w, 1, &state);
    check_passes(x, &w);
    check_nan(x, &w);
    check_bad_target(x, &w);
    free_weight(&w);
    free(x);
    return 0;
}
