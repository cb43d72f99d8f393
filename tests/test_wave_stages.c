// links: run spec
// timeout: 600
// labels: slow faults
// processors: 2
/* Waves that every stage of a pipeline keeps (design §8): wherever they are when a run ends, each goes on
 * at the layer before which it was kept last, on the stage that has it by then; stages before leave it
 * out, and what was kept is neither computed nor read again. A file lies there until its windows are in
 * the journal, and no longer. With other stages it goes on as far as it can, to the same bits. */
#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/ways.h"

enum { ROWS = 12 };

/* Windows of 19 tokens, whose hidden states are small beside a layer: at these rates waves of three of
 * them hide the reading, and a stage of four layers keeps its waves after two of them. */
#define SLOW "\"stream\": \"always\", \"rates\": { \"compute\": 0.001, \"read\": 5000 }, "

static const struct way plain = {.np = 2, .microbatch = 1, .rows = ROWS,
                                 .extra = "--set=data.eval_len=20",
                                 .spec = SLOW "\"layers\": [4, 4], "};

static bool is_kept(const char *out, int rank, int window)
{
    char name[64];

    snprintf(name, sizeof name, "journal.wave-%d-%d", rank, window);
    return file_exists(way_file(out, name));
}

/* The waves that are kept there: " 0-0 0-3 1-0". */
static const char *waves_in(const char *out)
{
    static char text[256];
    size_t n = 0;

    *text = 0;
    for (int rank = 0; rank < 2; rank++)
        for (int window = 0; window < ROWS; window++)
            if (is_kept(out, rank, window))
                n += (size_t)snprintf(text + n, sizeof text - n, " %d-%d", rank, window);
    return text;
}

/* A run whose second rank hangs in its n-th microbatch-layer, ended once the first one cannot go on
 * either: when these waves are kept. */
static const char *hung_at(int n, const char *waves)
{
    const char *out = scratch_path("hung%d", n);
    struct way w = plain;
    char fault[64];

    snprintf(fault, sizeof fault, "1/stage_layer:%d:hang", n);
    w.fault = fault;
    struct run *r = way_start(out, &w);
    for (int i = 0; i < 15000 && strcmp(waves_in(out), waves) != 0; i++)
        usleep(2000);
    usleep(200000); /* no more than these, and none of them goes */
    EXPECT_TEXT(waves_in(out), waves);
    EXPECT(kill(r->pid, SIGTERM) == 0);
    run_wait(r, 60);
    EXPECT(r->code != 0 && r->code != -1);
    run_close(r);
    return out;
}

/* The run in that folder ends well with the bits of `want`; its stderr, until the next call. */
static const char *goes_on(const char *want, const char *out, const struct way *w)
{
    static char said[1 << 16];
    struct run *r = way_expect(out, w, 0);

    snprintf(said, sizeof said, "%s", r->err);
    run_close(r);
    EXPECT(way_differs(want, out) == 0);
    EXPECT(way_waves(out) == 0);
    return said;
}

static void expect_note(const char *said, int rank, int window, const char *what)
{
    char line[128];

    snprintf(line, sizeof line, "rank %d: journal.wave-%d-%d %s", rank, rank, window, what);
    if (!strstr(said, line))
        printf("FAIL: want \"%s\" in\n%s\n", line, said);
    EXPECT(strstr(said, line));
}

/* Layers of waves that the two ranks read in the run, against those of a whole one. */
static void expect_reads(const char *whole, const char *out, int less_first, int less_second)
{
    double all[2], here[2], layer;

    for (int rank = 0; rank < 2; rank++) {
        all[rank] = way_rank_number(whole, rank, "bytes_read");
        here[rank] = way_rank_number(out, rank, "bytes_read");
    }
    layer = (all[0] - here[0] + all[1] - here[1]) / (less_first + less_second);
    EXPECT(layer > 400e3);
    EXPECT(all[0] - here[0] == less_first * layer && all[1] - here[1] == less_second * layer);
}

