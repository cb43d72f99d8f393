// links: bench
/* a8_load: rate of loading a model's weights against plain pread of the same bytes into fresh
 * memory, both from a warm cache. Best of six, in turns: memory that is new to a virtual machine is slow. */
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spec/clock.h"
#include "tests/bench/bench.h"

/* Bytes per second of reading a folder's *.safetensors whole. */
static double read_rate(const char *folder)
{
    char pattern[4200];
    glob_t files;
    double bytes = 0, start = clock_seconds();

    snprintf(pattern, sizeof pattern, "%s/*.safetensors", folder);
    if (glob(pattern, 0, NULL, &files) != 0)
        exit(1);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        int file = open(files.gl_pathv[i], O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (file < 0 || fstat(file, &st) != 0)
            exit(1);
        size_t size = (size_t)st.st_size;
        char *to = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (to == MAP_FAILED)
            exit(1);
        for (size_t done = 0; done < size;) {
            ssize_t n = pread(file, to + done, size - done, (off_t)done);

            if (n <= 0)
                exit(1);
            done += (size_t)n;
        }
        munmap(to, size);
        close(file);
        bytes += (double)size;
    }
    globfree(&files);
    return bytes / (clock_seconds() - start);
}

static double load_rate(const char *spec)
{
    struct args a = args_ppl(1);

    args_add(&a, "%s", spec);
    struct measurement m = must_measure(&a, 300);
    double seconds = json_number(json_at(m.result, "seconds"), "load");
    double bytes = json_number(cJSON_GetArrayItem(json_at(m.result, "ranks"), 0), "bytes_read");
    measurement_close(&m);
    return bytes / seconds;
}

int main(void)
{
    struct bench_run b = {.model = bench_llama_1b(), .eval_len = 16, .rows = 1};
    const char *spec = bench_spec(&b);
    double load = 0, plain = 0;

    read_rate(b.model); /* warms the cache */
    for (int i = 0; i < 6; i++) {
        plain = fmax(plain, read_rate(b.model));
        load = fmax(load, load_rate(spec));
    }
    bench_figure("a8_load", load / plain);
    bench_part("a8_load_rate", load, "bytes/s");
    bench_part("a8_pread_rate", plain, "bytes/s");
    return 0;
}
