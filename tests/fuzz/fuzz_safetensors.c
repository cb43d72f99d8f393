/* A safetensors file of any bytes: the header is refused or describes data that is there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loader/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const struct safetensors *f, uint64_t text_bytes, uint64_t data_bytes)
{
    uint64_t at = 8 + text_bytes;

    for (int i = 0; i < f->n_tensors; i++) {
        char text[64];

        CHECK(f->tensor[i].offset == at);
        CHECK(strlen(tensor_describe(&f->tensor[i], text, sizeof text)) < sizeof text);
        at += f->tensor[i].bytes;
    }
    CHECK(at == 8 + text_bytes + data_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct safetensors f = {.fd = -1};
    struct err e = {0};
    uint64_t n = 0;

    if (bytes < 8)
        return 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | data[i];
    n = n > bytes - 8 ? bytes - 8 : n; /* the rest of the length's checks need a file */
    f.name = strdup("model.safetensors");
    if (safetensors_parse((const char *)data + 8, n, bytes - 8 - n, &f, &e) == OK)
        check(&f, n, bytes - 8 - n);
    else
        CHECK(e.code != OK && e.msg[0]);
    safetensors_close(&f);
    return 0;
}
