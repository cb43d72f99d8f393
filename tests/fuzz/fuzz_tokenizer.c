/* A tokenizer.json up to the first NUL byte, a text behind it: a file that is not good is refused
 * with one line; what is accepted encodes any text, or says why not. */
#include "loader/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 512 }; /* a hostile regex may cost much for each byte */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t json = nul ? (size_t)(nul - data) : size, text = nul ? size - json - 1 : 0, n;
    struct tokenizer *t;
    struct err e = {.code = OK};
    int32_t *ids;

    if (tokenizer_parse("fuzz", (const char *)data, json, &t, &e) != OK) {
        CHECK(!t && e.code == ERR_DATA && e.msg[0] && !strchr(e.msg, '\n'));
        return 0;
    }
    if (text > TEXT_MAX)
        text = TEXT_MAX;
    if (tokenizer_encode(t, nul ? (const char *)nul + 1 : "", text, true, &ids, &n, &e) == OK) {
        for (size_t i = 0; i < n; i++)
            CHECK(ids[i] >= 0 && ids[i] < tokenizer_vocab(t));
        free(ids);
    } else {
        CHECK(e.code == ERR_DATA && !ids);
    }
    tokenizer_close(t);
    return 0;
}
