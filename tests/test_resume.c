// links: spec run
// timeout: 200
// processors: 2
/* Runs that go on (design §8): after a journal cut anywhere, a kill or a signal, a run with any
 * ranks and microbatch gives the nll file and the numbers of an uninterrupted one, bit for bit; a
 * journal of another run, a damaged one, and a folder in use are refused by name. */
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/ways.h"

enum { ROWS = 24, ROWS_LONG = 160 };

static const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS};

static void expect_refused(const char *out, const struct way *w, int code, const char *text)
{
    struct run *r = way_expect(out, w, code);

    if (!strstr(r->err, text)) {
        printf("FAIL: want \"%s\"\n", text);
        run_print(r);
        exit(1);
    }
    run_close(r);
}

/* restored: how many windows came from the journal; -1 = any number. */
static void expect_same(const char *want, const char *out, int restored)
{
    EXPECT(way_differs(want, out) == 0);
    EXPECT(restored < 0 || way_restored(out) == restored);
}

/* Bytes of the identity and of one record in a journal of `windows`. */
static void measure_journal(const char *out, int windows, size_t *head, size_t *record)
{
    size_t bytes;
    char *data = file_read(way_file(out, "journal"), &bytes);
    uint32_t identity;

    EXPECT(data && bytes > 8);
    memcpy(&identity, data + 4, sizeof identity);
    *head = identity + 24;
    *record = (bytes - *head) / (size_t)windows;
    EXPECT(bytes == *head + (size_t)windows * *record);
    free(data);
}

/* A folder with the journal of `want`, cut to `bytes`. */
static const char *cut_copy(const char *want, const char *name, size_t bytes)
{
    const char *out = scratch_path("%s", name);
    char *data = file_read(way_file(want, "journal"), NULL);

    EXPECT(data && mkdir(out, 0755) == 0);
    file_write(way_file(out, "journal"), data, bytes);
    free(data);
    return out;
}

static void test_cut(const char *want)
{
    const struct way ways[] = {{.np = 1, .microbatch = 1, .rows = ROWS},
                               {.np = 2, .microbatch = 3, .rows = ROWS},
                               {.np = 3, .microbatch = 2, .rows = ROWS, .stages = 1},
                               {.np = 4, .microbatch = 1, .rows = ROWS, .stages = 2}};
    const double kept[] = {0, 0.5, 7.9, 23}; /* records, some torn */
    size_t head, record;

    measure_journal(want, ROWS, &head, &record);
    for (int i = 0; i < 4; i++) {
        const char *out = cut_copy(want, (const char *[]){"cut0", "cut1", "cut2", "cut3"}[i],
                                   head + (size_t)(kept[i] * (double)record));

        run_close(way_expect(out, &ways[i], 0));
        expect_same(want, out, (int)kept[i]);
        /* A complete run has nothing left to do, and says the same again. */
        run_close(way_expect(out, &plain, 0));
        expect_same(want, out, ROWS);
    }
}

static void test_refused(const char *want)
{
    struct way other = plain;
    size_t head, record, bytes;

    measure_journal(want, ROWS, &head, &record);
    other.dtype = "bfloat16";
    expect_refused(want, &other, 73, "it has \"dtype float32\", this run has \"dtype bfloat16\"");
    other = plain;
    other.rows = 7;
    expect_refused(want, &other, 73, "it has \"windows 24\", this run has \"windows 7\"");

    const char *out = cut_copy(want, "flipped", head + 5 * record);
    char *data = file_read(way_file(out, "journal"), &bytes);
    data[head + 2 * record + 100] ^= 16;
    file_write(way_file(out, "journal"), data, bytes);
    free(data);
    expect_refused(out, &plain, 65, "is damaged");
    other = plain;
    other.extra = "--restart";
    run_close(way_expect(out, &other, 0));
    EXPECT(file_exists(way_file(out, "journal.1")));
    expect_same(want, out, 0);
}

static long file_size(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0 ? (long)s.st_size : 0;
}

