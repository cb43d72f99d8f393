#include "spec/outfile.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status cannot_create(const char *path, struct err *e)
{
    return fail(e, ERR_OUTPUT, "%s: cannot be created: %s", path, strerror(errno));
}

/* Does the name exist, and is it anything but a plain file? */
static bool is_special(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0 && !S_ISREG(s.st_mode);
}

static bool is_beside(const struct outfile *o)
{
    return strcmp(o->name, o->path) != 0;
}

enum status outfile_open(const char *path, struct outfile *o, struct err *e)
{
    const char *suffix = is_special(path) ? "" : ".tmp";

    o->path = path;
    if (snprintf(o->name, sizeof o->name, "%s%s", path, suffix) >= (int)sizeof o->name)
        return fail(e, ERR_OUTPUT, "%.200s...: the path is too long", path);
    o->f = fopen(o->name, "we");
    if (!o->f)
        return cannot_create(path, e);
    errno = 0; /* outfile_close says what a write before it met */
    return OK;
}

enum status outfile_close(struct outfile *o, struct err *e)
{
    bool good = fflush(o->f) == 0 && !ferror(o->f);
    enum status st;

    /* EINVAL, ENOTSUP: nothing that can be synced */
    if (good && fsync(fileno(o->f)) != 0 && errno != EINVAL && errno != ENOTSUP)
        good = false;
    st = good ? OK
              : fail(e, ERR_IO, "%s: cannot be written: %s", o->path,
                     errno ? strerror(errno) : "write error");
    if (fclose(o->f) != 0 && st == OK)
        st = fail(e, ERR_IO, "%s: cannot be written: %s", o->path, strerror(errno));
    if (st == OK && is_beside(o) && rename(o->name, o->path) != 0)
        st = cannot_create(o->path, e);
    if (st != OK && is_beside(o))
        unlink(o->name);
    return st;
}

enum status outfile_try(const char *path, struct err *e)
{
    struct outfile o;
    struct stat s;

    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
        return fail(e, ERR_OUTPUT, "%s: cannot be created: %s", path, strerror(EISDIR));
    if (is_special(path)) /* opening a pipe would wait for its reader */
        return access(path, W_OK) == 0 ? OK : cannot_create(path, e);
    TRY(outfile_open(path, &o, e));
    fclose(o.f);
    unlink(o.name);
    return OK;
}
