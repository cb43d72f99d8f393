#include "launch/folder_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "spec/clock.h"

enum { OWNER_TEXT = 256 };

/* A process that was killed may hold its lock for a moment after its launcher has left. */
static const double leaving_s = 0.3;

struct folder_lock {
    int fd;
    char path[PATH_MAX];
};

/* The batch system's name of this job. */
static const char *job_name(void)
{
    static const char *const names[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);

        if (value && *value)
            return value;
    }
    return "none";
}

static enum status write_owner(const struct folder_lock *l, struct err *e)
{
    char host[64] = "", text[OWNER_TEXT], when[32];
    time_t now = time(NULL);
    struct tm utc;
    int n;

    gethostname(host, sizeof host - 1);
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    n = snprintf(text, sizeof text, "host %s, process %ld, job %.64s, since %s\n", host,
                 (long)getpid(), job_name(), when);
    if (ftruncate(l->fd, 0) != 0 || pwrite(l->fd, text, (size_t)n, 0) != n)
        return fail(e, ERR_OUTPUT, "%s: %s", l->path, strerror(errno ? errno : ENOSPC));
    return OK;
}

/* One line of printable text; empty when there is none. */
static void read_owner(const struct folder_lock *l, char text[OWNER_TEXT])
{
    ssize_t n = pread(l->fd, text, OWNER_TEXT - 1, 0);

    text[n > 0 ? n : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    for (char *c = text; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
}

/* The owner's process where it runs on this host, else 0; -1: it is nobody's. */
static pid_t owner_here(const char *owner)
{
    char host[64] = "", theirs[64] = "";
    long pid = 0;

    gethostname(host, sizeof host - 1);
    if (sscanf(owner, "host %63[^,], process %ld", theirs, &pid) != 2 || pid <= 0)
        return -1;
    return strcmp(host, theirs) == 0 ? (pid_t)pid : 0;
}

/* Did the owner run on this host, and is it gone? Of another host nothing is known. */
static bool owner_is_gone(const char *owner)
{
    pid_t pid = owner_here(owner);

    return pid < 0 || (pid > 0 && kill(pid, 0) != 0 && errno == ESRCH);
}

static enum status take(struct folder_lock *l, const char *dir, struct err *e)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    double end = clock_seconds() + leaving_s;
    char owner[OWNER_TEXT];
    bool busy;
    int code;

    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (l->fd < 0)
        return fail(e, ERR_OUTPUT, "%s: %s", l->path, strerror(errno));
    read_owner(l, owner);
    while ((code = fcntl(l->fd, F_OFD_SETLK, &whole)) != 0 && errno == EAGAIN &&
           clock_seconds() < end)
        usleep(10000);
    if (code == 0)
        busy = false;
    else
        busy = errno == EAGAIN || errno == EACCES || !owner_is_gone(owner);
    if (busy)
        return fail(e, ERR_OUTPUT, "%s: another run writes here: %s (wait for it, or use another "
                                   "folder)",
                    dir, *owner ? owner : "its owner is not known");
    return write_owner(l, e);
}

enum status folder_lock_take(const char *dir, struct folder_lock **out, struct err *e)
{
    struct folder_lock *l = malloc(sizeof *l);
    enum status st;

    *out = NULL;
    if (!l)
        return fail(e, ERR_FIT, "%s: out of memory", dir);
    l->fd = -1;
    if (snprintf(l->path, sizeof l->path, "%s/lock", dir) >= PATH_MAX)
        st = fail(e, ERR_OUTPUT, "%.200s...: the path is too long", dir);
    else
        st = take(l, dir, e);
    if (st != OK)
        folder_lock_release(l);
    else
        *out = l;
    return st;
}

void folder_lock_wake_owner(const char *dir)
{
    struct folder_lock l;
    char owner[OWNER_TEXT];
    pid_t pid;

    if (snprintf(l.path, sizeof l.path, "%s/lock", dir) >= PATH_MAX)
        return;
    l.fd = open(l.path, O_RDONLY | O_CLOEXEC);
    if (l.fd < 0)
        return;
    read_owner(&l, owner);
    close(l.fd);
    pid = owner_here(owner);
    if (pid > 0)
        kill(pid, SIGCONT);
}

void folder_lock_release(struct folder_lock *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}
