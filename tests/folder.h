/* folder.h - a temporary folder for a test, and files in it. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include <dirent.h>
#include <stdint.h>
#include <unistd.h>

#include "test.h"

static char folder[256];

/* Removes what the test wrote; also run at exit, so that a failing test leaves nothing. */
static void folder_clear(void)
{
    DIR *d = opendir(folder);
    char path[1024];

    for (struct dirent *f; d && (f = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        if (strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0 && unlink(path) != 0)
            rmdir(path);
    }
    if (d)
        closedir(d);
}

static void folder_remove(void)
{
    folder_clear();
    rmdir(folder);
}

static void folder_make(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(folder, sizeof folder, "%.200s/nvfp4_ppl_test_XXXXXX", tmp && *tmp ? tmp : "/tmp");
    EXPECT(mkdtemp(folder));
    atexit(folder_remove);
}

static inline const char *folder_path(const char *name, char out[512])
{
    snprintf(out, 512, "%s/%s", folder, name);
    return out;
}

static inline void folder_write(const char *name, const void *data, size_t bytes)
{
    char path[512];
    FILE *f = fopen(folder_path(name, path), "wb");

    EXPECT(f && fwrite(data, 1, bytes, f) == bytes && fclose(f) == 0);
}

/* A safetensors file: length, header, `data_bytes` of 0x38 (1.0 as an e4m3 scale). */
static inline void folder_safetensors(const char *name, const char *header, size_t data_bytes)
{
    size_t n = strlen(header), bytes = 8 + n + data_bytes;
    uint8_t *file = malloc(bytes);

    EXPECT(file);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(n >> 8 * i);
    memcpy(file + 8, header, n);
    memset(file + 8 + n, 0x38, data_bytes);
    folder_write(name, file, bytes);
    free(file);
}

/* Compares a message, with the folder's own path in it written as DIR. */
static inline int message_is(const char *got, const char *want)
{
    size_t n = strlen(folder);

    for (; *want; want++) {
        if (strncmp(want, "DIR", 3) == 0 && strncmp(got, folder, n) == 0) {
            got += n;
            want += 2;
        } else if (*got++ != *want) {
            return 0;
        }
    }
    return *got == 0;
}

#endif
