/* tok_set.h - sets of code points, for the character classes of a regex.
 *
 * Memory: a set starts as zeroes; tok_set_free frees it. */
#ifndef LOADER_TOK_SET_H
#define LOADER_TOK_SET_H

#include "loader/tok.h"

/* Ranges in any order, overlaps allowed; tok_set_tidy makes them ascending and disjoint. */
struct tok_set {
    struct unicode_range *range;
    size_t n, cap;
};

void tok_set_free(struct tok_set *s);
MUST_USE enum status tok_set_add(struct tok_set *s, uint32_t lo, uint32_t hi, struct err *e);
MUST_USE enum status tok_set_add_mask(struct tok_set *s, uint32_t mask, struct err *e);
MUST_USE enum status tok_set_add_all(struct tok_set *s, const struct unicode_range *range, size_t n,
                                     struct err *e);
void tok_set_tidy(struct tok_set *s);
/* Adds to `to` what is not in `s` (which is tidied). */
MUST_USE enum status tok_set_add_rest(struct tok_set *to, struct tok_set *s, struct err *e);
/* Keeps of `s` what is in `other` too (both are tidied). */
MUST_USE enum status tok_set_keep(struct tok_set *s, struct tok_set *other, struct err *e);

#endif
