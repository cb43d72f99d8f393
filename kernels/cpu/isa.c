/* isa.c - which instruction-set variants there are, and which this processor has. */
#include <cpuid.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "spec/clock.h"

/* __builtin_cpu_supports also asks whether the system saves the wide registers. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

/* Every processor with AVX2 and FMA also has F16C. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_x86_64(void)
{
    return true;
}

const struct isa cpu_isas[] = {
    {"avx512bf16", has_avx512bf16, &gemm_avx512, &rows_avx512, &gemm_avx512bf16},
    {"avx512", has_avx512, &gemm_avx512, &rows_avx512, NULL},
    {"avx2", has_avx2, &gemm_avx2, &rows_avx2, NULL},
    {"portable", has_x86_64, &gemm_portable, &rows_portable, NULL},
    {0},
};

/* Time of a few panel products; all zeros, which no instruction minds. */
static double time_micro(const struct gemm_ops *ops, const void *zeros)
{
    enum { CALLS = 50 };
    float c[GEMM_MR * GEMM_NR];
    double start = clock_seconds();

    for (int i = 0; i < CALLS; i++)
        ops->micro(zeros, zeros, GEMM_KC, c, GEMM_NR, true);
    return clock_seconds() - start;
}

/* The least time of many short turns each, in alternation: on a busy machine some turns still run
 * undisturbed, so the answer is the processor's and the same tomorrow. */
bool isa_dot_is_faster(const struct isa *isa)
{
    enum { TURNS = 100 };
    double dot = INFINITY, plain = INFINITY;
    size_t bytes = (size_t)GEMM_KC * GEMM_NR * sizeof(float);
    void *zeros = aligned_alloc(CPU_ALIGN, bytes);
    bool faster = false;

    if (zeros) {
        memset(zeros, 0, bytes);
        for (int i = 0; i < TURNS; i++) {
            dot = fmin(dot, time_micro(isa->dot, zeros));
            plain = fmin(plain, time_micro(isa->gemm, zeros));
        }
        faster = dot * 1.2 < plain;
        free(zeros);
    }
    return faster;
}

const char *cpu_brand(char text[CPU_BRAND])
{
    unsigned r[12] = {0};

    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]))
            return strcpy(text, "x86-64");
    memcpy(text, r, sizeof r);
    text[sizeof r] = 0;
    return text + strspn(text, " ");
}
