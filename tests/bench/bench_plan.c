// links: bench
/* a5_plan_ratio: planned bytes over measured peak (the process's largest resident size less its size
 * before the arena), the worst over one and two ranks of a model of 1.6 GB. At least 1: a plan may
 * not promise less than is used; at most 1.02. */
#include <math.h>
#include <stdio.h>

#include "tests/bench/bench.h"

int main(void)
{
    struct bench_run b = {
        .model = bench_llama_1b(), .eval_len = 512, .rows = 2, .microbatch = 1};
    double worst = 0;

    for (int np = 1; np <= 2; np++) {
        const cJSON *rank;
        struct args a = args_ppl(np);

        args_add(&a, "%s", bench_spec(&b));
        args_add(&a, "--set");
        args_add(&a, "stages=%d", np);
        struct measurement m = must_measure(&a, 300);
        cJSON_ArrayForEach(rank, json_at(m.result, "ranks")) {
            double planned = json_number(rank, "planned_bytes");
            double peak = json_number(rank, "peak_bytes");
            char key[64];

            snprintf(key, sizeof key, "a5_planned_rank_%.0f_of_%d", json_number(rank, "rank"), np);
            bench_part(key, planned, "bytes");
            snprintf(key, sizeof key, "a5_peak_rank_%.0f_of_%d", json_number(rank, "rank"), np);
            bench_part(key, peak, "bytes");
            if (!(planned >= peak)) {
                printf("FAIL: planned less than was used\n");
                return 1;
            }
            worst = fmax(worst, planned / peak);
        }
        measurement_close(&m);
    }
    bench_figure("a5_plan_ratio", worst);
    return 0;
}
