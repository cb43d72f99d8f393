/* vec_math.h - exp and the 16-bit roundings on 16 lanes, written once over the operations of
 * whichever of vec_portable.h, vec_avx2.h, vec_avx512.h was included before. */
#ifndef KERNELS_CPU_VEC_MATH_H
#define KERNELS_CPU_VEC_MATH_H

/* 2^k as a float, -127 < k <= 127 */
static inline struct f32x16 f_power2(struct i32x16 k)
{
    return i_as_f(i_left(i_add(k, i_set(127)), 23));
}

/* exp(x) = 2^k exp(r), k the integer nearest to x/ln2, |r| <= ln2/2:
 * exp(r) = 1 + (r + r^2 q(r)), q the polynomial of degree 4 that fits best (error 4e-9).
 * 2^k is applied in two halves, so that a denormal result is rounded once and overflow is inf. */
static inline struct f32x16 f_exp(struct f32x16 x)
{
    /* adding 1.5 * 2^23 leaves the nearest integer in the low bits */
    const struct f32x16 shifter = f_set(0x1.8p23f);

    x = f_select(f_less(x, f_set(-104.0f)), f_set(-104.0f), x); /* gives 0; a NaN stays */
    x = f_select(f_less(f_set(89.0f), x), f_set(89.0f), x);     /* gives inf */

    struct f32x16 shifted = f_fma(x, f_set(0x1.715476p+0f), shifter);
    struct f32x16 kf = f_sub(shifted, shifter);
    struct i32x16 k = i_sub(f_bits(shifted), f_bits(shifter));
    struct f32x16 r = f_fma(kf, f_set(-0x1.62e43p-1f), x);
    r = f_fma(kf, f_set(0x1.05c61p-29f), r);

    struct f32x16 q = f_set(0x1.6a2248p-10f);
    q = f_fma(q, r, f_set(0x1.123b04p-7f));
    q = f_fma(q, r, f_set(0x1.5558f8p-5f));
    q = f_fma(q, r, f_set(0x1.55549p-3f));
    q = f_fma(q, r, f_set(0x1.fffffcp-2f));
    struct f32x16 p = f_add(f_fma(f_mul(r, r), q, r), f_set(1.0f));

    struct i32x16 half = i_right_signed(k, 1);
    return f_mul(f_mul(p, f_power2(half)), f_power2(i_sub(k, half)));
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
