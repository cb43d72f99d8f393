/* quantize_body.h - 4-bit activations, part of each rows_VARIANT.c: a vector is one group of 16
 * values, or the scales of 16 groups. */
#ifndef KERNELS_CPU_QUANTIZE_BODY_H
#define KERNELS_CPU_QUANTIZE_BODY_H

#include <float.h>

enum { BLOCK = LANES * NVFP4_GROUP }; /* values whose scales fill a vector */

static const float E4M3_MAX = 448, E2M1_MAX = 6;

static inline struct i32x16 f_size_bits(struct f32x16 x)
{
    return i_and(f_bits(x), i_set(0x7fffffff));
}

/* The e2m1 value nearest to x, ties to the even code; beyond 6: 6. The sign stays. */
static inline struct f32x16 f_round_e2m1(struct f32x16 x)
{
    struct i32x16 size = f_size_bits(x);
    struct f32x16 q = f_set(0);

    q = f_select(i_greater(size, f_bits(f_set(0.25f))), f_set(0.5f), q);
    q = f_select(i_greater(size, i_sub(f_bits(f_set(0.75f)), i_set(1))), f_set(1), q);
    q = f_select(i_greater(size, f_bits(f_set(1.25f))), f_set(1.5f), q);
    q = f_select(i_greater(size, i_sub(f_bits(f_set(1.75f)), i_set(1))), f_set(2), q);
    q = f_select(i_greater(size, f_bits(f_set(2.5f))), f_set(3), q);
    q = f_select(i_greater(size, i_sub(f_bits(f_set(3.5f)), i_set(1))), f_set(4), q);
    q = f_select(i_greater(size, f_bits(f_set(5))), f_set(6), q);
    return i_as_f(i_or(f_bits(q), i_sub(f_bits(x), size)));
}

/* The e4m3 value nearest to x >= 0, ties to even; beyond 448: 448. A NaN stays. Below 2^-6 the step
 * is 2^-9, which is the last bit of numbers from 2^14 on. */
static inline struct f32x16 f_round_e4m3(struct f32x16 x)
{
    const struct f32x16 shifter = f_set(0x1p14f);
    struct f32x16 c = f_select(f_less(f_set(E4M3_MAX), x), f_set(E4M3_MAX), x);
    struct i32x16 u = f_bits(c);
    struct i32x16 odd = i_and(i_right(u, 20), i_set(1));
    struct i32x16 normal =
        i_left(i_right(i_add(i_add(u, i_set(0x7ffff)), odd), 20), 20);
    struct f32x16 denormal = f_sub(f_add(c, shifter), shifter);
    struct f32x16 r = f_select(f_less(c, f_set(0x1p-6f)), denormal, i_as_f(normal));

    return f_select(f_is_nan(x), x, r);
}

static inline struct f32x16 f_round_to(enum dtype t, struct f32x16 x)
{
    return t == DTYPE_BF16 ? f_as_bf16(x) : t == DTYPE_F16 ? f_as_f16(x) : x;
}

static inline struct f32x16 f_replace_0(struct f32x16 x, float by)
{
    struct m16 not_0 = i_greater(f_size_bits(x), i_set(0));

    return f_select(not_0, x, f_set(by));
}

/* 1/x, and 0 for 0 */
static inline struct f32x16 f_reciprocal_or_0(struct f32x16 x)
{
    struct m16 not_0 = i_greater(f_size_bits(x), i_set(0));

    return f_select(not_0, f_div(f_set(1), x), f_set(0));
}

/* max |x| of each of n <= 16 groups, 0 for the rest. As integers, so that a NaN wins. */
static inline struct f32x16 group_sizes(const float *x, int n)
{
    float sizes[LANES] = {0};

    for (int g = 0; g < n; g++) {
        uint32_t lane[LANES], max = 0;

        memcpy(lane, x + g * NVFP4_GROUP, sizeof lane);
        for (int l = 0; l < LANES; l++) {
            uint32_t size = lane[l] & 0x7fffffff;

            max = size > max ? size : max;
        }
        memcpy(&sizes[g], &max, sizeof max);
    }
    return f_load(sizes);
}

static void quantize_hf(const float *x, float *xq, int n, float gi, bool unrounded, enum dtype t)
{
    for (int start = 0; start < n; start += BLOCK) {
        int groups = (n - start < BLOCK ? n - start : BLOCK) / NVFP4_GROUP;
        struct f32x16 c = f_round_to(t, f_div(group_sizes(x + start, groups), f_set(E2M1_MAX)));
        float scale[LANES];

        c = f_mul(f_set(gi), c);
        c = unrounded ? f_replace_0(c, FLT_EPSILON) : f_replace_0(f_round_e4m3(c), 0.125f);
        f_store(scale, f_div(c, f_set(gi)));
        for (int g = 0; g < groups; g++) {
            int i = start + g * NVFP4_GROUP;
            struct f32x16 s = f_set(scale[g]);
            struct f32x16 q = f_round_e2m1(f_div(f_load(x + i), s));

            f_store(xq + i, f_round_to(t, f_mul(q, s)));
        }
    }
}

static void quantize_vllm(const float *x, float *xq, int n, float gi)
{
    const struct f32x16 sixth = f_set(1 / E2M1_MAX);
    const struct f32x16 gi_inverse = f_reciprocal_or_0(f_set(gi));

    for (int start = 0; start < n; start += BLOCK) {
        int groups = (n - start < BLOCK ? n - start : BLOCK) / NVFP4_GROUP;
        struct f32x16 wanted = f_mul(f_set(gi), f_mul(group_sizes(x + start, groups), sixth));
        struct f32x16 sf = f_round_e4m3(wanted);
        float scale[LANES], to_code[LANES];

        f_store(scale, sf);
        f_store(to_code, f_reciprocal_or_0(f_mul(sf, gi_inverse)));
        for (int g = 0; g < groups; g++) {
            int i = start + g * NVFP4_GROUP;
            struct f32x16 q = f_round_e2m1(f_mul(f_load(x + i), f_set(to_code[g])));

            f_store(xq + i, f_mul(q, f_set(scale[g])));
        }
    }
}

#endif
