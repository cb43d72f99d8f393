// links: comm spec
// timeout: 90
// processors: 2
/* Proves how the lifeline alone tells of a rank that leaves in each of the ways a process can, of
 * one that fails alone, and that an orderly end is silent: one line, from one rank, within 3 s.
 * The program starts itself under mpirun; `child` is what its ranks then do. */
#include "comm/lifeline.h"
#include "tests/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* As main does: who speaks prints and ends the job, the others wait for that. */
static void on_end(void *context, const struct lifeline_end *end)
{
    struct comm *c = context;

    if (!end->speak)
        sleep(3);
    fprintf(stderr, "said: %s\n", end->message);
    c->ops->abort(c, (int)end->code);
}

static void leave(struct comm *c, const char *how)
{
    if (strcmp(how, "exit 0") == 0)
        _exit(0);
    if (strcmp(how, "exit 3") == 0)
        exit(3);
    if (strcmp(how, "kill") == 0)
        raise(SIGKILL);
    if (strcmp(how, "fail") == 0)
        EXPECT(lifeline_tell(c->lifeline, ERR_IO, "x.safetensors: cannot be read"));
    sleep(30);
}

static int child(int rank, const char *how, int *argc, char ***argv)
{
    struct lifeline_request q = {.silence = 10, .on_end = on_end};
    struct comm *c;
    struct err e;

    EXPECT(comm_open_mpi(argc, argv, &c, &e) == OK);
    q.comm = q.context = c;
    EXPECT(lifeline_open(&q, &e) == OK && c->lifeline && !*lifeline_warning(c->lifeline));
    comm_note(c, "loading shard", 3);
    if (c->rank == 2) {
        comm_name_device(c, "GPU 1 of a test,\t0000:01:00.0");
        comm_name_device(c, "another");
    }
    usleep(1500 * 1000); /* beats have come and gone */
    if (strcmp(how, "close") == 0) {
        comm_close(c);
        return 0;
    }
    if (c->rank == rank)
        leave(c, how);
    sleep(30);
    return 1;
}

/* `code` -1: the launcher's own for such an end. message: behind the rank and its host; NULL: none. */
static void expect_end(const char *self, int rank, const char *how, int code, const char *message)
{
    char command[4096], text[16384] = "", want[1024] = "", host[64] = "";
    double start = now(), took;
    size_t n;
    FILE *f;
    int rc;

    /* sanitizer builds: MPI_Finalize unloads the modules whose leaks lsan.supp could name */
    snprintf(command, sizeof command, "ASAN_OPTIONS=detect_leaks=0 '%s' -q -np 3 '%s' %d '%s' 2>&1", MPIRUN, self, rank, how);
    f = popen(command, "r");
    EXPECT(f);
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    rc = pclose(f);
    took = now() - start;
    printf("rank %d, %s: %.2f s, status %d\n%s", rank, how, took, rc, text);
    EXPECT(WIFEXITED(rc) && (code < 0 || WEXITSTATUS(rc) == code));
    EXPECT(gethostname(host, sizeof host - 1) == 0);
    if (message)
        snprintf(want, sizeof want, "said: rank %d of 3 (%s%s\n", rank, host, message);
    EXPECT_TEXT(text, want);
    EXPECT(took <= 1.5 + 3 + 4); /* start, beats, the end itself */
}

int main(int argc, char **argv)
{
    if (comm_launched())
        return child(argc > 2 ? atoi(argv[1]) : 0, argc > 2 ? argv[2] : "", &argc, &argv);
    if (!*MPIRUN)
        SKIP("mpirun not found");
    expect_end(argv[0], 0, "close", 0, NULL);
    expect_end(argv[0], 1, "exit 0", -1, "): lost: its process is gone, while loading shard 3");
    expect_end(argv[0], 2, "exit 3", -1, ", GPU 1 of a test,?0000:01:00.0): lost: its process is gone, "
                                         "while loading shard 3");
    expect_end(argv[0], 0, "kill", -1, "): lost: its process is gone, while loading shard 3");
    expect_end(argv[0], 2, "fail", 74, "): x.safetensors: cannot be read");
    return 0;
}
