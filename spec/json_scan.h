/* json_scan.h - the grammar of RFC 8259, to the letter, over text in memory (private to json.c).
 *
 * cJSON accepts more than JSON (control characters in strings, numbers such as 01 or 1.e5, a string
 * cut at \u0000) and says little about where a mistake stands. The scan comes first and settles
 * both; it also finds the place of the value with a given number in document order. */
#ifndef SPEC_JSON_SCAN_H
#define SPEC_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

enum {
    JSON_DEPTH_MAX = 64,
    JSON_NUMBER_MAX = 63 /* characters; what cJSON reads of one */
};

struct json_scan {
    char *text; /* comments are blanked in place, so offsets stay */
    size_t bytes;
    int flags;     /* enum json_flags */
    size_t stop;   /* number of the value to find, 0 = the root; SIZE_MAX = scan it all */
    size_t at;     /* where it is; on failure: where it went wrong */
    size_t values; /* begun so far */
    size_t place;  /* of value `stop`: its key, or itself where it has none */
    size_t nul_escapes;
    char wrong[160]; /* on failure: "got X, want Y" */
};

bool json_scan(struct json_scan *s);

#endif
