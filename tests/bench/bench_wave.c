// links: bench
/* c6_wave_error: predicted against measured time of a streamed run in waves of five sizes, which the
 * budget for parked hidden states decides. The reader is held to a third of the speed that a wave of
 * one microbatch would ask for, so that the size matters. Of each size the median of three, and of
 * these the worst. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/bench.h"

enum { REPEATS = 3, MICROBATCHES = 12, TOKENS = 256, HIDDEN = 1024 };

static const int waves[] = {1, 2, 3, 4, 6};

static struct measurement run(const char *spec, double cap, double read, double park)
{
    struct args a = args_ppl(1);

    args_add(&a, "%s", spec);
    args_add(&a, "--set");
    args_add(&a, "max_memory={\"0\":%.0f,\"cpu\":%.0f}", cap, park);
    if (read > 0) {
        args_add(&a, "--set");
        args_add(&a, "stream=always");
        args_add(&a, "--set");
        args_add(&a, "rates={\"read\":%.0f,\"throttle\":true}", read);
    }
    return must_measure(&a, 300);
}

/* The least cap with every layer streamed: waves of one microbatch. */
static double least_cap(const char *spec)
{
    struct args a = args_ppl(1);
    const char *json = scratch_path("plan.json");

    args_add(&a, "%s", spec);
    args_add(&a, "--set");
    args_add(&a, "stream=always");
    args_add(&a, "--plan");
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    struct run *r = run_program(&a, 60);
    if (r->code != 0) {
        run_print(r);
        exit(1);
    }
    run_close(r);
    cJSON *root = json_file(json);
    const cJSON *plan = cJSON_GetArrayItem(json_at(root, "plans"), 0);
    double cap = json_number(cJSON_GetArrayItem(json_at(plan, "ranks"), 0), "smallest_cap_bytes");
    cJSON_Delete(root);
    return cap;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double error_of(const char *spec, int wave, double cap, double read)
{
    double error[REPEATS], park = wave > 1 ? wave * (double)TOKENS * HIDDEN * 2 : 0;

    for (int i = 0; i < REPEATS; i++) {
        struct measurement m = run(spec, cap, read, park);
        double measured = json_number(m.result, "scoring_seconds");
        double predicted = json_number(json_at(m.result, "predicted"), "seconds");
        char key[64];

        error[i] = fabs(predicted / measured - 1);
        snprintf(key, sizeof key, "c6_wave_%d_measured_%d", wave, i);
        bench_part(key, measured, "s");
        snprintf(key, sizeof key, "c6_wave_%d_predicted_%d", wave, i);
        bench_part(key, predicted, "s");
        measurement_close(&m);
    }
    qsort(error, REPEATS, sizeof *error, ascending);
    return error[REPEATS / 2];
}

int main(void)
{
    struct bench_run b = {
        .model = bench_checkpoint("pipeline", "--arch llama --layers 16 --hidden 1024 --ffn 2816 "
                                              "--heads 16 --kv-heads 4 --head-dim 64 --vocab 4096"),
        .eval_len = TOKENS + 1, .rows = MICROBATCHES, .microbatch = 1};
    const char *spec = bench_spec(&b);
    double cap = least_cap(spec), worst = 0, seconds = INFINITY, bytes = 0;

    for (int i = 0; i < REPEATS; i++) {
        struct measurement m = run(spec, 4.0 * (1 << 30), 0, 0);

        seconds = fmin(seconds, json_number(m.result, "scoring_seconds") / MICROBATCHES);
        bytes = json_number(cJSON_GetArrayItem(json_at(m.result, "ranks"), 0), "bytes_owned");
        measurement_close(&m);
    }
    for (size_t i = 0; i < sizeof waves / sizeof *waves; i++)
        worst = fmax(worst, error_of(spec, waves[i], cap, bytes / (3 * seconds)));
    bench_figure("c6_wave_error", worst);
    return 0;
}
