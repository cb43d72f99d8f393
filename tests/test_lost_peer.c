// links: run
// timeout: 180
// labels: slow
// processors: 3
/* Proves F1-F3 on one host: a rank of a running evaluation that is killed, faults or is stopped is
 * named on one line with host, cause and what it did; everybody is gone within the bound;
 * status.json says why. */
#include "tests/results.h"
#include "tests/test.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 3 };

struct job {
    struct run *run;
    const char *out;
    pid_t rank[RANKS];
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/* How many ranks there are. */
static int find_ranks(struct job *j)
{
    int found = 0;

    for (int rank = 0; rank < RANKS; rank++) {
        j->rank[rank] = run_rank(j->run, rank);
        found += j->rank[rank] > 0;
    }
    return found;
}

static const char *status_path(const struct job *j)
{
    return scratch_path("%s/status.json", strrchr(j->out, '/') + 1);
}

/* A run of minutes on three ranks that is scoring when this returns. */
static struct job start_job(void)
{
    static int jobs; /* each has a folder of its own */
    struct job j = {.out = scratch_path("job%d", jobs++)};
    struct args a = args_ppl(RANKS);
    double end = now() + 30;
    const char *path = status_path(&j);
    char *status = NULL;

    args_add(&a, "%s/demo/spec.json", TEST_DATA);
    for (const char *const *s = (const char *const[]){"threads=1", "data.eval_stride=1",
                                                      "microbatch=1", "stages=3", NULL};
         *s; s++) {
        args_add(&a, "--set");
        args_add(&a, "%s", *s);
    }
    args_add(&a, "--quiet");
    args_add(&a, "--out");
    args_add(&a, "%s", j.out);
    j.run = run_start(&a);
    for (;; nap()) {
        free(status);
        status = file_read(path, NULL);
        if (status && strstr(status, "\"compute\"") && find_ranks(&j) == RANKS)
            break;
        EXPECT(now() < end);
    }
    free(status);
    usleep(1200 * 1000); /* past the first beat that says what it computes */
    return j;
}

static int lines_of_ours(const char *text)
{
    int n = 0;

    for (const char *at = text; (at = strstr(at, "nvfp4_ppl: ")); at++)
        n += at == text || at[-1] == '\n';
    return n;
}

/* A zombie is gone: it only waits for somebody to ask. */
static bool is_there(pid_t pid)
{
    char path[64], state = 'Z';
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "r");
    if (!f)
        return false;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    fclose(f);
    return state != 'Z' && state != 'X';
}

static void expect_gone(const struct job *j)
{
    double end = now() + 2;

    for (int r = 0; r < RANKS; r++)
        while (is_there(j->rank[r])) {
            EXPECT(now() < end);
            nap();
        }
}

/* After `rank` was lost by `cause`: what everybody must have said and done. */
static void expect_end(struct job *j, int rank, const char *cause, double since, double bound_s)
{
    char head[64], tail[160];
    double took;
    const char *line;

    run_wait(j->run, since + bound_s + 20 - j->run->started);
    took = now() - since;
    printf("rank %d: all gone %.2f s after, exit code %d\n", rank, took, j->run->code);
    expect_gone(j);
    snprintf(head, sizeof head, "nvfp4_ppl: rank %d of %d (", rank, RANKS);
    snprintf(tail, sizeof tail, "): lost: %s, while computing microbatch ", cause);
    line = strstr(j->run->err, head);
    if (!line || !strstr(line, tail) || lines_of_ours(j->run->err) != 1 || took > bound_s)
        run_print(j->run);
    EXPECT(line && strstr(line, tail) && isdigit((unsigned char)strstr(line, tail)[strlen(tail)]));
    EXPECT(lines_of_ours(j->run->err) == 1);
    EXPECT(took <= bound_s);
    EXPECT(j->run->code != 0);
    cJSON *status = json_file(status_path(j)); /* of rank 0, or by another rank in its place */
    EXPECT_TEXT(json_text(status, "state"), "partial");
    EXPECT(strstr(json_text(status, "reason"), tail));
    EXPECT((int)json_number(status, "exit_code") == 75);
    cJSON_Delete(status);
    run_close(j->run);
}

static void lose_at_once(int rank, int signal_number)
{
    struct job j = start_job();
    double since = now();

    EXPECT(kill(j.rank[rank], signal_number) == 0);
    expect_end(&j, rank, "its process is gone", since, 3);
}

/* Two jobs at a time: this takes the limit of silence. */
static void stop_two(void)
{
    struct job a = start_job(), b = start_job();
    double since = now();

    EXPECT(kill(a.rank[0], SIGSTOP) == 0 && kill(b.rank[1], SIGSTOP) == 0);
    expect_end(&a, 0, "no word for 10 s, its process is stopped", since, 15);
    expect_end(&b, 1, "no word for 10 s, its process is stopped", since, 15);
}

int main(void)
{
    if (!*MPIRUN)
        SKIP("mpirun not found");
    for (int rank = 0; rank < RANKS; rank++)
        lose_at_once(rank, SIGKILL);
    lose_at_once(2, SIGSEGV);
    stop_two();
    return 0;
}
