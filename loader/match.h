/* match.h - a list of modules as compressed-tensors writes it: full names, class names, and
 * "re:PATTERN", which must match from the start of the name. For quant.c.
 *
 * Memory: match_open allocates; match_close frees (accepts NULL). The strings stay the document's.
 */
#ifndef LOADER_MATCH_H
#define LOADER_MATCH_H

#include "spec/json.h"

struct match;

enum match_kind { MATCH_NONE, MATCH_CLASS, MATCH_PATTERN, MATCH_NAME }; /* the higher one wins */

/* `list` is an array of strings, or NULL for the empty one. */
MUST_USE enum status match_open(const struct json *j, const cJSON *list, struct match **out,
                                struct err *e);
void match_close(struct match *m);
MUST_USE enum status match_find(const struct match *m, const char *module, const char *class,
                                enum match_kind *out, struct err *e);

#endif
