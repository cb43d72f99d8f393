// links: kernels_cpu
// timeout: 60
/* Proves: exp_f32 and log_f64 are within 1 ulp of the true value (long double libm as the truth)
 * over all of their ranges, and exact at the special values. */
#include <float.h>

#include "kernels/cpu/elementary.h"
#include "tests/cpu_values.h"

/* distance in units of the last place of a float (denormals: 2^-149) */
static double ulps_f32(float got, long double want)
{
    int exponent;

    frexpl(want, &exponent);
    return (double)(fabsl((long double)got - want) /
                    ldexpl(1, exponent - 24 < -149 ? -149 : exponent - 24));
}

static void check_exp(void)
{
    double worst = 0;

    for (uint64_t u = 0; u < 0x100000000; u += 1201) { /* a prime: all mantissas get their turn */
        float x = f32_from_bits((uint32_t)u), y = exp_f32(x);

        if (!(x >= -110 && x <= 88.72f))
            continue;
        double error = ulps_f32(y, expl(x));
        worst = error > worst ? error : worst;
        EXPECT_NEAR(error, 0, 1);
    }
    printf("exp_f32: at most %.3f ulp\n", worst);

    EXPECT(exp_f32(0.0f) == 1 && exp_f32(-0.0f) == 1);
    EXPECT(exp_f32(-104) == 0 && exp_f32(-1e30f) == 0 && exp_f32(-INFINITY) == 0);
    EXPECT(exp_f32(-103.9f) == 0x1p-149f);
    EXPECT(exp_f32(88.72284f) == INFINITY && exp_f32(INFINITY) == INFINITY);
    EXPECT(exp_f32(88.722835f) < INFINITY); /* log of FLT_MAX is 88.7228390... */
    EXPECT(isnan(exp_f32(NAN)));
}

static void check_log_at(double x, double *worst)
{
    long double want = logl(x);
    int exponent;

    frexpl(want, &exponent);
    double error = (double)(fabsl(log_f64(x) - want) / ldexpl(1, exponent - 53));
    *worst = error > *worst ? error : *worst;
    EXPECT_NEAR(error, 0, 1);
}

static void check_log(void)
{
    uint64_t state = 1;
    double worst = 0;

    for (int i = 0; i < 1000000; i++) {
        uint64_t u = next_random(&state);
        double x;

        u &= 0x7fffffffffffffff;
        memcpy(&x, &u, sizeof x);
        if (isfinite(x) && x != 0)
            check_log_at(x, &worst);
        check_log_at(1 + 0.5 * next_float(&state), &worst);
        check_log_at(1 + 1e-6 * next_float(&state), &worst);
        check_log_at(1e5 * (1.0 + next_float(&state)) + 1, &worst);
    }
    printf("log_f64: at most %.3f ulp\n", worst);

    EXPECT(log_f64(1) == 0 && log_f64(0.0) == -INFINITY && log_f64(-0.0) == -INFINITY);
    EXPECT(log_f64(INFINITY) == INFINITY && isnan(log_f64(-1)) && isnan(log_f64(NAN)));
    EXPECT(isnan(log_f64(-INFINITY)));
    EXPECT(log_f64(2) == 0x1.62e42fefa39efp-1);
    check_log_at(DBL_MIN, &worst);
    check_log_at(0x1p-1074, &worst);
    check_log_at(DBL_MAX, &worst);
}

int main(void)
{
    check_exp();
    check_log();
    return 0;
}
