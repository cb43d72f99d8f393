// links: run spec
// timeout: 600
// labels: slow faults
// processors: 2
/* Proves D2: a run killed at any of its writes, syncs, renames and sends goes on to the same bits,
 * and loses no window that it had reported as done. Every call of a short run is tried, and of one that
 * keeps its waves after every third layer. */
#include "tests/test.h"
#include "tests/ways.h"

enum { ROWS = 4, CALLS_MAX = 200 };

static const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS};
/* Waves of two microbatches, one of them parked, three minutes for a layer. */
static const struct way keeping = {
    .np = 1, .microbatch = 1, .rows = ROWS,
    .spec = "\"stream\": \"always\", \"rates\": { \"compute\": 0.002, \"read\": \"20kB\" }, "
            "\"max_memory\": { \"0\": \"7MiB\", \"cpu\": \"100KiB\" }, "};

/* Kills at the n-th call of the site; false when a run has fewer. */
static bool try_kill(const char *want, const struct way *way, const char *site, int np, int n)
{
    const char *slash = strchr(site, '/');
    const char *out = scratch_path("%s-%d-%d%s", slash ? slash + 1 : site, np, n,
                                   way->spec ? "-keeping" : "");
    struct way faulty = *way, next = *way;
    char fault[64];
    int done;

    snprintf(fault, sizeof fault, "%s:%d:kill", site, n);
    faulty.np = np;
    faulty.fault = fault;
    struct run *r = way_run(out, &faulty);
    if (!way_fault_met()) {
        EXPECT(r->code == 0);
        run_close(r);
        return false;
    }
    if (r->code == 0 || r->code == -1)
        run_print(r);
    EXPECT(r->code != 0 && r->code != -1);
    run_close(r);
    done = way_status_windows(out);
    next.np = n % 5 == 0 ? 2 : 1;
    next.microbatch = 1 + n % 3;
    if (next.microbatch > 1)
        next.spec = NULL; /* it would not fit */
    run_close(way_expect(out, &next, 0));
    EXPECT(way_differs(want, out) == 0);
    EXPECT(way_waves(out) == 0);
    if (way_restored(out) < done)
        printf("%s: %d windows done, %d restored\n", fault, done, way_restored(out));
    EXPECT(way_restored(out) >= done);
    return true;
}

static void try_all(const char *want, const struct way *way, const char *site, int np)
{
    int n = 1;

    while (n <= CALLS_MAX && try_kill(want, way, site, np, n))
        n++;
    printf("%s, %d rank%s%s: killed at each of %d calls\n", site, np, np > 1 ? "s" : "",
           way->spec ? ", keeping waves" : "", n - 1);
    fflush(stdout);
    EXPECT(n > 1 && n <= CALLS_MAX);
}

int main(void)
{
    static const char *const sites[] = {"write", "fdatasync", "fsync", "rename", "renameat"};
    const char *want = scratch_path("want");

    run_close(way_expect(want, &plain, 0));
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++)
        try_all(want, &plain, sites[i], 1);
    try_all(want, &keeping, "write", 1);
    try_all(want, &keeping, "fsync", 1);
    try_all(want, &keeping, "rename", 1);
    if (*MPIRUN)
        try_all(want, &plain, "1/MPI_Isend", 2);
    return 0;
}
