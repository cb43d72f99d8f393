// links: bench
/* c8_token_growth: the time of ten times the tokens over the time of the tokens, best of three in
 * turns; and beside it the same of memory. c8_weights_np4: the most weights that a rank of four holds
 * over all of them, of a model of 32 layers. */
#include <math.h>
#include <stdio.h>

#include "tests/bench/bench.h"

enum { FEW = 4, MANY = 40 };

static const cJSON *rank_of(const struct measurement *m, int rank)
{
    return cJSON_GetArrayItem(json_at(m->result, "ranks"), rank);
}

static void tokens(void)
{
    struct bench_run b = {
        .model = bench_checkpoint("pipeline", "--arch llama --layers 16 --hidden 1024 --ffn 2816 "
                                              "--heads 16 --kv-heads 4 --head-dim 64 --vocab 4096"),
        .eval_len = 257, .microbatch = 1};
    double seconds[2] = {INFINITY, INFINITY}, peak[2] = {0};

    for (int i = 0; i < 6; i++) {
        struct args a = args_ppl(1);

        b.rows = i % 2 ? MANY : FEW;
        args_add(&a, "%s", bench_spec(&b));
        struct measurement m = must_measure(&a, 300);
        seconds[i % 2] = fmin(seconds[i % 2], json_number(m.result, "scoring_seconds"));
        peak[i % 2] = fmax(peak[i % 2], json_number(rank_of(&m, 0), "peak_bytes"));
        measurement_close(&m);
    }
    bench_figure("c8_token_growth", seconds[1] / seconds[0]);
    bench_figure("c8_memory_growth", peak[1] / peak[0]);
    bench_part("c8_seconds_few", seconds[0], "s");
    bench_part("c8_seconds_many", seconds[1], "s");
    bench_part("c8_peak_few", peak[0], "bytes");
    bench_part("c8_peak_many", peak[1], "bytes");
}

static void weights(void)
{
    struct bench_run b = {.model = bench_checkpoint("stream", "--arch llama --layers 32 --hidden 2048 "
                                                              "--ffn 8192 --heads 32 --kv-heads 8 "
                                                              "--head-dim 64 --vocab 4096"),
                          .eval_len = 17, .rows = 4, .microbatch = 1};
    double owned[2] = {0};

    for (int np = 1; np <= 4; np += 3) {
        struct args a = args_ppl(np);

        args_add(&a, "%s", bench_spec(&b));
        args_add(&a, "--set");
        args_add(&a, "stages=%d", np);
        struct measurement m = must_measure(&a, 300);
        for (int r = 0; r < np; r++)
            owned[np > 1] = fmax(owned[np > 1], json_number(rank_of(&m, r), "bytes_owned"));
        measurement_close(&m);
    }
    bench_figure("c8_weights_np4", owned[1] / owned[0]);
    bench_part("c8_weights_all", owned[0], "bytes");
    bench_part("c8_weights_most", owned[1], "bytes");
}

int main(void)
{
    tokens();
    weights();
    return 0;
}
