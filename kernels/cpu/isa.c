/* isa.c - which instruction-set variants there are, and which this processor has. */
#include <cpuid.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

/* __builtin_cpu_supports also asks whether the system saves the wide registers. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma");
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
    {"avx512", has_avx512, &gemm_avx512, &rows_avx512, NULL},
    {"avx2", has_avx2, &gemm_avx2, &rows_avx2, NULL},
    {"portable", has_x86_64, &gemm_portable, &rows_portable, NULL},
    {0},
};

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
