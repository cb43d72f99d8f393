// links: loader spec
/* inv_freq of the four rope kinds against the formulas of Hugging Face's modeling_rope_utils worked
 * out in double precision here (f32 rounding on the way may cost a few units in the last place),
 * and against numbers derived by hand. */
#include "loader/config.h"
#include "test.h"

enum { DIM = 64 };
static const double two_pi = 6.283185307179586476925;

/* Six f32 roundings at most stand between the formula and the result: 6 * 2^-24 and a margin. */
static const double tolerance = 5e-7;

static void expect_relative(double got, double want)
{
    EXPECT_NEAR(got / want, 1, tolerance);
}

static struct rope read_rope(const char *text, double max_len)
{
    struct json *j;
    struct rope r;
    struct err e;

    if (json_parse("config.json", text, strlen(text), JSON_STRICT, ERR_DATA, &j, &e) != OK ||
        rope_read(j, max_len, &r, &e) != OK) {
        printf("FAIL %s: %s\n", text, e.msg);
        exit(1);
    }
    json_close(j);
    return r;
}

static double plain(double theta, int i)
{
    return pow(theta, -2.0 * i / DIM);
}

static void test_default(void)
{
    struct rope r = read_rope("{\"rope_theta\": 10000.0}", 0);
    float f[DIM / 2];

    EXPECT(r.kind == ROPE_DEFAULT && rope_inv_freq(&r, DIM, f) == 1.0);
    EXPECT(f[0] == 1.0f);
    EXPECT_NEAR(f[8], 0.1, 1e-8);   /* 10000^(-16/64) */
    EXPECT_NEAR(f[16], 0.01, 1e-9); /* 10000^(-32/64) */
    for (int i = 0; i < DIM / 2; i++)
        expect_relative(f[i], plain(10000, i));
    r = read_rope("{}", 0); /* Llama 2 has no field at all */
    EXPECT(r.kind == ROPE_DEFAULT && r.theta == 10000);
    r = read_rope("{\"rope_theta\": 5e5, \"rope_scaling\": null}", 0);
    EXPECT(r.kind == ROPE_DEFAULT && r.theta == 500000);
    r = read_rope("{\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\", "
                  "\"rope_theta\": 7e4}, \"sliding_attention\": {\"rope_theta\": 7e4, "
                  "\"rope_type\": \"default\"}}}",
                  0);
    EXPECT(r.kind == ROPE_DEFAULT && r.theta == 70000);
}

static void test_linear(void)
{
    struct rope r = read_rope("{\"rope_theta\": 10000.0, "
                              "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}}",
                              0);
    float f[DIM / 2];

    EXPECT(r.kind == ROPE_LINEAR && rope_inv_freq(&r, DIM, f) == 1.0);
    EXPECT(f[0] == 0.25f);
    for (int i = 0; i < DIM / 2; i++)
        expect_relative(f[i], plain(10000, i) / 4);
}

/* Llama 3.1: 8192 positions; waves shorter than 2048 stay, longer than 8192 are stretched by 8. */
static void test_llama3(void)
{
    struct rope r = read_rope("{\"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": "
                              "\"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
                              "\"high_freq_factor\": 4.0, "
                              "\"original_max_position_embeddings\": 8192}}",
                              0);
    float f[DIM / 2];
    int kept = 0, stretched = 0;

    EXPECT(r.kind == ROPE_LLAMA3 && rope_inv_freq(&r, DIM, f) == 1.0);
    for (int i = 0; i < DIM / 2; i++) {
        double inv = plain(500000, i), wave = two_pi / inv;
        double smooth = (8192 / wave - 1) / (4 - 1);

        if (wave < 2048) {
            expect_relative(f[i], inv);
            kept++;
        } else if (wave > 8192) {
            expect_relative(f[i], inv / 8);
            stretched++;
        } else {
            expect_relative(f[i], (1 - smooth) * inv / 8 + smooth * inv);
        }
    }
    /* ln(2048/2pi)/ln(5e5)*32 = 14.1 and ln(8192/2pi)/ln(5e5)*32 = 17.5 */
    EXPECT(kept == 15 && stretched == 14);
}

static void expect_yarn(const struct rope *r, double theta, double factor, double low, double high)
{
    float f[DIM / 2];

    rope_inv_freq(r, DIM, f);
    for (int i = 0; i < DIM / 2; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1), inv = plain(theta, i);

        expect_relative(f[i], inv / factor * ramp + inv * (1 - ramp));
    }
}

/* The index that turns n times in 4096 positions is 64 ln(4096/(2 pi n)) / (2 ln 10000):
 * 10.472240810318 for n = 32, 22.513440636877 for n = 1. */
static void test_yarn(void)
{
    const char *start = "{\"rope_theta\": 10000.0, \"max_position_embeddings\": 16384, "
                        "\"rope_scaling\": {\"rope_type\": \"yarn\", "
                        "\"original_max_position_embeddings\": 4096";
    char text[512];
    struct rope r;
    float f[DIM / 2];

    snprintf(text, sizeof text, "%s, \"factor\": 4.0}}", start);
    r = read_rope(text, 16384);
    EXPECT(r.kind == ROPE_YARN && r.truncate && r.beta_fast == 32 && r.beta_slow == 1);
    EXPECT_NEAR(rope_inv_freq(&r, DIM, f), 0.1 * log(4.0) + 1, 1e-15); /* 1.1386294 */
    EXPECT(f[0] == 1.0f);
    expect_yarn(&r, 10000, 4, 10, 23);

    snprintf(text, sizeof text, "%s, \"truncate\": false}}", start); /* factor 16384/4096 */
    r = read_rope(text, 16384);
    EXPECT(r.factor == 4 && !r.truncate);
    expect_yarn(&r, 10000, 4, 10.472240810318, 22.513440636877);

    snprintf(text, sizeof text, "%s, \"factor\": 4.0, \"mscale\": 1.0, \"mscale_all_dim\": 1.0}}",
             start);
    r = read_rope(text, 16384);
    EXPECT(rope_inv_freq(&r, DIM, f) == 1.0);
    snprintf(text, sizeof text,
             "%s, \"factor\": 4.0, \"attention_factor\": 1.25, "
             "\"beta_fast\": 16, \"beta_slow\": 2}}",
             start);
    r = read_rope(text, 16384);
    EXPECT(rope_inv_freq(&r, DIM, f) == 1.25 && r.beta_fast == 16 && r.beta_slow == 2);
}

int main(void)
{
    test_default();
    test_linear();
    test_llama3();
    test_yarn();
    return 0;
}
