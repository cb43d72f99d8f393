// links: spec run
// timeout: 200
// processors: 2
/* Runs that go on (design §8): after a journal cut anywhere, a kill or a signal, a run with any
 * ranks and microbatch gives the nll file and the numbers of an uninterrupted one, bit for bit; a
 * journal of another run, a damaged one, and a folder in use are refused by name. */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/results.h"
#include "tests/test.h"

enum { ROWS = 24, ROWS_LONG = 160 };

/* How a run is carried out; extra: a further word of the command line, or NULL. */
struct way {
    int np, microbatch, rows;
    const char *dtype, *extra;
};

static const struct way plain = {.np = 1, .microbatch = 1, .rows = ROWS, .dtype = "float32"};

static struct args words(const char *out, const struct way *w)
{
    struct args a = args_ppl(w->np);

    file_printf(scratch_path("spec.json"),
                "{ \"model_dir\": \"%s/models/llama-nvfp4\", \"threads\": 1,\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 100,"
                " \"eval_stride\": 20 } }\n",
                TEST_DATA, TEST_DATA);
    args_add(&a, "%s", scratch_path("spec.json"));
    args_add(&a, "--set");
    args_add(&a, "dtype=%s", w->dtype);
    args_add(&a, "--set");
    args_add(&a, "data.max_rows=%d", w->rows);
    args_add(&a, "--microbatch");
    args_add(&a, "%d", w->microbatch);
    args_add(&a, "--out");
    args_add(&a, "%s", out);
    if (w->extra)
        args_add(&a, "%s", w->extra);
    return a;
}

static struct run *start(const char *out, const struct way *w)
{
    struct args a = words(out, w);

    return run_start(&a);
}

static struct run *expect_run(const char *out, const struct way *w, int code)
{
    struct run *r = start(out, w);

    run_wait(r, 60);
    if (r->code != code) {
        printf("FAIL: want exit code %d\n", code);
        run_print(r);
        exit(1);
    }
    return r;
}

static void expect_refused(const char *out, const struct way *w, int code, const char *text)
{
    struct run *r = expect_run(out, w, code);

    if (!strstr(r->err, text)) {
        printf("FAIL: want \"%s\"\n", text);
        run_print(r);
        exit(1);
    }
    run_close(r);
}

static bool same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = file_read(a, &n), *y = file_read(b, &m);
    bool same = x && y && n == m && memcmp(x, y, n) == 0;

    free(x);
    free(y);
    return same;
}

/* The numbers of `out` are those of `want`; restored: how many windows came from the journal. */
static void expect_same(const char *want, const char *out, int restored)
{
    static const char *const keys[] = {"ppl",     "mean_nll", "se_iid",     "se_block",
                                       "windows", "tokens",   "windows_all"};
    char a[512], b[512];

    snprintf(a, sizeof a, "%s/nll.npy", want);
    snprintf(b, sizeof b, "%s/nll.npy", out);
    EXPECT(same_file(a, b));
    snprintf(a, sizeof a, "%s/result.json", want);
    snprintf(b, sizeof b, "%s/result.json", out);
    cJSON *x = json_file(a), *y = json_file(b);
    EXPECT_TEXT(json_text(y, "status"), "complete");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        EXPECT(json_number(json_result(x), keys[i]) == json_number(json_result(y), keys[i]));
    if (restored >= 0)
        EXPECT(json_number(json_result(y), "windows_restored") == restored);
    cJSON_Delete(x);
    cJSON_Delete(y);
}

static const char *in(const char *out, const char *name)
{
    return scratch_path("%s/%s", strrchr(out, '/') + 1, name);
}

/* Bytes of the identity and of one record in a journal of `windows`. */
static void measure_journal(const char *out, int windows, size_t *head, size_t *record)
{
    size_t bytes;
    char *data = file_read(in(out, "journal"), &bytes);
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
    char *data = file_read(in(want, "journal"), NULL);

    EXPECT(data && mkdir(out, 0755) == 0);
    file_write(in(out, "journal"), data, bytes);
    free(data);
    return out;
}

static void test_cut(const char *want)
{
    const struct way ways[] = {{1, 1, ROWS, "float32", NULL}, {2, 3, ROWS, "float32", NULL},
                               {3, 2, ROWS, "float32", NULL}, {2, 1, ROWS, "float32", NULL}};
    const double kept[] = {0, 0.5, 7.9, 23}; /* records, some torn */
    size_t head, record;

    measure_journal(want, ROWS, &head, &record);
    for (int i = 0; i < 4; i++) {
        const char *out = cut_copy(want, i == 0   ? "cut0"
                                         : i == 1 ? "cut1"
                                         : i == 2 ? "cut2"
                                                  : "cut3",
                                   head + (size_t)(kept[i] * (double)record));

        run_close(expect_run(out, &ways[i], 0));
        expect_same(want, out, (int)kept[i]);
        /* A complete run has nothing left to do, and says the same again. */
        run_close(expect_run(out, &plain, 0));
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
    char *data = file_read(in(out, "journal"), &bytes);
    data[head + 2 * record + 100] ^= 16;
    file_write(in(out, "journal"), data, bytes);
    free(data);
    expect_refused(out, &plain, 65, "is damaged");
    other = plain;
    other.extra = "--restart";
    run_close(expect_run(out, &other, 0));
    EXPECT(file_exists(in(out, "journal.1")));
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
    cJSON *status = json_file(in(out, "status.json"));
    pid_t pid = (pid_t)json_number(status, "pid");

    cJSON_Delete(status);
    return pid;
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
    struct run *r = start(out, &two);
    wait_for_bytes(r, in(out, "journal"), 8000);
    snprintf(text, sizeof text, "process %ld, job none", (long)pid_of(out));
    expect_refused(out, &three, 73, text);
    EXPECT(kill(pid_of(out), SIGKILL) == 0);
    run_wait(r, 30);
    EXPECT(r->code != 0);
    run_close(r);
    run_close(expect_run(out, &three, 0));
    expect_same(want, out, -1);
}

static void test_signal(const char *want, int number, int np)
{
    const char *out = scratch_path("signal%d-%d", number, np);
    struct way w = plain;
    int restored;

    w.rows = ROWS_LONG;
    w.np = np;
    struct run *r = start(out, &w);
    wait_for_bytes(r, in(out, "journal"), 8000);
    EXPECT(kill(pid_of(out), number) == 0);
    run_wait(r, 30);
    if (r->code != 75)
        run_print(r);
    EXPECT(r->code == 75);
    run_close(r);

    cJSON *status = json_file(in(out, "status.json"));
    EXPECT_TEXT(json_text(status, "state"), "partial");
    EXPECT(json_number(status, "exit_code") == 75);
    EXPECT(cJSON_IsTrue(json_at(status, "resumable")));
    restored = (int)json_number(status, "windows_done");
    EXPECT(restored > 0 && restored < ROWS_LONG);
    cJSON_Delete(status);
    run_close(expect_run(out, &plain, 73)); /* other windows */
    w.np = 3 - np;
    run_close(expect_run(out, &w, 0));
    expect_same(want, out, restored);
}

int main(void)
{
    const char *want = scratch_path("want"), *longer = scratch_path("longer");
    struct way w = plain;

    run_close(expect_run(want, &plain, 0));
    w.rows = ROWS_LONG;
    run_close(expect_run(longer, &w, 0));
    test_cut(want);
    test_refused(want);
    test_killed(longer);
    test_signal(longer, SIGTERM, 1);
    test_signal(longer, SIGUSR1, 2);
    return 0;
}
