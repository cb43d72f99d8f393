#include "kernels/cpu/elementary.h"

#include "kernels/cpu/vec_portable.h"

#include "kernels/cpu/vec_math.h"

float exp_f32(float x)
{
    return f_exp(f_set(x)).v[0];
}

/* log(m) = 2 atanh(s), s = f / (2 + f), f = m - 1, sqrt(1/2) <= m < sqrt(2), so |s| < 0.172:
 * 2s + s^3 (2/3 + 2/5 s^2 + ...), eleven terms reach 2^-60. The quotient s carries its own rounding
 * error along as s_low. */
static double log_near_1(double f, double *low)
{
    double sum = 2 + f;
    double sum_low = f - (sum - 2);
    double s = f / sum;
    double s_low = (fma(-s, sum, f) - s * sum_low) / sum;
    double z = s * s;
    double tail = 2.0 / 23;

    for (int n = 21; n >= 3; n -= 2)
        tail = fma(tail, z, 2.0 / n);
    *low = fma(s * z, tail, 2 * s_low);
    return 2 * s;
}

static const uint64_t SQRT_HALF_BITS = 0x3fe6a09e667f3bcd;

double log_f64(double x)
{
    uint64_t u;
    int k = 0;

    if (!(x > 0))
        return x == 0 ? -INFINITY : NAN;
    if (x == INFINITY)
        return x;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    memcpy(&u, &x, sizeof u);
    /* x = 2^k m: counting bit patterns from that of sqrt(1/2), each 2^52 of them is one k */
    u -= SQRT_HALF_BITS;
    k += (int)((int64_t)u >> 52);
    u = (u & 0x000fffffffffffff) + SQRT_HALF_BITS;
    memcpy(&x, &u, sizeof x);

    double low;
    double main_part = log_near_1(x - 1, &low);
    double whole = k * 0x1.62e42fefa38p-1; /* exact: ln2 to 42 bits */
    double high = whole + main_part;       /* |whole| >= |main_part| or whole is 0 */
    double lost = main_part - (high - whole);
    return high + (lost + (low + k * 0x1.ef35793c7673p-45));
}
