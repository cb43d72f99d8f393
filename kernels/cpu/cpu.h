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
    GEMM_MR = 8,   /* rows of an A panel; at most 16 */
    GEMM_NR = 32,  /* columns of a B panel */
    GEMM_KC = 512, /* K is summed in blocks of this many: part of the definition of every sum */
    CPU_ALIGN = 64
};

/* The matrix half of a variant (gemm_*.c). Panels hold f32, but for avx512bf16: there bf16, the
 * values of k and k + 1 (k even) side by side. Panels are aligned to CPU_ALIGN. */
struct gemm_ops {
    size_t panel_bytes; /* of one panel element: 4 or 2 */

    /* C[GEMM_MR][GEMM_NR] (row stride ldc) = or += sum_k A[k][GEMM_MR] B[k][GEMM_NR], k < kc <=
     * GEMM_KC: per element acc = 0; acc = fma(a, b, acc) for k ascending; C = first ? acc : C + acc. */
    void (*micro)(const void *a, const void *b, int kc, float *c, size_t ldc, bool first);

    /* A panel from GEMM_MR rows of f32: a[k][GEMM_MR] = x[i*ldx + k], k < kc. */
    void (*pack)(const float *x, size_t ldx, int kc, void *a);

    /* B panel from rows of a matrix: b[k][GEMM_NR] = value of W[n0 + j][k0 + k], j < GEMM_NR,
     * k < kc; columns n0 + j >= N are 0. NVFP4 (k0 and kc multiples of 16): q*s, exact; or, with
     * hf, what Hugging Face rounds a weight to. Plain formats are exact, also with hf. */
    void (*unpack)(const struct weight *w, int n0, int k0, int kc, bool hf, void *b);

    /* Rows of f32 as rows of a panel: rows 2i and 2i + 1 side by side in row i, in place if `to` is x;
     * `rows` is even. NULL: panels hold f32, as it is. */
    void (*join)(const float *x, int rows, int columns, void *to);
};

/* The row half of a variant (rows_*.c): f32 vectors. Sums run in 16 interleaved lanes (i mod 16),
 * folded by halves. */
struct row_ops {
    /* n values between storage and f32; rounding is to nearest, ties to even. */
    void (*widen)(enum dtype t, const void *x, float *y, size_t n);
    void (*narrow)(enum dtype t, const float *x, void *y, size_t n);
    void (*scale)(float *x, float g, const float *bias, int n); /* x = x*g + bias; NULL: x*g */
    float (*sum_squares)(const float *x, int n);
    float (*max)(const float *x, int n); /* NaN if any x is NaN */
    /* x[i] = exp(x[i] - shift); returns the sum in double (16 lanes, folded by halves). */
    double (*exp_sum)(float *x, int n, float shift);
    /* y[i] = silu(gate[i]) * up[i] */
    void (*swiglu)(const float *gate, const float *up, float *y, size_t n);

    /* Softmax down the columns of a strip s[keys][GEMM_NR], in three passes: max[j] grows to the
     * greatest of its column (a NaN is skipped: the next pass spreads it); s = exp(s*scale -
     * max*scale), 0 below exp(-87), with the sum of each column, f32 over COLUMN_KEYS keys and
     * double over those; s = s * inv[j], rounded to t. */
    void (*column_max)(const float *s, int keys, float *max);
    void (*column_exp_sum)(float *s, int keys, const float *max, float scale, double *sum);
    void (*column_scale)(float *s, int keys, const float *inv, enum dtype t);

    /* xq[i] = what the 4-bit input of a layer stands for, n a multiple of NVFP4_GROUP. HF: the
     * value q*s' rounded to t; vLLM: q*s, exact, to be divided by gi. See quantize.c. */
    void (*quantize_hf)(const float *x, float *xq, int n, float gi, bool unrounded, enum dtype t);
    void (*quantize_vllm)(const float *x, float *xq, int n, float gi);
};

enum { COLUMN_KEYS = 32 };

struct isa {
    const char *name;
    bool (*usable)(void); /* does this processor have it? */
    const struct gemm_ops *gemm;
    const struct row_ops *rows;
    /* Sums pairs in another order: dtype bfloat16, values that bf16 holds. NULL: none. */
    const struct gemm_ops *dot;
};

extern const struct gemm_ops gemm_portable, gemm_avx2, gemm_avx512, gemm_avx512bf16;
extern const struct row_ops rows_portable, rows_avx2, rows_avx512;

/* The variants in order of preference; NULL name ends the list. One with `dot` is followed by the same
 * without it, which dtypes other than bfloat16 take. */
extern const struct isa cpu_isas[];

/* Measures (about 5 ms) whether isa->dot beats isa->gemm by a fifth: sums that differ from those of
 * all other machines must be worth it, and two starts on one machine must choose alike. */
bool isa_dot_is_faster(const struct isa *isa);

enum { CPU_BRAND = 49 };
/* "Intel(R) Xeon(R) ...": what the processor calls itself, somewhere in `text`. */
const char *cpu_brand(char text[CPU_BRAND]);

/* Private state of the backend behind struct device. */
struct device {
    enum dtype dtype;
    enum arithmetic arithmetic;
    int threads;
    const struct isa *isa;
    char description[128];
    void *mapped; /* the arena, and address space before it */
    size_t mapped_bytes;
    unsigned char *scratch;
    size_t scratch_bytes;
};

/* What multiplies operands that bf16 holds where dtype is bfloat16 (`narrow`), or any others. */
static inline const struct gemm_ops *gemm_ops_of(const struct device *d, bool narrow)
{
    return narrow && d->isa->dot && d->dtype == DTYPE_BF16 ? d->isa->dot : d->isa->gemm;
}

/* The operations of kernels.h: same names, same contracts. */
enum status linear_cpu(struct device *d, void *y, const void *x, const struct weight *w, int T,
                       struct err *e);
enum status head_nll_cpu(struct device *d, double *nll, const void *x, const struct weight *head,
                         const int32_t *row, const int32_t *target, int rows, int vocab,
                         struct err *e);
enum status embed_cpu(struct device *d, void *y, const struct weight *table, const int32_t *ids,
                      int T, struct err *e);
enum status rms_norm_cpu(struct device *d, void *y, const void *x, const float *gain, int rows,
                         int cols, float eps, struct err *e);
enum status rope_cpu(struct device *d, void *x, int heads, int D, const float *cos,
                     const float *sin, const struct batch *b, struct err *e);
enum status attention_cpu(struct device *d, void *out, const void *q, const void *k, const void *v,
                          const struct attention *a, const struct batch *b, struct err *e);
enum status swiglu_cpu(struct device *d, void *gate, const void *up, size_t n, struct err *e);
enum status add_cpu(struct device *d, void *x, const void *y, size_t n, struct err *e);
enum status nonfinite_cpu(struct device *d, int32_t *flag, const void *x, size_t n, struct err *e);

/* Scratch of those that need any. */
size_t linear_scratch_bytes(const struct work_shape *w);
size_t head_scratch_bytes(const struct work_shape *w);
size_t attention_scratch_bytes(const struct work_shape *w);

/* xq[rows][K], f32, from x[rows][K] in dtype: the inputs of w as w4a4-hf or w4a4-vllm see them
 * (d->arithmetic). w4a4-vllm: the exact q*s, still to be divided by w->input_global. Called by
 * many threads at a time. */
void quantize_rows(const struct device *d, const struct weight *w, const void *x, int rows,
                   float *xq);

#endif
