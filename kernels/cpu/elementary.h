/* elementary.h - exp and log that give the same bits on every machine: only +, -, *, /, fma and
 * integer operations on the bits, no libm.
 *
 * These are for single values; the variants compute exp on 16 lanes with the same operations in the
 * same order (vec_math.h). */
#ifndef KERNELS_CPU_ELEMENTARY_H
#define KERNELS_CPU_ELEMENTARY_H

/* exp(x) within 1 ulp; denormal results are kept, overflow gives +inf, exp(0) is exactly 1. */
float exp_f32(float x);

/* Natural logarithm within 1 ulp; log(0) = -inf, of a negative number NaN. */
double log_f64(double x);

#endif
