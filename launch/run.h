/* run.h - one model through the whole way: files, ids, windows, plan, weights, scores.
 *
 * Every rank makes the same calls. A failure that ranks can still agree on (before the pipeline
 * runs) comes back on all of them with the message of the lowest rank that failed; one while the
 * pipeline runs comes back only where it happened, and the caller must end the job.
 *
 * Memory: run_open allocates; run_close frees (accepts NULL).
 * Order:  run_open, run_device; where it goes on from a journal, resume_open (resume.h); run_warm_up,
 *         run_plan, where run_connects run_connect and run_plan; run_rates, run_load, run_score;
 *         run_close. Or run_open, run_plan_only, run_close. */
#ifndef LAUNCH_RUN_H
#define LAUNCH_RUN_H

#include "comm/comm.h"
#include "launch/budget.h"
#include "launch/fp4.h"
#include "launch/job.h"
#include "launch/link.h"
#include "launch/transport.h"
#include "launch/wave_file.h"
#include "spec/spec.h"
#include "stage/plan.h"
#include "stage/schedule.h"
#include "stage/score.h"
#include "stage/stage.h"
#include "stage/windows.h"

/* What one rank has to say about itself, exchanged at the end. Plain bytes: it travels. */
struct run_rank {
    char host[64], device[128], isa[32];
    struct stage_fault fault;
    uint64_t peak;         /* bytes, as the plan counts them */
    uint64_t available;    /* of its GPU at the end; 0: there is none */
    uint64_t read;         /* file bytes */
    uint64_t parked;       /* most bytes of hidden states on the host; not in `peak` */
    int begin;             /* the layer that its first wave went on from */
    int kept;              /* how often a wave was kept */
    double load, compute, wait, stall, keep, total; /* seconds */
};

struct run {
    const struct spec *spec;
    const struct spec_model *choice;
    struct comm *comm;
    const struct kernels *kernels;

    struct model *model;
    struct corpus *corpus;
    struct windows *windows;
    int vocab;          /* softmax width */
    struct device *device;
    int threads;        /* the most of any rank: what the plan reckons with */
    struct fp4 fp4;     /* products of 4-bit operands */

    struct plan_request request;
    struct budget budget;
    struct plan_cap *cap; /* [ranks] */
    struct plan *plan;
    bool timed;           /* the plan's rates were measured or given */

    struct link *link;    /* [ranks], after run_load */
    struct stage *stage;
    struct wave_file *waves; /* where an unfinished wave is kept; NULL: nowhere */
    struct transport transport; /* of hidden states */
    struct score *score;  /* rank 0; opened by run_load unless it was before */
    int64_t restored;     /* windows of it that were not computed here */
    double started, load_seconds, score_began, score_seconds;
    struct run_rank *rank; /* [ranks], after run_score */
};

/* Files, ids and windows of model `index`. data_dir: --data-dir or NULL. */
MUST_USE enum status run_open(const struct spec *spec, int index, struct comm *comm,
                              const char *data_dir, struct run **out, struct err *e);
/* Opens the device, and chooses the transport of hidden states. */
MUST_USE enum status run_device(struct run *r, struct err *e);
/* Plans the windows that are selected, for the ranks of the job; again, where it was planned. */
/* What the device's libraries will take is there before memory is measured. */
MUST_USE enum status run_warm_up(struct run *r, struct err *e);
MUST_USE enum status run_plan(struct run *r, struct err *e);
/* Do the GPUs of this plan, or of one that run_rates may make, have to be connected? That takes memory,
 * so it is planned again then. */
bool run_connects(const struct run *r);
/* A failure comes back only where it happened, as one of run_score. */
MUST_USE enum status run_connect(struct run *r, struct err *e);
/* Measures the rates of a plan that streams, where none are given, and plans again; for good. */
MUST_USE enum status run_rates(struct run *r, struct err *e);
/* Plans for `ranks` ranks that are not here: no device, one process. */
MUST_USE enum status run_plan_only(struct run *r, int ranks, struct err *e);

MUST_USE enum status run_load(struct run *r, void (*on_load)(void *, uint64_t, uint64_t),
                              void *context, struct err *e);
/* Scores all windows and gathers what ranks say of themselves. */
MUST_USE enum status run_score(struct run *r, void (*on_score)(void *, struct score *),
                               void *context, struct err *e);
/* Tokens through the model per second, so far. */
double run_rate(const struct run *r);
void run_close(struct run *r);

#endif
