// links: spec run
// timeout: 400
// processors: 2
/* A wave that is kept between its layers (design §8): a run that is killed or stopped in the middle of
 * one goes on at the layer that was kept last, to the same bits, and reads the layers before no more;
 * with other waves, microbatches and ranks it goes on as far as it can; a file that is damaged or of
 * another journal is not used; a disk that is full or fails costs nothing but what could not be kept;
 * and nothing is left of it in the end. Who waits for a wave waits as long as it takes. */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/ways.h"

enum { ROWS = 12, LAYERS = 8, WAVE = 3 };

/* Rates at which a microbatch computes a layer for three minutes, so waves are kept after each; under
 * this cap one microbatch of a wave stays in the arena and two are parked. */
#define SLOW "\"stream\": \"always\", \"rates\": { \"compute\": 0.001, \"read\": \"20kB\" }, "
#define CAPS "\"max_memory\": { \"0\": \"7MiB\", \"1\": \"7MiB\", \"cpu\": \"200KiB\" }, "
#define WIDE "\"max_memory\": { \"0\": \"8MiB\" }, "

static const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS, .spec = SLOW CAPS};

/* The last kept wave of a rank, or a path where there is none. */
static const char *kept_file(const char *out, int rank)
{
    DIR *folder = opendir(out);
    char start[32], last[NAME_MAX + 1] = "";
    long window = -1;

    snprintf(start, sizeof start, "journal.wave-%d-", rank);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strncmp(entry->d_name, start, strlen(start)) == 0 &&
            atol(entry->d_name + strlen(start)) > window) {
            window = atol(entry->d_name + strlen(start));
            snprintf(last, sizeof last, "%s", entry->d_name);
        }
    if (folder)
        closedir(folder);
    return way_file(out, *last ? last : start);
}

/* The layer that a kept wave is to find next; 0: there is none. Layer: the third number of its head. */
static int64_t kept_layer(const char *path)
{
    size_t bytes;
    char *data = file_read(path, &bytes);
    int64_t layer = 0;

    if (data && bytes >= 32)
        memcpy(&layer, data + 8 + 2 * sizeof layer, sizeof layer);
    free(data);
    return layer;
}

static int begin_of(const char *out)
{
    return (int)way_rank_number(out, 0, "first_wave_layer");
}

/* The run `w` in that folder ends well, with the bits of `want`; `said`: what it says, or NULL. */
static void expect_goes_on(const char *want, const char *out, const struct way *w, const char *said)
{
    struct run *r = way_expect(out, w, 0);

    if (said && !strstr(r->err, said)) {
        printf("FAIL: want \"%s\"\n", said);
        run_print(r);
        exit(1);
    }
    run_close(r);
    EXPECT(way_differs(want, out) == 0);
    EXPECT(way_waves(out) == 0);
}

/* A run killed before its n-th microbatch-layer. */
static const char *killed_at(int n)
{
    const char *out = scratch_path("at%d-%d", n, (int)random());
    struct way w = plain;
    char fault[64];

    snprintf(fault, sizeof fault, "stage_layer:%d:kill", n);
    w.fault = fault;
    run_close(way_expect(out, &w, 128 + SIGKILL));
    return out;
}

/* Anywhere in the first waves; the same folder without the kept wave reads as many layers more as it
 * does not go on from. */
static void test_killed(const char *want)
{
    static const int at[] = {3, 4, 11, 21, 22, 24, 26, 46};
    double layer_bytes = 0;

    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        const char *out = killed_at(at[i]), *without = scratch_path("without%d", at[i]);
        int layer = (at[i] - 1) / WAVE % LAYERS;
        double more;

        EXPECT(layer == 0 || kept_layer(kept_file(out, 0)) == layer);
        folder_copy(out, without);
        unlink(kept_file(without, 0));
        expect_goes_on(want, out, &plain, layer ? "it goes on from there" : NULL);
        /* where a wave has just begun, the end of the one before may not be in the journal yet */
        EXPECT(begin_of(out) == layer || (layer == 0 && begin_of(out) == LAYERS - 1));
        expect_goes_on(want, without, &plain, NULL);
        EXPECT(begin_of(without) == 0);
        if (layer == 0 || layer == LAYERS - 1) /* what is done of the last one changes the waves */
            continue;
        more = way_rank_number(without, 0, "bytes_read") - way_rank_number(out, 0, "bytes_read");
        layer_bytes = layer_bytes > 0 ? layer_bytes : more / layer;
        EXPECT(more > 0 && more == layer * layer_bytes);
        EXPECT(way_rank_number(without, 0, "waves_kept") ==
               way_rank_number(out, 0, "waves_kept") + layer);
    }
}

