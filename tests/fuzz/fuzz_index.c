/* A model.safetensors.index.json of any bytes beside two good shards: refused with a message, or it
 * agrees with them. No name in it may lead out of the folder. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char folder[] = "/tmp/nvfp4_ppl_fuzz_XXXXXX";

static void write_file(const char *name, const void *data, size_t bytes)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    CHECK(f && fwrite(data, 1, bytes, f) == bytes && fclose(f) == 0);
}

static void write_shard(const char *name, const char *tensor)
{
    char file[128] = {0};
    int n = snprintf(file + 8, sizeof file - 8,
                     "{\"%s\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", tensor);

    file[0] = (char)n;
    write_file(name, file, 8 + (size_t)n + 2);
}

static void remove_folder(void)
{
    static const char *const name[] = {"1.safetensors", "2.safetensors",
                                       "model.safetensors.index.json"};
    char path[256];

    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void make_folder(void)
{
    CHECK(mkdtemp(folder));
    atexit(remove_folder);
    write_shard("1.safetensors", "a");
    write_shard("2.safetensors", "b");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static int made;
    struct checkpoint *c;
    struct err e = {0};

    if (!made++)
        make_folder();
    write_file("model.safetensors.index.json", data, bytes);
    if (checkpoint_open(folder, &c, &e) == OK)
        CHECK(checkpoint_tensors(c) >= 1 && checkpoint_tensors(c) <= 2);
    else
        CHECK(e.code != OK && e.msg[0]);
    checkpoint_close(c);
    return 0;
}
