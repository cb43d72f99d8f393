#include "launch/status.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launch/json_write.h"

static const char file_name[] = "status.json", new_name[] = "status.json.new";

struct status_file {
    int dir;              /* the folder, so that it may be renamed meanwhile */
    char *path;           /* of the file, for messages */
    pthread_mutex_t lock;
    bool ended;           /* a final state was written */
    time_t started;
};

const char *run_state_name(enum run_state s)
{
    static const char *const names[] = {"running", "complete", "partial", "failed"};

    CHECK((unsigned)s < sizeof names / sizeof *names);
    return names[s];
}

enum status status_open(const char *dir, struct status_file **out, struct err *e)
{
    struct status_file *f = calloc(1, sizeof *f);

    *out = NULL;
    if (!f)
        return fail(e, ERR_FIT, "%s: out of memory", dir);
    pthread_mutex_init(&f->lock, NULL);
    f->started = time(NULL);
    f->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir < 0) {
        fail(e, ERR_OUTPUT, "%s: %s", dir, strerror(errno));
        goto bad;
    }
    if (asprintf(&f->path, "%s/%s", dir, file_name) < 0) {
        f->path = NULL;
        fail(e, ERR_FIT, "%s: out of memory", dir);
        goto bad;
    }
    *out = f;
    return OK;
bad:
    status_close(f);
    return e->code;
}

void status_close(struct status_file *f)
{
    if (!f)
        return;
    if (f->dir >= 0)
        close(f->dir);
    pthread_mutex_destroy(&f->lock);
    free(f->path);
    free(f);
}

static void write_time(struct json_writer *w, const char *key, time_t t)
{
    char text[32];
    struct tm utc;

    gmtime_r(&t, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_write_text(w, key, text);
}

static void write_members(FILE *out, const struct status_file *f, const struct run_status *s)
{
    struct json_writer w = {.f = out};

    json_write_begin(&w, NULL, '{');
    json_write_text(&w, "schema", "nvfp4_ppl-status/1");
    json_write_text(&w, "state", run_state_name(s->state));
    json_write_text(&w, "phase", s->phase);
    json_write_text(&w, "label", s->label);
    json_write_int(&w, "model", s->model);
    json_write_int(&w, "models", s->models);
    json_write_int(&w, "windows_done", s->windows_done);
    json_write_int(&w, "windows", s->windows);
    json_write_int(&w, "tokens", s->tokens);
    json_write_double(&w, "ppl", s->ppl);
    json_write_text(&w, "reason", s->reason);
    if (s->state == RUN_RUNNING)
        json_write_text(&w, "exit_code", NULL);
    else
        json_write_int(&w, "exit_code", s->exit_code);
    json_write_bool(&w, "resumable", s->resumable);
    json_write_int(&w, "pid", getpid());
    write_time(&w, "started", f->started);
    write_time(&w, "updated", time(NULL));
    json_write_end(&w, '}');
}

/* Writes the new file and syncs it. */
static bool write_new(const struct status_file *f, const struct run_status *s)
{
    int fd = openat(f->dir, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool good;

    if (!out) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    write_members(out, f, s);
    good = fflush(out) == 0 && !ferror(out) && fsync(fd) == 0;
    if (fclose(out) != 0)
        good = false;
    return good;
}

enum status status_write(struct status_file *f, const struct run_status *s, struct err *e)
{
    int error = 0;

    if (!f)
        return OK;
    pthread_mutex_lock(&f->lock);
    if (!f->ended) {
        errno = 0;
        if (!write_new(f, s) || renameat(f->dir, new_name, f->dir, file_name) != 0 ||
            fsync(f->dir) != 0)
            error = errno ? errno : EIO;
        f->ended = s->state != RUN_RUNNING;
    }
    pthread_mutex_unlock(&f->lock);
    return error ? fail(e, ERR_IO, "%s: %s", f->path, strerror(error)) : OK;
}
