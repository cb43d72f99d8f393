// links: bench loader
/* Methods of a file_reader against each other: bytes per second of a model's file from a cold and from
 * a warm page cache, into memory that is there already. Best of three, in turns. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/file_reader.h"
#include "spec/clock.h"
#include "tests/bench/bench.h"

enum { BATCH = 64 << 20 };

static double read_rate(enum file_method method, int file, const struct file_direct *direct,
                        char *to, uint64_t size)
{
    const struct file_reader_options o = {.method = method, .keep = true, .timeout = 60};
    struct file_reader *r;
    struct err e;
    double start;

    if (file_reader_open(&o, &r, &e) != OK)
        return 0;
    start = clock_seconds();
    for (uint64_t at = 0; at < size; at += BATCH) {
        struct file_span s = {"file", "all", file, direct, at, size - at < BATCH ? size - at : BATCH,
                              to};

        file_reader_begin(r, &s, 1);
        if (file_reader_wait(r, &e) != OK)
            exit(1);
    }
    file_reader_close(r);
    return (double)size / (clock_seconds() - start);
}

int main(void)
{
    static const char *const name[FILE_METHODS] = {"", "pread", "pread_direct", "uring",
                                                   "uring_direct"};
    double cold[FILE_METHODS] = {0}, warm[FILE_METHODS] = {0};
    char path[4200], key[64], *to = aligned_alloc(2 << 20, BATCH);
    struct file_direct direct;
    struct stat st;
    int file;

    snprintf(path, sizeof path, "%s/model.safetensors", bench_llama_1b());
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (!to || file < 0 || fstat(file, &st) != 0 || fsync(file) != 0)
        return 1;
    madvise(to, BATCH, MADV_HUGEPAGE);
    memset(to, 0, BATCH);
    file_direct_open(file, &direct);
    for (int i = 0; i < 3; i++)
        for (int m = 1; m < FILE_METHODS; m++) {
            posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
            cold[m] = fmax(cold[m], read_rate(m, file, &direct, to, (uint64_t)st.st_size));
            read_rate(FILE_PREAD, file, &direct, to, (uint64_t)st.st_size); /* warms the cache */
            warm[m] = fmax(warm[m], read_rate(m, file, &direct, to, (uint64_t)st.st_size));
        }
    for (int m = 1; m < FILE_METHODS; m++) {
        snprintf(key, sizeof key, "read_cold_%s", name[m]);
        bench_part(key, cold[m], "bytes/s");
        snprintf(key, sizeof key, "read_warm_%s", name[m]);
        bench_part(key, warm[m], "bytes/s");
    }
    return 0;
}
