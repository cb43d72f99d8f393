/* cuda.h - inside the CUDA backend: the kernels' launchers, and the state behind struct device.
 *
 * .cu files hold kernels and their launchers; everything else is C. A launcher queues one kernel on
 * a stream and returns whether it could be launched. Letters and layouts are those of kernels.h; all
 * pointers are device memory. The same .cu files run on a CPU (tests/cuda_host).
 *
 * Every sum has an order that the shape of one row fixes: a block or a warp owns the row, and
 * matrix products always have GEMM_TOKENS rows (design N4). */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    GEMM_TOKENS = 1024, /* rows of every matrix product; the last ones are padded with zeros */
    PIECES_MAX = 3,     /* bf16 values that hold an f32 exactly: 8 + 8 + 8 bits */
    HEAD_DIM_MAX = 256,
    CUDA_ALIGN = 256    /* of every buffer in scratch */
};

/* Operands of a matrix product: 16-bit values, or 4-bit codes with a scale for 16 of them. */
enum operand { OPERAND_BF16, OPERAND_F16, OPERAND_FP4 };

/* Scales of 4-bit operands as cuBLASLt wants them: tiles of 128 rows and 4 groups, missing ones 0. A
 * tile is 512 bytes: rows r, r+32, r+64 and r+96 side by side, 4 bytes each, for r = 0 .. 31. Tiles of
 * the same rows follow one another. */
enum { SCALE_ROWS = 128, SCALE_GROUPS = 4, SCALE_TILE = SCALE_ROWS * SCALE_GROUPS };

static inline size_t swizzled_bytes(size_t rows, size_t K)
{
    size_t tiles = (rows + SCALE_ROWS - 1) / SCALE_ROWS;

    return tiles * ((K / NVFP4_GROUP + SCALE_GROUPS - 1) / SCALE_GROUPS) * SCALE_TILE;
}

/* ---- every .cu: its kernels on the GPU, before memory is measured (load.cuh) */

cudaError_t load_weights(void);
cudaError_t load_rows(void);
cudaError_t load_operands(void);
cudaError_t load_head(void);
cudaError_t load_attention(void);
cudaError_t load_attention_f32(void);

/* ---- weights.cu */

/* out[N*K] = q*s, exact. K a multiple of 16. */
cudaError_t launch_dequantize(void *out, enum operand type, const void *codes, const uint8_t *scale,
                              size_t n, cudaStream_t s);
/* out[swizzled_bytes(N, K)] = scale[N][K/16]. */
cudaError_t launch_swizzle(void *out, const uint8_t *scale, int N, int K, cudaStream_t s);
/* out[n] = bf16(q * f32(s * g)), g inside as Hugging Face does: s / g_stored where it divides. */
cudaError_t launch_dequantize_hf(void *out, const void *codes, const uint8_t *scale,
                                 float global_stored, bool global_divides, size_t n,
                                 cudaStream_t s);
/* out[n] = the bf16 piece number `piece` (0 = leading) of plain values. */
cudaError_t launch_weight_piece(void *out, enum weight_format format, const void *w, int piece,
                                size_t n, cudaStream_t s);
/* y[T][H] = rows ids[t], which the caller knows to be rows of the table. hf as in launch_dequantize_hf. */
cudaError_t launch_embed(void *y, enum dtype t, const struct weight *table, bool hf,
                         const int32_t *ids, int T, cudaStream_t s);

/* ---- spare.cu */

/* *out = DEVICE_SPARE bytes that come with the program. */
cudaError_t find_spare(void **out);

/* ---- rows.cu */

cudaError_t launch_rms_norm(void *y, const void *x, enum dtype t, const float *gain, int rows,
                            int cols, float eps, cudaStream_t s);
cudaError_t launch_rope(void *x, enum dtype t, int heads, int D, const float *cos, const float *sin,
                        const struct batch *b, cudaStream_t s);
