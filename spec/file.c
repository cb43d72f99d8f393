#include "spec/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room for what is known of the size, or twice what there was; at most max + 1, so that one byte
 * too many is seen. Another byte is for the final 0. */
static char *grow(char *text, size_t *room, size_t known, size_t max)
{
    size_t want = *room ? *room * 2 : known + 1;

    if (want > max + 1)
        want = max + 1;
    if (want < 4096 && max >= 4096)
        want = 4096;
    *room = want;
    return realloc(text, want + 1);
}

static enum status read_all(int fd, const char *path, size_t max_bytes, enum status too_big,
                            size_t known, char **text, size_t *bytes, struct err *e)
{
    size_t room = 0, n = 0;

    for (;;) {
        ssize_t got;

        if (n == room) {
            char *more = grow(*text, &room, known, max_bytes);

            if (!more)
                return fail(e, ERR_FIT, "%s: out of memory for %zu bytes", path, room);
            *text = more;
        }
        got = read(fd, *text + n, room - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(e, ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0)
            break;
        n += (size_t)got;
        if (n > max_bytes)
            return fail(e, too_big, "%s: too large: want at most %zu bytes", path, max_bytes);
    }
    (*text)[n] = 0;
    *bytes = n;
    return OK;
}

enum status file_read_whole(const char *path, size_t max_bytes, enum status too_big, char **text,
                            size_t *bytes, struct err *e)
{
    struct stat st;
    enum status code;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    *text = NULL;
    *bytes = 0;
    if (fd < 0)
        return fail(e, ERR_NO_INPUT, "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0)
        code = fail(e, ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        code = fail(e, ERR_NO_INPUT, "%s: got a folder, want a file", path);
    else
        code = read_all(fd, path, max_bytes, too_big, S_ISREG(st.st_mode) ? (size_t)st.st_size : 0,
                        text, bytes, e);
    close(fd);
    if (code != OK) {
        free(*text);
        *text = NULL;
    }
    return code;
}

size_t file_pread(int fd, void *to, size_t bytes, uint64_t at, int *error)
{
    size_t got = 0;

    *error = 0;
    while (got < bytes) {
        ssize_t n = pread(fd, (char *)to + got, bytes - got, (off_t)(at + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            *error = errno;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got;
}
