#include "launch/memory.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* "Name:   12345 kB" of a /proc file, in bytes; 0 when it is not there. */
static uint64_t proc_bytes(const char *path, const char *name)
{
    FILE *f = fopen(path, "r");
    char line[256];
    unsigned long long kib = 0;
    size_t n = strlen(name);

    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            kib = strtoull(line + n + 1, NULL, 10);
            break;
        }
    if (f)
        fclose(f);
    return (uint64_t)kib << 10;
}

uint64_t memory_free(int ranks)
{
    return proc_bytes("/proc/meminfo", "MemAvailable") / (uint64_t)ranks;
}

uint64_t memory_resident(void)
{
    return proc_bytes("/proc/self/status", "VmRSS");
}

uint64_t memory_peak(void)
{
    return proc_bytes("/proc/self/status", "VmHWM");
}

void memory_reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");

    if (!f)
        return; /* then the peak is the whole process's: larger, never smaller */
    fputs("5\n", f);
    fclose(f);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The number in a file of the cgroup file system; "max" or no file: no limit. */
static uint64_t cgroup_number(const char *root, const char *group, const char *name)
{
    char path[PATH_MAX];
    unsigned long long bytes = ULLONG_MAX;
    FILE *f;

    if (snprintf(path, sizeof path, "%s%s/%s", root, group, name) >= (int)sizeof path)
        return UINT64_MAX;
    f = fopen(path, "r");
    if (f && fscanf(f, "%llu", &bytes) != 1)
        bytes = ULLONG_MAX;
    if (f)
        fclose(f);
    return bytes;
}

/* The least limit of a group and all that it is in. */
static uint64_t cgroup_tree(const char *root, char *group, const char *name)
{
    uint64_t limit = cgroup_number(root, group, name);

    for (char *slash; (slash = strrchr(group, '/'));) {
        *slash = 0;
        limit = least(limit, cgroup_number(root, group, name));
    }
    return limit;
}

/* Version 2 ("0::/group") and version 1 ("4:memory:/group"). */
static uint64_t cgroup_limit(void)
{
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[PATH_MAX], *group;
    uint64_t limit = UINT64_MAX;

    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        group = strchr(line, '/');
        if (group && strncmp(line, "0::", 3) == 0)
            limit = least(limit, cgroup_tree("/sys/fs/cgroup", group, "memory.max"));
        else if (group && strstr(line, ":memory:"))
            limit = least(limit, cgroup_tree("/sys/fs/cgroup/memory", group,
                                             "memory.limit_in_bytes"));
    }
    if (f)
        fclose(f);
    return limit >= INT64_MAX / 2 ? UINT64_MAX : limit; /* version 1 says "none" with a big number */
}

/* What is left of a ulimit when `used` is gone. */
static uint64_t left(int resource, uint64_t used)
{
    struct rlimit r;

    if (getrlimit((__rlimit_resource_t)resource, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return r.rlim_cur > used ? r.rlim_cur - used : 0;
}

static uint64_t less(uint64_t limit, uint64_t by)
{
    return limit == UINT64_MAX ? limit : limit > by ? limit - by : 0;
}

uint64_t memory_limit(int ranks, int threads)
{
    enum { STACK = 8 << 20, ALIGNMENT = 2 << 20 }; /* of a thread; of the arena */
    uint64_t to_come = (uint64_t)threads * STACK + ALIGNMENT, cgroup = cgroup_limit();
    uint64_t addresses = left(RLIMIT_AS, proc_bytes("/proc/self/status", "VmSize"));
    uint64_t data = left(RLIMIT_DATA, proc_bytes("/proc/self/status", "VmData"));

    if (cgroup != UINT64_MAX)
        cgroup = less(cgroup / (uint64_t)ranks, memory_resident());
    return least(cgroup, less(least(addresses, data), to_come));
}

uint64_t memory_for_files(int ranks, uint64_t planned)
{
    uint64_t cgroup = less(cgroup_limit(), (uint64_t)ranks * memory_resident());

    return less(least(memory_free(1), cgroup), (uint64_t)ranks * planned) / 4 * 3;
}
