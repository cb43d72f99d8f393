/* model.h - what a Hugging Face folder is: architecture, shapes, rope, and for every matrix how it
 * is stored. config.json says the architecture; the precision of each matrix is decided from the
 * tensors that are there (compressed-tensors NVFP4, ModelOpt NVFP4, plain BF16/F16/F32, any
 * mixture), the quantization_config only says whether activations are quantized. Anything that
 * would change the math and is not understood is refused by name.
 *
 * No weight is read here, only headers and the scalars (global scales).
 *
 * Memory: model_open allocates, opens the checkpoint and keeps it; model_close frees all. */
#ifndef LOADER_MODEL_H
#define LOADER_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "loader/checkpoint.h"
#include "spec/err.h"
#include "spec/types.h"

/* y[T][N] = x[T][K] W[N][K]^T (+ bias[N]). NVFP4 weight: q*s*g. */
struct linear {
    const char *name;           /* "model.layers.12.mlp.down_proj" */
    enum weight_format format;
    int N, K;                   /* out, in */
    const struct tensor *data;  /* NVFP4: U8 [N][K/2], even k in the low nibble; else [N][K] */
    const struct tensor *scale; /* NVFP4: F8_E4M3 [N][K/16]; else NULL */
    const struct tensor *bias;  /* [N] BF16/F16/F32, or NULL */
    float global_stored;        /* as in the file: a divisor (compressed-tensors) or a multiplier */
    bool global_divides;
    float input_global;         /* gi, as a divisor (1/input_scale); 0: input is never quantized */
    bool input_scale_unrounded; /* config without scale_dtype: group scales of activations stay f32
                                   in w4a4-hf (compressed-tensors >= 0.13 on older checkpoints) */
};

struct layer {
    struct linear q, k, v, o, gate, up, down;
    const struct tensor *attn_norm, *mlp_norm; /* [hidden] */
    const struct tensor *q_norm, *k_norm;      /* [head_dim], or NULL */
    int window; /* sliding window: position i sees i-window+1 .. i; 0 = all before it */
};

enum rope_kind { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN };

struct rope {
    enum rope_kind kind;
    double theta, factor;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double original_len;                      /* llama3, yarn */
    double beta_fast, beta_slow, attention_factor; /* yarn; attention_factor scales cos and sin */
    bool truncate;                            /* yarn */
};

struct model {
    const char *dir;
    const char *architecture; /* "LlamaForCausalLM" */
    int hidden, ffn, n_layers, heads, kv_heads, head_dim, vocab;
    float norm_eps;
    struct rope rope;
    bool tied;                 /* head = embed */
    struct layer *layer;       /* [n_layers] */
    struct linear embed;       /* N = vocab, K = hidden; rows are embeddings */
    struct linear head;        /* N = vocab, K = hidden */
    const struct tensor *norm; /* final, [hidden] */
    int bos, eos;              /* ids of config.json, -1 when absent */
    bool quantizes_input;      /* some linear has input_global != 0 */
    char config_sha256[65];    /* of config.json's bytes */
    struct checkpoint *checkpoint;
    int n_warnings;            /* e.g. fused groups with different g: one line each */
    char **warning;
};

MUST_USE enum status model_open(const char *dir, struct model **out, struct err *e);
void model_close(struct model *m);

/* inv_freq[head_dim/2] as Hugging Face computes it, each rounded to f32; returns the factor that
 * multiplies cos and sin (1 but for yarn). */
double rope_inv_freq(const struct rope *r, int head_dim, float *inv_freq);

/* Scales read from a file: NaN, negative or zero where codes could be non-zero are errors that name
 * file, tensor and place (design N6). `scale` holds n of l's, from the first-th on. */
MUST_USE enum status scales_check(const struct model *m, const struct linear *l, uint64_t first,
                                  uint64_t n, const uint8_t *scale, struct err *e);

#endif
