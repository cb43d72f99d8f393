/* replay.c - the main function of a fuzz target where there is no libFuzzer: gives it every file of
 * a corpus folder once. A crash or a sanitizer's report fails the test; an empty folder does too. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* One file, in a block of exactly its size so that a sanitizer sees a read beyond it. */
static void replay_file(const char *path, size_t bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(bytes ? bytes : 1);

    if (!file || !data || fread(data, 1, bytes, file) != bytes) {
        printf("FAIL %s: cannot read it: %s\n", path, strerror(errno));
        exit(1);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, bytes);
    free(data);
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    char path[4096];
    int files = 0;

    if (!folder) {
        printf("FAIL: want one argument, a corpus folder\n");
        return 1;
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct stat st;

        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        replay_file(path, (size_t)st.st_size);
        files++;
    }
    closedir(folder);
    printf("%d inputs\n", files);
    return files > 0 ? 0 : 1;
}
