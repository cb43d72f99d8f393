// links: kernels_cpu
// timeout: 120
/* From stored weights to B panels. Golden vectors: Hugging Face's rounding of an NVFP4 weight,
 * bf16(f32(q * f32(s / gs))), and ModelOpt's with a multiplier. Then every variant against a decoder
 * written here in double: all 256 scales x 16 codes, all formats, partial depths and columns. */
#include "tests/cpu_case.h"

/* Computed with exact rounding from the published arithmetic of compressed-tensors; s/gs and q*s/gs
 * in f32 are, in order of the rows, .012960712425410748 .07776427268981934; .3628999590873718
 * 1.0886998176574707; .0072115384973585606 .010817307978868484; .0007161971880123019
 * -.002148591447621584; 9.765624753299562e-08 4.882812376649781e-08. */
static const struct golden {
    float global;
    uint8_t scale, code;
    uint16_t bf16;
} golden[] = {
    {1234.5f, 0x58, 7, 0x3d9f},           {1234.5f, 0x7e, 5, 0x3f8b}, {9984.0f, 0x69, 3, 0x3c31},
    {3141.5927734375f, 0x41, 13, 0xbb0d}, {20000.0f, 0x01, 1, 0x3352},
};

static uint32_t bits(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return u;
}

static double e4m3(int byte)
{
    int e = byte >> 3 & 15, m = byte & 7;
    double size = e ? ldexp(1 + m / 8.0, e - 7) : ldexp(m / 8.0, -6);

    if ((byte & 127) == 127)
        return NAN;
    return byte & 128 ? -size : size;
}

static double e2m1(int code)
{
    static const double size[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

    return code & 8 ? -size[code & 7] : size[code & 7];
}

static double bf16(double x) /* x is an f32 value */
{
    int e;

    if (isnan(x) || x == 0)
        return x;
    frexp(x, &e);
    return ldexp(nearbyint(ldexp(x, 8 - e)), e - 8);
}

static double half(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double size = e == 31 ? (m ? NAN : INFINITY)
                          : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);

    return h & 0x8000 ? -size : size;
}

static double want(const struct weight *w, int n, int k, bool hf)
{
    size_t at = (size_t)n * w->K + k;

    if (w->format == WEIGHT_F32)
        return ((const float *)w->data)[at];
    if (w->format == WEIGHT_F16)
        return half(((const uint16_t *)w->data)[at]);
    if (w->format == WEIGHT_BF16) {
        uint32_t u = (uint32_t)((const uint16_t *)w->data)[at] << 16;
        float x;

        memcpy(&x, &u, sizeof x);
        return x;
    }
    int byte = ((const uint8_t *)w->data)[at / 2];
    double q = e2m1(at % 2 ? byte >> 4 : byte & 15), s = e4m3(w->scale[at / 16]);

    if (!hf)
        return q * s;
    /* each product or quotient of two f32 rounds to f32 once, also through double */
    s = (float)(w->global_divides ? s / w->global_stored : s * w->global_stored);
    return bf16((float)(q * s));
}

static void check_golden(const struct isa *isa)
{
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        const struct golden *v = &golden[i];
        uint8_t code[8], scale = v->scale;
        float *b = must_alloc(GEMM_NR * 16 * sizeof *b);
        struct weight w = {.format = WEIGHT_NVFP4, .N = 1, .K = 16, .data = code, .scale = &scale,
                           .global_stored = v->global, .global_divides = true};

        memset(code, v->code | v->code << 4, sizeof code);
        isa->gemm->unpack(&w, 0, 0, 16, true, b);
        for (int k = 0; k < 16; k++)
            EXPECT(bits(b[k * GEMM_NR]) == (uint32_t)v->bf16 << 16);
        /* the same number stored the ModelOpt way, where 1/global is exact */
        w.global_divides = false;
        w.global_stored = 0x1p-12f;
        isa->gemm->unpack(&w, 0, 0, 16, true, b);
        EXPECT(b[0] == (float)(e2m1(v->code) * e4m3(v->scale) * 0x1p-12));
        free(b);
    }
}

/* Panels of bf16 pairs hold what the f32 panels hold. */
static void check_pairs(const struct isa *isa, const struct weight *w, int n0, int k0, int kc,
                        bool hf)
{
    float *truth = must_alloc((size_t)GEMM_NR * kc * sizeof *truth);
    uint16_t *b = must_alloc((size_t)GEMM_NR * (kc + 1) * sizeof *b);

    gemm_portable.unpack(w, n0, k0, kc, hf, truth);
    isa->dot->unpack(w, n0, k0, kc, hf, b);
    for (int k = 0; k < kc; k++)
        for (int j = 0; j < GEMM_NR; j++)
            EXPECT((uint32_t)b[(k / 2 * GEMM_NR + j) * 2 + k % 2] << 16 ==
                   (bits(truth[k * GEMM_NR + j]) & 0xffff0000)); /* only a NaN has more bits */
    for (int j = 0; kc % 2 && j < GEMM_NR; j++)
        EXPECT(b[(kc / 2 * GEMM_NR + j) * 2 + 1] == 0);
    free(truth);
    free(b);
}

