#include "launch/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum status durable_path(const char *dir, const char *name, const char *end, char path[PATH_MAX],
                         struct err *e)
{
    if (snprintf(path, PATH_MAX, "%s/%s%s", dir, name, end) >= PATH_MAX)
        return fail(e, ERR_OUTPUT, "%.200s...: the path is too long", dir);
    return OK;
}

enum status durable_write(int fd, const char *path, const void *bytes, size_t n, struct err *e)
{
    const uint8_t *p = bytes;

    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail(e, ERR_IO, "%s: write: %s", path, strerror(done < 0 ? errno : ENOSPC));
        p += done;
        n -= (size_t)done;
    }
    return OK;
}

enum status durable_folder(const char *dir, struct err *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum status st = OK;

    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        st = fail(e, ERR_IO, "%s: sync: %s", dir, strerror(errno));
    if (fd >= 0)
        close(fd);
    return st;
}

enum status durable_replace(int fd, const char *dir, const char *from, const char *to,
                            struct err *e)
{
    enum status st = OK;

    if (fsync(fd) != 0)
        st = fail(e, ERR_IO, "%s: sync: %s", from, strerror(errno));
    if (close(fd) != 0 && st == OK)
        st = fail(e, ERR_IO, "%s: close: %s", from, strerror(errno));
    if (st == OK && rename(from, to) != 0)
        st = fail(e, ERR_IO, "%s: rename: %s", from, strerror(errno));
    return st == OK ? durable_folder(dir, e) : st;
}
