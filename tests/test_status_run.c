// links: spec run
// timeout: 120
// processors: 2
/* Proves D7: status.json, read a thousand times while a run goes on, is each time one whole state and
 * never goes back; and a run that is told to stop in any phase does so within half a second, with
 * exit code 75 and a status that says so. */
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spec/json.h"
#include "tests/test.h"
#include "tests/ways.h"

enum { READS = 1000, ROWS = 160 };

/* What the file said last. */
struct seen {
    int phase;
    double windows, tokens;
};

static int phase_order(const char *phase)
{
    static const char *const order[] = {"start", "open", "plan", "load", "compute", "end"};

    for (int i = 0; i < 6; i++)
        if (strcmp(phase, order[i]) == 0)
            return i;
    printf("FAIL: phase \"%s\"\n", phase);
    exit(1);
}

static void read_once(const char *path, struct seen *s)
{
    struct json *j;
    struct err e;

    if (json_open(path, 1 << 16, JSON_STRICT, ERR_DATA, &j, &e) != OK) {
        printf("FAIL %s\n", e.msg);
        exit(1);
    }
    struct seen now = {.phase = phase_order(json_text(json_root(j), "phase")),
                       .windows = json_number(json_root(j), "windows_done"),
                       .tokens = json_number(json_root(j), "tokens")};
    EXPECT(now.phase >= s->phase && now.windows >= s->windows && now.tokens >= s->tokens);
    EXPECT(now.windows <= ROWS);
    *s = now;
    json_close(j);
}

static void test_reads(void)
{
    const struct way w = {.np = 1, .microbatch = 1, .rows = ROWS};
    const char *out = scratch_path("reads"), *path = way_file(out, "status.json");
    struct seen seen = {0};
    struct run *r = way_start(out, &w);
    bool ended = false;
    int reads = 0, during = 0;

    while (reads < READS || !ended) {
        siginfo_t info = {.si_pid = 0};

        waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT);
        ended = info.si_pid == r->pid;
        if (file_exists(path)) {
            read_once(path, &seen);
            reads++;
            during += !ended;
            usleep(200);
        }
    }
    run_wait(r, 60);
    EXPECT(r->code == 0);
    EXPECT(seen.windows == ROWS && seen.phase == 5);
    printf("%d reads, %d of them during the run\n", reads, during);
    EXPECT(during >= READS);
    run_close(r);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Every read of the model takes 0.3 s, so that there is a phase to be stopped in. */
static void test_stop(int number, const char *phase, const char *fault)
{
    const struct way w = {.np = 1, .microbatch = 1, .rows = ROWS, .fault = fault};
    const char *out = scratch_path("stop-%s-%d", phase, number);
    struct run *r = way_start(out, &w);
    char want[64];
    bool there = false;

    snprintf(want, sizeof want, "\"phase\": \"%s\"", phase);
    for (int i = 0; i < 2000 && !there; i++) {
        char *text = file_read(way_file(out, "status.json"), NULL);

        there = text && strstr(text, want);
        free(text);
        usleep(5000);
    }
    EXPECT(there);
    double began = now();
    kill(r->pid, number);
    run_wait(r, 30);
    double took = now() - began;
    if (r->code != 75 || way_lines(r) != 1)
        run_print(r);
    EXPECT(r->code == 75 && way_lines(r) == 1);
    printf("signal %d in phase %s: ended after %.3f s\n", number, phase, took);
    EXPECT(took <= 0.5);
    run_close(r);
    cJSON *status = json_file(way_file(out, "status.json"));
    EXPECT_TEXT(json_text(status, "state"), "partial");
    EXPECT_TEXT(json_text(status, "phase"), phase);
    EXPECT(json_number(status, "exit_code") == 75);
    cJSON_Delete(status);
}

int main(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

    test_reads();
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        test_stop(numbers[i], "compute", "stage_layer:1+:slow");
    test_stop(SIGTERM, "open", "pread:1+:slow");
    test_stop(SIGUSR1, "load", "mmap:1:slow");
    return 0;
}
