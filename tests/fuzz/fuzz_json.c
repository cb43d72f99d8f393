/* Any bytes, each set of flags: json_parse accepts or names a place; what it accepts can be walked,
 * and every value has a place. */
#include "spec/json.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct json *j, const cJSON *item, int *budget)
{
    int line, column;

    for (; item && --*budget > 0; item = item->next) {
        json_place(j, item, &line, &column);
        CHECK(line >= 1 && column >= 1);
        walk(j, item->child, budget);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int flags[] = {JSON_STRICT, JSON_COMMENTS, JSON_NUL, JSON_COMMENTS | JSON_NUL};

    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        int budget = 100; /* a place costs a walk over the text */
        struct json *j;
        struct err e;

        if (json_parse("fuzz", (const char *)data, size, flags[i], ERR_DATA, &j, &e) != OK) {
            CHECK(e.code == ERR_DATA); /* else the scan took what cJSON refused */
            continue;
        }
        walk(j, json_root(j), &budget);
        json_close(j);
    }
    return 0;
}
