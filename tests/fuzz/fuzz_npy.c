/* A file of frozen ids: npy_read_ids gives ids within range, as many as it says, or a message. */
#include "loader/npy.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz_npy", MFD_CLOEXEC);
    char path[32];
    int32_t *ids;
    int64_t n;
    struct err e;

    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (npy_read_ids(path, &ids, &n, &e) == OK) {
        CHECK(n >= 0 && (uint64_t)n <= size);
        for (int64_t i = 0; i < n; i++)
            CHECK(ids[i] >= 0);
        free(ids);
    } else {
        CHECK((e.code == ERR_DATA || e.code == ERR_NO_INPUT) && *e.msg);
    }
    close(fd);
    return 0;
}
