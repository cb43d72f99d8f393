// links: kernels_cpu
// timeout: 60
/* Proves: 4-bit inputs equal the worked example of compressed-tensors' arithmetic, the ties and
 * zero groups of both rules, and a search through all codes and scales on random rows. */
#include <float.h>

#include "tests/cpu_values.h"

static void quantize(enum arithmetic a, enum dtype t, bool unrounded, float gi, const float *x,
                     int rows, int K, float *xq)
{
    for (const struct isa *i = cpu_isas; i->name; i++) {
        struct device d = plain_device(t, i, 2);
        struct weight w = {.K = K, .input_global = gi, .input_scale_unrounded = unrounded};
        size_t n = (size_t)rows * K;
        void *stored = malloc(n * dtype_bytes(t));
        float *got = malloc(n * sizeof *got);

        if (i->usable()) {
            EXPECT(stored && got);
            for (size_t j = 0; j < n; j++)
                put_value(t, stored, j, x[j]);
            d.arithmetic = a;
            quantize_rows(&d, &w, stored, rows, got);
            if (i == cpu_isas || !cpu_isas->usable())
                memcpy(xq, got, n * sizeof *got);
            EXPECT(memcmp(xq, got, n * sizeof *got) == 0); /* the same for every variant */
        }
        free(stored);
        free(got);
    }
}

/* gi = 500: amax 3.40625 (bf16 of 3.4), c = bf16(amax/6) * 500 = 283.203125, as e4m3 288 (0x79),
 * s' = 288/500 = 0.576; vLLM's 283.854187 rounds to the same 288. */
static void check_worked_example(void)
{
    const float x[16] = {0.1f, -0.25f, 0.5f,  1, -2,   3,     -0.03f, 0.7f,
                         0.9f, 1.1f,   -1.3f, 0, 2.2f, -0.6f, 0.45f,  -3.4f};
    const char *codes = "0923d78234c06a2f";
    float hf[16], vllm[16];

    quantize(W4A4_HF, DTYPE_BF16, false, 500, x, 1, 16, hf);
    quantize(W4A4_VLLM, DTYPE_BF16, false, 500, x, 1, 16, vllm);
    for (int i = 0; i < 16; i++) {
        char digit[2] = {codes[i], 0};
        float q = e2m1_to_f32((unsigned)strtoul(digit, NULL, 16));

        EXPECT(hf[i] == bf16_to_f32(f32_to_bf16(q * 0.5759999752044678f)));
        EXPECT(vllm[i] == q * 288);
    }
    EXPECT(hf[1] == -.287109375f && hf[2] == .57421875f && hf[3] == .86328125f);
    EXPECT(hf[4] == -1.7265625f && hf[5] == 3.453125f);
}

/* amax 6 and gi 1 make the scale 1. */
static void check_ties(void)
{
    const float x[16] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 6,
                         -0.25f, -0.75f, -1.25f, -1.75f, -2.5f, -3.5f, -5, -6};
    const float want[8] = {0, 1, 1, 2, 2, 4, 4, 6};
    float hf[16], vllm[16];

    quantize(W4A4_HF, DTYPE_F32, false, 1, x, 1, 16, hf);
    quantize(W4A4_VLLM, DTYPE_F32, false, 1, x, 1, 16, vllm);
    for (int i = 0; i < 16; i++) {
        float w = i < 8 ? want[i] : -want[i - 8];

        EXPECT(hf[i] == w && vllm[i] == w);
    }
}

/* A group whose scale rounds to 0: HF takes 0.125 (unrounded: FLT_EPSILON for an exact 0) and its
 * values vanish against that; vLLM gives zeros. With gi = 1, 0.0005/6 is below half of the least
 * e4m3, 2^-10. */
static void check_zero_scale(void)
{
    const float x[32] = {[3] = 0.0005f, [9] = -0.0001f}; /* the second group is all zero */
    float got[32];

    quantize(W4A4_HF, DTYPE_F32, false, 1, x, 1, 32, got);
    for (int i = 0; i < 32; i++)
        EXPECT(got[i] == 0);
    quantize(W4A4_VLLM, DTYPE_F32, false, 1, x, 1, 32, got);
    for (int i = 0; i < 32; i++)
        EXPECT(got[i] == 0);
    quantize(W4A4_HF, DTYPE_F32, true, 1, x, 1, 32, got);
    EXPECT_NEAR(got[3], 0.0005, 1e-9);  /* its own unrounded scale: 6 times amax/6 */
    EXPECT_NEAR(got[9], -0.0000833, 1e-6); /* -0.0001 is 1.2 times amax/6, the nearest code 1 */
    for (int i = 16; i < 32; i++)
        EXPECT(got[i] == 0);
}

