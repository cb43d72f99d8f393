/* vec_portable.h - 16 lanes of f32 in plain C: the meaning of every operation of vec_avx2.h and
 * vec_avx512.h, which must give the same bits.
 *
 *   struct f32x16  f_   16 floats            struct i32x16  i_   16 integers of 32 bits
 *   struct m16     m_   16 truth values      struct f64x16  d_   16 doubles */
#ifndef KERNELS_CPU_VEC_PORTABLE_H
#define KERNELS_CPU_VEC_PORTABLE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct f32x16 {
    float v[16];
};
struct i32x16 {
    uint32_t v[16];
};
struct m16 {
    uint32_t v[16]; /* all ones or 0 */
};
struct f64x16 {
    double v[16];
};

#define EACH_LANE for (int l = 0; l < 16; l++)

static inline struct f32x16 f_load(const float *x)
{
    struct f32x16 r;

    memcpy(r.v, x, sizeof r.v);
    return r;
}

static inline void f_store(float *y, struct f32x16 a)
{
    memcpy(y, a.v, sizeof a.v);
}

static inline struct f32x16 f_set(float x)
{
    struct f32x16 r;

    EACH_LANE
        r.v[l] = x;
    return r;
}

static inline struct f32x16 f_add(struct f32x16 a, struct f32x16 b)
{
    EACH_LANE
        a.v[l] += b.v[l];
    return a;
}

static inline struct f32x16 f_sub(struct f32x16 a, struct f32x16 b)
{
    EACH_LANE
        a.v[l] -= b.v[l];
    return a;
}

static inline struct f32x16 f_mul(struct f32x16 a, struct f32x16 b)
{
    EACH_LANE
        a.v[l] *= b.v[l];
    return a;
}

static inline struct f32x16 f_div(struct f32x16 a, struct f32x16 b)
{
    EACH_LANE
        a.v[l] /= b.v[l];
    return a;
}

/* a*b + c, rounded once */
static inline struct f32x16 f_fma(struct f32x16 a, struct f32x16 b, struct f32x16 c)
{
    EACH_LANE
        c.v[l] = fmaf(a.v[l], b.v[l], c.v[l]);
    return c;
}

/* a > b ? a : b, so b where either is NaN */
static inline struct f32x16 f_max(struct f32x16 a, struct f32x16 b)
{
    EACH_LANE
        b.v[l] = a.v[l] > b.v[l] ? a.v[l] : b.v[l];
    return b;
}

/* a < b ? a : b, so b where either is NaN */
static inline struct f32x16 f_min(struct f32x16 a, struct f32x16 b)
{
    EACH_LANE
        b.v[l] = a.v[l] < b.v[l] ? a.v[l] : b.v[l];
    return b;
}

static inline struct m16 f_less(struct f32x16 a, struct f32x16 b)
{
    struct m16 r;

    EACH_LANE
        r.v[l] = -(uint32_t)(a.v[l] < b.v[l]);
    return r;
}

static inline struct m16 f_is_nan(struct f32x16 a)
{
    struct m16 r;

    EACH_LANE
        r.v[l] = -(uint32_t)(a.v[l] != a.v[l]);
    return r;
}

static inline struct i32x16 f_bits(struct f32x16 a)
{
    struct i32x16 r;

    memcpy(r.v, a.v, sizeof r.v);
    return r;
}

static inline struct f32x16 i_as_f(struct i32x16 a)
{
    struct f32x16 r;

    memcpy(r.v, a.v, sizeof r.v);
    return r;
}

static inline struct i32x16 i_set(uint32_t x)
{
    struct i32x16 r;

    EACH_LANE
        r.v[l] = x;
    return r;
}

static inline struct i32x16 i_add(struct i32x16 a, struct i32x16 b)
{
    EACH_LANE
        a.v[l] += b.v[l];
    return a;
}

static inline struct i32x16 i_sub(struct i32x16 a, struct i32x16 b)
{
    EACH_LANE
        a.v[l] -= b.v[l];
    return a;
}

static inline struct i32x16 i_and(struct i32x16 a, struct i32x16 b)
{
    EACH_LANE
        a.v[l] &= b.v[l];
    return a;
}

static inline struct i32x16 i_or(struct i32x16 a, struct i32x16 b)
{
    EACH_LANE
        a.v[l] |= b.v[l];
    return a;
}

static inline struct i32x16 i_left(struct i32x16 a, int n)
{
    EACH_LANE
        a.v[l] <<= n;
    return a;
}

/* zeros come in from the left */
static inline struct i32x16 i_right(struct i32x16 a, int n)
{
    EACH_LANE
        a.v[l] >>= n;
    return a;
}

/* the sign comes in from the left */
static inline struct i32x16 i_right_signed(struct i32x16 a, int n)
{
    EACH_LANE
        a.v[l] = (uint32_t)((int32_t)a.v[l] >> n);
    return a;
}

/* signed comparison */
static inline struct m16 i_greater(struct i32x16 a, struct i32x16 b)
{
    struct m16 r;

    EACH_LANE
        r.v[l] = -(uint32_t)((int32_t)a.v[l] > (int32_t)b.v[l]);
    return r;
}

/* a * 2^k rounded once, k whole and |k| <= 160, 0.5 < |a| < 2; a NaN in a stays. Two factors, the
 * first product exact, so that neither leaves the range of normal numbers. */
static inline struct f32x16 f_scale_by_power2(struct f32x16 a, struct f32x16 k)
{
    const struct f32x16 to_integer = f_set(0x1.8p23f);
    struct i32x16 n = i_sub(f_bits(f_add(k, to_integer)), f_bits(to_integer));
    struct i32x16 half = i_right_signed(n, 1);
    struct f32x16 first = i_as_f(i_left(i_add(half, i_set(127)), 23));
    struct f32x16 second = i_as_f(i_left(i_add(i_sub(n, half), i_set(127)), 23));

    return f_mul(f_mul(a, first), second);
}

static inline struct i32x16 i_load_u16(const uint16_t *x)
{
    struct i32x16 r;

    EACH_LANE
        r.v[l] = x[l];
    return r;
}

/* lanes are <= 0xffff */
static inline void i_store_u16(uint16_t *y, struct i32x16 a)
{
    EACH_LANE
        y[l] = (uint16_t)a.v[l];
}

static inline struct m16 m_or(struct m16 a, struct m16 b)
{
    EACH_LANE
        a.v[l] |= b.v[l];
    return a;
}

static inline struct m16 m_none(void)
{
    return (struct m16){{0}};
}

static inline bool m_any(struct m16 a)
{
    uint32_t any = 0;

    EACH_LANE
        any |= a.v[l];
    return any != 0;
}

/* yes where m, else no */
static inline struct i32x16 i_select(struct m16 m, struct i32x16 yes, struct i32x16 no)
{
    EACH_LANE
        no.v[l] = (yes.v[l] & m.v[l]) | (no.v[l] & ~m.v[l]);
    return no;
}

static inline struct f32x16 f_select(struct m16 m, struct f32x16 yes, struct f32x16 no)
{
    return i_as_f(i_select(m, f_bits(yes), f_bits(no)));
}

static inline struct f64x16 d_zero(void)
{
    return (struct f64x16){{0}};
}

static inline struct f64x16 d_add_f(struct f64x16 a, struct f32x16 b)
{
    EACH_LANE
        a.v[l] += (double)b.v[l];
    return a;
}

static inline void d_store(double *y, struct f64x16 a)
{
    memcpy(y, a.v, sizeof a.v);
}

#undef EACH_LANE

#endif
