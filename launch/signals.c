#include "launch/signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static const int64_t copy_ms = 250; /* mpirun under Slurm sends each signal twice */

struct signals {
    void (*on_signal)(const char *name, void *context);
    void *context;
    sigset_t set;
    pid_t parent;
    pthread_t thread;
};

/* The kernel's word that the parent is gone; also sent when only the thread that made us ends. */
static int parent_signal(void)
{
    return SIGRTMIN + 5;
}

/* When the first signal came; the one thing that a signal handler needs to know. */
static volatile sig_atomic_t first_came;
static struct timespec first_at;

static void end_at_once(int signal_number)
{
    struct timespec now;
    int64_t ms;

    (void)signal_number;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ms = (now.tv_sec - first_at.tv_sec) * 1000 + (now.tv_nsec - first_at.tv_nsec) / 1000000;
    if (first_came && ms > copy_ms)
        _exit(ERR_INTERRUPTED);
}

static void *signals_run(void *arg)
{
    struct signals *s = arg;
    struct sigaction second = {.sa_handler = end_at_once, .sa_flags = SA_RESTART};
    char name[32] = "the end of its launcher";
    int number;

    do {
        if (sigwait(&s->set, &number) != 0)
            return NULL;
    } while (number == parent_signal() && getppid() == s->parent);
    while (sigtimedwait(&s->set, NULL, &(struct timespec){0}) > 0) {
        /* copies that are there already, however late this thread was */
    }
    clock_gettime(CLOCK_MONOTONIC, &first_at);
    first_came = 1;
    /* From here on they interrupt this thread, and it alone. */
    for (int n = 1; n < SIGRTMIN; n++)
        if (sigismember(&s->set, n) == 1)
            sigaction(n, &second, NULL);
    sigdelset(&s->set, parent_signal());
    pthread_sigmask(SIG_UNBLOCK, &s->set, NULL);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL); /* only the wait may be stopped */
    if (number != parent_signal())
        snprintf(name, sizeof name, "SIG%s", sigabbrev_np(number));
    s->on_signal(name, s->context);
    return NULL;
}

enum status signals_start(void (*on_signal)(const char *name, void *context), void *context,
                          struct signals **out, struct err *e)
{
    static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    struct signals *s = calloc(1, sizeof *s);
    int code;

    *out = NULL;
    if (!s)
        return fail(e, ERR_FIT, "signals: out of memory");
    s->on_signal = on_signal;
    s->context = context;
    sigemptyset(&s->set);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct sigaction now;

        if (sigaction(wanted[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&s->set, wanted[i]);
    }
    sigaddset(&s->set, parent_signal());
    s->parent = getppid();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &s->set, NULL);
    code = pthread_create(&s->thread, NULL, signals_run, s);
    if (code != 0) {
        free(s);
        return fail(e, ERR_FIT, "signals: thread: %s", strerror(code));
    }
    *out = s;
    return OK;
}

void signals_watch_parent(struct signals *s)
{
    if (s->parent == getppid()) /* else it is gone already */
        prctl(PR_SET_PDEATHSIG, parent_signal());
}

void signals_end_launcher(const struct signals *s)
{
    static const char *const launchers[] = {"mpirun\n", "mpiexec\n", "orterun\n", "orted\n"};
    char path[64], name[32] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/comm", (int)s->parent);
    f = fopen(path, "re");
    if (!f)
        return;
    if (!fgets(name, sizeof name, f))
        name[0] = '\0';
    fclose(f);
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++)
        if (strcmp(name, launchers[i]) == 0 && s->parent == getppid())
            kill(s->parent, SIGKILL);
}

void signals_stop(struct signals *s)
{
    if (!s)
        return;
    pthread_cancel(s->thread);
    pthread_join(s->thread, NULL);
    free(s);
}