/* Groups do not hide what is not finite: a NaN makes its group NaN. */
static void check_nan(void)
{
    float x[32], got[32];

    for (int i = 0; i < 32; i++)
        x[i] = (float)i;
    x[3] = NAN;
    quantize(W4A4_HF, DTYPE_F32, false, 10, x, 1, 32, got);
    EXPECT(isnan(got[0]) && isnan(got[3]) && isnan(got[15]) && got[16] > 0);
    quantize(W4A4_VLLM, DTYPE_F32, false, 10, x, 1, 32, got);
    EXPECT(isnan(got[0]) && isnan(got[3]) && isnan(got[15]) && got[16] > 0);
}

/* The e4m3 value nearest to x >= 0 by trying all, ties to the even byte. */
static float nearest_e4m3(float x)
{
    unsigned best = 0;

    if (x > 448)
        return 448;
    for (unsigned b = 1; b < 0x7f; b++) {
        double now = fabs((double)e4m3_to_f32((uint8_t)b) - x);
        double least = fabs((double)e4m3_to_f32((uint8_t)best) - x);

        if (now < least || (now == least && b % 2 == 0))
            best = b;
    }
    return e4m3_to_f32((uint8_t)best);
}

static float nearest_e2m1(float x)
{
    unsigned best = 0;

    for (unsigned c = 1; c < 8; c++) {
        double now = fabs(e2m1_to_f32(c) - fabs((double)x));
        double least = fabs(e2m1_to_f32(best) - fabs((double)x));

        if (now < least || (now == least && c % 2 == 0))
            best = c;
    }
    return copysignf(e2m1_to_f32(best), x);
}

static float rounded(enum dtype t, float x)
{
    float y;

    put_value(t, &y, 0, x);
    return get_value(t, &y, 0);
}

static void search_group(enum arithmetic a, enum dtype t, bool unrounded, float gi, const float *x,
                         float *want)
{
    float amax = 0, c;

    for (int i = 0; i < 16; i++)
        amax = fmaxf(amax, fabsf(rounded(t, x[i])));
    if (a == W4A4_VLLM) {
        float s = nearest_e4m3(gi * (amax * (1 / 6.0f)));
        float to_code = s == 0 ? 0 : 1 / (s * (1 / gi));

        for (int i = 0; i < 16; i++)
            want[i] = nearest_e2m1(rounded(t, x[i]) * to_code) * s;
        return;
    }
    c = gi * rounded(t, amax / 6);
    if (!unrounded)
        c = nearest_e4m3(c);
    if (c == 0)
        c = unrounded ? FLT_EPSILON : 0.125f;
    c /= gi;
    for (int i = 0; i < 16; i++)
        want[i] = rounded(t, nearest_e2m1(rounded(t, x[i]) / c) * c);
}

static void check_search(enum arithmetic a, enum dtype t, bool unrounded)
{
    enum { ROWS = 6, K = 1024 + 256 + 48 };
    static float x[ROWS * K], got[ROWS * K];
    uint64_t state = 11 + a + 5 * t;
    float gi = 37.3f;

    for (int i = 0; i < ROWS * K; i += 16) { /* scales from below the denormals to beyond 448 */
        float size = ldexpf(1 + fabsf(next_float(&state)), (int)(next_random(&state) % 24) - 15);

        for (int j = 0; j < 16; j++)
            x[i + j] = size * next_float(&state);
    }
    quantize(a, t, unrounded, gi, x, ROWS, K, got);
    for (int i = 0; i < ROWS * K; i += 16) {
        float want[16];

        search_group(a, t, unrounded, gi, x + i, want);
        EXPECT(memcmp(got + i, want, sizeof want) == 0);
    }
}

int main(void)
{
    check_worked_example();
    check_ties();
    check_zero_scale();
    check_nan();
    for (enum dtype t = DTYPE_BF16; t <= DTYPE_F32; t++) {
        check_search(W4A4_HF, t, false);
        check_search(W4A4_HF, t, true);
        check_search(W4A4_VLLM, t, false);
    }
    return 0;
}
