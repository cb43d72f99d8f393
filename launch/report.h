/* report.h - what a run measured: the table on the terminal and the JSON of design §10.
 *
 * Both are made from the same plain data, which main fills; the terminal rounds what JSON has in
 * full. A partial result says so before it says anything else.
 *
 * Memory: none; strings are the caller's. */
#ifndef LAUNCH_REPORT_H
#define LAUNCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "spec/err.h"

struct report_seconds {
    double load, compute, wait, total; /* wait: for other ranks, and for layers */
    double stall;                      /* of that, for layers */
};

/* What the plan said of the time from the first microbatch to the last nll. NaN: nothing. */
struct report_prediction {
    double seconds, stall; /* stall: waiting for layers */
};

struct report_rank {
    int rank;
    char host[64];
    char device[128];  /* "CPU, 8 threads" */
    int first, last;   /* layers [first, last) */
    int streamed;      /* how many of them */
    uint64_t cap_bytes, planned_bytes, peak_bytes;
    uint64_t parked_bytes, parked_peak_bytes; /* hidden states on the host, beside these */
    uint64_t bytes_owned, bytes_read; /* of the model's files */
    int begin;         /* the layer that its first wave went on from, `first` if it was not kept */
    int kept;          /* how often a wave was kept */
    double keep;       /* seconds that took */
    struct report_seconds seconds;
    struct report_prediction predicted;
};

struct report_model {
    const char *label, *model_dir;
    const char *partial; /* why it is partial ("SIGTERM"); NULL = complete */

    double ppl, mean_nll; /* NaN = no token was scored */
    double se_iid, se_block;
    int64_t tokens;                /* scored */
    int64_t windows, windows_all;  /* scored; of a complete run */
    int64_t windows_restored;      /* of those scored: from the journal, not computed by this run */
    int64_t nonfinite;             /* tokens */
    double word_perplexity, byte_perplexity, bits_per_byte; /* score rolling; NaN elsewhere */
    int64_t words, bytes;          /* of the texts behind these */

    const char *score, *bos, *dtype, *arithmetic, *backend, *isa, *transport; /* as the spec calls them */
    int eval_len, eval_stride, softmax_width;
    int64_t ids;
    const char *ids_sha256, *config_sha256, *weights_fingerprint;

    struct report_seconds seconds;
    struct report_prediction predicted;
    double scoring_seconds; /* what `predicted` is about */
    const char *link;       /* between ranks, that held the run up; NULL = none */
    double tokens_per_second;
    int n_ranks;
    const struct report_rank *rank; /* [n_ranks] */
};

struct report {
    const char *version;
    int n_models;
    const struct report_model *model; /* [n_models]: those that were begun */
    bool complete;                    /* all models of the spec, all their windows */
};

void report_print_model(const struct report_model *m, FILE *out);
/* One line per model, and whether they may be compared; nothing for a single one. */
void report_print_comparison(const struct report *r, FILE *out);

/* "layers" of a rank are [first, last], both included; [] = none. */
void report_print_json(const struct report *r, FILE *out);
/* To a file, which is replaced as a whole; "-" is stdout. */
MUST_USE enum status report_write_json(const struct report *r, const char *path, struct err *e);

#endif
