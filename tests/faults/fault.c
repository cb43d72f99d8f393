/* Fault points: nvfp4_ppl_fault is nvfp4_ppl, linked so that its calls of the functions below come
 * here first (ld --wrap). The program itself knows nothing of it and costs nothing more.
 *
 *   NVFP4_PPL_FAULT=[RANK/]SITE:N[+][:ACTION][,...]
 *
 * The N-th call of SITE (with +: and each later one), on that rank or on any, meets ACTION; the
 * first of several faults that a call meets counts:
 *   kill (standard), abort, exit0, exit3, stop   the process, before the call is made
 *   fail                                         the call fails: EIO, ENOMEM, an MPI error
 *   full                                         the call fails with ENOSPC; write: after a part
 *   slow, hang                                   the call takes 0.3 s longer; does not return
 * NVFP4_PPL_FAULT_MARK=FILE is made when that happens, so that a test can go on until it does not. */
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "stage/stage.h"

enum action { NOTHING, KILL, ABORT, EXIT0, EXIT3, STOP, FAIL, FULL, SLOW, HANG, ACTIONS };

static const char *const action_name[ACTIONS] = {"",      "kill", "abort", "exit0", "exit3",
                                                 "stop", "fail", "full",  "slow", "hang"};

enum { FAULTS_MAX = 4 };

struct fault {
    char site[32];
    long n;
    bool later_too;
    enum action action;
    atomic_long calls;
};

static struct fault faults[FAULTS_MAX]; /* those of this rank */
static int n_faults;
static const char *mark;

ssize_t __real_write(int fd, const void *data, size_t bytes);
int __real_open(const char *path, int flags, ...);

/* A mistake in the variable must not look like a fault that was survived. */
static __attribute__((noreturn)) void misread(const char *text)
{
    fprintf(stderr, "NVFP4_PPL_FAULT: cannot read \"%s\"\n", text);
    _exit(100);
}

/* One fault, without its rank. */
static void fault_read(const char *text, struct fault *f)
{
    char action[16] = "kill", plus[2] = "";

    if (sscanf(text, "%31[^:]:%ld:%15s", f->site, &f->n, action) < 2)
        misread(text);
    f->later_too = sscanf(text, "%31[^:]:%ld%1[+]:%15s", f->site, &f->n, plus, action) >= 3;
    for (int i = KILL; i < ACTIONS; i++)
        if (strcmp(action, action_name[i]) == 0)
            f->action = i;
    if (f->action == NOTHING || f->n < 1)
        misread(text);
}

static __attribute__((constructor)) void faults_read(void)
{
    const char *all = getenv("NVFP4_PPL_FAULT"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    char copy[256], *rest = copy, *text;

    if (!all || !*all)
        return;
    if (snprintf(copy, sizeof copy, "%s", all) >= (int)sizeof copy)
        misread(all);
    while ((text = strsep(&rest, ",")) != NULL) {
        char *slash = strchr(text, '/');

        if (slash && strtol(text, NULL, 10) != (rank ? strtol(rank, NULL, 10) : 0))
            continue;
        if (n_faults == FAULTS_MAX)
            misread(all);
        fault_read(slash ? slash + 1 : text, &faults[n_faults++]);
    }
    mark = getenv("NVFP4_PPL_FAULT_MARK");
}

/* Does this call of its site meet it? Counts the call. */
static bool is_met(struct fault *f)
{
    long call = atomic_fetch_add(&f->calls, 1) + 1;

    return call == f->n || (f->later_too && call > f->n);
}

/* What this call meets. The process's own end happens here. */
static enum action meet(const char *site)
{
    enum action action = NOTHING;
    int fd;

    for (int i = 0; i < n_faults; i++)
        if (strcmp(site, faults[i].site) == 0 && is_met(&faults[i]) && action == NOTHING)
            action = faults[i].action;
    if (action == NOTHING)
        return NOTHING;
    if (mark && (fd = __real_open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0666)) >= 0)
        close(fd);
    switch (action) {
    case KILL:
        raise(SIGKILL);
        break;
    case ABORT:
        abort();
    case EXIT0:
        _exit(0);
    case EXIT3:
        _exit(3);
    case STOP:
        raise(SIGSTOP);
        break;
    case SLOW:
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        return NOTHING;
    case HANG:
        for (;;)
            pause();
    default:
        break;
    }
    return action;
}

