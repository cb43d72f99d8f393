// links: kernels_cpu
// timeout: 60
/* Opening the CPU backend: the variants by name, what is refused and how it says so, threads, and an
 * arena of exactly what was asked for. */
#include <sys/resource.h>
#include <unistd.h>

#include "tests/cpu_case.h"

static enum status try_open(const char *isa, enum dtype t, int threads, struct device **d,
                            struct err *e)
{
    struct device_options o = {.dtype = t, .arithmetic = W4A16, .threads = threads, .isa = isa};

    return kernels_cpu.open(&o, d, e);
}

static void check_names(void)
{
    struct err e = {0};
    struct device *d = NULL;

    for (const struct isa *isa = cpu_isas; isa->name; isa++) {
        enum status got = try_open(isa->name, DTYPE_BF16, 3, &d, &e);

        EXPECT(got == (isa->usable() ? OK : ERR_UNAVAILABLE));
        if (got != OK) {
            EXPECT(strstr(e.msg, isa->name) && strstr(e.msg, "not available"));
            continue;
        }
        EXPECT_TEXT(kernels_cpu.isa(d), isa->name);
        EXPECT(kernels_cpu.threads(d) == 3);
        EXPECT(strstr(kernels_cpu.describe(d), isa->name) == kernels_cpu.describe(d));
        EXPECT(strstr(kernels_cpu.describe(d), ", 3 threads, "));
        kernels_cpu.close(d);
        if (isa->dot) {
            EXPECT(try_open(isa->name, DTYPE_F32, 1, &d, &e) == OK); /* does without it */
            EXPECT_TEXT(kernels_cpu.isa(d), "avx512");
            kernels_cpu.close(d);
        }
    }
    EXPECT(try_open("sse9", DTYPE_BF16, 1, &d, &e) == ERR_SPEC);
    EXPECT_TEXT(e.msg,
                "isa: got \"sse9\", want one of auto, avx512bf16, avx512, avx2, portable");
    EXPECT(try_open("auto", DTYPE_BF16, -1, &d, &e) == ERR_SPEC);
    EXPECT_TEXT(e.msg, "threads: got -1, want 0 to 4096");
}

/* auto takes the first usable variant, and pairs of bf16 only for bfloat16. */
static void check_auto(void)
{
    static const enum dtype exact[] = {DTYPE_F16, DTYPE_F32};
    struct err e = {0};
    struct device *d = NULL;

    for (int i = 0; i < 2; i++) {
        const struct isa *first = cpu_isas;

        while (!first->usable() || first->dot)
            first++;
        EXPECT(try_open("auto", exact[i], 0, &d, &e) == OK);
        EXPECT_TEXT(kernels_cpu.isa(d), first->name);
        EXPECT(kernels_cpu.threads(d) >= 1);
        kernels_cpu.close(d);
    }
}

static long resident_bytes(void)
{
    long pages = 0, skipped;
    FILE *f = fopen("/proc/self/statm", "r");

    EXPECT(f && fscanf(f, "%ld %ld", &skipped, &pages) == 2);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static void check_arena(void)
{
    enum { BYTES = 37 * 1000 * 1000 };
    struct err e = {0};
    struct device *d = NULL;
    void *base = NULL;

    EXPECT(try_open("auto", DTYPE_BF16, 1, &d, &e) == OK);
    long before = resident_bytes();

    EXPECT(kernels_cpu.arena(d, BYTES, &base, &e) == OK);
    EXPECT((uintptr_t)base % 4096 == 0);
    memset(base, 1, BYTES);
    EXPECT(resident_bytes() - before <= BYTES + (256 << 10));
    kernels_cpu.close(d);
    EXPECT(resident_bytes() - before <= (256 << 10));

    EXPECT(try_open("auto", DTYPE_BF16, 1, &d, &e) == OK);
    EXPECT(kernels_cpu.arena(d, SIZE_MAX - 100, &base, &e) == ERR_FIT);
    EXPECT(kernels_cpu.arena(d, (size_t)1 << 60, &base, &e) == ERR_FIT);
    kernels_cpu.close(d);
    kernels_cpu.close(NULL);
}

int main(void)
{
    check_names();
    check_auto();
    check_arena();
    return 0;
}
