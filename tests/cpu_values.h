/* cpu_values.h - values of any dtype and devices without an arena, for tests of row operations. */
#ifndef TESTS_CPU_VALUES_H
#define TESTS_CPU_VALUES_H

#include "kernels/cpu/convert.h"
#include "tests/cpu_case.h"

/* value i of an array in dtype t, by the scalar conversions */
static inline float get_value(enum dtype t, const void *x, size_t i)
{
    if (t == DTYPE_F32)
        return ((const float *)x)[i];
    return t == DTYPE_BF16 ? bf16_to_f32(((const uint16_t *)x)[i])
                           : f16_to_f32(((const uint16_t *)x)[i]);
}

static inline void put_value(enum dtype t, void *x, size_t i, float value)
{
    if (t == DTYPE_F32)
        ((float *)x)[i] = value;
    else
        ((uint16_t *)x)[i] = t == DTYPE_BF16 ? f32_to_bf16(value) : f32_to_f16(value);
}

/* n values of dtype t, uniform in [-size, size); the caller frees */
static inline void *random_values(enum dtype t, size_t n, float size, uint64_t *state)
{
    void *x = malloc(n * dtype_bytes(t));

    EXPECT(x);
    for (size_t i = 0; i < n; i++)
        put_value(t, x, i, size * next_float(state));
    return x;
}

/* relative error of one rounding to dtype t */
static inline double rounding_of(enum dtype t)
{
    return t == DTYPE_F32 ? 0x1p-24 : t == DTYPE_F16 ? 0x1p-11 : 0x1p-8;
}

/* The variant every machine has: the last of the list. */
static inline const struct isa *portable_isa(void)
{
    const struct isa *i = cpu_isas;

    while (i[1].name)
        i++;
    return i;
}

static inline struct device plain_device(enum dtype t, const struct isa *isa, int threads)
{
    return (struct device){.dtype = t, .isa = isa, .threads = threads};
}

#endif