static int error_of(enum action a, int standard)
{
    return a == FULL ? ENOSPC : standard;
}

/* A function that fails by returning `failed` with errno set. */
#define WRAP(type, name, parameters, arguments, error, failed)                                     \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        enum action a = meet(#name);                                                               \
                                                                                                   \
        if (a == NOTHING)                                                                          \
            return __real_##name arguments;                                                        \
        errno = error_of(a, error);                                                                \
        return failed;                                                                             \
    }

WRAP(void *, malloc, (size_t n), (n), ENOMEM, NULL)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), ENOMEM, NULL)
WRAP(void *, realloc, (void *p, size_t n), (p, n), ENOMEM, NULL)
WRAP(void *, mmap, (void *at, size_t n, int protection, int flags, int fd, off_t from),
     (at, n, protection, flags, fd, from), ENOMEM, MAP_FAILED)
WRAP(ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), EIO, -1)
WRAP(int, fdatasync, (int fd), (fd), EIO, -1)
WRAP(int, fsync, (int fd), (fd), EIO, -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), EIO, -1)
WRAP(int, renameat, (int f, const char *from, int t, const char *to), (f, from, t, to), EIO, -1)
WRAP(int, ftruncate, (int fd, off_t n), (fd, n), EIO, -1)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), EIO, NULL)
WRAP(FILE *, fdopen, (int fd, const char *mode), (fd, mode), ENOMEM, NULL)
WRAP(int, fflush, (FILE * f), (f), EIO, EOF)
WRAP(time_t, time, (time_t * t), (t), 0, 0) /* the clock jumps back to 1970 */
WRAP(int, pthread_create,
     (pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *), void *arg),
     (t, attr, run, arg), EAGAIN, EAGAIN)

WRAP(int, MPI_Isend,
     (const void *buf, int n, MPI_Datatype t, int to, int tag, MPI_Comm c, MPI_Request *r),
     (buf, n, t, to, tag, c, r), EIO, MPI_ERR_OTHER)
WRAP(int, MPI_Irecv,
     (void *buf, int n, MPI_Datatype t, int from, int tag, MPI_Comm c, MPI_Request *r),
     (buf, n, t, from, tag, c, r), EIO, MPI_ERR_OTHER)
WRAP(int, MPI_Comm_dup, (MPI_Comm c, MPI_Comm *out), (c, out), EIO, MPI_ERR_OTHER)

/* A full disk takes what still fits. */
ssize_t __wrap_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    enum action a = meet("write");

    if (a == NOTHING)
        return __real_write(fd, data, bytes);
    if (a == FULL && bytes >= 3)
        return __real_write(fd, data, bytes / 3);
    errno = error_of(a, EIO);
    return -1;
}

int __wrap_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode)
{
    enum action a = meet("open");

    if (a == NOTHING)
        return __real_open(path, flags, mode);
    errno = error_of(a, EMFILE);
    return -1;
}

/* A layer's computation. */
enum status __real_stage_layer(struct stage *s, int layer, int slot, struct err *e);
enum status __wrap_stage_layer(struct stage *s, int layer, int slot, struct err *e);
enum status __wrap_stage_layer(struct stage *s, int layer, int slot, struct err *e)
{
    if (meet("stage_layer") == NOTHING)
        return __real_stage_layer(s, layer, slot, e);
    return fail(e, ERR_UNAVAILABLE, "layer %d: the device failed", layer);
}
