// links: bench
/* a7_pipeline: two ranks of one thread each against one rank of two threads, 32 microbatches: what
 * passing hidden states and the pipeline's fill and drain cost. Best of three, in turns. */
#include <math.h>
#include <stdio.h>

#include "tests/bench/bench.h"

static double tokens_per_second(int np, int threads, const char *spec)
{
    struct args a = args_ppl(np);

    args_add(&a, "%s", spec);
    args_add(&a, "--set");
    args_add(&a, "threads=%d", threads);
    args_add(&a, "--set");
    args_add(&a, "stages=%d", np);
    struct measurement m = must_measure(&a, 300);
    double rate = json_number(m.result, "tokens_per_second");
    measurement_close(&m);
    return rate;
}

int main(void)
{
    struct bench_run b = {
        .model = bench_checkpoint("pipeline", "--arch llama --layers 16 --hidden 1024 --ffn 2816 "
                                              "--heads 16 --kv-heads 4 --head-dim 64 --vocab 4096"),
        .eval_len = 256, .rows = 32, .microbatch = 1};
    const char *spec = bench_spec(&b);
    double one = 0, two = 0;

    if (bench_cores() < 2) {
        printf("FAIL: this figure wants two cores\n");
        return 1;
    }
    for (int i = 0; i < 3; i++) {
        one = fmax(one, tokens_per_second(1, 2, spec));
        two = fmax(two, tokens_per_second(2, 1, spec));
    }
    bench_figure("a7_pipeline", two / one);
    bench_part("a7_np1_threads2", one, "tokens/s");
    bench_part("a7_np2_threads1", two, "tokens/s");
    return 0;
}
