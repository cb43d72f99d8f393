// links: run spec
// timeout: 300
// labels: slow faults
// processors: 2
/* Proves that what a failing rank still has on its way arrives as it was sent, or not at all: the
 * last rank fails in microbatch 3 while the nll of microbatch 2 is with the MPI thread, whose next
 * message is late, and rank 0 goes on journaling for a moment, since its disk is slow. Which message
 * that is depends on what was said before: each around it (66 to 70 today) is late in turn. */
#include "tests/test.h"
#include "tests/ways.h"

enum { ROWS = 3, FIRST = 64, LAST = 71, DEVICE_FAILED = 69 };

int main(void)
{
    static const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS};
    const char *want = scratch_path("want");
    int kept = 0;

    if (!*MPIRUN)
        SKIP("there is no mpirun");
    run_close(way_expect(want, &plain, 0));
    for (int n = FIRST; n <= LAST; n++) {
        const char *out = scratch_path("late-%d", n);
        char fault[128];
        struct way faulty = {.np = 2, .microbatch = 1, .rows = ROWS, .fault = fault};

        /* of three layers a microbatch: the first of the second, the first of the third */
        snprintf(fault, sizeof fault,
                 "1/stage_layer:4:slow,1/stage_layer:7:fail,1/MPI_Isend:%d:slow,0/fsync:5+:slow", n);
        run_close(way_expect(out, &faulty, DEVICE_FAILED));
        run_close(way_expect(out, &plain, 0));
        EXPECT(way_differs(want, out) == 0);
        kept += way_restored(out);
    }
    printf("%d windows of %d runs were kept\n", kept, LAST - FIRST + 1);
    EXPECT(kept > 0);
    return 0;
}
