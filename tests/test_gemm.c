// links: kernels_cpu
// timeout: 120
/* The micro-kernels and packing: every variant equals, bit by bit, a chain of fmaf written out here,
 * for full and partial depths, first block and later ones. vdpbf16ps, which sums in an order of its
 * own, is held against a sum in double. */
#include "tests/cpu_case.h"

static void check_depth(const struct isa *isa, int kc, bool first, uint64_t *state)
{
    enum { LDC = GEMM_NR + 5, LDX = GEMM_KC + 3 };
    size_t a_bytes = (size_t)GEMM_MR * kc * 4, b_bytes = (size_t)GEMM_NR * kc * 4;
    float *x = must_alloc(sizeof(float) * GEMM_MR * LDX), *a = must_alloc(a_bytes + 64);
    float *b = must_alloc(b_bytes), c[GEMM_MR * LDC], before[GEMM_MR * LDC];
    float guard = 12345;

    for (int i = 0; i < GEMM_MR * LDX; i++)
        x[i] = next_float(state);
    for (int i = 0; i < GEMM_NR * kc; i++)
        b[i] = next_float(state);
    for (int i = 0; i < GEMM_MR * LDC; i++)
        before[i] = c[i] = next_float(state);
    a[GEMM_MR * kc] = guard;
    isa->gemm->pack(x, LDX, kc, a);
    EXPECT(a[GEMM_MR * kc] == guard);
    isa->gemm->micro(a, b, kc, c, LDC, first);
    for (int i = 0; i < GEMM_MR; i++)
        for (int j = 0; j < LDC; j++) {
            float want = before[i * LDC + j], sum = 0;

            for (int k = 0; j < GEMM_NR && k < kc; k++)
                sum = fmaf(x[i * LDX + k], b[k * GEMM_NR + j], sum);
            if (j < GEMM_NR)
                want = first ? sum : want + sum;
            EXPECT(memcmp(&c[i * LDC + j], &want, sizeof want) == 0);
        }
    free(x);
    free(a);
    free(b);
}

/* bf16 products are exact in f32, so only the sums round. */
static void check_dot(const struct isa *isa, int kc, bool first, uint64_t *state)
{
    int pairs = (kc + 1) / 2;
    float *x = must_alloc(sizeof(float) * GEMM_MR * kc), *w = must_alloc(sizeof(float) * GEMM_NR * kc);
    uint16_t *stored = must_alloc(sizeof *stored * GEMM_NR * kc);
    uint32_t *a = must_alloc(4ul * GEMM_MR * pairs), *b = must_alloc(4ul * GEMM_NR * pairs);
    float c[GEMM_MR * GEMM_NR];
    struct weight m = {.format = WEIGHT_BF16, .N = GEMM_NR, .K = kc, .data = stored};

    for (int i = 0; i < GEMM_MR * kc; i++)
        x[i] = (float)(int)(next_random(state) % 255 - 127) / 64;
    for (int i = 0; i < GEMM_NR * kc; i++)
        w[i] = (float)(int)(next_random(state) % 255 - 127) / 64;
    for (int i = 0; i < GEMM_MR * GEMM_NR; i++)
        c[i] = 3;
    rows_portable.narrow(DTYPE_BF16, w, stored, (size_t)GEMM_NR * kc);
    isa->dot->pack(x, kc, kc, a);
    isa->dot->unpack(&m, 0, 0, kc, false, b);
    isa->dot->micro(a, b, kc, c, GEMM_NR, first);
    for (int i = 0; i < GEMM_MR; i++)
        for (int j = 0; j < GEMM_NR; j++) {
            double sum = first ? 0 : 3, size = sum;

            for (int k = 0; k < kc; k++) {
                sum += (double)x[i * kc + k] * w[j * kc + k];
                size += fabs((double)x[i * kc + k] * w[j * kc + k]);
            }
            EXPECT_NEAR(c[i * GEMM_NR + j], sum, size * (pairs + 2) * 0x1p-24);
        }
    free(x);
    free(w);
    free(stored);
    free(a);
    free(b);
}

int main(void)
{
    static const int depths[] = {1, 2, 7, 15, 16, 17, 48, 64, 100, 511, 512};
    uint64_t state = 1;
    int checked = 0;

    for (const struct isa *isa = cpu_isas; isa->name; isa++) {
        if (!isa->usable()) {
            printf("%s is not available here\n", isa->name);
            continue;
        }
        for (size_t i = 0; i < sizeof depths / sizeof *depths; i++)
            for (int first = 0; first < 2; first++) {
                check_depth(isa, depths[i], first, &state);
                if (isa->dot)
                    check_dot(isa, depths[i], first, &state);
            }
        checked++;
    }
    EXPECT(checked > 0);
    return 0;
}
