/* Weights on the GPU: every product of e2m1 and e4m3 comes out exact, Hugging Face's rounding bit by
 * bit, scales where cuBLASLt wants them, plain weights as bf16 pieces that add up to them, and the embedding of every format in every
 * dtype. References are written from formats.md 1.2-1.4. */
#include "kernels/cuda/cuda.h"
#include "tests/cuda/device.h"

enum { SCALES = 127 /* finite non-negative e4m3 */, CODES = 16 };

/* Row of scale s: the 16 codes in order. */
static void all_products(uint8_t *codes, uint8_t *scale)
{
    for (int s = 0; s < SCALES; s++) {
        scale[s] = (uint8_t)s;
        for (int i = 0; i < CODES / 2; i++)
            codes[s * CODES / 2 + i] = (uint8_t)(2 * i | (2 * i + 1) << 4);
    }
}

static double e2m1(int code)
{
    static const double size[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

    return code & 8 ? -size[code & 7] : size[code & 7];
}

static double e4m3(int bits)
{
    int exponent = bits >> 3, mantissa = bits & 7;

    return exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
}

static void products_are_exact(void)
{
    enum { N = SCALES * CODES };
    uint8_t codes[N / 2], scale[SCALES];
    uint16_t got[N];
    void *dc, *ds, *out = device_space(sizeof got);

    all_products(codes, scale);
    dc = device_copy(codes, sizeof codes);
    ds = device_copy(scale, sizeof scale);
    for (int type = OPERAND_BF16; type <= OPERAND_F16; type++) {
        EXPECT_CUDA(launch_dequantize(out, (enum operand)type, dc, ds, N, NULL));
        device_read(got, out, sizeof got);
        for (int i = 0; i < N; i++) {
            float value = type == OPERAND_BF16 ? bf16_to_f32(got[i]) : f16_to_f32(got[i]);

            EXPECT(value == e2m1(i % CODES) * e4m3(i / CODES));
            EXPECT((got[i] >> 15) == (i % CODES >= 8)); /* also of -0 */
        }
    }
    cudaFree(dc);
    cudaFree(ds);
    cudaFree(out);
}

/* formats.md 1.4: computed with Hugging Face's arithmetic. */
static void hf_golden(void)
{
    static const struct {
        float global;
        uint8_t scale, code;
        uint16_t want;
    } golden[] = {{1234.5f, 0x58, 7, 0x3d9f},
                  {1234.5f, 0x7e, 5, 0x3f8b},
                  {9984, 0x69, 3, 0x3c31},
                  {3141.5927734375f, 0x41, 13, 0xbb0d},
                  {20000, 0x01, 1, 0x3352}};

    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        uint8_t codes[8];
        uint16_t got[16];
        void *dc, *ds = device_copy(&golden[i].scale, 1), *out = device_space(sizeof got);

        memset(codes, golden[i].code | golden[i].code << 4, sizeof codes);
        dc = device_copy(codes, sizeof codes);
        EXPECT_CUDA(launch_dequantize_hf(out, dc, ds, golden[i].global, true, 16, NULL));
        device_read(got, out, sizeof got);
        for (int j = 0; j < 16; j++)
            EXPECT(got[j] == golden[i].want);
        cudaFree(dc);
        cudaFree(ds);
        cudaFree(out);
    }
}

/* A multiplier, as ModelOpt stores it. */
static void hf_multiplies(void)
{
    enum { N = SCALES * CODES };
    uint8_t codes[N / 2], scale[SCALES];
    uint16_t got[N];
    const float global = 0.00081f;
    void *dc, *ds, *out = device_space(sizeof got);

    all_products(codes, scale);
    dc = device_copy(codes, sizeof codes);
    ds = device_copy(scale, sizeof scale);
    EXPECT_CUDA(launch_dequantize_hf(out, dc, ds, global, false, N, NULL));
    device_read(got, out, sizeof got);
    for (int i = 0; i < N; i++) {
        float s = (float)e4m3(i / CODES) * global;

        EXPECT(got[i] == f32_to_bf16((float)e2m1(i % CODES) * s));
    }
    cudaFree(dc);
    cudaFree(ds);
    cudaFree(out);
}

/* The pieces of a weight: 1 for bf16, 2 for f16, 3 for f32. */
static void pieces_add_up(enum weight_format format, enum dtype stored, int pieces)
{
    enum { N = 300 };
    unsigned char w[N * sizeof(float)];
    double sum[N] = {0};
    uint16_t piece[N];
    void *dw, *out = device_space(sizeof piece);

    fill_gauss(w, stored, N, 3, 5);
    dw = device_copy(w, N * dtype_bytes(stored));
    for (int p = 0; p < pieces; p++) {
        EXPECT_CUDA(launch_weight_piece(out, format, dw, p, N, NULL));
        device_read(piece, out, sizeof piece);
        for (int i = 0; i < N; i++)
            sum[i] += bf16_to_f32(piece[i]);
    }
    for (int i = 0; i < N; i++)
        EXPECT(sum[i] == stored_value(w, stored, (size_t)i));
    cudaFree(dw);
    cudaFree(out);
}

enum { ROWS = 5, H = 48, TOKENS = 4 };
static const int32_t ids[TOKENS] = {4, 0, 4, 2};

