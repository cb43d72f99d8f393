// links: launch spec
// timeout: 30
/* status.json: whoever reads it while it is rewritten finds one whole state, never going back; what
 * it says at the end stays, and any text comes out as JSON. */
#include "launch/status.h"
#include "spec/json.h"
#include "tests/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITES = 300 };

struct writer {
    struct status_file *file;
    atomic_bool done;
};

static void *write_many(void *arg)
{
    struct writer *w = arg;
    struct err e;

    for (int i = 1; i <= WRITES; i++) {
        struct run_status s = {.state = RUN_RUNNING, .phase = "compute",
                               .label = "a \"b\" \\ \n\x1f", .model = 1, .models = 1,
                               .windows_done = i, .windows = WRITES, .tokens = 3 * i,
                               .ppl = 1.0 / 3 + i};

        EXPECT(status_write(w->file, &s, &e) == OK);
    }
    atomic_store(&w->done, true);
    return NULL;
}

static struct json *read_status(const char *path)
{
    struct json *j;
    struct err e;

    if (json_open(path, 1 << 16, JSON_STRICT, ERR_DATA, &j, &e) != OK) {
        printf("FAIL %s\n", e.msg);
        exit(1);
    }
    return j;
}

static double number(const struct json *j, const char *key)
{
    const cJSON *item = json_member(json_root(j), key);

    EXPECT(item && cJSON_IsNumber(item));
    return item->valuedouble;
}

static const char *text(const struct json *j, const char *key)
{
    const cJSON *item = json_member(json_root(j), key);

    return item ? cJSON_GetStringValue(item) : NULL;
}

static void test_atomic(struct status_file *f, const char *path)
{
    struct writer w = {.file = f};
    pthread_t thread;
    double last = 0;
    int reads = 0;

    EXPECT(pthread_create(&thread, NULL, write_many, &w) == 0);
    while (!atomic_load(&w.done) || reads == 0) {
        struct json *j;
        double done;

        if (access(path, F_OK) != 0)
            continue;
        j = read_status(path);
        done = number(j, "windows_done");
        EXPECT(done >= last && number(j, "tokens") == 3 * done);
        EXPECT(number(j, "ppl") == 1.0 / 3 + done);
        EXPECT_TEXT(text(j, "label"), "a \"b\" \\ \n\x1f");
        EXPECT(cJSON_IsNull(json_member(json_root(j), "exit_code")));
        last = done;
        reads++;
        json_close(j);
    }
    EXPECT(pthread_join(thread, NULL) == 0);
    printf("%d reads during %d writes\n", reads, WRITES);
}

static void test_end(struct status_file *f, const char *path)
{
    struct run_status partial = {.state = RUN_PARTIAL, .phase = "compute", .ppl = NAN,
                                 .reason = "SIGTERM \xff\xc0\x80\xe2\x82\xac", .exit_code = 75};
    struct run_status running = {.state = RUN_RUNNING, .phase = "late"};
    struct err e;
    struct json *j;

    EXPECT(status_write(f, &partial, &e) == OK);
    EXPECT(status_write(f, &running, &e) == OK); /* too late: not written */
    j = read_status(path);
    EXPECT_TEXT(text(j, "state"), "partial");
    EXPECT_TEXT(text(j, "phase"), "compute");
    EXPECT_TEXT(text(j, "reason"), "SIGTERM \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xe2\x82\xac");
    EXPECT(number(j, "exit_code") == 75 && cJSON_IsNull(json_member(json_root(j), "ppl")));
    json_close(j);
}

static void test_errors(void)
{
    struct run_status s = {.state = RUN_RUNNING};
    struct status_file *f;
    struct err e;

    EXPECT(status_open("/nonexistent/folder", &f, &e) == ERR_OUTPUT && !f);
    EXPECT_TEXT(e.msg, "/nonexistent/folder: No such file or directory");
    EXPECT(status_write(NULL, &s, &e) == OK);
    status_close(NULL);
}

/* A run that was killed, and one that had ended: only the first is told of. */
static void test_end_for(struct status_file *f, const char *dir, const char *path)
{
    struct run_status running = {.state = RUN_RUNNING, .phase = "compute", .label = "m",
                                 .windows_done = 7, .windows = 9, .ppl = 1.0 / 3,
                                 .resumable = true};
    struct json *j;
    struct err e;

    EXPECT(status_end_for(dir, "lost", 75, &e) == OK && access(path, F_OK) != 0);
    EXPECT(status_write(f, &running, &e) == OK);
    for (int i = 0; i < 2; i++) {
        EXPECT(status_end_for(dir, i ? "lost again" : "rank 0 of 2 (h\xff): lost", 75, &e) == OK);
        j = read_status(path);
        EXPECT_TEXT(text(j, "state"), "partial");
        EXPECT_TEXT(text(j, "phase"), "compute");
        EXPECT_TEXT(text(j, "reason"), "rank 0 of 2 (h\xef\xbf\xbd): lost");
        EXPECT(number(j, "exit_code") == 75 && number(j, "windows_done") == 7);
        EXPECT(number(j, "ppl") == 1.0 / 3 && number(j, "pid") == getpid());
        EXPECT(cJSON_IsTrue(json_member(json_root(j), "resumable")));
        json_close(j);
    }
    EXPECT(truncate(path, 20) == 0); /* another program's work: it is left alone */
    EXPECT(status_end_for(dir, "lost", 75, &e) == OK);
}

int main(void)
{
    char dir[] = "/tmp/test_status_XXXXXX", path[64], moved[64];
    struct run_status s = {.state = RUN_RUNNING};
    struct status_file *f;
    struct err e;

    EXPECT(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/status.json", dir);
    EXPECT(status_open(dir, &f, &e) == OK);
    test_atomic(f, path);
    test_end(f, path);
    status_close(f);

    EXPECT(unlink(path) == 0 && status_open(dir, &f, &e) == OK);
    test_end_for(f, dir, path);
    status_close(f);

    /* The folder vanishes meanwhile. */
    EXPECT(status_open(dir, &f, &e) == OK);
    snprintf(moved, sizeof moved, "%s/status.json.new", dir);
    EXPECT(unlink(path) == 0 && access(moved, F_OK) != 0 && rmdir(dir) == 0);
    EXPECT(status_write(f, &s, &e) == ERR_IO && strstr(e.msg, path) == e.msg);
    status_close(f);
    test_errors();
    return 0;
}
