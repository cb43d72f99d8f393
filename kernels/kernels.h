/* kernels.h - the math a stage needs: one table of operations per backend.
 *
 * Letters, in every comment of this folder:
 *   T  tokens of the microbatch     H  hidden size      K  input features of a matrix
 *   F  feed-forward size            V  rows of the head N  output features of a matrix
 *   D  head_dim
 * x[T][K] is row-major: element (t,k) is x[t*K + k]. "dtype" is the storage type chosen when the
 * device was opened (design N2): every operation reads dtype, computes in f32 and rounds once when
 * it stores. Sums run in an order fixed by the shape of one row alone, so a row's result does not
 * depend on T, on the other rows, nor (CPU) on threads or instruction set (design N4).
 *
 * Memory: `open` allocates nothing large; `arena` takes all the memory of a rank. Every data
 *         pointer below lies in that arena (host memory for cpu, device memory for cuda) unless the
 *         comment says host. Operations never allocate; what they need is `scratch`, planned with
 *         scratch_bytes() and handed over once with use_scratch().
 * Order:  open, arena, use_scratch, operations ..., close. Operations are queued in order; results
 *         are there after sync(). copy() runs beside them. Kernels themselves cannot fail; launches
 *         can, so all return a status. */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"
#include "spec/types.h"

struct device; /* opaque: one backend's handle */

struct device_options {
    enum dtype dtype;
    enum arithmetic arithmetic;
    int threads;     /* cpu: 0 = the cores this process may use */
    const char *isa; /* cpu: "auto" or the name of a variant */
    int local_rank;  /* cuda: which GPU of this host */
    double patience; /* cuda: seconds until what was queued counts as hung; 0 = for ever */
};

/* Memory of a device, in bytes. */
struct device_memory {
    uint64_t total, available; /* available: now, for any process */
    uint64_t taken, later;     /* by opening it; what libraries may still take beside the arena */
};

enum { DEVICE_SPARE = 256 };

/* Copies beside the operations: each queue goes by itself, in order, for one thread at a time. */
enum copy_queue {
    COPY_LAYERS, /* weights, as they are read */
    COPY_HIDDEN, /* hidden states, to the host and from it */
    COPY_QUEUES
};

/* What a run asks of the operations; scratch_bytes is a pure function of it. */
struct work_shape {
    int tokens;     /* T, most tokens of a microbatch */
    int len_max;    /* most tokens of one window */
    int hidden, ffn, q_dim, kv_dim, head_dim, vocab; /* vocab = V */
    int k_max;      /* largest K of any matrix */
    int n_max;      /* largest N of any matrix but the head */
    enum dtype dtype;
    enum arithmetic arithmetic;
    int threads;
};

/* W[N][K]: y = x W^T. NVFP4: w = q*s*g, g = global_divides ? 1/global_stored : global_stored. */
struct weight {
    enum weight_format format;
    int N, K;
    const void *data;     /* NVFP4: u8 [N][K/2], even k in the low nibble; else elements [N][K] */
    const uint8_t *scale; /* NVFP4: e4m3 [N][K/16] */
    float global_stored;
    bool global_divides;
    const float *bias;    /* [N] or NULL */
    float input_global;   /* gi (divisor) for w4a4-*; 0: input is not quantized */
    bool input_scale_unrounded;
};

/* The windows of a microbatch: tokens of window w are start[w] .. start[w+1)-1; the position of a
 * token is its index in its window. */
struct batch {
    int tokens, windows, len_max;
    const int32_t *start; /* [windows + 1] */
};

struct attention {
    int heads, kv_heads, head_dim; /* query head h uses kv head h / (heads/kv_heads) */
    int window;                    /* 0, or position i sees i-window+1 .. i */
    float scale;                   /* of the scores: 1/sqrt(head_dim) */
};

struct kernels {
    const char *name; /* "cpu", "cuda" */
    bool arena_is_host; /* may the host read and write the arena directly? */
    int tokens_wanted;  /* of a microbatch: with more, matrices run hardly faster */
    uint64_t overhead;  /* of a device that is not open: memory that it will hold beside the arena */

    /* Names of the variants built in, "avx512, avx2, portable", into out; "" when this program was
     * built without the backend (then nothing below may be called). */
    void (*variants)(char *out, size_t size);
    /* Is there a device here that open could take? */
    bool (*present)(void);

    /* Bytes of scratch that operations of this shape need; no device is touched. */
    size_t (*scratch_bytes)(const struct work_shape *w);

    enum status (*open)(const struct device_options *o, struct device **out, struct err *e);
    void (*close)(struct device *d); /* accepts NULL */
    /* "avx512, 2 threads" or "NVIDIA H200, 0000:1b:00.0": for the report. Owned by d. */
    const char *(*describe)(const struct device *d);
    /* "GPU 0 NVIDIA H200, 0000:1b:00.0": for messages of others. NULL: its host says enough. */
    const char *(*label)(const struct device *d);
    const char *(*isa)(const struct device *d); /* "avx512"; cuda: "sm_90" */
    /* Name of the order in which sums run: devices with the same one give the same numbers. NULL:
     * as many as there are isa. */
    const char *(*sums)(const struct device *d);
    int (*threads)(const struct device *d);

