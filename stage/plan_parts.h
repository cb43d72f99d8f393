/* plan_parts.h - inside the plan: what its files share.
 *
 *   plan_layout.c  bytes and offsets of one rank for given layers
 *   plan_split.c   which rank takes which layers
 *   plan_time.c    how long it takes
 *   plan_waves.c   in which order a rank does what it has to do, going on from what was kept
 *   plan.c         the microbatch, the whole plan, the refusal and its advice */
#ifndef STAGE_PLAN_PARTS_H
#define STAGE_PLAN_PARTS_H

#include "stage/plan.h"

/* Sizes that one request needs again and again. */
struct plan_sizes {
    const struct plan_request *q;
    int stages, replicas;
    struct plan_cap *cap;   /* [stages] the least of the replicas */
    int microbatch, tokens; /* windows, T */
    int64_t microbatches;   /* of all replicas */
    bool streaming;         /* may a rank stream layers? */
    uint64_t *bytes;        /* [n_layers + 1] arena bytes of the layers before */
    double *flops;          /* [n_layers + 1] FLOPs of one token in the layers before */
    double head_flops;      /* of one token */
    uint64_t (*base)[2];    /* [stages] bytes of a rank (the most of any replica) without its layers
                               and their flags: [0] if it has none, [1] if some */
    uint64_t hidden;        /* bytes of one hidden-state buffer */
};

/* For pipelines of `stages` stages. */
MUST_USE enum status plan_sizes_make(const struct plan_request *q, int stages, struct plan_sizes *s,
                                     struct err *e);
void plan_sizes_free(struct plan_sizes *s);
/* Fixes the microbatch (windows); call before the functions below. */
void plan_sizes_set(struct plan_sizes *s, int microbatch, bool streaming);

/* How a rank holds a range of layers. */
struct plan_shape {
    int streamed, wave, parked, passing;
    double seconds; /* predicted, of the whole run; INFINITY: does not fit */
    double cost;    /* the same with what other stages wait for its first and its last wave */
};
struct plan_shape plan_range_shape(const struct plan_sizes *s, int stage, int first, int last);

/* Seconds by which the parked hidden states of a wave make layer i longer, on their way to it and from
 * it: what of their copies does not run beside computing. */
double plan_park_seconds(const struct plan_sizes *s, const struct plan_rank *r, int i);
/* Fills in seconds and stall of a rank. */
void plan_predict(const struct plan_sizes *s, struct plan_rank *r);
/* Fills in how ranks keep hidden states, and adds the time that takes. */
void plan_keep(const struct plan_sizes *s, struct plan *p);
/* From the arrival of a wave until its first microbatch leaves. */
double plan_lag(const struct plan_rank *r);
/* Seconds until the last stage of the first replica, which has the most to do, has finished. */
double plan_pipeline_seconds(const struct plan *p);

/* Everything of one rank that holds layers [first, last) in that shape. */
struct plan_rank plan_lay_out(const struct plan_sizes *s, int rank, int first, int last,
                              struct plan_shape shape);

/* Splits for the microbatch set; *fit says whether the caps hold. cut[stages + 1]: first layer of
 * each stage, and n_layers. */
MUST_USE enum status plan_split(const struct plan_sizes *s, int *cut, bool *fit, struct err *e);

#endif
