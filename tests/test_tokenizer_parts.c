// Ids of a hundred small random tokenizers, made of every supported part, equal those of Hugging
// Face `tokenizers` (tests/tools/make_tokenizer_parts.py).
// links: loader
#include "tests/tokenizer_cases.h"

int main(void)
{
    struct json *parts;
    struct err e;
    int n = 0;
    const cJSON *part;

    if (json_open(TEST_DATA "/tokenizers/parts.json", 64 << 20, JSON_NUL, ERR_DATA, &parts, &e) !=
        OK) {
        printf("FAIL %s\n", e.msg);
        return 1;
    }
    cJSON_ArrayForEach(part, json_root(parts))
    {
        char *text = cJSON_PrintUnformatted(json_member(part, "tokenizer")), name[32];
        struct tokenizer *t;

        snprintf(name, sizeof name, "tokenizer %d", n++);
        EXPECT(text);
        if (tokenizer_parse(name, text, strlen(text), &t, &e) != OK) {
            printf("FAIL %s\n", e.msg);
            return 1;
        }
        EXPECT(check_cases(name, t, json_member(part, "cases")) > 0);
        tokenizer_close(t);
        free(text);
    }
    json_close(parts);
    EXPECT(n == 100);
    return 0;
}
