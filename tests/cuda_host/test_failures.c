/* Proves B7 and F20 on the CUDA shim: whatever breaks on a GPU (its memory, a kernel, NCCL, another
 * rank) ends the job within 30 s, with one line that names the rank, its GPU and what it did, the right
 * exit code in status.json, and no process left; one GPU goes on to the same bits. And caps are what
 * decides who may share a GPU. */
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "tests/results.h"
#include "tests/test.h"

enum { WINDOWS = 8 };

static const double limit_s = 30;

struct fault {
    const char *variable, *value; /* of the twin; NULL = none */
    int rank;                     /* that it happens to; -1 = any */
    int np, devices;
    bool stuck;                   /* NCCL's abort never returns */
    const char *transport;
    const char *caps; /* of all ranks */
    int code;
    const char *words[4]; /* of the one line; NULL = no more */
};

#define CAPS "{\"0\": \"200MiB\", \"1\": \"200MiB\", \"2\": \"200MiB\"}"
#define GPU_1 "CUDA on CPU, 0000:01:00.0, driver 580.00, ECC off: "

static const struct fault faults[] = {
    /* memory at the start */
    {"CUDA_HOST_MEMORY", "190000000", -1, 2, 2, false, "auto", CAPS, 71,
     {"rank 0 of 2 (", "CUDA on CPU, 0000:00:00.0, driver 580.00, ECC off: the cap is 200.0 MiB, but "
      "only ", "of 181.2 MiB are free"}},
    {"CUDA_HOST_MEMORY", "2000000", 1, 2, 2, false, "auto", CAPS, 71,
     {"rank 0 of 2 (", "cuda: GPU 0: cudaErrorMemoryAllocation"}},
    {"CUDA_HOST_FAIL_MALLOC", "2", 1, 2, 2, false, "nccl", CAPS, 71,
     {"rank 1 of 2 (", "cuda: an arena of ", " on GPU 1: cudaErrorMemoryAllocation"}},
    /* two ranks on one GPU */
    {NULL, NULL, -1, 2, 1, false, "auto", "{\"0\": \"200MiB\"}", 78,
     {"rank 1 of 2 (", "is shared with another rank: give each a cap"}},
    {NULL, NULL, -1, 2, 1, false, "nccl", CAPS, 69, {"transport: nccl: ranks 0 and 1 (", "share a GPU"}},
    /* a kernel: every later call fails, too */
    {"CUDA_HOST_FAIL_LAUNCH", "60", 1, 2, 2, false, "nccl", CAPS, 69,
     {"rank 1 of 2 (", GPU_1 "layer ", "cuda: ", "cudaErrorIllegalAddress"}},
    {"CUDA_HOST_FAIL_LAUNCH", "60", 1, 3, 3, false, "mpi", CAPS, 69,
     {"rank 1 of 3 (", GPU_1 "layer ", "cuda: ", "cudaErrorIllegalAddress"}},
    {"CUDA_HOST_FAIL_LAUNCH", "60", 0, 1, 1, false, "auto", CAPS, 69,
     {"CUDA on CPU, 0000:00:00.0, driver 580.00, ECC off: layer ", "cudaErrorIllegalAddress"}},
    /* a kernel that never ends */
    {"CUDA_HOST_HANG_LAUNCH", "60", 0, 1, 1, false, "auto", CAPS, 69,
     {"CUDA on CPU, 0000:00:00.0, driver 580.00, ECC off: layer ", "GPU 0 is not done after 5 s"}},
    {"CUDA_HOST_HANG_LAUNCH", "60", 1, 2, 2, false, "nccl", CAPS, 69,
     {"rank 1 of 2 (", GPU_1 "layer ", "GPU 1 is not done after 5 s"}},
    {"CUDA_HOST_HANG_LAUNCH", "60", 1, 3, 3, false, "mpi", CAPS, 69,
     {"rank 1 of 3 (", GPU_1 "layer ", "GPU 1 is not done after 5 s"}},
    /* another rank is gone: by nccl and by mpi, the one that receives and the one that sends */
    {"CUDA_HOST_DIE_LAUNCH", "150", 1, 2, 2, false, "nccl", CAPS, 75,
     {"rank 1 of 2 (", ", GPU 1 CUDA on CPU, 0000:01:00.0): lost: its process is gone, while computing "
      "microbatch "}},
    {"CUDA_HOST_DIE_LAUNCH", "150", 1, 3, 3, false, "nccl", CAPS, 75,
     {"rank 1 of 3 (", ", GPU 1 CUDA on CPU, 0000:01:00.0): lost: its process is gone, while computing "
      "microbatch "}},
    {"CUDA_HOST_DIE_LAUNCH", "150", 2, 3, 3, false, "mpi", CAPS, 75,
     {"rank 2 of 3 (", ", GPU 2 CUDA on CPU, 0000:02:00.0): lost: its process is gone, while computing "
      "microbatch "}},
    /* NCCL: an error, no answer, and an abort that hangs */
    {"CUDA_HOST_NCCL_FAIL", "1", 1, 2, 2, false, "nccl", CAPS, 75,
     {"rank 1 of 2 (", GPU_1 "receive from rank 0: NCCL says: unhandled system"}},
    {"CUDA_HOST_NCCL_FAIL", "3", 1, 3, 3, false, "nccl", CAPS, 75,
     {"rank 1 of 3 (", GPU_1, "NCCL says: unhandled system error"}},
    {"CUDA_HOST_NCCL_HANG", "2", 1, 2, 2, false, "nccl", CAPS, 75,
     {"rank 1 of 2 (", GPU_1, "receive from rank 0: NCCL gives no answer within 10 s"}},
    {"CUDA_HOST_NCCL_FAIL", "2", 1, 2, 2, true, "nccl", CAPS, 75,
     {"rank 1 of 2 (", GPU_1, "NCCL says: unhandled system error"}},
};

