/* vec_avx2.h - the operations of vec_portable.h in two registers of AVX2 with FMA. */
#ifndef KERNELS_CPU_VEC_AVX2_H
#define KERNELS_CPU_VEC_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

struct f32x16 {
    __m256 lo, hi;
};
struct i32x16 {
    __m256i lo, hi;
};
struct m16 {
    __m256i lo, hi; /* all ones or 0 */
};
struct f64x16 {
    __m256d v[4];
};

static inline struct f32x16 f_load(const float *x)
{
    return (struct f32x16){_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)};
}

static inline void f_store(float *y, struct f32x16 a)
{
    _mm256_storeu_ps(y, a.lo);
    _mm256_storeu_ps(y + 8, a.hi);
}

static inline struct f32x16 f_set(float x)
{
    return (struct f32x16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline struct f32x16 f_add(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

static inline struct f32x16 f_sub(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

static inline struct f32x16 f_mul(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

static inline struct f32x16 f_div(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

static inline struct f32x16 f_fma(struct f32x16 a, struct f32x16 b, struct f32x16 c)
{
    return (struct f32x16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

static inline struct f32x16 f_max(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

static inline struct f32x16 f_min(struct f32x16 a, struct f32x16 b)
{
    return (struct f32x16){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

static inline struct i32x16 f_bits(struct f32x16 a)
{
    return (struct i32x16){_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}

static inline struct f32x16 i_as_f(struct i32x16 a)
{
    return (struct f32x16){_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)};
}

static inline struct m16 f_less(struct f32x16 a, struct f32x16 b)
{
    return (struct m16){_mm256_castps_si256(_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
                        _mm256_castps_si256(_mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}

static inline struct m16 f_is_nan(struct f32x16 a)
{
    return (struct m16){_mm256_castps_si256(_mm256_cmp_ps(a.lo, a.lo, _CMP_UNORD_Q)),
                        _mm256_castps_si256(_mm256_cmp_ps(a.hi, a.hi, _CMP_UNORD_Q))};
}

static inline struct i32x16 i_set(uint32_t x)
{
    return (struct i32x16){_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x)};
}

static inline struct i32x16 i_add(struct i32x16 a, struct i32x16 b)
{
    return (struct i32x16){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}

static inline struct i32x16 i_sub(struct i32x16 a, struct i32x16 b)
{
    return (struct i32x16){_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}

static inline struct i32x16 i_and(struct i32x16 a, struct i32x16 b)
{
    return (struct i32x16){_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}

static inline struct i32x16 i_or(struct i32x16 a, struct i32x16 b)
{
    return (struct i32x16){_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}

static inline struct i32x16 i_left(struct i32x16 a, int n)
{
    __m128i by = _mm_cvtsi32_si128(n);

    return (struct i32x16){_mm256_sll_epi32(a.lo, by), _mm256_sll_epi32(a.hi, by)};
}

static inline struct i32x16 i_right(struct i32x16 a, int n)
{
    __m128i by = _mm_cvtsi32_si128(n);

    return (struct i32x16){_mm256_srl_epi32(a.lo, by), _mm256_srl_epi32(a.hi, by)};
}

static inline struct i32x16 i_right_signed(struct i32x16 a, int n)
{
    __m128i by = _mm_cvtsi32_si128(n);

    return (struct i32x16){_mm256_sra_epi32(a.lo, by), _mm256_sra_epi32(a.hi, by)};
}

static inline struct m16 i_greater(struct i32x16 a, struct i32x16 b)
{
    return (struct m16){_mm256_cmpgt_epi32(a.lo, b.lo), _mm256_cmpgt_epi32(a.hi, b.hi)};
}

static inline __m256 scale_by_power2(__m256 a, __m256 k)
{
    __m256i n = _mm256_cvtps_epi32(k), half = _mm256_srai_epi32(n, 1);
    __m256i bias = _mm256_set1_epi32(127);
    __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);

    return _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(first)),
                         _mm256_castsi256_ps(second));
}

static inline struct f32x16 f_scale_by_power2(struct f32x16 a, struct f32x16 k)
{
    return (struct f32x16){scale_by_power2(a.lo, k.lo), scale_by_power2(a.hi, k.hi)};
}

static inline struct i32x16 i_load_u16(const uint16_t *x)
{
    const __m128i *half = (const __m128i *)x;

    return (struct i32x16){_mm256_cvtepu16_epi32(_mm_loadu_si128(half)),
                           _mm256_cvtepu16_epi32(_mm_loadu_si128(half + 1))};
}

static inline void i_store_u16(uint16_t *y, struct i32x16 a)
{
    /* packus works within 128-bit halves: put the quarters back in order */
    __m256i mixed = _mm256_packus_epi32(a.lo, a.hi);

    _mm256_storeu_si256((__m256i *)y, _mm256_permute4x64_epi64(mixed, 0xd8));
}

static inline struct m16 m_or(struct m16 a, struct m16 b)
{
    return (struct m16){_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}

static inline struct m16 m_none(void)
{
    return (struct m16){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

static inline bool m_any(struct m16 a)
{
    return _mm256_movemask_epi8(_mm256_or_si256(a.lo, a.hi)) != 0;
}

static inline struct i32x16 i_select(struct m16 m, struct i32x16 yes, struct i32x16 no)
{
    return (struct i32x16){_mm256_blendv_epi8(no.lo, yes.lo, m.lo),
                           _mm256_blendv_epi8(no.hi, yes.hi, m.hi)};
}

static inline struct f32x16 f_select(struct m16 m, struct f32x16 yes, struct f32x16 no)
{
    return i_as_f(i_select(m, f_bits(yes), f_bits(no)));
}

static inline struct f64x16 d_zero(void)
{
    __m256d z = _mm256_setzero_pd();

    return (struct f64x16){{z, z, z, z}};
}

static inline struct f64x16 d_add_f(struct f64x16 a, struct f32x16 b)
{
    a.v[0] = _mm256_add_pd(a.v[0], _mm256_cvtps_pd(_mm256_castps256_ps128(b.lo)));
    a.v[1] = _mm256_add_pd(a.v[1], _mm256_cvtps_pd(_mm256_extractf128_ps(b.lo, 1)));
    a.v[2] = _mm256_add_pd(a.v[2], _mm256_cvtps_pd(_mm256_castps256_ps128(b.hi)));
    a.v[3] = _mm256_add_pd(a.v[3], _mm256_cvtps_pd(_mm256_extractf128_ps(b.hi, 1)));
    return a;
}

static inline void d_store(double *y, struct f64x16 a)
{
    for (int i = 0; i < 4; i++)
        _mm256_storeu_pd(y + 4 * i, a.v[i]);
}

#endif
