/* tok_pattern.h - rewrites a regex of a tokenizer file (Oniguruma, Ruby syntax) for PCRE2. */
#ifndef LOADER_TOK_PATTERN_H
#define LOADER_TOK_PATTERN_H

#include "loader/tok.h"

/* Classes (\s \d \w \h \p{..}, unions and && in brackets) become explicit ranges of Unicode 16,
 * whatever version PCRE2 has; intervals that look possessive become what Ruby means by them. What
 * the two engines read in different ways is refused by name. */
MUST_USE enum status tok_pattern_rewrite(const char *pattern, size_t n, struct tok_text *out,
                                         struct err *e);

#endif
