// links: loader spec
// timeout: 60
/* Every method of a file_reader brings the bytes of the file, whatever their place, number and
 * alignment, and says by name when it cannot; what may not be kept does not stay in the page cache. */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "folder.h"
#include "loader/file_reader.h"

enum { FILE_BYTES = 9 * 1000 * 1000 + 77, PAGE = 4096 };

static uint8_t byte_at(uint64_t at)
{
    return (uint8_t)(at * 2654435761u >> 13);
}

static char path[512];
static int file;
static struct file_direct direct;

static void make_file(void)
{
    uint8_t *data = malloc(FILE_BYTES);

    EXPECT(data);
    for (uint64_t i = 0; i < FILE_BYTES; i++)
        data[i] = byte_at(i);
    snprintf(path, sizeof path, "%s/file", folder);
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    EXPECT(file >= 0 && write(file, data, FILE_BYTES) == FILE_BYTES && fsync(file) == 0);
    file_direct_open(file, &direct);
    free(data);
}

static struct file_span span(uint64_t at, uint64_t bytes, void *to)
{
    return (struct file_span){"file", "weight", file, &direct, at, bytes, to};
}

static struct file_reader *open_reader(enum file_method method, bool keep)
{
    const struct file_reader_options o = {.method = method, .keep = keep, .timeout = 20};
    struct file_reader *r = NULL;
    struct err e;

    if (file_reader_open(&o, &r, &e) != OK) {
        EXPECT(e.code == ERR_UNAVAILABLE && strstr(e.msg, "io_uring"));
        printf("%s\n", e.msg);
        return NULL;
    }
    return r;
}

/* Spans of all kinds in one batch, at places that line up with the file's blocks or do not; what
 * stands around them stays. */
static void check_batch(struct file_reader *r, uint64_t state)
{
    enum { SPANS = 12, ROOM = 3 << 20 };
    struct file_span s[SPANS];
    uint8_t *room[SPANS];
    struct err e;

    for (int i = 0; i < SPANS; i++) {
        uint64_t at, bytes, shift;

        state = state * 6364136223846793005u + 1442695040888963407u;
        at = (state >> 33) % (FILE_BYTES - ROOM);
        bytes = (uint64_t)i;
        if (i >= 4)
            bytes = (state >> 20) % (ROOM - 2 * PAGE);
        shift = i % 3 == 0 ? 1 + (uint64_t)i : at % PAGE; /* in memory as in the file: blocks line up */
        EXPECT(posix_memalign((void **)&room[i], PAGE, ROOM) == 0);
        memset(room[i], 0xa5, ROOM);
        s[i] = span(at, bytes, room[i] + shift);
    }
    file_reader_begin(r, s, SPANS);
    EXPECT(file_reader_wait(r, &e) == OK);
    for (int i = 0; i < SPANS; i++) {
        const uint8_t *to = s[i].to, *end = to + s[i].bytes;
        bool same = true;

        for (const uint8_t *p = room[i]; p < room[i] + ROOM; p++)
            same = same && *p == (p >= to && p < end ? byte_at(s[i].at + (uint64_t)(p - to)) : 0xa5);
        EXPECT(same);
        free(room[i]);
    }
}

static void check_end(struct file_reader *r)
{
    struct file_span s[3];
    char *to = malloc(FILE_BYTES + PAGE);
    struct err e;

    EXPECT(to);
    s[0] = span(0, 100, to);
    s[1] = span(FILE_BYTES - 1000, 1500, to + 100);
    s[2] = span(0, FILE_BYTES - PAGE, to + PAGE);
    file_reader_begin(r, s, 3);
    EXPECT(file_reader_wait(r, &e) == ERR_IO);
    EXPECT(strcmp(e.msg, "file: 'weight': the file ends at byte 9000077, 500 more are wanted (cut "
                         "short while in use?)") == 0);
    s[0].what = "other"; /* the reader goes on, and a directory cannot be read */
    s[0].fd = open(folder, O_RDONLY | O_CLOEXEC);
    s[0].direct = NULL;
    file_reader_begin(r, s, 1);
    EXPECT(file_reader_wait(r, &e) == ERR_IO);
    EXPECT(strcmp(e.msg, "file: 'other': Is a directory") == 0);
    close(s[0].fd);
    file_reader_begin(r, s, 0);
    EXPECT(file_reader_wait(r, &e) == OK);
    free(to);
}

