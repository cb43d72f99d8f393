/* cpu.h - inside the CPU backend: the instruction-set variants and what they share.
 *
 * Each variant (portable, avx2, avx512, ...) is one file compiled with its own flags that fills one
 * struct isa. In f32 all of them give the same bits: every sum is the same chain of fused
 * multiply-adds, written with fma() where the machine has no vector for it, and transcendental
 * functions are our own polynomials (elementary.h). Nothing here depends on libm or on the compiler
 * contracting a*b+c (-ffp-contract=off).
 *
 * The micro-kernel is the centre: both the linear layers (fused dequantization into B panels) and
 * attention (q k^T, p v) are made of it. */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/kernels.h"

enum {
    GEMM_MR = 8,   /* rows of an A panel */
    GEMM_NR = 32,  /* columns of a B panel */
    GEMM_KC = 512, /* K is summed in blocks of this many: part of the definition of every sum */
    CPU_ALIGN = 64
};

/* The matrix half of a variant (gemm_*.c). */
struct gemm_ops {
    /* C[GEMM_MR][GEMM_NR] (row stride ldc) = or += sum_k A[k][GEMM_MR] B[k][GEMM_NR], k < kc <=
     * GEMM_KC: per element acc = 0; acc = fma(a, b, acc) for k ascending; C = first ? acc : C + acc. */
    void (*micro)(const float *a, const float *b, int kc, float *c, size_t ldc, bool first);

    /* B panel from rows of a matrix: b[k][GEMM_NR] = value of W[n0 + j][k0 + k], j < GEMM_NR,
     * k < kc; columns n0 + j >= N are 0. NVFP4 (kc a multiple of 16): q*s, exact; or, with hf, what
     * Hugging Face rounds a weight to. */
    void (*unpack)(const struct weight *w, int n0, int k0, int kc, bool hf, float *b);
};

/* The row half of a variant (rows_*.c): f32 vectors. Sums run in 16 interleaved lanes (i mod 16),
 * folded by halves. */
struct row_ops {
    /* n values between storage and f32; rounding is to nearest, ties to even. */
    void (*widen)(enum dtype t, const void *x, float *y, size_t n);
    void (*narrow)(enum dtype t, const float *x, void *y, size_t n);
    float (*sum_squares)(const float *x, int n);
    float (*max)(const float *x, int n); /* NaN if any x is NaN */
    /* x[i] = exp(x[i] - shift); returns the sum in double (16 lanes, folded by halves). */
    double (*exp_sum)(float *x, int n, float shift);
    /* y[i] = silu(gate[i]) * up[i] */
    void (*swiglu)(const float *gate, const float *up, float *y, size_t n);
};

struct isa {
    const char *name;
    bool (*usable)(void); /* does this processor have it? */
    const struct gemm_ops *gemm;
    const struct row_ops *rows;
};

extern const struct gemm_ops gemm_portable, gemm_avx2, gemm_avx512;
extern const struct row_ops rows_portable, rows_avx2, rows_avx512;

/* The variants in order of preference; NULL name ends the list. */
extern const struct isa cpu_isas[];

/* Private state of the backend behind struct device. */
struct device {
    enum dtype dtype;
    enum arithmetic arithmetic;
    int threads;
    const struct isa *isa;
    char description[128];
    void *arena;
    size_t arena_bytes;
    unsigned char *scratch;
    size_t scratch_bytes;
};

#endif
