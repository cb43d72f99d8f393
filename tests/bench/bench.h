/* bench.h - what the whole-program benchmarks share.
 *
 * A benchmark prints "figure KEY VALUE" (a ratio taken inside this run) and "part KEY VALUE UNIT"
 * (the absolute values behind it); other lines are for the reader. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdint.h>

#include "tests/results.h"

void bench_figure(const char *key, double value);
void bench_part(const char *key, double value, const char *unit);

/* Cores this process may use. */
int bench_cores(void);

/* The folder of a checkpoint with random weights, made by make_checkpoint with these options (one
 * space between two) into build/bench/NAME where it is not there yet. The text lives until exit. */
const char *bench_checkpoint(const char *name, const char *options);
/* Llama-3.2-1B's geometry with a head of its own: 1.6 GB. */
const char *bench_llama_1b(void);

/* A spec for it in the scratch folder: n random ids as text, windows of eval_len, bfloat16. */
struct bench_run {
    const char *model; /* folder */
    int eval_len;
    int rows;
    int microbatch; /* 0 = the plan decides */
};
const char *bench_spec(const struct bench_run *b);

/* Geometry of a model from its config.json. */
struct geometry {
    double hidden, ffn, layers, heads, kv_heads, head_dim, vocab;
};
struct geometry bench_geometry(const char *model);

/* Floating-point operations of one window of T computed tokens: linear layers, the causal half of
 * attention (q k^T and p v), and the head for every token. */
double bench_window_flops(const struct geometry *g, double T);

#endif
