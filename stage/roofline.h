/* roofline.h - how long a plan would take on GPUs that are not here: bytes and FLOPs of every step
 * of every rank, over what a device of that name can do.
 *
 * A step takes the longer of its arithmetic and its memory traffic. Within a microbatch steps
 * follow one another; sending to the next rank, reading streamed layers and copying parked hidden
 * states run beside them. It is a
 * limit to hold a measurement against, not a prediction: launches, synchronisation and caches are
 * left out, and a device's figures are assumptions (roofline_devices.c says where they come from).
 *
 * Memory: roofline_make allocates; roofline_free frees (accepts NULL). */
#ifndef STAGE_ROOFLINE_H
#define STAGE_ROOFLINE_H

#include "stage/plan.h"

/* What a device sustains, not what its data sheet promises. */
struct roofline_device {
    const char *name; /* as --roofline takes it */
    double matrix;    /* FLOP/s: 16-bit products, f32 sums */
    double fp4;       /* FLOP/s: products of 4-bit operands; 0 = none, weights are dequantized */
    double attention; /* FLOP/s: tiles of 16-bit products with a softmax between */
    double attention_f32; /* FLOP/s: the same in f32, without tensor cores */
    double memory;        /* bytes per second, as all of these */
    double host;          /* from host memory, one direction; 0 = it is the same memory */
    double disk;          /* one NVMe disk */
    double link;          /* to the next rank's device */
    double bytes;         /* of its memory that a rank may take */
};

enum roofline_step {
    STEP_EMBED,      /* rows of the table */
    STEP_DEQUANTIZE, /* 4-bit weights to 16-bit scratch, once a microbatch */
    STEP_GEMM,       /* linear layers */
    STEP_ATTENTION,
    STEP_ELEMENTWISE, /* norms, rope, SwiGLU, residuals, the check for NaN */
    STEP_HEAD,        /* logits and softmax of every token */
    STEP_SEND,        /* hidden states to the next rank */
    STEP_READ,        /* streamed layers, disk to device, once a wave */
    STEP_COPY,        /* hidden states parked on the host, there and back between layers */
    ROOFLINE_STEPS
};

struct roofline_cost {
    double bytes, flops, seconds;
};

struct roofline_stage {
    struct roofline_cost step[ROOFLINE_STEPS]; /* of a microbatch; STEP_READ: of a wave; STEP_COPY:
                                                  of one that is parked */
    double compute;           /* seconds of a microbatch: the steps before STEP_SEND */
    double wave;              /* seconds of a wave, with what runs beside it */
    double seconds;           /* of the run, without waiting for other ranks */
    double tokens_hide_read;  /* in a wave, from where on reading costs nothing; 0 = none is read */
    enum roofline_step binds; /* the step that a faster device should speed up first */
};

struct roofline {
    struct roofline_device device;
    int stages;
    struct roofline_stage *stage; /* [stages] */
    int slowest;                  /* stage */
    double seconds;               /* of the run */
    double bubble; /* share of it that the slowest stage waits: while the pipeline fills
                      and drains. (S-1)/(m+S-1) for S even stages, m microbatches */
    double tokens_per_second;
};

/* NULL: unknown. */
const struct roofline_device *roofline_device(const char *name);
/* "a100, h100, ..." into out. */
void roofline_devices(char *out, size_t size);
const char *roofline_step_name(enum roofline_step s); /* "dequantize" */

/* The rates that a plan for such a device reckons with. */
struct plan_rates roofline_rates(const struct roofline_device *d);

/* The rates of the request stand for the device's products, disk and host link: these, or others that were
 * given. A device with 4-bit products is ERR_SPEC where the arithmetic does not quantize inputs so.
 */
MUST_USE enum status roofline_make(const struct plan_request *q, const struct plan *p,
                                   const struct roofline_device *d, struct roofline **out,
                                   struct err *e);
void roofline_free(struct roofline *r);

#endif