static void test_signal(const char *want, int number)
{
    const char *out = scratch_path("signal%d", number);
    struct way w = plain;

    w.fault = "stage_layer:1+:slow";
    struct run *r = way_start(out, &w);
    for (int i = 0; i < 10000 && kept_layer(kept_file(out, 0)) == 0; i++)
        usleep(2000);
    EXPECT(kill(r->pid, number) == 0);
    run_wait(r, 60);
    if (r->code != 75)
        run_print(r);
    EXPECT(r->code == 75);
    run_close(r);
    expect_goes_on(want, out, &plain, "it goes on from there");
    EXPECT(begin_of(out) >= 1);
}

/* One microbatch less of a wave, other microbatches and waves, other ranks, all layers resident. */
static void test_other_ways(const char *want)
{
    static const struct {
        struct way way;
        const char *said;
    } other[] = {
        {{.np = 1, .microbatch = 3, .rows = ROWS, .spec = SLOW}, "1 microbatch up to layer 6"},
        {{.np = 1, .microbatch = 2, .rows = ROWS, .spec = SLOW WIDE}, "1 microbatch up to layer 6"},
        {{.np = 1, .microbatch = 4, .rows = ROWS, .spec = SLOW},
         "is not used: it has no whole microbatch of what is next here"},
        {{.np = 1, .microbatch = 1, .rows = ROWS, .spec = SLOW}, "3 microbatches up to layer 6"},
        {{.np = 1, .microbatch = 1, .rows = ROWS}, "3 microbatches up to layer 6"},
        {{.np = 2, .microbatch = 1, .rows = ROWS, .spec = SLOW CAPS, .stages = 1},
         "rank 0: journal.wave-0-0 holds 2 microbatches up to layer 6"},
        {{.np = 2, .microbatch = 1, .rows = ROWS, .spec = SLOW CAPS},
         "rank 1: journal.wave-0-0 holds 3 microbatches up to layer 6"},
        {{.np = 4, .microbatch = 1, .rows = ROWS, .spec = SLOW},
         "rank 0: journal.wave-0-0 is not used: it ends between two ranks"}};
    const char *from = killed_at(20), *out;

    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        if (other[i].way.np > 1 && !*MPIRUN)
            continue;
        out = scratch_path("other%zu", i);
        folder_copy(from, out);
        expect_goes_on(want, out, &other[i].way, other[i].said);
    }
    struct way restart = plain;
    restart.extra = "--restart";
    expect_goes_on(want, from, &restart, NULL);
    EXPECT(begin_of(from) == 0 && way_restored(from) == 0);
}

/* A copy of the folder with other bytes in the kept wave's place. */
static void try_bytes(const char *want, const char *from, const char *name, const char *data,
                      size_t bytes, const char *said)
{
    const char *out = scratch_path("%s", name);

    folder_copy(from, out);
    file_write(kept_file(out, 0), data, bytes);
    expect_goes_on(want, out, &plain, said);
    EXPECT(begin_of(out) == 0);
}

static void test_damaged(const char *want)
{
    const char *from = killed_at(14), *other = scratch_path("foreign"), *damaged = "is damaged";
    struct way w = plain;
    size_t bytes;
    char *data = file_read(kept_file(from, 0), &bytes), *longer;
    const size_t flip[] = {5, 12, 50, 110, 130, 150, bytes / 2, bytes - 1};
    const size_t cut[] = {0, 60, 120, 121, bytes - 1};

    EXPECT(data && bytes > 1000);
    for (size_t i = 0; i < sizeof flip / sizeof *flip; i++) {
        data[flip[i]] ^= 4;
        try_bytes(want, from, scratch_path("flip%zu", i) + strlen(scratch_folder()) + 1, data, bytes,
                  damaged);
        data[flip[i]] ^= 4;
    }
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++)
        try_bytes(want, from, scratch_path("cut%zu", i) + strlen(scratch_folder()) + 1, data, cut[i],
                  damaged);
    longer = realloc(data, 2 * bytes);
    EXPECT(longer);
    memcpy(longer + bytes, longer, bytes);
    try_bytes(want, from, "twice", longer, 2 * bytes, damaged);
    free(longer);

    w.rows = ROWS - 1; /* another journal, with hidden states of the same size */
    w.fault = "stage_layer:14:kill";
    run_close(way_expect(other, &w, 128 + SIGKILL));
    data = file_read(kept_file(other, 0), &bytes);
    EXPECT(data);
    try_bytes(want, from, "other-journal", data, bytes, "is of another journal, and is not used");
    free(data);
}

