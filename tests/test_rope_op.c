// links: kernels_cpu
// timeout: 60
/* Proves: rope turns the pair (i, i + D/2) of each head by the angle of the token's position in its
 * window, for all dtypes, variants and thread counts. */
#include "tests/cpu_values.h"

enum { HEADS = 3, LEN_MAX = 40 };
static const int32_t start[] = {0, 17, 18, 58}; /* windows of 17, 1 and 40 tokens */
static const struct batch batch = {58, 3, LEN_MAX, start};

static double angle_of(int position, int i, int D)
{
    return position * pow(10000, -2.0 * i / D);
}

/* Value c of a head at `position` after rotation, from the values x before it. */
static double turned(enum dtype t, const void *x, size_t row, int position, int c, int D)
{
    int half = D / 2, i = c % half;
    double a = get_value(t, x, row + (size_t)i), b = get_value(t, x, row + (size_t)(i + half));
    double angle = angle_of(position, i, D);

    return c < half ? a * cos(angle) - b * sin(angle) : b * cos(angle) + a * sin(angle);
}

static void check_values(enum dtype t, const void *x, const void *y, int D)
{
    for (int w = 0; w < batch.windows; w++)
        for (int p = start[w]; p < start[w + 1]; p++)
            for (int h = 0; h < HEADS; h++)
                for (int c = 0; c < D; c++) {
                    size_t row = (size_t)((p * HEADS + h) * D);

                    EXPECT_NEAR(get_value(t, y, row + (size_t)c),
                                turned(t, x, row, p - start[w], c, D), 3 * (rounding_of(t) + 1e-7));
                }
}

static void check(enum dtype t, int D)
{
    size_t n = (size_t)(batch.tokens * HEADS * D), bytes = n * dtype_bytes(t);
    float *cosines = malloc(sizeof *cosines * LEN_MAX * D), *sines = cosines + LEN_MAX * D / 2;
    uint64_t state = (uint64_t)D;
    void *x = random_values(t, n, 2, &state), *want = malloc(bytes), *got = malloc(bytes);
    struct err e;

    EXPECT(cosines && want && got);
    for (int p = 0; p < LEN_MAX; p++)
        for (int i = 0; i < D / 2; i++) {
            cosines[p * D / 2 + i] = (float)cos(angle_of(p, i, D));
            sines[p * D / 2 + i] = (float)sin(angle_of(p, i, D));
        }
    for (const struct isa *i = portable_isa(); i >= cpu_isas; i--)
        for (int threads = 1; i->usable() && threads <= 3; threads++) {
            struct device d = plain_device(t, i, threads);

            memcpy(got, x, bytes);
            EXPECT(rope_cpu(&d, got, HEADS, D, cosines, sines, &batch, &e) == OK);
            if (i == portable_isa() && threads == 1)
                memcpy(want, got, bytes);
            EXPECT(memcmp(got, want, bytes) == 0);
        }
    check_values(t, x, want, D);
    free(cosines);
    free(x);
    free(want);
    free(got);
}

int main(void)
{
    for (enum dtype t = DTYPE_BF16; t <= DTYPE_F32; t++) {
        check(t, 2);
        check(t, 18);
        check(t, 64);
        check(t, 128);
    }
    return 0;
}
