// links: run spec
// timeout: 300
// labels: slow faults
// processors: 3
/* D1, the faults of one host that need neither Slurm nor a GPU: each is injected, ends within its
 * bound with a code that fits, and is followed by a run to the same bits. Prints the table with the
 * measured seconds. F5 is in test_status_run, F13 in test_fault_kill, F15 and F25 in test_journal
 * and test_resume, F21 in the tests of ranks that disagree. */
#include "tests/test.h"
#include "tests/ways.h"

enum { ROWS = 6, RANKS = 3 };

static const struct {
    const char *name, *fault, *extra;
    int np;
    double bound; /* seconds from the start: the run itself takes about one, mpirun two more */
    int code;     /* -1: any but 0 */
} faults[] = {
    {"F1  rank 0 killed in compute", "0/stage_layer:9:kill", NULL, RANKS, 6, -1},
    {"F1  rank 1 killed in compute", "1/stage_layer:9:kill", NULL, RANKS, 6, -1},
    {"F1  rank 2 killed in compute", "2/stage_layer:5:kill", NULL, RANKS, 6, -1},
    {"F1  rank 1 killed while opening", "1/pread:3:kill", NULL, RANKS, 6, -1},
    {"F1  rank 1 killed while loading", "1/mmap:1:kill", NULL, RANKS, 6, -1},
    {"F1  rank 1 killed in a send", "1/MPI_Isend:20:kill", NULL, RANKS, 6, -1},
    {"F1  rank 0 killed in the journal", "0/fdatasync:1:kill", NULL, RANKS, 6, -1},
    {"F1  rank 0 killed while reporting", "0/rename:2:kill", NULL, RANKS, 6, -1},
    {"F2  rank 1 aborts", "1/stage_layer:9:abort", NULL, RANKS, 6, -1},
    {"F2  rank 1 exits with 0", "1/stage_layer:9:exit0", NULL, RANKS, 6, -1},
    {"F2  rank 1 exits with 3", "1/stage_layer:9:exit3", NULL, RANKS, 6, -1},
    {"F3  rank 1 stopped", "1/stage_layer:9:stop", NULL, RANKS, 20, -1},
    {"F4  rank 1 slow: no abort", "1/stage_layer:1+:slow", NULL, RANKS, 20, 0},
    {"F11 disk full in the journal", "0/write:2+:full", NULL, 2, 5, 74},
    {"F11 write error in the journal", "0/write:2:fail", NULL, 1, 2, 74},
    {"F12 sync error in the journal", "0/fdatasync:1:fail", NULL, 2, 5, 74},
    {"F12 syncs delayed by 0.3 s", "0/fdatasync:1+:slow", NULL, 1, 10, 0},
    {"F16 no memory for the arena", "1/mmap:1:fail", NULL, 2, 5, 71},
    {"F17 a cap that is too small", "0/mmap:9:fail", "--set=max_memory.0=1MiB", 1, 2, 71},
    {"F18 read error in the weights", "1/pread:60:fail", NULL, 2, 5, 74},
    {"F24 four ranks on these cores", "0/mmap:9:fail", NULL, 4, 20, 0},
};

int main(void)
{
    const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS};
    const char *want = scratch_path("want");
    int bad = 0;

    run_close(way_expect(want, &plain, 0));
    printf("%-36s %5s %9s %9s  %s\n", "fault", "code", "seconds", "bound", "resumed");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const char *out = scratch_path("fault%zu", i);
        const struct way w = {.np = faults[i].np, .microbatch = 1, .rows = ROWS,
                              .extra = faults[i].extra, .fault = faults[i].fault};

        if (w.np > 1 && !*MPIRUN)
            continue;
        struct run *r = way_run(out, &w);
        bool good = r->seconds <= faults[i].bound &&
                    (faults[i].code == -1 ? r->code > 0 : r->code == faults[i].code);
        if (!good)
            run_print(r);
        run_close(way_expect(out, &plain, 0));
        good = good && way_differs(want, out) == 0;
        printf("%-36s %5d %9.2f %9.0f  %d of %d%s\n", faults[i].name, r->code, r->seconds,
               faults[i].bound, way_restored(out), ROWS, good ? "" : "  FAIL");
        fflush(stdout);
        run_close(r);
        bad += !good;
    }
    EXPECT(bad == 0);
    return 0;
}
