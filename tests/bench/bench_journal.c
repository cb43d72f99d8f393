// links: bench
/* d6_journal_cost: a run's compute time with a folder (journal synced as windows finish, status.json)
 * over that without one, at 20 windows a second and more. Least of several each, in turns, so that a
 * slow moment of the machine meets both. */
#include <math.h>
#include <stdio.h>

#include "tests/bench/bench.h"

enum { ROWS = 60, EVAL_LEN = 257, TIMES = 4 };

static double compute_seconds(const char *spec, const char *out)
{
    struct args a = args_ppl(1);

    args_add(&a, "%s", spec);
    args_add(&a, "--quiet");
    if (out) {
        args_add(&a, "--restart");
        args_add(&a, "--out");
        args_add(&a, "%s", out);
    }
    struct measurement m = must_measure(&a, 300);
    double seconds = json_number(json_at(m.result, "seconds"), "compute");
    seconds += json_number(json_at(m.result, "seconds"), "wait");
    measurement_close(&m);
    return seconds;
}

int main(void)
{
    struct bench_run b = {.model = TEST_DATA "/models/llama-nvfp4", .eval_len = EVAL_LEN,
                          .rows = ROWS, .microbatch = 1};
    const char *spec = bench_spec(&b);
    double without = INFINITY, with = INFINITY;

    compute_seconds(spec, NULL); /* warms up */
    for (int i = 0; i < TIMES; i++) {
        without = fmin(without, compute_seconds(spec, NULL));
        with = fmin(with, compute_seconds(spec, scratch_path("out")));
    }
    bench_figure("d6_journal_cost", with / without - 1);
    bench_part("d6_with", with, "s");
    bench_part("d6_without", without, "s");
    bench_part("d6_windows_per_second", ROWS / with, "1/s");
    return 0;
}
