// links: launch spec
// timeout: 30
/* Signals: each of the four reaches the callback by name, in a process whose other threads
 * compute; a second one ends at once with 75, the launcher's copy does not; what was ignored stays
 * ignored; the end of the parent counts where that is asked for. */
#include "launch/signals.h"
#include "spec/clock.h"
#include "tests/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void *compute(void *arg)
{
    for (;;)
        *(volatile double *)arg += 1;
    return NULL;
}

/* Writes the name to the pipe; a `slow` one then takes its time. */
struct seen {
    int fd;
    bool slow;
};

static void on_signal(const char *name, void *context)
{
    const struct seen *seen = context;

    EXPECT(write(seen->fd, name, strlen(name)) > 0);
    if (seen->slow)
        nap_ms(10000);
    _exit(75);
}

/* Waits for signals; writes + when it does, then what its callback has to say. */
static __attribute__((noreturn)) void wait_for_signals(bool slow, bool launched, int fd)
{
    struct seen seen = {.fd = fd, .slow = slow};
    struct signals *s;
    pthread_t thread;
    double sum = 0;
    struct err e;

    EXPECT(signals_start(on_signal, &seen, &s, &e) == OK);
    if (launched)
        signals_watch_parent(s);
    EXPECT(pthread_create(&thread, NULL, compute, &sum) == 0);
    EXPECT(write(fd, "+", 1) == 1);
    nap_ms(15000);
    _exit(1);
}

/* A process that waits for signals; *fd reads what its callback writes. */
static pid_t start_child(bool slow, int *fd)
{
    int ends[2];
    pid_t child;

    EXPECT(pipe(ends) == 0);
    child = fork();
    EXPECT(child >= 0);
    if (child == 0)
        wait_for_signals(slow, false, ends[1]);
    close(ends[1]);
    *fd = ends[0];
    EXPECT(read(*fd, &(char){0}, 1) == 1);
    return child;
}

static int end_code(pid_t child)
{
    int status;

    EXPECT(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_names(void)
{
    static const struct {
        int number;
        const char *name;
    } cases[] = {
        {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"}, {SIGUSR1, "SIGUSR1"}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32] = "";
        int fd;
        pid_t child = start_child(false, &fd);
        double start = clock_seconds();

        EXPECT(kill(child, cases[i].number) == 0);
        EXPECT(read(fd, name, sizeof name - 1) > 0);
        EXPECT_TEXT(name, cases[i].name);
        EXPECT(end_code(child) == 75 && clock_seconds() - start <= 0.5);
        close(fd);
    }
}

/* A child that was told twice, the second time by a copy: it came at once, or is merged with the first.
 * On a busy machine this process may be the one that is late; then it is another child's turn. */
static pid_t told_twice(int *fd)
{
    for (int i = 0; i < 20; i++) {
        pid_t child = start_child(true, fd);
        double start = clock_seconds();

        EXPECT(kill(child, SIGTERM) == 0 && kill(child, SIGTERM) == 0);
        if (clock_seconds() - start < 0.1)
            return child;
        EXPECT(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        close(*fd);
    }
    printf("FAIL: two signals took more than 0.1 s each time\n");
    exit(1);
}

static void test_second(void)
{
    char name[32] = "";
    int fd, status;
    pid_t child = told_twice(&fd);
    double start;

    EXPECT(read(fd, name, sizeof name - 1) > 0);
    nap_ms(400);
    EXPECT(waitpid(child, &status, WNOHANG) == 0);
    start = clock_seconds();
    EXPECT(kill(child, SIGINT) == 0);
    EXPECT(end_code(child) == 75 && clock_seconds() - start <= 0.5);
    close(fd);
}

static void test_ignored(void)
{
    char name[32] = "";
    int fd;
    pid_t child;

    EXPECT(signal(SIGHUP, SIG_IGN) != SIG_ERR); /* as nohup does */
    child = start_child(false, &fd);
    EXPECT(signal(SIGHUP, SIG_DFL) != SIG_ERR);
    EXPECT(kill(child, SIGHUP) == 0 && kill(child, SIGPIPE) == 0 && kill(child, SIGXFSZ) == 0);
    nap_ms(100);
    EXPECT(kill(child, SIGTERM) == 0);
    EXPECT(read(fd, name, sizeof name - 1) > 0);
    EXPECT_TEXT(name, "SIGTERM");
    EXPECT(end_code(child) == 75);
    close(fd);
}

static void *fork_launched(void *fd)
{
    if (fork() == 0)
        wait_for_signals(false, true, *(int *)fd);
    return NULL;
}

/* Told when the parent ends, not when only the thread of it that forked does. */
static void test_parent(void)
{
    char name[64] = "";
    pthread_t thread;
    int ends[2];
    pid_t parent;

    EXPECT(pipe(ends) == 0);
    parent = fork();
    EXPECT(parent >= 0);
    if (parent == 0) {
        EXPECT(pthread_create(&thread, NULL, fork_launched, &ends[1]) == 0);
        EXPECT(pthread_join(thread, NULL) == 0);
        nap_ms(1000);
        EXPECT(write(ends[1], "!", 1) == 1);
        _exit(0);
    }
    close(ends[1]);
    for (size_t n = 0; n < sizeof name - 1; n++) /* until both have ended */
        if (read(ends[0], name + n, 1) != 1)
            break;
    EXPECT_TEXT(name, "+!the end of its launcher");
    EXPECT(waitpid(parent, NULL, 0) == parent);
    close(ends[0]);
}

static void test_stop(void)
{
    struct seen seen = {.fd = -1};
    struct signals *s;
    struct err e;

    EXPECT(signals_start(on_signal, &seen, &s, &e) == OK);
    signals_stop(s);
    signals_stop(NULL);
}

int main(void)
{
    test_names();
    test_second();
    test_ignored();
    test_parent();
    test_stop();
    return 0;
}
