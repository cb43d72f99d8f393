/* types.h - the words every folder shares: storage types, weight formats, arithmetics. */
#ifndef SPEC_TYPES_H
#define SPEC_TYPES_H

#include <stddef.h>

enum { NVFP4_GROUP = 16 }; /* weights (or activations) that share one e4m3 scale */

/* Storage type of hidden states and module outputs (design N2). */
enum dtype { DTYPE_BF16, DTYPE_F16, DTYPE_F32 };

/* How a matrix lies in the file, and in the arena. */
enum weight_format { WEIGHT_F32, WEIGHT_F16, WEIGHT_BF16, WEIGHT_NVFP4 };

/* Which rounding the linear layers follow (design N1, N5). */
enum arithmetic { W4A16, W4A16_HF, W4A4_HF, W4A4_VLLM };

static inline size_t dtype_bytes(enum dtype t)
{
    return t == DTYPE_F32 ? 4 : 2;
}

const char *dtype_name(enum dtype t);           /* "bfloat16", "float16", "float32" */
const char *arithmetic_name(enum arithmetic a); /* "w4a16", "w4a16-hf", "w4a4-hf", "w4a4-vllm" */
const char *weight_format_name(enum weight_format f); /* "F32", "F16", "BF16", "NVFP4" */

/* Bytes of a matrix [rows][cols] without its scales; NVFP4: two codes a byte. */
size_t weight_data_bytes(enum weight_format f, size_t rows, size_t cols);
/* Bytes of its e4m3 scales: rows * cols / 16 for NVFP4, else 0. */
size_t weight_scale_bytes(enum weight_format f, size_t rows, size_t cols);

#endif
