/* Proves on a GPU, whichever it is, that work which was interrupted is not lost: two ranks share it
 * and one is killed, which one line names with its GPU while nobody is left, and status.json says so;
 * SIGTERM ends a run with 75. Both go on from the journal to the same bits. */
#include <signal.h>
#include <unistd.h>

#include "tests/cuda/one_gpu.h"
#include "tests/ways.h"

enum { ROWS = 24, CAP_MIB = 2048 };

static const double limit_s = 30;

/* Until the run has come to its fault. */
static void await_fault(struct run *r)
{
    for (int i = 0; !way_fault_met() && i < 100 * limit_s; i++)
        usleep(10000);
    if (!way_fault_met()) {
        kill(-r->pid, SIGKILL);
        run_wait(r, 1);
        run_print(r);
    }
    EXPECT(way_fault_met());
}

static void await_nobody(void)
{
    for (int i = 0; way_processes() > 0 && i < 200; i++)
        usleep(10000);
    EXPECT(way_processes() == 0);
}

static int status_code(const char *out)
{
    cJSON *status = json_file(way_file(out, "status.json"));
    int code = (int)json_number(status, "exit_code");

    cJSON_Delete(status);
    return code;
}

static void go_on(const char *want, const char *out, const struct way *w)
{
    run_close(way_expect(out, w, 0));
    EXPECT(way_differs(want, out) == 0 && way_restored(out) > 0);
}

/* Rank 1 hangs in a layer, so that all know where it is, and is then killed. */
static void rank_killed(const char *want, const struct way *one)
{
    const char *out = scratch_path("killed");
    struct way two = *one;
    struct run *r;

    two.np = 2;
    two.microbatch = 1;
    two.fault = "1/stage_layer:20:hang";
    r = way_start(out, &two);
    await_fault(r);
    usleep(1500000); /* past the beat that says what it does */
    EXPECT(run_rank(r, 1) > 0 && kill(run_rank(r, 1), SIGKILL) == 0);
    run_wait(r, r->seconds + limit_s + way_fault_age() + 60);
    printf("rank 1 killed: over after %.1f s\n", way_fault_age() - 1.5);
    EXPECT(way_fault_age() - 1.5 <= limit_s);
    if (!strstr(r->err, ", GPU 0 ") || way_lines(r) != 1)
        run_print(r);
    EXPECT(r->code != 0 && r->code != -1 && way_lines(r) == 1);
    EXPECT(strstr(r->err, "nvfp4_ppl: rank 1 of 2 (") &&
           strstr(strstr(r->err, "nvfp4_ppl: rank 1 of 2 ("), ", GPU 0 ") &&
           strstr(r->err, "): lost: its process is gone, while computing microbatch "));
    EXPECT(status_code(out) == 75);
    run_close(r);
    await_nobody();
    go_on(want, out, one);
}

static void stopped_by_signal(const char *want, const struct way *one)
{
    const char *out = scratch_path("stopped");
    struct way slow = *one;
    struct run *r;

    slow.microbatch = 1;
    slow.fault = "stage_layer:40+:slow"; /* so that it is still there when the signal comes */
    r = way_start(out, &slow);
    await_fault(r);
    EXPECT(kill(r->pid, SIGTERM) == 0);
    run_wait(r, 2 * limit_s);
    if (r->code != 75 || !strstr(r->err, "nvfp4_ppl: stopped by SIGTERM\n"))
        run_print(r);
    EXPECT(r->code == 75 && strstr(r->err, "nvfp4_ppl: stopped by SIGTERM\n"));
    EXPECT(status_code(out) == 75);
    run_close(r);
    await_nobody();
    go_on(want, out, one);
}

int main(void)
{
    const char *want = scratch_path("want");
    char spec[256];
    const struct way one = {.np = 1, .microbatch = 8, .rows = ROWS, .dtype = "bfloat16", .spec = spec};

    one_gpu_is_emulated();
    if (!*MPIRUN)
        SKIP("mpirun not found");
    snprintf(spec, sizeof spec,
             "\"backend\": \"cuda\", \"max_memory\": { \"0\": \"%dMiB\", \"1\": \"%dMiB\" },", CAP_MIB,
             CAP_MIB);
    run_close(way_expect(want, &one, 0));
    rank_killed(want, &one);
    stopped_by_signal(want, &one);
    return 0;
}