/* want[TOKENS][H] before the rounding to dtype */
static void check_embed(const struct weight *w, bool hf, const float *want)
{
    int32_t *on_device = device_copy(ids, sizeof ids);

    for (int t = DTYPE_BF16; t <= DTYPE_F32; t++) {
        unsigned char got[TOKENS * H * sizeof(float)];
        size_t bytes = TOKENS * H * dtype_bytes((enum dtype)t);
        void *y = device_space(bytes);

        EXPECT_CUDA(launch_embed(y, (enum dtype)t, w, hf, on_device, TOKENS, NULL));
        device_read(got, y, bytes);
        for (size_t i = 0; i < TOKENS * H; i++)
            EXPECT(stored_value(got, (enum dtype)t, i) == round_value((enum dtype)t, want[i]));
        cudaFree(y);
    }
    cudaFree(on_device);
}

static void embed_plain(enum weight_format format, enum dtype stored)
{
    unsigned char table[ROWS * H * sizeof(float)];
    float want[TOKENS * H];
    struct weight w = {.format = format, .N = ROWS, .K = H};

    fill_gauss(table, stored, ROWS * H, 1, 9);
    for (size_t i = 0; i < TOKENS * H; i++)
        want[i] = stored_value(table, stored, (size_t)ids[i / H] * H + i % H);
    w.data = device_copy(table, ROWS * H * dtype_bytes(stored));
    check_embed(&w, false, want);
    cudaFree((void *)w.data);
}

static void embed_nvfp4(bool divides, bool hf)
{
    uint8_t codes[ROWS * H / 2], scale[ROWS * H / 16];
    float want[TOKENS * H], global = divides ? 1234.5f : 0.00081f;
    struct weight w = {.format = WEIGHT_NVFP4, .N = ROWS, .K = H, .global_stored = global,
                       .global_divides = divides};
    uint64_t seed = 3;

    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)(256 * uniform(&seed));
    for (size_t i = 0; i < sizeof scale; i++)
        scale[i] = (uint8_t)(SCALES * uniform(&seed));
    for (size_t i = 0; i < TOKENS * H; i++) {
        size_t at = (size_t)ids[i / H] * H + i % H;
        double q = e2m1(codes[at / 2] >> (at % 2 * 4) & 15), s = e4m3(scale[at / 16]);
        float s1 = divides ? (float)s / global : (float)s * global;

        want[i] = hf ? bf16_to_f32(f32_to_bf16((float)q * s1))
                     : (float)(q * s * (divides ? 1.0 / global : global));
    }
    w.data = device_copy(codes, sizeof codes);
    w.scale = device_copy(scale, sizeof scale);
    check_embed(&w, hf, want);
    cudaFree((void *)w.data);
    cudaFree((void *)w.scale);
}

/* 200 rows of 6 groups: 2 x 2 tiles. By hand, from the layout that NVIDIA documents. */
static void swizzled(void)
{
    enum { N = 200, GROUPS = 6, K = GROUPS * NVFP4_GROUP, BYTES = 4 * 512 };
    static const struct {
        int row, group, at;
    } place[] = {{0, 0, 0},   {0, 3, 3},    {1, 0, 16},     {31, 1, 497},   {32, 0, 4},
                 {96, 2, 14}, {127, 3, 511}, {0, 4, 512},    {64, 5, 521},   {128, 0, 1024},
                 {160, 1, 1029}, {199, 5, 1657}};
    uint8_t scale[N * GROUPS], got[BYTES];
    int count[256] = {0}, zeros = 0;
    void *ds, *out = device_space(BYTES);

    for (int i = 0; i < N * GROUPS; i++)
        scale[i] = (uint8_t)(1 + i % 126);
    ds = device_copy(scale, sizeof scale);
    EXPECT_CUDA(launch_swizzle(out, ds, N, K, NULL));
    device_read(got, out, BYTES);
    for (size_t i = 0; i < sizeof place / sizeof *place; i++)
        EXPECT(got[place[i].at] == scale[place[i].row * GROUPS + place[i].group]);
    for (int i = 0; i < N * GROUPS; i++)
        count[scale[i]]++;
    for (int i = 0; i < BYTES; i++) { /* each scale is there once, the rest is 0 */
        zeros += got[i] == 0;
        count[got[i]] -= got[i] != 0;
    }
    EXPECT(zeros == BYTES - N * GROUPS);
    for (int i = 0; i < 256; i++)
        EXPECT(count[i] == 0);
    cudaFree(ds);
    cudaFree(out);
}

int main(void)
{
    require_device();
    products_are_exact();
    hf_golden();
    swizzled();
    hf_multiplies();
    pieces_add_up(WEIGHT_BF16, DTYPE_BF16, 1);
    pieces_add_up(WEIGHT_F16, DTYPE_F16, 2);
    pieces_add_up(WEIGHT_F32, DTYPE_F32, 3);
    embed_plain(WEIGHT_F32, DTYPE_F32);
    embed_plain(WEIGHT_F16, DTYPE_F16);
    embed_plain(WEIGHT_BF16, DTYPE_BF16);
    for (int i = 0; i < 4; i++)
        embed_nvfp4(i & 1, i & 2);
    return 0;
}
