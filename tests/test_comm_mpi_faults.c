// links: comm spec
// timeout: 60
// processors: 2
/* What ends an MPI job, from outside: a length that differs, a silent peer and an abort end every
 * rank within a bound, with one line that names the peer and with the exit code that was given.
 * The program starts itself under mpirun; `child` is what its ranks then do. */
#include "comm/comm.h"
#include "spec/clock.h"
#include "tests/test.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define GONE " (it is gone, stopped or stuck)\n"

/* Rank 0 prints the error, as launch/ would, and ends the job. */
static void end_job(struct comm *c, const struct err *e)
{
    fprintf(stderr, "said: %s\n", e->msg);
    c->ops->abort(c, (int)e->code);
}

static void receive_wrong_length(struct comm *c, size_t sent, size_t wanted)
{
    struct comm_ticket t = {0};
    char *buf = calloc(1, sent > wanted ? sent : wanted);
    struct err e;

    EXPECT(buf);
    if (c->rank == 1) {
        EXPECT(c->ops->send(c, 0, COMM_HIDDEN, buf, sent, &t, &e) == OK);
        sleep(30);
        exit(1);
    }
    EXPECT(c->ops->recv(c, 1, COMM_HIDDEN, buf, wanted, &t, &e) == OK);
    if (c->ops->wait(c, &t, "microbatch 3", &e) != OK)
        end_job(c, &e);
}

static void wait_for_silent_peer(struct comm *c, bool send)
{
    enum { BYTES = 1 << 20 };
    struct comm_ticket t = {0};
    char *buf = calloc(1, BYTES);
    struct err e;

    EXPECT(buf);
    c->stall_timeout = 0.5;
    if (c->rank == 1) {
        sleep(30);
        exit(1);
    }
    if (send)
        EXPECT(c->ops->send(c, 1, COMM_HIDDEN, buf, BYTES, &t, &e) == OK);
    else
        EXPECT(c->ops->recv(c, 1, COMM_HIDDEN, buf, BYTES, &t, &e) == OK);
    if (c->ops->wait(c, &t, "microbatch 3", &e) != OK)
        end_job(c, &e);
}

static void gather_without_peer(struct comm *c)
{
    char all[4];
    struct err e;

    c->stall_timeout = 0.5;
    if (c->rank == 1) {
        sleep(30);
        exit(1);
    }
    if (c->ops->gather(c, "x", all, 1, &e) != OK && c->rank == 0)
        end_job(c, &e);
    sleep(30);
}

static void *abort_elsewhere(void *comm)
{
    struct comm *c = comm;

    c->ops->abort(c, 73);
    return NULL;
}

/* From a thread that is not the one that uses the comm, while that one waits. */
static void abort_from_thread(struct comm *c)
{
    struct comm_ticket t = {0};
    pthread_t thread;
    char byte;
    struct err e;

    EXPECT(c->ops->recv(c, (c->rank + 1) % c->ranks, COMM_NLL, &byte, 1, &t, &e) == OK);
    if (c->rank == 1)
        EXPECT(pthread_create(&thread, NULL, abort_elsewhere, c) == 0);
    c->stall_timeout = 30;
    EXPECT(c->ops->wait(c, &t, "nll", &e) == OK);
}

/* Rank 1 leaves without a word: close must neither hang nor finalise. */
static void close_alone(struct comm *c)
{
    if (c->rank == 1)
        sleep(30);
    c->stall_timeout = 0.5;
    comm_close(c);
    _exit(75); /* a close that hung would be killed with another code */
}

static int child(const char *what, int *argc, char ***argv)
{
    struct comm *c;
    struct err e;

    EXPECT(comm_open_mpi(argc, argv, &c, &e) == OK);
    if (strcmp(what, "long") == 0)
        receive_wrong_length(c, 24, 16);
    else if (strcmp(what, "very-long") == 0)
        receive_wrong_length(c, 4 << 20, 1 << 20);
    else if (strcmp(what, "short") == 0)
        receive_wrong_length(c, 5, 1 << 20);
    else if (strcmp(what, "silent-sender") == 0)
        wait_for_silent_peer(c, false);
    else if (strcmp(what, "silent-receiver") == 0)
        wait_for_silent_peer(c, true);
    else if (strcmp(what, "gather") == 0)
        gather_without_peer(c);
    else if (strcmp(what, "abort") == 0)
        abort_from_thread(c);
    else if (strcmp(what, "close") == 0)
        close_alone(c);
    return 1;
}

/* `message`: all the output there is; NULL: whatever the launcher says. */
static void expect_end(const char *self, const char *what, int code, const char *message)
{
    char command[4096], text[16384] = "";
    double start = clock_seconds(), took;
    size_t n;
    FILE *f;
    int rc;

    snprintf(command, sizeof command, "'%s' -np 2 '%s' %s 2>&1", MPIRUN, self, what);
    f = popen(command, "r");
    EXPECT(f);
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    rc = pclose(f);
    took = clock_seconds() - start;
    printf("%s: %.2f s, status %d\n%s\n", what, took, rc, text);
    EXPECT(WIFEXITED(rc) && WEXITSTATUS(rc) == code);
    if (message)
        EXPECT_TEXT(text, message);
    EXPECT(took <= 10);
}

int main(int argc, char **argv)
{
    if (comm_launched())
        return child(argc > 1 ? argv[1] : "", &argc, &argv);
    if (!*MPIRUN)
        SKIP("mpirun not found");
    expect_end(argv[0], "long", 75, "said: microbatch 3: rank 1 sent 24 bytes, rank 0 wants 16\n");
    expect_end(argv[0], "very-long", 75,
               "said: microbatch 3: rank 1 sent 4194304 bytes, rank 0 wants 1048576\n");
    expect_end(argv[0], "short", 75,
               "said: microbatch 3: rank 1 sent 5 bytes, rank 0 wants 1048576\n");
    expect_end(argv[0], "silent-sender", 75,
               "said: microbatch 3: rank 1 sent nothing to rank 0 within 0.5 s"
               GONE);
    expect_end(argv[0], "silent-receiver", 75,
               "said: microbatch 3: rank 1 took nothing from rank 0 within 0.5 s"
               GONE);
    expect_end(argv[0], "gather", 75, "said: gather: rank 1 sent nothing to rank 0 within 0.5 s"
               GONE);
    expect_end(argv[0], "abort", 73, "");
    expect_end(argv[0], "close", 75, NULL);
    return 0;
}
