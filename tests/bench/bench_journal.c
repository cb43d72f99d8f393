// links: bench
/* d6_journal_cost: a run's compute time with a folder (journal synced as windows finish, status.json)
 * over that without one, at 20 windows a second and more. Pairs in turns, each way round as often:
 * the median of their ratios is little moved by a machine that does other things meanwhile, and less
 * where the runs may go before those (root). The processor time beside it does not see who waits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tests/bench/bench.h"

enum { ROWS = 150, EVAL_LEN = 257, PAIRS = 16 };

struct cost {
    double wall, processor; /* seconds */
};

static double children_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static struct cost run_cost(const char *spec, const char *out)
{
    struct args a = args_ppl(1);
    double before = children_seconds();
    struct cost c;

    args_add(&a, "%s", spec);
    args_add(&a, "--threads");
    args_add(&a, "1");
    args_add(&a, "--quiet");
    if (out) {
        args_add(&a, "--restart");
        args_add(&a, "--out");
        args_add(&a, "%s", out);
    }
    struct measurement m = must_measure(&a, 300);
    c.wall = json_number(json_at(m.result, "seconds"), "compute");
    c.wall += json_number(json_at(m.result, "seconds"), "wait");
    c.processor = children_seconds() - before;
    measurement_close(&m);
    return c;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *x)
{
    qsort(x, PAIRS, sizeof *x, compare);
    return (x[PAIRS / 2 - 1] + x[PAIRS / 2]) / 2;
}

int main(void)
{
    struct bench_run b = {.model = TEST_DATA "/models/llama-nvfp4", .eval_len = EVAL_LEN,
                          .rows = ROWS, .microbatch = 1};
    const char *spec = bench_spec(&b), *out = scratch_path("out");
    double wall[PAIRS], processor[PAIRS], rate[PAIRS];

    (void)setpriority(PRIO_PROCESS, 0, -20);
    run_cost(spec, NULL); /* warms up */
    for (int i = 0; i < PAIRS; i++) {
        struct cost first = run_cost(spec, i % 2 ? NULL : out);
        struct cost second = run_cost(spec, i % 2 ? out : NULL);
        struct cost with = i % 2 ? second : first, without = i % 2 ? first : second;

        wall[i] = with.wall / without.wall - 1;
        processor[i] = with.processor / without.processor - 1;
        rate[i] = ROWS / with.wall;
    }
    bench_figure("d6_journal_cost", median(wall));
    bench_part("d6_least", wall[0], "");
    bench_part("d6_most", wall[PAIRS - 1], "");
    bench_part("d6_processor_time", median(processor), "");
    bench_part("d6_windows_per_second", median(rate), "1/s");
    return 0;
}
