// links: bench spec
/* d8_keep_speed: keeping a wave (checksums, pieces from the arena, synced and put in its place) against
 * writing as many bytes to the same disk, synced and put in their place: the median of the plain writes,
 * one before and one after each run, over the mean of a run's seven kept waves; of the runs the median.
 * What it costs of a run is d8_keep_seconds over the ten minutes between two. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "spec/clock.h"
#include "tests/bench/bench.h"

enum { ROWS = 128, EVAL_LEN = 1025, HIDDEN = 256, RUNS = 5, PIECE = 1 << 20 };
static const double wave_bytes = (double)ROWS * (EVAL_LEN - 1) * HIDDEN * 2;

/* Mean seconds for a kept wave of a run that keeps it after every layer. */
static double keep_seconds(const char *spec)
{
    struct args a = args_ppl(1);

    args_add(&a, "%s", spec);
    args_add(&a, "--quiet");
    args_add(&a, "--restart");
    args_add(&a, "--out");
    args_add(&a, "%s", scratch_path("out"));
    args_add(&a, "--set");
    args_add(&a, "stream=always");
    args_add(&a, "--set");
    args_add(&a, "rates={\"compute\":0.001,\"read\":\"20kB\"}");
    struct measurement m = must_measure(&a, 300);
    const cJSON *rank = cJSON_GetArrayItem(json_at(m.result, "ranks"), 0);
    double kept = json_number(rank, "waves_kept"), seconds = json_number(rank, "keep_seconds");

    measurement_close(&m);
    if (kept != 7) {
        printf("%g waves kept\n", kept);
        exit(1);
    }
    return seconds / kept;
}

static double plain_seconds(void)
{
    const char *path = scratch_path("plain.new");
    char *piece = malloc(PIECE);
    double before = clock_seconds();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    bool good = piece && fd >= 0;

    for (double at = 0; good && at < wave_bytes; at += PIECE) {
        for (size_t i = 0; i < PIECE; i += sizeof at) /* no two pieces alike */
            *(double *)(void *)(piece + i) = at + (double)i;
        good = write(fd, piece, PIECE) == PIECE;
    }
    if (!good || fsync(fd) != 0 || close(fd) != 0 || rename(path, scratch_path("plain")) != 0) {
        perror("plain");
        exit(1);
    }
    free(piece);
    return clock_seconds() - before;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(void)
{
    struct bench_run b = {.model = TEST_DATA "/models/llama-nvfp4", .eval_len = EVAL_LEN,
                          .rows = ROWS, .microbatch = 8};
    const char *spec = bench_spec(&b);
    double keep[RUNS], plain[RUNS + 1];

    plain[0] = plain_seconds();
    for (int i = 0; i < RUNS; i++) {
        keep[i] = keep_seconds(spec);
        plain[i + 1] = plain_seconds();
    }
    qsort(keep, RUNS, sizeof *keep, ascending);
    qsort(plain, RUNS + 1, sizeof *plain, ascending);
    bench_figure("d8_keep_speed", plain[(RUNS + 1) / 2] / keep[RUNS / 2]);
    bench_part("d8_keep_seconds", keep[RUNS / 2], "s");
    bench_part("d8_keep_rate", wave_bytes / keep[RUNS / 2] / 1e6, "MB/s");
    bench_part("d8_plain_rate", wave_bytes / plain[(RUNS + 1) / 2] / 1e6, "MB/s");
    return 0;
}
