// links: bench
/* a6_model_bf16: a whole model of Llama-3.2-1B geometry, bfloat16, windows of 2048 tokens, as a
 * fraction of this machine's peak. All operations count: linear layers, causal half of attention,
 * head. The time is that of computing, without loading. */
#include <math.h>
#include <stdio.h>

#include "tests/bench/bench.h"
#include "tests/bench/peak.h"

int main(void)
{
    const char *model = bench_checkpoint("llama-3.2-1b");
    struct geometry g = bench_geometry(model);
    struct bench_run b = {.model = model, .eval_len = 2048, .rows = 2, .microbatch = 1};
    struct peak before = peak_measure(bench_cores());
    struct args a = args_ppl(1);

    args_add(&a, "%s", bench_spec(&b));
    struct measurement m = must_measure(&a, 500);
    struct peak after = peak_measure(bench_cores());
    double compute = json_number(json_at(m.result, "seconds"), "compute");
    double peak = fmax(fmax(before.f32_gflops, after.f32_gflops),
                       fmax(before.bf16_gflops, after.bf16_gflops));
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