/* Pages of the file in the cache. */
static int cached(void)
{
    static unsigned char in[FILE_BYTES / PAGE + 1];
    void *p = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, file, 0);
    int n = 0;

    EXPECT(p != MAP_FAILED && mincore(p, FILE_BYTES, in) == 0);
    for (size_t i = 0; i < sizeof in; i++)
        n += in[i] & 1;
    munmap(p, FILE_BYTES);
    return n;
}

static bool has_cache(void)
{
    struct statfs s;

    return fstatfs(file, &s) == 0 && s.f_type != TMPFS_MAGIC && s.f_type != OVERLAYFS_SUPER_MAGIC;
}

static void check_cache(enum file_method method, bool keep)
{
    struct file_reader *r = open_reader(method, keep);
    char *to = malloc(FILE_BYTES + 3);
    struct file_span s[2] = {span(0, 4000000, to),
                             span(4000000, FILE_BYTES - 4000000, to + 4000003)};
    struct err e;

    EXPECT(to);
    if (r) {
        EXPECT(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0);
        file_reader_begin(r, s, 2);
        EXPECT(file_reader_wait(r, &e) == OK);
        EXPECT(keep ? cached() > FILE_BYTES / PAGE - 2 : cached() < 20);
        file_reader_close(r);
    }
    free(to);
}

/* More than is read to find the better method: one of them reads on, and all is right. */
static void check_choice(void)
{
    enum { BATCH = 8 << 20, BATCHES = 40 };
    struct file_reader *r = open_reader(FILE_CHOOSE, false);
    char *to = aligned_alloc(PAGE, BATCH);
    char method[64];
    struct err e;

    EXPECT(r && to && ftruncate(file, (off_t)BATCH * BATCHES) == 0);
    for (int i = 0; i < BATCHES; i++) {
        struct file_span s = span((uint64_t)i * BATCH, BATCH, to);

        memset(to, 1, BATCH);
        if (i == BATCHES - 4)
            snprintf(method, sizeof method, "%s", file_reader_method(r));
        EXPECT(i <= BATCHES - 4 || strcmp(method, file_reader_method(r)) == 0);
        file_reader_begin(r, &s, 1);
        EXPECT(file_reader_wait(r, &e) == OK);
        EXPECT(to[5000000] == (i == 0 ? (char)byte_at(5000000) : 0) && to[BATCH - 1] != 1);
    }
    printf("chosen: %s\n", method);
    file_reader_close(r);
    free(to);
}

/* A system that does not let io_uring be opened: threads read past the cache in its place. */
static void check_refused(void)
{
    struct rlimit all;
    struct file_reader *r;

    EXPECT(getrlimit(RLIMIT_NOFILE, &all) == 0);
    EXPECT(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, all.rlim_max}) == 0);
    EXPECT(!open_reader(FILE_URING, true));
    EXPECT((r = open_reader(FILE_CHOOSE, false)));
    EXPECT(setrlimit(RLIMIT_NOFILE, &all) == 0);
    check_batch(r, 1);
    check_batch(r, 2);
    EXPECT(strcmp(file_reader_method(r), "pread, direct") == 0);
    file_reader_close(r);
}

int main(void)
{
    folder_make();
    make_file();
    for (int m = FILE_CHOOSE; m < FILE_METHODS; m++) {
        struct file_reader *r = open_reader(m, m % 2);

        for (uint64_t seed = 0; r && seed < 6; seed++)
            check_batch(r, seed);
        if (r)
            check_end(r);
        file_reader_close(r);
        if (m != FILE_CHOOSE && has_cache()) {
            check_cache(m, false);
            if (m == FILE_PREAD || m == FILE_URING)
                check_cache(m, true);
        }
    }
    check_choice();
    check_refused();
    file_direct_close(&direct);
    close(file);
    return 0;
}
