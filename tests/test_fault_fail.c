// links: run spec
// timeout: 600
// labels: faults
// processors: 2
/* Proves D3: whichever allocation, read, write or MPI call of a run fails, it ends with one line and
 * an exit code that fits (or had no need of the call), and goes on afterwards to the same bits with
 * every window that it had reported as done; under AddressSanitizer, that it leaks nothing. The first
 * calls are all tried, then ever larger steps: most are alike. build/test_fault_fail all: every one.
 * MPI's first five calls are left out: while ranks have not met, two may speak. */
#include "tests/test.h"
#include "tests/ways.h"

/* When the last message of all fails, by which ranks agree to leave, a rank leaves alone and mpirun's
 * word for that is 1. Nobody has to say anything where the result is complete by then. */
enum { ROWS = 3, CALLS_MAX = 1 << 20, MPIRUN_SAYS = 1 };

struct site {
    const char *name, *action;
    int np;
    int codes[5]; /* what may come of it, besides 0; 0 ends the list */
};

static const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS};

static bool is_allowed(const struct site *s, int code)
{
    for (int i = 0; s->codes[i]; i++)
        if (s->codes[i] == code)
            return true;
    return code == 0;
}

static void expect_ending(const struct site *s, const char *fault, const struct run *r)
{
    int lines = way_lines(r);
    bool fit = lines == (r->code != 0) || (lines == 0 && r->code == MPIRUN_SAYS);

    if (!is_allowed(s, r->code) || !fit) {
        printf("FAIL %s: exit code %d, %d lines\n", fault, r->code, lines);
        run_print(r);
        exit(1);
    }
}

/* false when a run has fewer than n calls. */
static bool try_fail(const char *want, const struct site *s, int n)
{
    const char *slash = strchr(s->name, '/');
    const char *out = scratch_path("%s-%s-%d", slash ? slash + 1 : s->name, s->action, n);
    struct way faulty = {.np = s->np, .microbatch = 1, .rows = ROWS};
    char fault[64];
    int done;

    snprintf(fault, sizeof fault, "%s:%d%s:%s", s->name, n, strcmp(s->action, "full") ? "" : "+",
             s->action);
    faulty.fault = fault;
    struct run *r = way_run(out, &faulty);
    bool met = way_fault_met();
    if (met)
        expect_ending(s, fault, r);
    if (r->code != 0 && way_lines(r) == 0)
        EXPECT(way_differs(want, out) == 0);
    if (!met)
        EXPECT(r->code == 0);
    run_close(r);
    if (!met)
        return false;
    done = way_status_windows(out);
    run_close(way_expect(out, &plain, 0));
    EXPECT(way_differs(want, out) == 0);
    EXPECT(way_restored(out) >= done);
    return true;
}

static void try_all(const char *want, const struct site *s, bool each)
{
    int first = s->np > 1 ? 6 : 1, every = s->np > 1 ? 12 : 40; /* mpirun takes its time */
    int n = first, tried = 0, last = 0;

    if (each)
        every = CALLS_MAX;
    while (n <= CALLS_MAX && try_fail(want, s, n)) {
        last = n;
        tried++;
        n += n < every ? 1 : n / 4;
    }
    printf("%s:%s, %d rank%s: %d tried, the last at call %d\n", s->name, s->action, s->np,
           s->np > 1 ? "s" : "", tried, last);
    fflush(stdout);
    EXPECT(tried > 0 && n <= CALLS_MAX);
}

/* "all", or "all SITE": every call. Nothing: as many as CI has time for. */
int main(int argc, char **argv)
{
    static const struct site sites[] = {
        {"write", "fail", 1, {74}},
        {"write", "full", 1, {74}},
        {"fdatasync", "fail", 1, {74}},
        {"fsync", "fail", 1, {74}},
        {"rename", "fail", 1, {73, 74}},
        {"renameat", "fail", 1, {74}},
        {"open", "fail", 1, {66, 71, 73, 74}},
        {"fopen", "fail", 1, {66, 71, 73, 74}},
        {"fdopen", "fail", 1, {74}},
        {"fflush", "fail", 1, {74}},
        {"pread", "fail", 1, {74}},
        {"malloc", "fail", 1, {71}},
        {"calloc", "fail", 1, {71}},
        {"realloc", "fail", 1, {71}},
        {"mmap", "fail", 1, {71}},
        {"pthread_create", "fail", 1, {71}},
        {"stage_layer", "fail", 1, {69}},
        {"1/MPI_Isend", "fail", 2, {75, MPIRUN_SAYS}},
        {"1/MPI_Irecv", "fail", 2, {75, MPIRUN_SAYS}},
    };
    const char *want = scratch_path("want");
    bool each = argc > 1 && strcmp(argv[1], "all") == 0;

    const char *only = argc > 2 ? argv[2] : NULL;

    EXPECT(argc == 1 || each);
    run_close(way_expect(want, &plain, 0));
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++)
        if ((sites[i].np == 1 || *MPIRUN != '\0') && (!only || strcmp(only, sites[i].name) == 0))
            try_all(want, &sites[i], each);
    return 0;
}
