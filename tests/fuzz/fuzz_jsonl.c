/* JSONL rows, joined and as documents: the text that comes out is valid UTF-8 and no longer than
 * what went in with its joiners, or there is a message. */
#include "loader/corpus_text.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz_jsonl", MFD_CLOEXEC);
    char path[32];

    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (int rolling = 0; rolling < 2; rolling++) {
        const struct spec_data spec = {.kind = CORPUS_JSONL,
                                       .path = path,
                                       .text_column = "text",
                                       .joiner = "\n\n",
                                       .score = rolling ? SCORE_ROLLING : SCORE_WINDOW};
        struct corpus_text t;
        struct err e;

        if (corpus_text_read(&spec, NULL, &t, &e) == OK) {
            CHECK(t.rows > 0 && t.n_docs == (rolling ? t.rows : 1));
            CHECK(t.doc[0] == 0 && t.doc[t.n_docs] == t.bytes);
            CHECK(t.bytes + 2 <= size + 2 * (size_t)t.rows);
            CHECK(utf8_check(t.text, t.bytes) == t.bytes && t.words >= t.n_docs);
        } else {
            CHECK(e.code == ERR_DATA && *e.msg);
        }
        corpus_text_free(&t);
    }
    close(fd);
    return 0;
}