static void wait_for_bytes(struct run *r, const char *path, long bytes)
{
    for (int i = 0; i < 10000 && file_size(path) < bytes; i++)
        usleep(2000);
    if (file_size(path) < bytes) {
        run_wait(r, 1);
        run_print(r);
    }
    EXPECT(file_size(path) >= bytes);
}

static pid_t pid_of(const char *out)
{
    cJSON *status = json_file(way_file(out, "status.json"));
    pid_t pid = (pid_t)json_number(status, "pid");

    cJSON_Delete(status);
    return pid;
}

/* The same shapes with other numbers in them, as of a model that was quantized anew. */
static void test_other_weights(void)
{
    const char *model = scratch_path("model"), *out = scratch_path("weights");
    char set[4200];
    struct way w = plain;
    size_t bytes;

    folder_copy(TEST_DATA "/models/llama-nvfp4", model);
    snprintf(set, sizeof set, "--set=model_dir=%s", model);
    w.extra = set;
    run_close(way_expect(out, &w, 0));
    const char *path = scratch_path("model/model.safetensors");
    char *data = file_read(path, &bytes);
    for (size_t i = bytes / 2; i < bytes; i++)
        data[i] ^= 1;
    file_write(path, data, bytes);
    free(data);
    expect_refused(out, &w, 73, "journal: is of another run: it has \"sample ");
}

/* Killed in the middle, with 2 ranks; meanwhile nobody else may use the folder. */
static void test_killed(const char *want)
{
    const char *out = scratch_path("killed");
    struct way two = plain, three = plain;
    char text[128];

    two.np = 2;
    two.rows = three.rows = ROWS_LONG;
    three.np = 3;
    three.microbatch = 4;
    struct run *r = way_start(out, &two);
    wait_for_bytes(r, way_file(out, "journal"), 8000);
    pid_t pid = pid_of(out);
    EXPECT(kill(pid, SIGSTOP) == 0); /* a quick machine would be done too soon */
    snprintf(text, sizeof text, "process %ld, job none", (long)pid);
    expect_refused(out, &three, 73, text);
    EXPECT(kill(pid, SIGKILL) == 0);
    run_wait(r, 30);
    EXPECT(r->code != 0);
    run_close(r);
    run_close(way_expect(out, &three, 0));
    expect_same(want, out, -1);
}

static void test_signal(const char *want, int number, int np)
{
    const char *out = scratch_path("signal%d-%d", number, np);
    struct way w = plain;
    int restored;

    w.rows = ROWS_LONG;
    w.np = np;
    struct run *r = way_start(out, &w);
    wait_for_bytes(r, way_file(out, "journal"), 8000);
    EXPECT(kill(pid_of(out), number) == 0);
    run_wait(r, 30);
    if (r->code != 75)
        run_print(r);
    EXPECT(r->code == 75);
    run_close(r);

    cJSON *status = json_file(way_file(out, "status.json"));
    EXPECT_TEXT(json_text(status, "state"), "partial");
    EXPECT(json_number(status, "exit_code") == 75);
    EXPECT(cJSON_IsTrue(json_at(status, "resumable")));
    restored = (int)json_number(status, "windows_done");
    EXPECT(restored > 0 && restored < ROWS_LONG);
    cJSON_Delete(status);
    run_close(way_expect(out, &plain, 73)); /* other windows */
    w.np = 3 - np;
    run_close(way_expect(out, &w, 0));
    expect_same(want, out, restored);
}

int main(void)
{
    const char *want = scratch_path("want"), *longer = scratch_path("longer");
    struct way w = plain;

    run_close(way_expect(want, &plain, 0));
    w.rows = ROWS_LONG;
    run_close(way_expect(longer, &w, 0));
    test_cut(want);
    test_refused(want);
    test_other_weights();
    test_killed(longer);
    test_signal(longer, SIGTERM, 1);
    test_signal(longer, SIGUSR1, 2);
    return 0;
}
