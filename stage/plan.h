/* plan.h - who computes which layers, and every byte it takes, before a byte is loaded (design §6).
 *
 * plan_make is a pure function of the request: no device, no weights, the same answer everywhere.
 * It splits the layers into contiguous ranges that minimise the slowest stage under the caps (then
 * even out the rest), picks the microbatch, and lays out each rank's arena. When nothing fits it is
 * ERR_FIT with advice that was computed by planning again: the cap that would do, the eval_len that
 * would fit.
 *
 * Memory: plan_make allocates; plan_free frees (accepts NULL). */
#ifndef STAGE_PLAN_H
#define STAGE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "loader/model.h"

enum {
    PLAN_HIDDEN_MAX = 3,         /* hidden-state buffers: receive k+1, compute k, send k-1 */
    PLAN_OVERHEAD = 1 << 20,     /* what the process itself grows by: stacks, library buffers */
    PLAN_OVERHEAD_PEER = 1 << 20 /* the same for the transport, per neighbour */
};

/* What a rank may use. */
struct plan_cap {
    uint64_t bytes;
    bool given; /* by the spec; else it is what the device has free */
};

struct plan_request {
    const struct model *model;
    const struct kernels *kernels;
    enum dtype dtype;
    enum arithmetic arithmetic;
    int threads;     /* per rank */
    int64_t windows; /* to score */
    int len_max;     /* tokens of the longest window; len_max - 1 of them are computed */
    int eval_len;    /* what the spec calls it, for advice (len_max, or one less) */
    int microbatch;  /* windows; 0 = choose */
    int ranks;
    const struct plan_cap *cap; /* [ranks] */
    int n_by_hand;              /* 0, or ranks */
    const int *by_hand;         /* layers of each rank */
};

/* Offsets in the arena of a rank; a buffer that a rank does not need has size 0. */
struct plan_map {
    uint64_t embed, head, norm, layers; /* weights; layers lie one after another */
    uint64_t cos, sin;                  /* f32 [len][D/2] each */
    uint64_t hidden[PLAN_HIDDEN_MAX];   /* dtype [T][H] each */
    uint64_t normed;                    /* dtype [T][max(H, q_dim)]: norm output, attention output */
    uint64_t wide;                      /* dtype: q, k, v; then gate, up */
    uint64_t ids, start;                /* int32 [T], int32 [windows + 1] */
    uint64_t row, target, nll;          /* int32 [T], int32 [T], double [T]: the head's rows */
    uint64_t flags;                     /* int32 [layers + 1]: non-finite hidden states */
    uint64_t scratch, scratch_bytes;
    uint64_t bytes; /* of the arena */
};

struct plan_rank {
    int first, last; /* layers [first, last) */
    bool embed, head;
    int n_hidden;
    struct plan_cap cap;
    /* The printed items; their sum is `total`, which is never more than cap.bytes. */
    uint64_t weights, activations, scratch, scoring, comm, overhead, total;
    uint64_t owned;  /* file bytes of its tensors */
    double flops;    /* of a whole run */
    struct plan_map map;
};

struct plan {
    int ranks;
    int microbatch, tokens; /* windows, and tokens computed, of a full microbatch */
    int64_t microbatches;
    struct plan_rank *rank; /* [ranks] */
    double flops;           /* all ranks */
    double balance;         /* mean stage / slowest stage, 1 = perfectly even */
};

MUST_USE enum status plan_make(const struct plan_request *q, struct plan **out, struct err *e);
void plan_free(struct plan *p);

#endif
