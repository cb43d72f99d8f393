// links: bench
/* c2_stream_ratio: a model of 32 layers (1.1 GB packed) under a cap for three of them, against the same
 * with all of them resident: tokens a second, from a warm cache, best of three in turns.
 *
 * c2_stall_error: with a reader held to a third of the speed that computing would ask for, how far the
 * measured wait for layers is from the predicted one; the median of three. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/bench.h"

enum { LAYERS = 32, HELD = 3, REPEATS = 3 };

static struct measurement run(const char *spec, const char *stream, double cap, double read)
{
    struct args a = args_ppl(1);

    args_add(&a, "%s", spec);
    args_add(&a, "--set");
    args_add(&a, "stream=%s", stream);
    args_add(&a, "--set");
    args_add(&a, "max_memory.0=%.0f", cap);
    if (read > 0) {
        args_add(&a, "--set");
        args_add(&a, "rates={\"read\":%.0f,\"throttle\":true}", read);
    }
    return must_measure(&a, 300);
}

static const cJSON *first_rank(const struct measurement *m)
{
    return cJSON_GetArrayItem(json_at(m->result, "ranks"), 0);
}

static double plenty(void)
{
    return 8.0 * (1 << 30);
}

/* The cap that leaves room for HELD layers; *layer: bytes of one. */
static double cap_for_some(const char *spec, double *layer)
{
    struct measurement all = run(spec, "never", plenty(), 0);
    const cJSON *rank = first_rank(&all);
    double planned = json_number(rank, "planned_bytes");

    *layer = json_number(rank, "bytes_owned") / LAYERS; /* a little more: embedding and head */
    measurement_close(&all);
    return planned - (LAYERS - HELD) * *layer;
}

static void ratio(const char *spec, double cap)
{
    double resident = 0, streamed = 0;

    for (int i = 0; i < REPEATS; i++) {
        struct measurement a = run(spec, "never", plenty(), 0), b = run(spec, "auto", cap, 0);

        if (!(json_number(first_rank(&b), "streamed") >= LAYERS - HELD)) {
            printf("FAIL: not streamed\n");
            exit(1);
        }
        resident = fmax(resident, json_number(a.result, "tokens_per_second"));
        streamed = fmax(streamed, json_number(b.result, "tokens_per_second"));
        measurement_close(&a);
        measurement_close(&b);
    }
    bench_figure("c2_stream_ratio", streamed / resident);
    bench_part("c2_resident", resident, "tokens/s");
    bench_part("c2_streamed", streamed, "tokens/s");
    bench_part("c2_cap", cap, "bytes");
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void stall(const char *spec, double cap, double bytes, double seconds)
{
    double error[REPEATS], read = bytes / (3 * seconds);

    for (int i = 0; i < REPEATS; i++) {
        struct measurement m = run(spec, "auto", cap, read);
        double measured = json_number(json_at(m.result, "seconds"), "stall");
        double predicted = json_number(json_at(m.result, "predicted"), "stall");
        char key[64];

        error[i] = fabs(measured / predicted - 1);
        snprintf(key, sizeof key, "c2_stall_measured_%d", i);
        bench_part(key, measured, "s");
        snprintf(key, sizeof key, "c2_stall_predicted_%d", i);
        bench_part(key, predicted, "s");
        measurement_close(&m);
    }
    qsort(error, REPEATS, sizeof *error, ascending);
    bench_figure("c2_stall_error", error[REPEATS / 2]);
}

int main(void)
{
    struct bench_run b = {.model = bench_checkpoint("stream", "--arch llama --layers 32 --hidden 2048 "
                                                              "--ffn 8192 --heads 32 --kv-heads 8 "
                                                              "--head-dim 64 --vocab 4096"),
                          .eval_len = 513, .rows = 4, .microbatch = 1};
    const char *spec = bench_spec(&b);
    double layer, cap = cap_for_some(spec, &layer), seconds = INFINITY;

    ratio(spec, cap);
    b.rows = 1;
    spec = bench_spec(&b);
    for (int i = 0; i < REPEATS; i++) {
        struct measurement one = run(spec, "never", plenty(), 0);

        seconds = fmin(seconds, json_number(one.result, "scoring_seconds"));
        measurement_close(&one);
    }
    stall(spec, cap, layer * LAYERS, seconds);
    return 0;
}
