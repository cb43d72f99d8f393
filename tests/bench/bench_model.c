// links: bench peak
/* a6_model_bf16: a whole model of Llama-3.2-1B geometry, bfloat16, a window of 2048 tokens, as a
 * fraction of this machine's peak. All operations count: linear layers, causal half of attention,
 * head. The time is that of computing, without loading.
 *
 * Model and peak are measured in turns, each as a mean over seconds, and the best of each counts:
 * what the machine can keep up, not what it can do in a burst. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/bench.h"
#include "tests/bench/peak.h"

enum { RUNS = 4 };
static const double round_s = 3; /* of the peak */

static void raise_peak(struct peak *p)
{
    if (peak_raise(p, bench_cores(), round_s))
        return;
    printf("FAIL: no vector FMA on this processor\n");
    exit(1);
}

/* One run; its seconds of computing. */
static double run_model(const char *spec, char isa[64])
{
    struct args a = args_ppl(1);
    double compute;

    args_add(&a, "%s", spec);
    struct measurement m = must_measure(&a, 500);
    compute = json_number(json_at(m.result, "seconds"), "compute");
    snprintf(isa, 64, "%s", json_text(m.result, "isa"));
    measurement_close(&m);
    return compute;
}

int main(void)
{
    const char *model = bench_llama_1b();
    struct geometry g = bench_geometry(model);
    struct bench_run b = {.model = model, .eval_len = 2048, .rows = 1, .microbatch = 1};
    struct peak p = {0};
    double compute = INFINITY;
    char isa[64];

    raise_peak(&p);
    for (int i = 0; i < RUNS; i++) {
        compute = fmin(compute, run_model(bench_spec(&b), isa));
        raise_peak(&p);
    }

    double peak = fmax(p.fma, p.dot);
    double gflops = b.rows * bench_window_flops(&g, b.eval_len - 1) / compute * 1e-9;

    bench_figure("a6_model_bf16", gflops / peak);
    bench_part("a6_model_gflops", gflops, "GFLOP/s");
    bench_part("a6_model_peak_gflops", peak, "GFLOP/s");
    bench_part("a6_model_tokens_per_second", b.rows * (b.eval_len - 1) / compute, "tokens/s");
    bench_part("a6_model_cores", bench_cores(), "cores");
    printf("isa %s\n", isa);
    return 0;
}