cudaError_t launch_swiglu(void *gate, const void *up, enum dtype t, size_t n, cudaStream_t s);
cudaError_t launch_add(void *x, const void *y, enum dtype t, size_t n, cudaStream_t s);
cudaError_t launch_nonfinite(int32_t *flag, const void *x, enum dtype t, size_t n, cudaStream_t s);

/* ---- operands.cu: rows of activations on their way into and out of a product */

/* out[pieces][GEMM_TOKENS][K]: the sum of the pieces is x[r] (x[row[r]] with row), rows beyond `rows`
 * are 0. One piece holds a bf16 or f16 value in its own type; bf16 takes two for f16, three for f32. */
cudaError_t launch_split_rows(void *out, enum operand type, int pieces, const void *x, enum dtype t,
                              const int32_t *row, int rows, int K, cudaStream_t s);

/* How 4-bit inputs are made (formats.md 1.5, 1.6): `global` is the divisor gi. */
struct input_quantizer {
    enum arithmetic arithmetic; /* W4A4_HF or W4A4_VLLM */
    float global;
    bool unrounded;             /* HF: scales are not rounded to e4m3 */
};

/* The same for x quantized per 16 values. HF: q*s' rounded to t; vLLM: q*s, 1/gi left to the sums. */
cudaError_t launch_quantize_rows(void *out, enum operand type, int pieces, const void *x,
                                 enum dtype t, const int32_t *row, int rows, int K,
                                 struct input_quantizer q, cudaStream_t s);
/* The same as 4-bit operands, as vLLM does: codes[GEMM_TOKENS][K/2], and scale swizzled. */
cudaError_t launch_quantize_codes(void *codes, uint8_t *scale, const void *x, enum dtype t, int rows,
                                  int K, float global, cudaStream_t s);
/* y[rows][N] = acc * g + bias, one rounding; bias may be NULL. */
cudaError_t launch_store_sums(void *y, enum dtype t, const float *acc, float g, const float *bias,
                              int rows, int N, cudaStream_t s);

/* ---- head.cu: a softmax over the vocabulary in chunks of columns */

struct softmax_state {
    double sum;  /* of exp(logit - max) so far */
    float max;
    float logit; /* of the target */
};

/* Takes in columns v0 .. v0+n-1: logit = sums[r][n] * g + bias[v0 + c]. The first chunk has v0 = 0. */
cudaError_t launch_softmax_chunk(struct softmax_state *state, const float *sums, float g,
                                 const float *bias, const int32_t *target, int rows, int v0, int n,
                                 cudaStream_t s);
/* nll[r] = log(sum of all exp) - logit of the target; NaN when the target was in no chunk. */
cudaError_t launch_softmax_nll(double *nll, const struct softmax_state *state, int rows,
                               cudaStream_t s);

/* ---- fp4_check.cu: operands whose products f32 sums without rounding, in any order */

/* codes[N][K/2], scale[N][K/16] */
cudaError_t launch_check_weights(void *codes, uint8_t *scale, int N, int K, cudaStream_t s);
/* x[GEMM_TOKENS][K], which quantizes to itself with the divisor `global`, a power of two. */
cudaError_t launch_check_rows(void *x, enum dtype t, int K, float global, cudaStream_t s);
/* *flag = 1 unless a[i] == b[i] for all i (a NaN equals nothing), else unchanged. */
cudaError_t launch_differ(int32_t *flag, const void *a, const void *b, enum dtype t, size_t n,
                          cudaStream_t s);

/* ---- attention.cu (bf16, f16: head_dim a multiple of 8), attention_f32.cu */

cudaError_t launch_attention(void *out, const void *q, const void *k, const void *v, enum dtype t,
                             const struct attention *a, const struct batch *b, cudaStream_t s);
cudaError_t launch_attention_f32(float *out, const float *q, const float *k, const float *v,
                                 const struct attention *a, const struct batch *b, cudaStream_t s);

#ifdef __cplusplus
}
#endif

#endif
