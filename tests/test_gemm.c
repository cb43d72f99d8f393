// links: kernels_cpu
// timeout: 120
/* The micro-kernels and packing: every variant equals, bit by bit, a chain of fmaf written out here,
 * for full and partial depths, first block and later ones. */
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
            for (int first = 0; first < 2; first++)
                check_depth(isa, depths[i], first, &state);
        checked++;
    }
    EXPECT(checked > 0);
    return 0;
}
