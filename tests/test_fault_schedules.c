// links: run spec
// timeout: 600
// labels: slow faults
// processors: 2
/* Proves D5: random schedules of faults, kills and resumes, each run with other ranks, microbatches
 * and caps, some of them streamed and kept between the layers of a wave: whatever happens, a run that says it is complete has the bits of an uninterrupted one, and
 * at the end one is. A slice of three minutes; as a program of its own:
 *
 *   build/test_fault_schedules 300 [SEED]
 *
 * The seed of a schedule is printed before it runs; SEED repeats it, and goes on from there. Without
 * one it is always the same, so that a check that failed can be repeated; other seeds are for nights. */
#include <time.h>

#include "tests/test.h"
#include "tests/ways.h"

enum { ROWS = 5, RUNS_MAX = 4, SLICE_S = 180, SEED = 1000 };

static unsigned next_random(uint64_t *state, unsigned below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*state >> 33) % below;
}

/* A fault somewhere in the run, or past its end. */
static const char *random_fault(uint64_t *state, int np, char *text, size_t size)
{
    static const struct {
        const char *site;
        unsigned calls;
    } sites[] = {{"write", 40}, {"fdatasync", 4}, {"fsync", 30},        {"rename", 12},
                 {"pread", 240}, {"open", 12},     {"calloc", 70},       {"malloc", 240},
                 {"renameat", 5}, {"stage_layer", 40}, {"MPI_Isend", 50}, {"MPI_Irecv", 50}};
    static const char *const actions[] = {"kill", "kill", "kill",  "fail", "fail",
                                          "full", "slow", "abort", "exit0", "exit3"};
    unsigned sites_here = sizeof sites / sizeof *sites - (np == 1 ? 2 : 0);
    unsigned i = next_random(state, sites_here);

    snprintf(text, size, "%u/%s:%u:%s", next_random(state, (unsigned)np), sites[i].site,
             1 + next_random(state, sites[i].calls), actions[next_random(state, 10)]);
    return text;
}

static struct way random_way(uint64_t *state, char *fault, size_t size)
{
    static const char *const caps[] = {NULL, NULL, "--set=max_memory.0=8MiB",
                                       "--set=max_memory.0=6MiB", "--set=max_memory.0=1MiB"};
    static const char keeping[] = "\"stream\": \"always\", "
                                  "\"rates\": { \"compute\": 0.001, \"read\": \"20kB\" }, ";
    struct way w = {.rows = ROWS};

    w.np = *MPIRUN ? 1 + (int)next_random(state, 3) : 1;
    w.microbatch = 1 + (int)next_random(state, 3);
    w.extra = caps[next_random(state, 5)];
    w.spec = next_random(state, 2) ? keeping : NULL;
    w.stages = next_random(state, 2) ? 1 : w.np;
    w.fault = random_fault(state, w.np, fault, size);
    return w;
}

static bool is_complete(const char *out)
{
    cJSON *json;
    bool complete;

    if (!file_exists(way_file(out, "result.json")))
        return false;
    json = json_file(way_file(out, "result.json"));
    complete = strcmp(json_text(json, "status"), "complete") == 0;
    cJSON_Delete(json);
    return complete;
}

static void run_schedule(const char *want, uint64_t seed, int number)
{
    uint64_t state = seed * 2654435769u + 12345;
    const char *out = scratch_path("schedule%d", number);
    const struct way clean = {.np = 1 + (int)(seed % 2 && *MPIRUN != '\0'),
                              .microbatch = 2, .rows = ROWS};
    int runs = 1 + (int)next_random(&state, RUNS_MAX);

    printf("seed %llu:", (unsigned long long)seed);
    for (int i = 0; i < runs; i++) {
        char fault[64];
        struct way w = random_way(&state, fault, sizeof fault);
        struct run *r = way_run(out, &w);

        printf(" np %d/%d%s %s%s%s -> %d;", w.np, w.stages, w.spec ? " keeping" : "", fault,
               w.extra ? " " : "", w.extra ? w.extra + 6 : "", r->code);
        fflush(stdout);
        if (r->code == -1)
            run_print(r);
        EXPECT(r->code != -1);
        EXPECT(!is_complete(out) || way_numbers_differ(want, out) == 0);
        /* Complete in every file is what says so by 0, unless the fault itself was to say 0. */
        EXPECT(r->code != 0 || strstr(fault, "exit0") || way_differs(want, out) == 0);
        run_close(r);
    }
    run_close(way_expect(out, &clean, 0));
    EXPECT(way_differs(want, out) == 0);
    printf(" same bits, %d of %d windows resumed\n", way_restored(out), ROWS);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS};
    const char *want = scratch_path("want");
    int schedules = argc > 1 ? atoi(argv[1]) : 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : SEED;
    time_t began = time(NULL);
    int n = 0;

    EXPECT(argc == 1 || schedules > 0);
    run_close(way_expect(want, &plain, 0));
    while (schedules ? n < schedules : n == 0 || difftime(time(NULL), began) < SLICE_S) {
        run_schedule(want, seed + (uint64_t)n, n);
        n++;
    }
    printf("%d schedules\n", n);
    return 0;
}