/* The second stage hangs in each of its layers; the first one keeps the next wave meanwhile. */
static void test_hung(const char *want)
{
    static const char on[] = "holds 3 microbatches up to layer ", over[] = "is not used: ";
    const char *out, *said;

    out = hung_at(5, " 0-0 0-3"); /* layer 5 of the first wave: the second stage has kept nothing */
    said = goes_on(want, out, &plain);
    expect_note(said, 0, 0, on);
    expect_note(said, 0, 3, on);
    expect_reads(want, out, 4, 0); /* two layers of two waves */

    out = hung_at(8, " 0-0 0-3 1-0"); /* layer 6 */
    said = goes_on(want, out, &plain);
    expect_note(said, 1, 0, on);
    expect_note(said, 0, 0, over);
    expect_note(said, 0, 3, on);
    expect_reads(want, out, 6, 2); /* a whole wave and half of one; half of one */

    out = hung_at(13, " 0-3 0-6"); /* layer 4 of the second wave; the first one is in the journal */
    said = goes_on(want, out, &plain);
    expect_note(said, 0, 3, on);
    expect_note(said, 0, 6, on);
    expect_reads(want, out, 8, 4);

    out = hung_at(20, " 0-3 0-6 1-3"); /* layer 6 of it */
    said = goes_on(want, out, &plain);
    expect_note(said, 1, 3, on);
    expect_note(said, 0, 3, over);
    expect_note(said, 0, 6, on);
    expect_reads(want, out, 10, 6);
}

/* A wave of six that one rank has kept is two waves of the second stage; what the first stage sends
 * meanwhile has to wait for both. */
static void test_smaller_waves(const char *want)
{
    const char *out = scratch_path("smaller");
    struct way one = plain;

    one.np = 1;
    one.spec = SLOW "\"max_memory\": { \"0\": \"6.2MiB\" }, ";
    one.fault = "stage_layer:38:kill"; /* layer 6 */
    run_close(way_expect(out, &one, 128 + SIGKILL));
    EXPECT(is_kept(out, 0, 0));
    EXPECT(strstr(goes_on(want, out, &plain),
                  "rank 1: journal.wave-0-0 holds 6 microbatches up to layer 6"));
    expect_reads(want, out, 8, 4);
}

/* Either rank is killed somewhere, once or twice, and other ranks go on. */
static void test_killed(const char *want)
{
    static const struct way other[6] = {
        {.np = 4, .microbatch = 1, .spec = SLOW "\"layers\": [4, 4], ", .stages = 2},
        {.np = 1, .microbatch = 1, .spec = SLOW},
        {.np = 3, .microbatch = 1, .spec = SLOW "\"layers\": [1, 3, 4], "},
        {.np = 2, .microbatch = 2, .spec = SLOW, .stages = 1},
        {.np = 2, .microbatch = 1, .spec = "\"layers\": [3, 5], "},
        {.np = 3, .microbatch = 2, .spec = SLOW "\"layers\": [4, 0, 4], "}};
    int on = 0, i = 0;

    for (int n = 2; n <= 48; n += 8)
        for (int rank = 0; rank < 2; rank++) {
            const char *out = scratch_path("killed%d-%d", rank, n);
            struct way w = plain, then = other[i++ % 6];
            char fault[64];

            snprintf(fault, sizeof fault, "%d/stage_layer:%d:kill", rank, n);
            w.fault = fault;
            w.np = n % 3 ? 2 : 4;
            w.stages = 2;
            for (int kills = 0; kills < 1 + n / 8 % 2; kills++)
                run_close(way_run(out, &w));
            then.rows = ROWS;
            then.extra = plain.extra;
            on += strstr(goes_on(want, out, &then), "it goes on from there") != NULL;
        }
    printf("%d of %d went on within a wave\n", on, i);
    EXPECT(on >= 3);
}

int main(void)
{
    const char *want = scratch_path("want");

    if (!*MPIRUN)
        SKIP("mpirun not found");
    run_close(way_expect(want, &plain, 0));
    EXPECT(way_waves(want) == 0);
    test_hung(want);
    test_smaller_waves(want);
    test_killed(want);
    return 0;
}
