// links: kernels_cpu
// timeout: 60
/* Proves: RMSNorm against double for all dtypes and odd widths, in place or not, with the same bits
 * for every variant and thread count, and for a row wherever it stands. */
#include "tests/cpu_values.h"

static const int widths[] = {1, 16, 17, 64, 160, 1000, 1024, 1025, 3000};

static void check_values(enum dtype t, const void *x, const float *gain, const void *y, int rows,
                         int cols, double eps)
{
    for (int r = 0; r < rows; r++) {
        double sum = 0;

        for (int c = 0; c < cols; c++)
            sum += pow(get_value(t, x, (size_t)(r * cols + c)), 2);
        for (int c = 0; c < cols; c++) {
            size_t i = (size_t)(r * cols + c);
            double want = get_value(t, x, i) / sqrt(sum / cols + eps) * gain[c];

            EXPECT_NEAR(get_value(t, y, i), want,
                        fabs(want) * (rounding_of(t) * 1.01 + 1e-6) + 1e-7);
        }
    }
}

static void check(enum dtype t, int cols)
{
    enum { ROWS = 5 };
    size_t n = (size_t)(ROWS * cols), bytes = n * dtype_bytes(t);
    uint64_t state = (uint64_t)cols;
    void *x = random_values(t, n, 4, &state), *want = malloc(bytes), *got = malloc(bytes);
    float *gain = random_values(DTYPE_F32, (size_t)cols, 2, &state);
    struct device d = plain_device(t, portable_isa(), 1);
    struct err e;

    EXPECT(want && got);
    EXPECT(rms_norm_cpu(&d, want, x, gain, ROWS, cols, 1e-5f, &e) == OK);
    check_values(t, x, gain, want, ROWS, cols, 1e-5f);
    for (const struct isa *i = cpu_isas; i->name; i++)
        for (int threads = 1; i->usable() && threads <= 3; threads++) {
            d = plain_device(t, i, threads);
            memcpy(got, x, bytes);
            EXPECT(rms_norm_cpu(&d, got, got, gain, ROWS, cols, 1e-5f, &e) == OK);
            EXPECT(memcmp(got, want, bytes) == 0);
        }
    /* the last row alone */
    size_t last = bytes / ROWS * (ROWS - 1);
    EXPECT(rms_norm_cpu(&d, got, (char *)x + last, gain, 1, cols, 1e-5f, &e) == OK);
    EXPECT(memcmp(got, (char *)want + last, bytes / ROWS) == 0);
    free(x);
    free(want);
    free(got);
    free(gain);
}

/* A row of zeros: 0 * 1/sqrt(eps), not 0/0. */
static void check_zeros(void)
{
    float x[16] = {0}, gain[16] = {1, 2, 3};
    struct device d = plain_device(DTYPE_F32, portable_isa(), 1);
    struct err e;

    EXPECT(rms_norm_cpu(&d, x, x, gain, 1, 16, 1e-6f, &e) == OK);
    for (int i = 0; i < 16; i++)
        EXPECT(x[i] == 0);
}

int main(void)
{
    for (enum dtype t = DTYPE_BF16; t <= DTYPE_F32; t++)
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
            check(t, widths[i]);
    check_zeros();
    return 0;
}