    /* Products of NVFP4 weights and 4-bit inputs as they are (w4a4-vllm); NULL functions: it has
     * none. try_fp4, before the arena: `why` not with the matrices of hidden, ffn, q_dim and kv_dim,
     * or "" where the device has them all and proved that f32 sums of them are the 16-bit ones. It
     * takes memory and gives it back; ERR_FIT where it has not so much under the cap. use_fp4: from
     * now on, and isa says so ("sm_100-fp4"). */
    enum status (*try_fp4)(struct device *d, const struct work_shape *w, uint64_t cap, char *why,
                           size_t size, struct err *e);
    void (*use_fp4)(struct device *d);

    /* NULL functions where the arena is host memory: has libraries take now what operations of this
     * shape will make them take (`w->tokens` does not matter), under a cap of the device's memory;
     * what the device has; and a few bytes of it that
     * are there before the arena is, DEVICE_SPARE of them, for a transport's first message. */
    enum status (*warm_up)(struct device *d, const struct work_shape *w, uint64_t cap, struct err *e);
    enum status (*memory)(struct device *d, struct device_memory *out, struct err *e);
    enum status (*spare)(struct device *d, void **out, struct err *e);

    /* Called again, the arena before is gone: its memory is taken anew, on cuda never more than at
     * first, so that a rank allocates once. */
    enum status (*arena)(struct device *d, size_t bytes, void **base, struct err *e);
    void (*use_scratch)(struct device *d, void *scratch, size_t bytes);
    enum status (*upload)(struct device *d, void *to, const void *from_host, size_t bytes,
                          struct err *e);
    enum status (*download)(struct device *d, void *to_host, const void *from, size_t bytes,
                            struct err *e); /* implies sync */
    enum status (*sync)(struct device *d, struct err *e);
    /* Begins a copy between the arena and pinned host memory, either way; and waits for all that was
     * begun in a queue. A copy waits for no operation and no other queue, nor do they wait for it: what
     * it reads must be there, what it writes must be free, until copy_wait says that it is done. Where
     * the arena is host memory it is done on return. */
    enum status (*copy)(struct device *d, enum copy_queue q, void *to, const void *from,
                        size_t bytes, struct err *e);
    enum status (*copy_wait)(struct device *d, enum copy_queue q, struct err *e);
    /* Host memory for copies, of whole pages, pinned where the arena is a device's; and its end (accepts
     * NULL), which waits for copies that are under way. */
    enum status (*pin)(struct device *d, size_t bytes, void **host, struct err *e);
    void (*unpin)(struct device *d, void *host, size_t bytes);

    /* y[T][H] = rows ids[t] of table (N = vocabulary, K = H), rounded to dtype. */
    enum status (*embed)(struct device *d, void *y, const struct weight *table, const int32_t *ids,
                         int T, struct err *e);
    /* y[r][c] = x[r][c] / sqrt(mean_c x[r][c]^2 + eps) * gain[c]; y may be x. rows is T for hidden
     * states, T*heads for the per-head norms of Qwen3. */
    enum status (*rms_norm)(struct device *d, void *y, const void *x, const float *gain, int rows,
                            int cols, float eps, struct err *e);
    /* y[T][N] = g * (x[T][K] . w[N][K]) + bias: products with q*s, f32 sums, then g, then bias, then
     * one rounding. Under w4a16-hf and w4a4-hf the weights are rounded to bf16 with g inside; under
     * w4a4-* the rows of x are quantized per 16 first where w->input_global != 0. */
    enum status (*linear)(struct device *d, void *y, const void *x, const struct weight *w, int T,
                          struct err *e);
    /* Rotates x[T][heads][D] in place, halves paired (i, i + D/2): cos, sin are f32
     * [len_max][D/2], row = position of the token in its window. */
    enum status (*rope)(struct device *d, void *x, int heads, int D, const float *cos,
                        const float *sin, const struct batch *b, struct err *e);
    /* out[T][heads*D] = softmax(scale * q k^T, causal, within each window) v. Scores and softmax in
     * f32; in 16-bit dtypes the probabilities are rounded to dtype before the product with v.
     * q[T][heads*D], k and v [T][kv_heads*D]. */
    enum status (*attention)(struct device *d, void *out, const void *q, const void *k,
                             const void *v, const struct attention *a, const struct batch *b,
                             struct err *e);
    /* gate[i] = silu(gate[i]) * up[i], silu(z) = z / (1 + exp(-z)), one rounding. */
    enum status (*swiglu)(struct device *d, void *gate, const void *up, size_t n, struct err *e);
    /* x[i] += y[i] */
    enum status (*add)(struct device *d, void *x, const void *y, size_t n, struct err *e);
    /* nll[i] = log(sum_v exp(z[v])) - z[target[i]], z = row[i] of x[T][H] times head^T, v < vocab.
     * Logits are f32 (never rounded to dtype), never stored whole: tokens in chunks. nll in double. */
    enum status (*head_nll)(struct device *d, double *nll, const void *x, const struct weight *head,
                            const int32_t *row, const int32_t *target, int rows, int vocab,
                            struct err *e);
    /* *flag = 1 if some x[i] is NaN or infinite, else unchanged. */
    enum status (*nonfinite)(struct device *d, int32_t *flag, const void *x, size_t n,
                             struct err *e);
};

extern const struct kernels kernels_cpu;
extern const struct kernels kernels_cuda;

#endif
