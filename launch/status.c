#include "launch/status.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launch/json_write.h"
#include "spec/json.h"

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

enum { TIME_TEXT = 32, STATUS_BYTES_MAX = 1 << 16 };

static const char *time_text(time_t t, char text[TIME_TEXT])
{
    struct tm utc;

    gmtime_r(&t, &utc);
    strftime(text, TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

/* What goes into the file: a state of this run, or another run's file with an end to it. */
struct content {
    const struct status_file *f;
    const struct run_status *s;
    const cJSON *members;
    const char *reason;
    int exit_code;
};

static void write_members(FILE *out, const struct status_file *f, const struct run_status *s)
{
    struct json_writer w = {.f = out};
    char text[TIME_TEXT];

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
    json_write_text(&w, "started", time_text(f->started, text));
    json_write_text(&w, "updated", time_text(time(NULL), text));
    json_write_end(&w, '}');
}

static void write_member(struct json_writer *w, const cJSON *item)
{
    if (cJSON_IsNumber(item))
        json_write_double(w, item->string, item->valuedouble);
    else if (cJSON_IsBool(item))
        json_write_bool(w, item->string, cJSON_IsTrue(item));
    else
        json_write_text(w, item->string, cJSON_GetStringValue(item)); /* null, too */
}

static void write_ended(FILE *out, const struct content *c)
{
    struct json_writer w = {.f = out};
    char text[TIME_TEXT];

    json_write_begin(&w, NULL, '{');
    for (const cJSON *i = c->members->child; i; i = i->next) {
        if (strcmp(i->string, "state") == 0)
            json_write_text(&w, "state", run_state_name(RUN_PARTIAL));
        else if (strcmp(i->string, "reason") == 0)
            json_write_text(&w, "reason", c->reason);
        else if (strcmp(i->string, "exit_code") == 0)
            json_write_int(&w, "exit_code", c->exit_code);
        else if (strcmp(i->string, "updated") == 0)
            json_write_text(&w, "updated", time_text(time(NULL), text));
        else
            write_member(&w, i);
    }
    json_write_end(&w, '}');
}

/* Writes the new file and syncs it. */
static bool write_new(int dir, const struct content *c)
{
    int fd = openat(dir, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool good;

    if (!out) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (c->members)
        write_ended(out, c);
    else
        write_members(out, c->f, c->s);
    good = fflush(out) == 0 && !ferror(out) && fsync(fd) == 0;
    if (fclose(out) != 0)
        good = false;
    return good;
}

/* 0, or an errno. */
static int replace(int dir, const struct content *c)
{
    errno = 0;
    if (write_new(dir, c) && renameat(dir, new_name, dir, file_name) == 0 && fsync(dir) == 0)
        return 0;
    return errno ? errno : EIO;
}

enum status status_write(struct status_file *f, const struct run_status *s, struct err *e)
{
    int error = 0;

    if (!f)
        return OK;
    pthread_mutex_lock(&f->lock);
    if (!f->ended) {
        error = replace(f->dir, &(struct content){.f = f, .s = s});
        f->ended = s->state != RUN_RUNNING;
    }
    pthread_mutex_unlock(&f->lock);
    return error ? fail(e, ERR_IO, "%s: %s", f->path, strerror(error)) : OK;
}

static bool says_running(const struct json *j)
{
    const char *state = cJSON_GetStringValue(json_member(json_root(j), "state"));

    return state && strcmp(state, run_state_name(RUN_RUNNING)) == 0;
}

bool status_is_running(const char *dir)
{
    struct json *j = NULL;
    char path[4096];
    struct err ignored;
    bool running;

    snprintf(path, sizeof path, "%s/%s", dir, file_name);
    running = access(path, F_OK) == 0 &&
              json_open(path, STATUS_BYTES_MAX, JSON_STRICT, ERR_DATA, &j, &ignored) == OK &&
              says_running(j);
    json_close(j);
    return running;
}

enum status status_end_for(const char *dir, const char *reason, int exit_code, struct err *e)
{
    struct content c = {.reason = reason, .exit_code = exit_code};
    struct status_file *f;
    struct json *old = NULL;
    int error = 0;

    TRY(status_open(dir, &f, e));
    if (access(f->path, F_OK) == 0 &&
        json_open(f->path, STATUS_BYTES_MAX, JSON_STRICT, ERR_DATA, &old, e) == OK &&
        says_running(old)) {
        c.members = json_root(old);
        error = replace(f->dir, &c);
    }
    json_close(old);
    if (error)
        fail(e, ERR_IO, "%s: %s", f->path, strerror(error));
    status_close(f);
    return error ? ERR_IO : OK;
}