/* Both replicas are held in the middle of their first wave, and both go on. */
static void test_replicas(const char *want)
{
    const char *out = scratch_path("replicas");
    struct way w = plain;

    if (!*MPIRUN)
        return;
    w.np = 2;
    w.stages = 1;
    w.fault = "stage_layer:13:hang";
    struct run *r = way_start(out, &w);
    for (int i = 0; i < 10000 && !(kept_layer(kept_file(out, 0)) == 6 &&
                                   kept_layer(kept_file(out, 1)) == 6); i++)
        usleep(2000);
    EXPECT(kill(r->pid, SIGTERM) == 0);
    run_wait(r, 60);
    EXPECT(r->code != 0 && r->code != -1);
    run_close(r);
    w.fault = NULL;
    expect_goes_on(want, out, &w, "rank 1: journal.wave-1-1 holds 2 microbatches up to layer 6");
    for (int rank = 0; rank < 2; rank++)
        EXPECT(way_rank_number(out, rank, "first_wave_layer") == 6);
}

/* The n-th call of a site fails: either the run ends as it would without keeping waves, and goes on to
 * the same bits; or only the wave was not kept, and it says so. */
static void test_disk(const char *want, const char *site, const char *action, int step)
{
    bool later_too = *action == '+'; /* then the journal cannot be written, either */
    int warned = 0, ended = 0;

    for (int n = 1;; n += step) {
        const char *out = scratch_path("%s%s-%d", site, action, n);
        struct way w = plain;
        char fault[64];

        snprintf(fault, sizeof fault, "%s:%d%s", site, n, action);
        w.fault = fault;
        struct run *r = way_run(out, &w);
        if (!way_fault_met()) {
            run_close(r);
            break;
        }
        bool said = strstr(r->err, "warning: rank 0 cannot keep its wave: ");
        if (said && r->code != 0 && !later_too)
            run_print(r);
        EXPECT(!said || r->code == 0 || later_too);
        warned += said;
        ended += r->code != 0;
        if (r->code == 0)
            EXPECT(way_differs(want, out) == 0 && !file_exists(kept_file(out, 0)));
        run_close(r);
        expect_goes_on(want, out, &plain, NULL);
    }
    printf("%s %s: %d times not kept, %d runs ended\n", site, action, warned, ended);
    fflush(stdout);
    EXPECT(warned > 0);
}

/* The second stage hears nothing of the first one for a whole wave, 1.5 s or more: it was predicted to
 * take far longer, so nobody is taken for lost after the second that is the limit else. */
static void test_long_wait(const char *want)
{
    struct way w = plain;

    if (!*MPIRUN)
        return;
    w.np = 2;
    w.extra = "--set=stall_timeout=1";
    w.fault = "0/stage_layer:1+:slow";
    expect_goes_on(want, scratch_path("long-wait"), &w,
                   "rank 1 keeps ");
}

/* --check counts what two of these files take. */
static void test_check(const char *kept)
{
    static const char of_which[] = " needed, of which ";
    const char *out = scratch_path("check");
    struct way w = plain;
    char *data, *at;
    size_t bytes;

    w.spec = SLOW "\"max_memory\": { \"0\": \"7MiB\", \"cpu\": \"200KiB\" }, ";
    w.extra = "--check";
    struct run *r = way_expect(out, &w, 0);
    at = strstr(r->out, of_which);
    data = file_read(kept, &bytes);
    if (!data || !at)
        run_print(r);
    EXPECT(data && at);
    at += strlen(of_which);
    printf("a kept wave of %zu bytes, --check: %.*s\n", bytes, (int)strcspn(at, "\n"), at);
    EXPECT(strstr(at, "KiB to keep waves"));
    EXPECT(atof(at) * 1024 >= 2.0 * (double)bytes && atof(at) * 1024 <= 2.05 * (double)bytes);
    free(data);
    run_close(r);
}

int main(void)
{
    const char *want = scratch_path("want");
    struct way resident = plain;

    resident.spec = NULL;
    run_close(way_expect(want, &resident, 0));
    test_check(kept_file(killed_at(14), 0));
    test_killed(want);
    test_signal(want, SIGTERM);
    test_signal(want, SIGUSR1);
    test_other_ways(want);
    test_damaged(want);
    test_replicas(want);
    test_long_wait(want);
    test_disk(want, "write", ":fail", 53);
    test_disk(want, "write", "+:full", 131);
    test_disk(want, "fsync", ":fail", 9);
    test_disk(want, "rename", ":fail", 7);
    return 0;
}