static void check_panel(const struct isa *isa, const struct weight *w, int n0, int k0, int kc,
                        bool hf)
{
    float *b = must_alloc((size_t)GEMM_NR * kc * sizeof *b);
    float *truth = must_alloc((size_t)GEMM_NR * kc * sizeof *b);

    if (isa->dot && (w->format == WEIGHT_NVFP4 || w->format == WEIGHT_BF16))
        check_pairs(isa, w, n0, k0, kc, hf);
    isa->gemm->unpack(w, n0, k0, kc, hf, b);
    gemm_portable.unpack(w, n0, k0, kc, hf, truth);
    EXPECT(memcmp(b, truth, (size_t)GEMM_NR * kc * sizeof *b) == 0);
    for (int k = 0; k < kc; k++)
        for (int j = 0; j < GEMM_NR; j++) {
            double v = n0 + j < w->N ? want(w, n0 + j, k0 + k, hf) : 0;
            float got = b[k * GEMM_NR + j];

            EXPECT(isnan(v) ? isnan(got) : got == v && !signbit(got) == !signbit(v));
        }
    free(b);
    free(truth);
}

/* Row n has scale byte n in all its groups, column k code k % 16: every product there is. The last
 * two globals make ties of the rounding to bf16, to an even and to an odd neighbour. */
static void check_all_products(const struct isa *isa)
{
    static const struct { float global; bool divides; } globals[] = {
        {1, true}, {1234.5f, true}, {0.3f, true}, {0.00037f, false}, {1.7e-30f, false},
        {257.0f / 256, false}, {259.0f / 256, false}};
    uint8_t data[256 * 8], scale[256];
    struct weight w = {.format = WEIGHT_NVFP4, .N = 256, .K = 16, .data = data, .scale = scale};

    for (int n = 0; n < 256; n++) {
        scale[n] = (uint8_t)n;
        for (int i = 0; i < 8; i++)
            data[n * 8 + i] = (uint8_t)(2 * i | (2 * i + 1) << 4);
    }
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        for (int hf = 0; hf < 2; hf++)
            for (int n0 = 0; n0 < 256; n0 += GEMM_NR) {
                w.global_stored = globals[i].global;
                w.global_divides = globals[i].divides;
                check_panel(isa, &w, n0, 0, 16, hf);
            }
}

/* All 65536 patterns of a 16-bit format. */
static void check_all_16bit(const struct isa *isa, enum weight_format format)
{
    uint16_t *data = must_alloc(65536 * sizeof *data);
    struct weight w = {.format = format, .N = 256, .K = 256, .data = data};

    for (int i = 0; i < 65536; i++)
        data[i] = (uint16_t)i;
    for (int n0 = 0; n0 < 256; n0 += GEMM_NR)
        check_panel(isa, &w, n0, 0, 256, false);
    free(data);
}

static void check_shapes(const struct isa *isa, uint64_t *state)
{
    static const struct { int N, K; } shapes[] = {{1, 16}, {8, 48}, {31, 80}, {33, 144},
                                                  {40, 560}, {100, 1040}, {16, 128}};

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int f = WEIGHT_F32; f <= WEIGHT_NVFP4; f++) {
            int N = shapes[i].N, K = shapes[i].K - (f == WEIGHT_NVFP4 ? 0 : 5);
            struct weight w = random_weight((enum weight_format)f, N, K, state);

            w.global_stored = 777.25f;
            w.global_divides = true;
            for (int n0 = 0; n0 < N; n0 += GEMM_NR)
                for (int k0 = 0; k0 < K; k0 += GEMM_KC)
                    for (int hf = 0; hf < 2; hf++)
                        check_panel(isa, &w, n0, k0, K - k0 < GEMM_KC ? K - k0 : GEMM_KC, hf);
            free_weight(&w);
        }
}

int main(void)
{
    uint64_t state = 2;
    int checked = 0;

    for (const struct isa *isa = cpu_isas; isa->name; isa++) {
        if (!isa->usable()) {
            printf("%s is not available here\n", isa->name);
            continue;
        }
        check_golden(isa);
        check_all_products(isa);
        check_all_16bit(isa, WEIGHT_F16);
        check_all_16bit(isa, WEIGHT_BF16);
        check_shapes(isa, &state);
        checked++;
    }
    EXPECT(checked > 0);
    return 0;
}
