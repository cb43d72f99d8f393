/* rows_body.h - struct row_ops, written once: each rows_VARIANT.c includes its 16-lane vectors,
 * then this file. The tail of a row is padded to 16 lanes with a value that changes nothing. */
#ifndef KERNELS_CPU_ROWS_BODY_H
#define KERNELS_CPU_ROWS_BODY_H

#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_math.h"

enum { LANES = 16 };
_Static_assert((int)GEMM_NR == 2 * (int)LANES, "a strip is two vectors wide");
_Static_assert((int)NVFP4_GROUP == (int)LANES, "a group is one vector");

static inline struct f32x16 load_part(const float *x, size_t n, float rest)
{
    float lane[LANES];

    for (size_t l = 0; l < LANES; l++)
        lane[l] = l < n ? x[l] : rest;
    return f_load(lane);
}

static inline void store_part(float *y, size_t n, struct f32x16 a)
{
    float lane[LANES];

    f_store(lane, a);
    memcpy(y, lane, n * sizeof *y);
}

static inline float sum_lanes(struct f32x16 a)
{
    float lane[LANES];

    f_store(lane, a);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static inline double sum_lanes_d(struct f64x16 a)
{
    double lane[LANES];

    d_store(lane, a);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static inline float max_lanes(struct f32x16 a)
{
    float lane[LANES];

    f_store(lane, a);
    for (int l = 1; l < LANES; l++)
        lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    return lane[0];
}

static void widen_16(struct f32x16 (*value)(struct i32x16), const uint16_t *x, float *y, size_t n)
{
    uint16_t last[LANES] = {0};
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        f_store(y + i, value(i_load_u16(x + i)));
    if (i == n)
        return;
    memcpy(last, x + i, (n - i) * sizeof *x);
    store_part(y + i, n - i, value(i_load_u16(last)));
}

static void narrow_16(struct i32x16 (*bits)(struct f32x16), const float *x, uint16_t *y, size_t n)
{
    uint16_t last[LANES];
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        i_store_u16(y + i, bits(f_load(x + i)));
    if (i == n)
        return;
    i_store_u16(last, bits(load_part(x + i, n - i, 0)));
    memcpy(y + i, last, (n - i) * sizeof *y);
}

static void widen(enum dtype t, const void *x, float *y, size_t n)
{
    switch (t) {
    case DTYPE_BF16:
        widen_16(f_from_bf16, x, y, n);
        return;
    case DTYPE_F16:
        widen_16(f_from_f16, x, y, n);
        return;
    case DTYPE_F32:
        memcpy(y, x, n * sizeof *y);
        return;
    }
    CHECK(!"a dtype");
}

static void narrow(enum dtype t, const float *x, void *y, size_t n)
{
    switch (t) {
    case DTYPE_BF16:
        narrow_16(f_to_bf16, x, y, n);
        return;
    case DTYPE_F16:
        narrow_16(f_to_f16, x, y, n);
        return;
    case DTYPE_F32:
        memcpy(y, x, n * sizeof *x);
        return;
    }
    CHECK(!"a dtype");
}

static inline struct f32x16 f_scale(struct f32x16 x, struct f32x16 g, const float *bias)
{
    return bias ? f_add(f_mul(x, g), f_load(bias)) : f_mul(x, g);
}

static void scale(float *x, float g, const float *bias, int n)
{
    const struct f32x16 by = f_set(g);
    float last[LANES] = {0};
    int i = 0;

    for (; i + LANES <= n; i += LANES)
        f_store(x + i, f_scale(f_load(x + i), by, bias ? bias + i : NULL));
    if (i == n)
        return;
    if (bias)
        memcpy(last, bias + i, (size_t)(n - i) * sizeof *last);
    store_part(x + i, (size_t)(n - i),
               f_scale(load_part(x + i, (size_t)(n - i), 0), by, bias ? last : NULL));
}

static float sum_squares(const float *x, int n)
{
    struct f32x16 sum = f_set(0);
    int i = 0;

    for (; i + LANES <= n; i += LANES) {
        struct f32x16 v = f_load(x + i);

        sum = f_fma(v, v, sum);
    }
    struct f32x16 v = load_part(x + i, (size_t)(n - i), 0);
    return sum_lanes(f_fma(v, v, sum));
}

static float row_max(const float *x, int n)
{
    struct f32x16 max = f_set(-INFINITY);
    struct m16 nan = m_none();
    int i = 0;

    for (; i + LANES <= n; i += LANES) {
        struct f32x16 v = f_load(x + i);

        max = f_max(v, max);
        nan = m_or(nan, f_is_nan(v));
    }
    struct f32x16 v = load_part(x + i, (size_t)(n - i), -INFINITY);
    max = f_max(v, max);
    nan = m_or(nan, f_is_nan(v));
    return m_any(nan) ? NAN : max_lanes(max);
}

static double exp_sum(float *x, int n, float shift)
{
    const struct f32x16 by = f_set(shift);
    struct f64x16 sum = d_zero();
    int i = 0;

    for (; i + LANES <= n; i += LANES) {
        struct f32x16 e = f_exp(f_sub(f_load(x + i), by));

        f_store(x + i, e);
        sum = d_add_f(sum, e);
    }
    if (i < n) {
        size_t rest = (size_t)(n - i);
        struct f32x16 e = f_exp(f_sub(load_part(x + i, rest, 0), by));

        store_part(x + i, rest, e);
        sum = d_add_f(sum, load_part(x + i, rest, 0));
    }
    return sum_lanes_d(sum);
}

static inline struct f32x16 f_swiglu(struct f32x16 gate, struct f32x16 up)
{
    struct f32x16 e = f_exp(f_sub(f_set(0), gate));

    return f_mul(f_div(gate, f_add(f_set(1), e)), up);
}

static void swiglu(const float *gate, const float *up, float *y, size_t n)
{
    size_t i = 0;

    for (; i + LANES <= n; i += LANES)
        f_store(y + i, f_swiglu(f_load(gate + i), f_load(up + i)));
    if (i == n)
        return;
    store_part(y + i, n - i,
               f_swiglu(load_part(gate + i, n - i, 0), load_part(up + i, n - i, 0)));
}

static void column_max(const float *s, int keys, float *max)
{
    struct f32x16 lo = f_load(max), hi = f_load(max + LANES);

    for (int k = 0; k < keys; k++, s += GEMM_NR) {
        lo = f_max(f_load(s), lo);
        hi = f_max(f_load(s + LANES), hi);
    }
    f_store(max, lo);
    f_store(max + LANES, hi);
}

static void column_exp_sum(float *s, int keys, const float *max, float scale, double *sum)
{
    const struct f32x16 by = f_set(scale);
    const struct f32x16 down = f_set(-scale);
    const struct f32x16 lo_shift = f_mul(f_load(max), down);
    const struct f32x16 hi_shift = f_mul(f_load(max + LANES), down);
    struct f64x16 lo_sum = d_zero(), hi_sum = d_zero();

    for (int start = 0; start < keys; start += COLUMN_KEYS) {
        int end = start + COLUMN_KEYS < keys ? start + COLUMN_KEYS : keys;
        struct f32x16 lo_part = f_set(0), hi_part = f_set(0);

        for (int k = start; k < end; k++, s += GEMM_NR) {
            struct f32x16 lo = f_exp_or_0(f_fma(f_load(s), by, lo_shift));
            struct f32x16 hi = f_exp_or_0(f_fma(f_load(s + LANES), by, hi_shift));

            lo_part = f_add(lo_part, lo);
            hi_part = f_add(hi_part, hi);
            f_store(s, lo);
            f_store(s + LANES, hi);
        }
        lo_sum = d_add_f(lo_sum, lo_part);
        hi_sum = d_add_f(hi_sum, hi_part);
    }
    d_store(sum, lo_sum);
    d_store(sum + LANES, hi_sum);
}

static inline struct f32x16 f_as_bf16(struct f32x16 x)
{
    return f_from_bf16(f_to_bf16(x));
}

static inline struct f32x16 f_as_f16(struct f32x16 x)
{
    return f_from_f16(f_to_f16(x));
}

static inline struct f32x16 f_as_f32(struct f32x16 x)
{
    return x;
}

static inline void scale_columns(struct f32x16 (*as)(struct f32x16), float *s, int keys,
                                 const float *inv)
{
    const struct f32x16 lo = f_load(inv), hi = f_load(inv + LANES);

    for (int k = 0; k < keys; k++, s += GEMM_NR) {
        f_store(s, as(f_mul(f_load(s), lo)));
        f_store(s + LANES, as(f_mul(f_load(s + LANES), hi)));
    }
}

static void column_scale(float *s, int keys, const float *inv, enum dtype t)
{
    switch (t) {
    case DTYPE_BF16:
        scale_columns(f_as_bf16, s, keys, inv);
        return;
    case DTYPE_F16:
        scale_columns(f_as_f16, s, keys, inv);
        return;
    case DTYPE_F32:
        scale_columns(f_as_f32, s, keys, inv);
        return;
    }
    CHECK(!"a dtype");
}

#include "kernels/cpu/quantize_body.h"

#define ROW_OPS                                                                                    \
    {                                                                                              \
        .widen = widen, .narrow = narrow, .scale = scale, .sum_squares = sum_squares,              \
        .max = row_max,                                                                            \
        .exp_sum = exp_sum, .swiglu = swiglu, .column_max = column_max,                            \
        .column_exp_sum = column_exp_sum, .column_scale = column_scale,                            \
        .quantize_hf = quantize_hf, .quantize_vllm = quantize_vllm,                                \
    }

#endif