static struct args job(const struct fault *f, const char *out, int windows)
{
    const char *spec = scratch_path("spec.json");
    struct args a = args_ppl(f->np);

    file_printf(spec,
                "{ \"model_dir\": \"%s/models/llama-nvfp4\", \"backend\": \"cuda\",\n"
                "  \"transport\": \"%s\", \"stages\": %d, \"microbatch\": 1, \"stall_timeout\": 10,\n"
                "  \"max_memory\": %s, \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 20,"
                " \"eval_stride\": 1, \"max_rows\": %d } }\n",
                TEST_DATA, f->transport, f->np, f->caps, TEST_DATA, windows);
    args_add(&a, "%s", spec);
    args_add(&a, "--quiet");
    args_add(&a, "--out");
    args_add(&a, "%s", out);
    return a;
}

static void set(const char *variable, const char *value)
{
    if (value)
        setenv(variable, value, 1);
    else
        unsetenv(variable);
}

/* The environment of the twin; NULL: none. */
static void disturb(const struct fault *f)
{
    char devices[16], rank[16];

    snprintf(devices, sizeof devices, "%d", f ? f->devices : 1);
    snprintf(rank, sizeof rank, "%d", f ? f->rank : 0);
    set("CUDA_HOST_DEVICES", f ? devices : NULL);
    set("CUDA_HOST_FAULT_RANK", f && f->rank >= 0 ? rank : NULL);
    set("CUDA_HOST_NCCL_STUCK", f && f->stuck ? "1" : NULL);
}

/* Lines of the program about a failure. */
static int count_lines(const char *text, const char **line)
{
    int n = 0;

    for (const char *at = text; (at = strstr(at, "nvfp4_ppl: ")); at++)
        if ((at == text || at[-1] == '\n') && !strstr(text, "go by mpi, not nccl")) {
            *line = at;
            n++;
        }
    return n;
}

static bool said(const struct run *r, const struct fault *f)
{
    const char *line = "", *end;
    int lines = count_lines(r->err, &line);

    end = strchr(line, '\n');
    for (int i = 0; i < 4 && f->words[i]; i++) {
        const char *at = strstr(line, f->words[i]);

        if (!at || at > end)
            return false;
    }
    return lines == 1;
}

static int status_code(const char *out)
{
    cJSON *status = json_file(scratch_path("%s/status.json", strrchr(out, '/') + 1));
    int code = (int)json_number(status, "exit_code");

    cJSON_Delete(status);
    return code;
}

/* Nobody of the job is left: its processes carry the folder's name. */
static bool all_gone(const char *out)
{
    struct args a = args_none();
    bool gone = false;

    args_add(&a, "sh");
    args_add(&a, "-c");
    args_add(&a, "for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$p; echo; done 2>/dev/null | "
                 "grep -v 'tr ' | grep -c -- '--out %s' || true", out);
    for (int i = 0; i < 20 && !gone; i++) {
        struct args again = args_none();
        struct run *r;

        for (int w = 0; w < a.n; w++)
            args_add(&again, "%s", a.word[w]);
        r = run_program(&again, 10);
        gone = atoi(r->out) <= 1; /* the shell that asks */
        run_close(r);
        nanosleep(&(struct timespec){.tv_nsec = gone ? 0 : 100000000}, NULL);
    }
    return gone;
}

/* A run that nothing disturbs, in a new folder or where another one ended. */
static void run_clean(const char *out)
{
    static const struct fault none = {.np = 1, .devices = 1, .transport = "auto", .caps = CAPS};
    struct args a = job(&none, out, WINDOWS);
    struct run *r = run_program(&a, 120);

    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
}

/* The same nll as in `want`, to the bit. */
static void expect_resumed(const char *want, const char *out)
{
    size_t n, m;
    char *a, *b;

    run_clean(out);
    a = file_read(scratch_path("%s/nll.npy", strrchr(want, '/') + 1), &n);
    b = file_read(scratch_path("%s/nll.npy", strrchr(out, '/') + 1), &m);
    EXPECT(a && b && n == m && memcmp(a, b, n) == 0);
    free(a);
    free(b);
}

static void one_fault(const char *want, const struct fault *f, int i)
{
    const char *out = scratch_path("job%d", i);
    struct args a = job(f, out, WINDOWS);
    struct run *r;
    bool right;

    disturb(f);
    if (f->variable)
        set(f->variable, f->value);
    r = run_program(&a, limit_s);
    if (f->variable)
        set(f->variable, NULL);
    disturb(NULL);
    right = said(r, f) && r->code != 0 && r->code != -1 && status_code(out) == f->code &&
            (f->np > 1 || r->code == f->code) && r->seconds <= limit_s;
    printf("%s %s=%s on rank %d of %d: %.1f s, exit code %d\n", right ? "pass" : "FAIL",
           f->variable ? f->variable : "-", f->value ? f->value : "", f->rank, f->np, r->seconds,
           r->code);
    fflush(stdout);
    if (!right)
        run_print(r);
    EXPECT(right);
    EXPECT(all_gone(out));
    run_close(r);
    if (f->np == 3) /* not everywhere: it takes its time */
        expect_resumed(want, out);
}

int main(void)
{
    const char *want = scratch_path("want");

    if (!*MPIRUN)
        SKIP("mpirun not found");
    run_clean(want);
    for (int i = 0; i < (int)(sizeof faults / sizeof faults[0]); i++)
        one_fault(want, &faults[i], i);
    return 0;
}
