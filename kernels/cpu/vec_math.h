/* vec_math.h - exp and the 16-bit roundings on 16 lanes, written once over the operations of
 * whichever of vec_portable.h, vec_avx2.h, vec_avx512.h was included before. */
#ifndef KERNELS_CPU_VEC_MATH_H
#define KERNELS_CPU_VEC_MATH_H

/* exp(x) for x in [-104, 89]: 2^k exp(r), k the integer nearest to x/ln2, |r| <= ln2/2,
 * exp(r) = 1 + (r + r^2 q(r)), q the polynomial of degree 4 that fits best (error 4e-9). */
static inline struct f32x16 f_exp_within(struct f32x16 x)
{
    /* adding 1.5 * 2^23 rounds to an integer */
    const struct f32x16 to_integer = f_set(0x1.8p23f);
    struct f32x16 k = f_sub(f_fma(x, f_set(0x1.715476p+0f), to_integer), to_integer);
    struct f32x16 r = f_fma(k, f_set(-0x1.62e43p-1f), x);
    struct f32x16 q = f_set(0x1.6a2248p-10f), p;

    r = f_fma(k, f_set(0x1.05c61p-29f), r);
    q = f_fma(q, r, f_set(0x1.123b04p-7f));
    q = f_fma(q, r, f_set(0x1.5558f8p-5f));
    q = f_fma(q, r, f_set(0x1.55549p-3f));
    q = f_fma(q, r, f_set(0x1.fffffcp-2f));
    p = f_add(f_fma(f_mul(r, r), q, r), f_set(1.0f));
    return f_scale_by_power2(p, k);
}

/* exp(x): 0 from -104 down, inf from 89 up, NaN for NaN */
static inline struct f32x16 f_exp(struct f32x16 x)
{
    return f_exp_within(f_min(f_set(89.0f), f_max(f_set(-104.0f), x)));
}

/* exp(x) for x <= 89, and 0 below -87: processors take hundreds of cycles for a denormal result,
 * and to a sum of terms up to 1 it adds nothing. */
static inline struct f32x16 f_exp_or_0(struct f32x16 x)
{
    const struct f32x16 least = f_set(-87.0f);

    return f_select(f_less(x, least), f_set(0), f_exp_within(f_max(least, x)));
}

/* The 16-bit conversions equal those of convert.h, NaNs included. */

/* The bits of the bfloat16 nearest to x, ties to even. */
static inline struct i32x16 f_to_bf16(struct f32x16 x)
{
    struct i32x16 u = f_bits(x);
    struct i32x16 odd = i_and(i_right(u, 16), i_set(1));
    struct i32x16 rounded = i_right(i_add(i_add(u, i_set(0x7fff)), odd), 16);

    return i_select(f_is_nan(x), i_or(i_right(u, 16), i_set(0x40)), rounded);
}

static inline struct f32x16 f_from_bf16(struct i32x16 h)
{
    return i_as_f(i_left(h, 16));
}

/* The bits of the float16 nearest to x, ties to even. Three ranges of |x|:
 * below 2^-14 the sum with 0.5 rounds to a multiple of 2^-24, the step of denormals; up to 65536
 * the exponent is rebiased and 13 bits are rounded off (a carry may reach infinity); above: inf. */
static inline struct i32x16 f_to_f16(struct f32x16 x)
{
    struct i32x16 u = f_bits(x);
    struct i32x16 sign = i_and(i_right(u, 16), i_set(0x8000));
    struct i32x16 size = i_and(u, i_set(0x7fffffff));
    struct i32x16 odd = i_and(i_right(size, 13), i_set(1));
    struct i32x16 normal =
        i_right(i_add(i_add(size, i_set(0xfff - (112u << 23))), odd), 13);
    struct i32x16 denormal = i_sub(f_bits(f_add(i_as_f(size), f_set(0.5f))), i_set(0x3f000000));
    struct i32x16 h = i_select(i_greater(i_set(0x38800000), size), denormal, normal);

    h = i_select(i_greater(size, i_set(0x477fffff)), i_set(0x7c00), h);
    struct i32x16 payload = i_and(i_right(size, 13), i_set(0x3ff));
    h = i_select(f_is_nan(x), i_or(payload, i_set(0x7e00)), h);
    return i_or(h, sign);
}

/* The bits of a float16, moved to the place of a float's, are the value times 2^-112. */
static inline struct f32x16 f_from_f16(struct i32x16 h)
{
    struct i32x16 sign = i_left(i_and(h, i_set(0x8000)), 16);
    struct i32x16 size = i_left(i_and(h, i_set(0x7fff)), 13);
    struct i32x16 finite = f_bits(f_mul(i_as_f(size), f_set(0x1p112f)));
    struct m16 is_infinite = i_greater(size, i_set((0x7c00u << 13) - 1));
    struct m16 is_nan = i_greater(size, i_set(0x7c00u << 13));
    struct i32x16 special = i_or(size, i_set(0x7f800000));

    special = i_select(is_nan, i_or(special, i_set(0x400000)), special);
    return i_as_f(i_or(sign, i_select(is_infinite, special, finite)));
}

#endif
