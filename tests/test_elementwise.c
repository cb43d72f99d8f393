// links: kernels_cpu
// timeout: 60
/* Proves: swiglu, add and nonfinite over arrays longer than a part; embed from every weight format,
 * with the roundings of each arithmetic; all with the same bits for every variant. */
#include "tests/cpu_values.h"

enum { N = 5003 };

static void check_arrays(enum dtype t, const struct isa *isa)
{
    uint64_t state = 9;
    struct device d = plain_device(t, isa, 2);
    void *a = random_values(t, N, 5, &state), *b = random_values(t, N, 5, &state);
    void *sum = malloc(N * dtype_bytes(t)), *product = malloc(N * dtype_bytes(t));
    int32_t flag = 0;
    struct err e;

    EXPECT(sum && product);
    memcpy(sum, a, N * dtype_bytes(t));
    memcpy(product, a, N * dtype_bytes(t));
    EXPECT(add_cpu(&d, sum, b, N, &e) == OK && swiglu_cpu(&d, product, b, N, &e) == OK);
    for (size_t i = 0; i < N; i++) {
        double x = get_value(t, a, i), y = get_value(t, b, i), silu = x / (1 + exp(-x)) * y;

        EXPECT_NEAR(get_value(t, sum, i), x + y, 1.01 * rounding_of(t) * fabs(x + y));
        EXPECT_NEAR(get_value(t, product, i), silu,
                    (1.01 * rounding_of(t) + 4e-7) * fabs(silu) + 1e-7);
    }
    EXPECT(nonfinite_cpu(&d, &flag, a, N, &e) == OK && flag == 0);
    put_value(t, a, N - 1, INFINITY);
    EXPECT(nonfinite_cpu(&d, &flag, a, N - 1, &e) == OK && flag == 0);
    EXPECT(nonfinite_cpu(&d, &flag, a, N, &e) == OK && flag == 1);
    EXPECT(nonfinite_cpu(&d, &flag, b, N, &e) == OK && flag == 1); /* left as it was */
    flag = 0;
    put_value(t, b, 0, NAN);
    EXPECT(nonfinite_cpu(&d, &flag, b, N, &e) == OK && flag == 1);
    free(a);
    free(b);
    free(sum);
    free(product);
}

static void check_embed_plain(enum weight_format f, enum dtype stored, const struct isa *isa)
{
    enum { ROWS = 7, H = 1040 };
    const int32_t ids[] = {6, 0, 3, 3};
    static uint16_t y[4 * H];
    uint64_t state = 2;
    struct device d = plain_device(DTYPE_BF16, isa, 2);
    void *data = random_values(stored, ROWS * H, 1, &state);
    struct weight w = {.format = f, .N = ROWS, .K = H, .data = data};
    struct err e;

    EXPECT(embed_cpu(&d, y, &w, ids, 4, &e) == OK);
    for (int t = 0; t < 4; t++)
        for (int c = 0; c < H; c++)
            EXPECT(y[t * H + c] == f32_to_bf16(get_value(stored, data, (size_t)(ids[t] * H + c))));
    free(data);
}

/* The five weights of compressed-tensors' arithmetic: w32 = q * (s/gs) in f32, then bf16. */
static void check_embed_nvfp4(const struct isa *isa)
{
    static const struct {
        float global;
        uint8_t scale, code;
        uint16_t hf;
    } golden[] = {{1234.5f, 0x58, 7, 0x3d9f},
                  {1234.5f, 0x7e, 5, 0x3f8b},
                  {9984, 0x69, 3, 0x3c31},
                  {3141.5927734375f, 0x41, 13, 0xbb0d},
                  {20000, 0x01, 1, 0x3352}};

    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        uint8_t data[16] = {[8 + 2] = (uint8_t)(golden[i].code << 4)}; /* row 1, value 5 */
        uint8_t scale[2] = {0x38, golden[i].scale};
        struct weight w = {.format = WEIGHT_NVFP4, .N = 2, .K = 16, .data = data, .scale = scale,
                           .global_stored = golden[i].global, .global_divides = true};
        double exact = (double)e2m1_to_f32(golden[i].code) * e4m3_to_f32(golden[i].scale) /
                       golden[i].global;
        struct device d = plain_device(DTYPE_F32, isa, 1);
        float y[16];
        struct err e;

        EXPECT(embed_cpu(&d, y, &w, (const int32_t[]){1}, 1, &e) == OK);
        EXPECT(y[4] == 0 && y[6] == 0 && y[5] == (float)exact);
        d.arithmetic = W4A16_HF;
        EXPECT(embed_cpu(&d, y, &w, (const int32_t[]){1}, 1, &e) == OK);
        EXPECT(y[5] == bf16_to_f32(golden[i].hf));
        d.arithmetic = W4A16;
        w.global_divides = false;
        EXPECT(embed_cpu(&d, y, &w, (const int32_t[]){1}, 1, &e) == OK);
        EXPECT(y[5] == (float)(exact * golden[i].global * golden[i].global));
    }
}

int main(void)
{
    for (const struct isa *i = cpu_isas; i->name; i++) {
        if (!i->usable())
            continue;
        for (enum dtype t = DTYPE_BF16; t <= DTYPE_F32; t++)
            check_arrays(t, i);
        check_embed_plain(WEIGHT_F32, DTYPE_F32, i);
        check_embed_plain(WEIGHT_F16, DTYPE_F16, i);
        check_embed_plain(WEIGHT_BF16, DTYPE_BF16, i);
        check_embed_nvfp4(i);
    }
    return 0;
}
