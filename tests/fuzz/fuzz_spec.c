/* Up to four parts, a 0 byte between them: the spec (or -d) file, the -m file when it is not empty,
 * and two --set. spec_read accepts them within its limits or refuses them with a message. */
#include "spec/spec.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTS = 4, PATH = 32 };

static int memory_file(const char *text, char path[PATH])
{
    int fd = memfd_create("fuzz_spec", MFD_CLOEXEC);
    size_t n = strlen(text);

    CHECK(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    snprintf(path, PATH, "/proc/self/fd/%d", fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = calloc(1, size + PARTS), *part[PARTS], path[2][PATH];
    const char *set[2];
    struct spec_source from = {.set = set};
    struct spec *s;
    struct err e;
    int fd[2];

    CHECK(copy != NULL);
    if (size)
        memcpy(copy, data, size);
    part[0] = copy;
    for (int i = 1; i < PARTS; i++) {
        size_t at = (size_t)(part[i - 1] - copy) + strlen(part[i - 1]) + 1;

        part[i] = copy + (at < size + PARTS ? at : size + PARTS - 1);
    }
    for (int i = 2; i < PARTS; i++)
        if (*part[i])
            set[from.n_set++] = part[i];
    fd[0] = memory_file(part[0], path[0]);
    fd[1] = memory_file(part[1], path[1]);
    from.spec_path = *part[1] ? NULL : path[0];
    from.data_path = *part[1] ? path[0] : NULL;
    from.model_path = *part[1] ? path[1] : NULL;
    if (spec_read(&from, &s, &e) == OK) {
        CHECK(s->n_models >= 1 && s->data.eval_len >= 2);
        CHECK(s->data.eval_stride >= 1 && s->data.eval_stride <= s->data.eval_len);
        for (int i = 0; i < s->n_models; i++)
            CHECK(s->model[i].model_dir && s->model[i].tokenizer_dir && *s->model[i].label);
        spec_free(s);
    } else {
        CHECK(e.code != OK && *e.msg);
    }
    close(fd[0]);
    close(fd[1]);
    free(copy);
    return 0;
}
