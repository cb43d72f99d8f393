// links: bench peak
/* a6_model_bf16: a whole model of Llama-3.2-1B geometry, bfloat16, windows of 2048 tokens, as a
 * fraction of this machine's peak. All operations count: linear layers, causal half of attention,
 * head. The time is that of computing, without loading. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "spec/clock.h"
#include "tests/bench/bench.h"
#include "tests/bench/peak.h"

/* Half a second of rounds. */
static void raise_peak(struct peak *p)
{
    for (double end = clock_seconds() + 0.5; clock_seconds() < end;) {
        if (!peak_raise(p, bench_cores())) {
            printf("FAIL: no vector FMA on this processor\n");
            exit(1);
        }
    }
}

int main(void)
{
    const char *model = bench_llama_1b();
    struct geometry g = bench_geometry(model);
    struct bench_run b = {.model = model, .eval_len = 2048, .rows = 2, .microbatch = 1};
    struct peak p = {0};
    struct args a = args_ppl(1);

    raise_peak(&p);
    args_add(&a, "%s", bench_spec(&b));
    struct measurement m = must_measure(&a, 500);
    raise_peak(&p);
    double compute = json_number(json_at(m.result, "seconds"), "compute");
    double peak = fmax(p.fma, p.dot);
    double gflops = b.rows * bench_window_flops(&g, b.eval_len - 1) / compute * 1e-9;

    bench_figure("a6_model_bf16", gflops / peak);
    bench_part("a6_model_gflops", gflops, "GFLOP/s");
    bench_part("a6_model_peak_gflops", peak, "GFLOP/s");
    bench_part("a6_model_tokens_per_second", b.rows * (b.eval_len - 1) / compute, "tokens/s");
    bench_part("a6_model_cores", bench_cores(), "cores");
    printf("isa %s\n", json_text(m.result, "isa"));
    measurement_close(&m);
    return 0;
}
