/* tok_unicode.h - what a tokenizer must know of Unicode: categories of version 16, as the regex
 * engine of Hugging Face `tokenizers` has them, and the few sets of its other libraries.
 *
 * Text is valid UTF-8 everywhere in here; callers have checked it. */
#ifndef LOADER_TOK_UNICODE_H
#define LOADER_TOK_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNICODE_END = 0x110000 };

struct unicode_range {
    uint32_t lo, hi;
};

/* General categories, in the order of the table; a set of them is a mask of 1 << category. */
enum unicode_category {
    UC_LU,
    UC_LL,
    UC_LT,
    UC_LM,
    UC_LO,
    UC_MN,
    UC_MC,
    UC_ME,
    UC_ND,
    UC_NL,
    UC_NO,
    UC_PC,
    UC_PD,
    UC_PS,
    UC_PE,
    UC_PI,
    UC_PF,
    UC_PO,
    UC_SM,
    UC_SC,
    UC_SK,
    UC_SO,
    UC_ZS,
    UC_ZL,
    UC_ZP,
    UC_CC,
    UC_CF,
    UC_CS,
    UC_CO,
    UC_CN,
    UC_COUNT
};

enum unicode_category unicode_category(uint32_t cp);
uint32_t unicode_mask(const char *name, size_t n); /* "L", "Lu", ...: the mask; 0 if unknown */

/* Ranges of a script that patterns name (Han, Hiragana, Katakana, Hangul); NULL if unknown. */
const struct unicode_range *unicode_script(const char *name, size_t n, size_t *count);

/* Finds the first run of code points whose category is in `mask` at or after *lo, as far as it goes
 * (adjoining runs joined): true and [*lo, *hi], or false. */
bool unicode_next_run(uint32_t mask, uint32_t *lo, uint32_t *hi);

bool unicode_is_space(uint32_t cp);   /* White_Space: 25 code points */
bool unicode_is_word(uint32_t cp);    /* \w of added tokens' single_word */
bool unicode_is_numeric(uint32_t cp); /* of the Digits splitter */
bool unicode_is_punct(uint32_t cp);   /* of the Punctuation splitter */
bool unicode_is_inert(uint32_t cp);   /* no mark and no decomposition to the normalizers */

/* Lower case of one code point, one or two of them in `out`; returns how many. */
int unicode_lower(uint32_t cp, uint32_t out[2]);

enum { UTF8_MAX = 4 };
int utf8_encode(uint32_t cp, char out[UTF8_MAX]); /* returns the length */

/* Decodes the code point at `s` and stores its length. */
static inline uint32_t utf8_decode(const char *s, int *len)
{
    const unsigned char *u = (const unsigned char *)s;

    if (u[0] < 0x80)
        return *len = 1, u[0];
    if (u[0] < 0xe0)
        return *len = 2, (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
    if (u[0] < 0xf0)
        return *len = 3, (u[0] & 0xfu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    return *len = 4,
           (u[0] & 7u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
}

/* Length of the character that starts with this byte. */
static inline int utf8_length(char first)
{
    unsigned char u = (unsigned char)first;

    return u < 0x80 ? 1 : u < 0xe0 ? 2 : u < 0xf0 ? 3 : 4;
}

/* Start of the character that ends at s[at - 1]; at > 0. */
static inline size_t utf8_before(const char *s, size_t at)
{
    do
        at--;
    while (((unsigned char)s[at] & 0xc0) == 0x80);
    return at;
}

#endif
