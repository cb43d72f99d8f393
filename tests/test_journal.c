// links: launch spec
// timeout: 30
/* The journal's file: what was added is restored bit by bit; a tail torn at any byte is cut off and
 * nothing more; every flipped bit before the last record is found; what is of another run, stands
 * there twice or is no journal is refused by name; a journal put aside is kept. */
#include "launch/journal.h"
#include "launch/journal_frame.h"
#include "tests/folder.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { WINDOWS = 5, VALUES = 7 };

static const char identity[] = "version 1\ndtype float32\nspec abc\n";

/* What was restored: value[i][0] is NaN where window i was not. */
struct restored {
    double value[WINDOWS][VALUES];
    int n;
};

/* Any bits are a value: NaN with a payload, -0, infinities. */
static double value_of(int window, int i)
{
    static const uint64_t odd[] = {0x7ff8000000000123, 0x8000000000000000, 0xfff0000000000000,
                                   0x0000000000000001};
    double x = window + i / 3.0;

    if (i == 1)
        memcpy(&x, &odd[window % 4], sizeof x);
    return x;
}

static enum status restore(void *context, int64_t window, const double *nll, int64_t values,
                           struct err *e)
{
    struct restored *r = context;

    if (values != VALUES)
        return fail(e, ERR_DATA, "window %d has %d nll", (int)window, (int)values);
    if (!isnan(r->value[window][0]))
        return fail(e, ERR_DATA, "window %d stands there twice", (int)window);
    memcpy(r->value[window], nll, sizeof r->value[window]);
    r->n++;
    return OK;
}

static enum status open_as(const char *who, struct restored *r, struct journal **j, struct err *e)
{
    struct journal_request q = {.dir = folder, .name = "journal", .identity = who,
                                .windows = WINDOWS, .values_max = VALUES, .restore = restore,
                                .context = r};

    r->n = 0;
    for (int i = 0; i < WINDOWS; i++)
        r->value[i][0] = NAN;
    return journal_open(&q, j, e);
}

static void add(struct journal *j, int window)
{
    double nll[VALUES];
    struct err e;

    for (int i = 0; i < VALUES; i++)
        nll[i] = value_of(window, i);
    EXPECT(journal_add(j, window, nll, VALUES, &e) == OK);
}

/* A journal of windows 3, 0, 4; returns its bytes. */
static uint8_t *make(size_t *bytes)
{
    struct restored r;
    struct journal *j;
    struct err e;
    char path[512];
    struct stat s;
    FILE *f;

    folder_clear();
    EXPECT(open_as(identity, &r, &j, &e) == OK && r.n == 0);
    add(j, 3);
    EXPECT(journal_sync(j, &e) == OK);
    add(j, 0);
    add(j, 4);
    EXPECT(journal_sync(j, &e) == OK && journal_cut(j) == 0);
    journal_close(j);
    f = fopen(folder_path("journal", path), "rb");
    EXPECT(f && fstat(fileno(f), &s) == 0);
    *bytes = (size_t)s.st_size;
    uint8_t *data = malloc(*bytes);
    EXPECT(data && fread(data, 1, *bytes, f) == *bytes);
    fclose(f);
    return data;
}

static void expect_windows(const struct restored *r, int n)
{
    static const int order[] = {3, 0, 4};

    EXPECT(r->n == n);
    for (int k = 0; k < n; k++)
        for (int i = 0; i < VALUES; i++) {
            double want = value_of(order[k], i);

            EXPECT(memcmp(&r->value[order[k]][i], &want, sizeof want) == 0);
        }
}

/* Cut at every byte: whole records stay, the rest goes, and it can be added to again. */
static void test_torn(const uint8_t *data, size_t bytes, size_t head, size_t record)
{
    for (size_t n = head; n <= bytes; n++) {
        int whole = (int)((n - head) / record);
        struct restored r;
        struct journal *j;
        struct err e;

        folder_write("journal", data, n);
        EXPECT(open_as(identity, &r, &j, &e) == OK);
        expect_windows(&r, whole);
        EXPECT(journal_cut(j) == (int64_t)((n - head) % record));
        for (int k = whole; k < 3; k++)
            add(j, (int[]){3, 0, 4}[k]);
        EXPECT(journal_sync(j, &e) == OK);
        journal_close(j);
        EXPECT(open_as(identity, &r, &j, &e) == OK && journal_cut(j) == 0);
        expect_windows(&r, 3);
        journal_close(j);
    }
    for (size_t n = 0; n < head; n++) { /* made whole, so never seen like this after a crash */
        struct restored r;
        struct journal *j;
        struct err e;

        folder_write("journal", data, n);
        EXPECT(open_as(identity, &r, &j, &e) == ERR_DATA);
        EXPECT(message_is(e.msg, "DIR/journal: its head is damaged, or it is no journal (--restart "
                                 "begins anew)"));
    }
}

