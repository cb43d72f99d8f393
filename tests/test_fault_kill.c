// links: run spec
// timeout: 400
// labels: slow
// processors: 2
/* Proves D2: a run killed at any of its writes, syncs, renames and sends goes on to the same bits,
 * and loses no window that it had reported as done. Every call of a short run is tried. */
#include "tests/test.h"
#include "tests/ways.h"

enum { ROWS = 4, CALLS_MAX = 200 };

static const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS};

/* Kills at the n-th call of the site; false when a run has fewer. */
static bool try_kill(const char *want, const char *site, int np, int n)
{
    const char *slash = strchr(site, '/');
    const char *out = scratch_path("%s-%d-%d", slash ? slash + 1 : site, np, n);
    struct way faulty = {.np = np, .microbatch = 1, .rows = ROWS}, next = plain;
    char fault[64];
    int done;

    snprintf(fault, sizeof fault, "%s:%d:kill", site, n);
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
    run_close(way_expect(out, &next, 0));
    EXPECT(way_differs(want, out) == 0);
    if (way_restored(out) < done)
        printf("%s: %d windows done, %d restored\n", fault, done, way_restored(out));
    EXPECT(way_restored(out) >= done);
    return true;
}

static void try_all(const char *want, const char *site, int np)
{
    int n = 1;

    while (n <= CALLS_MAX && try_kill(want, site, np, n))
        n++;
    printf("%s, %d rank%s: killed at each of %d calls\n", site, np, np > 1 ? "s" : "", n - 1);
    fflush(stdout);
    EXPECT(n > 1 && n <= CALLS_MAX);
}

int main(void)
{
    static const char *const sites[] = {"write", "fdatasync", "fsync", "rename", "renameat"};
    const char *want = scratch_path("want");

    run_close(way_expect(want, &plain, 0));
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++)
        try_all(want, sites[i], 1);
    if (*MPIRUN)
        try_all(want, "1/MPI_Isend", 2);
    return 0;
}
