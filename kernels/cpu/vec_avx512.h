/* vec_avx512.h - the operations of vec_portable.h in one register of AVX-512. */
#ifndef KERNELS_CPU_VEC_AVX512_H
#define KERNELS_CPU_VEC_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

struct f32x16 {
    __m512 v;
};
struct i32x16 {
    __m512i v;
};
struct m16 {
    __mmask16 v;
};
struct f64x16 {
    __m512d lo, hi;
};

static inline struct f32x16 f_load(const float *x)
{
    return (struct f32x16){_mm512_loadu_ps(x)};
}

static inline void f_store(float *y, struct f32x16 a)
{
    _mm512_storeu_ps(y, a.v);
}

static inline struct f32x16 f_set(float x)
{
    return (struct f32x16){_mm512_set1_ps(x)};
}

static inline struct f32x16 f_add(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm512_add_ps(a.v, b.v)};
}

static inline struct f32x16 f_sub(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm512_sub_ps(a.v, b.v)};
}

static inline struct f32x16 f_mul(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm512_mul_ps(a.v, b.v)};
}

static inline struct f32x16 f_div(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm512_div_ps(a.v, b.v)};
}

static inline struct f32x16 f_fma(struct f32x16 a, struct f32x16 b, struct f32x16 c)
{
    return (struct f32x16){_mm512_fmadd_ps(a.v, b.v, c.v)};
}

static inline struct f32x16 f_max(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm512_max_ps(a.v, b.v)};
}

static inline struct f32x16 f_min(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm512_min_ps(a.v, b.v)};
}

static inline struct f32x16 f_scale_by_power2(struct f32x16 a, struct f32x16 k)
{
    return (struct f32x16){_mm512_scalef_ps(a.v, k.v)};
}

static inline struct m16 f_less(struct f32x16 a, struct f32x16 b)
{
    return (struct m16){_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}

static inline struct m16 f_is_nan(struct f32x16 a)
{
    return (struct m16){_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)};
}

static inline struct i32x16 f_bits(struct f32x16 a)
{
    return (struct i32x16){_mm512_castps_si512(a.v)};
}

static inline struct f32x16 i_as_f(struct i32x16 a)
{
    return (struct f32x16){_mm512_castsi512_ps(a.v)};
}

static inline struct i32x16 i_set(uint32_t x)
{
    return (struct i32x16){_mm512_set1_epi32((int)x)};
}

static inline struct i32x16 i_add(struct i32x16 a, struct i32x16 b)
{
    return (struct i32x16){_mm512_add_epi32(a.v, b.v)};
}

static inline struct i32x16 i_sub(struct i32x16 a, struct i32x16 b)
{
    return (struct i32x16){_mm512_sub_epi32(a.v, b.v)};
}

static inline struct i32x16 i_and(struct i32x16 a, struct i32x16 b)
{
    return (struct i32x16){_mm512_and_si512(a.v, b.v)};
}

static inline struct i32x16 i_or(struct i32x16 a, struct i32x16 b)
{
    return (struct i32x16){_mm512_or_si512(a.v, b.v)};
}

static inline struct i32x16 i_left(struct i32x16 a, int n)
{
    return (struct i32x16){_mm512_sll_epi32(a.v, _mm_cvtsi32_si128(n))};
}

static inline struct i32x16 i_right(struct i32x16 a, int n)
{
    return (struct i32x16){_mm512_srl_epi32(a.v, _mm_cvtsi32_si128(n))};
}

static inline struct i32x16 i_right_signed(struct i32x16 a, int n)
{
    return (struct i32x16){_mm512_sra_epi32(a.v, _mm_cvtsi32_si128(n))};
}

static inline struct m16 i_greater(struct i32x16 a, struct i32x16 b)
{
    return (struct m16){_mm512_cmpgt_epi32_mask(a.v, b.v)};
}

static inline struct i32x16 i_load_u16(const uint16_t *x)
{
    return (struct i32x16){_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x))};
}

static inline void i_store_u16(uint16_t *y, struct i32x16 a)
{
    _mm256_storeu_si256((__m256i *)y, _mm512_cvtepi32_epi16(a.v));
}

static inline struct m16 m_or(struct m16 a, struct m16 b)
{
    return (struct m16){(__mmask16)(a.v | b.v)};
}

static inline struct m16 m_none(void)
{
    return (struct m16){0};
}

static inline bool m_any(struct m16 a)
{
    return a.v != 0;
}

static inline struct i32x16 i_select(struct m16 m, struct i32x16 yes, struct i32x16 no)
{
    return (struct i32x16){_mm512_mask_blend_epi32(m.v, no.v, yes.v)};
}

static inline struct f32x16 f_select(struct m16 m, struct f32x16 yes, struct f32x16 no)
{
    return (struct f32x16){_mm512_mask_blend_ps(m.v, no.v, yes.v)};
}

static inline struct f64x16 d_zero(void)
{
    return (struct f64x16){_mm512_setzero_pd(), _mm512_setzero_pd()};
}

static inline struct f64x16 d_add_f(struct f64x16 a, struct f32x16 b)
{
    a.lo = _mm512_add_pd(a.lo, _mm512_cvtps_pd(_mm512_castps512_ps256(b.v)));
    a.hi = _mm512_add_pd(a.hi, _mm512_cvtps_pd(_mm512_extractf32x8_ps(b.v, 1)));
    return a;
}

static inline void d_store(double *y, struct f64x16 a)
{
    _mm512_storeu_pd(y, a.lo);
    _mm512_storeu_pd(y + 8, a.hi);
}

#endif