/* Every bit: before the last record it is an error; in the last one it is a torn tail, so that
 * window is computed again. The file itself is left as it was when it is refused. */
static void test_flipped(uint8_t *data, size_t bytes, size_t record)
{
    for (size_t bit = 0; bit < 8 * bytes; bit += 3) {
        bool last = bit / 8 >= bytes - record;
        struct restored r;
        struct journal *j;
        struct err e;

        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        folder_write("journal", data, bytes);
        EXPECT(open_as(identity, &r, &j, &e) == (last ? OK : ERR_DATA));
        EXPECT(last || strstr(e.msg, "damaged"));
        if (last)
            expect_windows(&r, 2);
        journal_close(j);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_refused(const uint8_t *data, size_t bytes, size_t record)
{
    uint8_t *twice = malloc(bytes + record);
    struct restored r;
    struct journal *j;
    struct err e;

    EXPECT(twice);
    folder_write("journal", data, bytes);
    EXPECT(open_as("version 1\ndtype bfloat16\nspec abc\n", &r, &j, &e) == ERR_OUTPUT);
    EXPECT(message_is(e.msg,
                      "DIR/journal: is of another run: it has \"dtype float32\", this run has "
                      "\"dtype bfloat16\" (use another folder, or --restart to begin anew)"));
    EXPECT(open_as("version 1\n", &r, &j, &e) == ERR_OUTPUT && strstr(e.msg, "dtype float32"));

    memcpy(twice, data, bytes);
    memcpy(twice + bytes, data + bytes - record, record);
    folder_write("journal", twice, bytes + record);
    EXPECT(open_as(identity, &r, &j, &e) == ERR_DATA);
    EXPECT(message_is(e.msg, "DIR/journal: window 4 stands there twice"));
    free(twice);

    /* A good record of another journal is no record of this one. */
    EXPECT(journal_put_aside(folder, "journal", &e) == OK);
    EXPECT(open_as("version 2\n", &r, &j, &e) == OK);
    add(j, 1);
    add(j, 2);
    EXPECT(journal_sync(j, &e) == OK);
    journal_close(j);
    char path[512];
    uint8_t other[512];
    FILE *f = fopen(folder_path("journal", path), "rb");
    EXPECT(f && fread(other, 1, sizeof other, f) > 2 * record);
    fclose(f);
    uint8_t mixed[2048];
    size_t head = FRAME_OVERHEAD + strlen("version 2\n");
    EXPECT(bytes + record <= sizeof mixed);
    memcpy(mixed, data, bytes - record);
    memcpy(mixed + bytes - record, other + head, record);
    memcpy(mixed + bytes, data + bytes - record, record);
    folder_write("journal", mixed, bytes + record);
    EXPECT(open_as(identity, &r, &j, &e) == ERR_DATA && strstr(e.msg, "damaged"));
}

static void test_aside(const uint8_t *data, size_t bytes)
{
    struct restored r;
    struct journal *j;
    struct err e;
    char path[512];

    folder_clear();
    EXPECT(journal_put_aside(folder, "journal", &e) == OK); /* none yet */
    folder_write("journal", data, bytes);
    folder_write("journal.1", "", 0);
    EXPECT(journal_put_aside(folder, "journal", &e) == OK);
    EXPECT(access(folder_path("journal.2", path), F_OK) == 0);
    EXPECT(access(folder_path("journal", path), F_OK) != 0);
    EXPECT(open_as(identity, &r, &j, &e) == OK && r.n == 0);

    /* Removed while it is written to: nothing would be kept. */
    EXPECT(unlink(folder_path("journal", path)) == 0);
    add(j, 1);
    EXPECT(journal_sync(j, &e) == ERR_IO);
    EXPECT(message_is(e.msg, "DIR/journal: was removed during the run"));
    EXPECT(journal_sync(j, &e) == ERR_IO); /* for good */
    journal_close(j);
    journal_close(NULL);
}

int main(void)
{
    size_t bytes, record = FRAME_OVERHEAD + record_bytes(VALUES);
    size_t head = FRAME_OVERHEAD + sizeof identity - 1;

    folder_make();
    uint8_t *data = make(&bytes);
    EXPECT(bytes == head + 3 * record);
    test_torn(data, bytes, head, record);
    test_flipped(data, bytes, record);
    test_refused(data, bytes, record);
    test_aside(data, bytes);
    free(data);
    return 0;
}
