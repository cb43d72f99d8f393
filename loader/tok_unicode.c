#include "loader/tok_unicode.h"

#include <string.h>
#include <utf8proc.h>

#include "loader/tok_unicode_table.inc"

enum { RUNS = sizeof category_run / sizeof *category_run };

#define RANGES_HOLD(table, cp) ranges_hold(table, sizeof(table) / sizeof *(table), cp)

static bool ranges_hold(const struct unicode_range *r, size_t n, uint32_t cp)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (r[mid].hi < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && r[lo].lo <= cp;
}

/* Index of the run that holds cp. */
static size_t run_of(uint32_t cp)
{
    size_t lo = 0, hi = RUNS;

    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;

        if (category_run[mid] >> 5 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

enum unicode_category unicode_category(uint32_t cp)
{
    return category_run[run_of(cp)] & 31;
}

static bool category_in(uint32_t cp, uint32_t mask)
{
    return mask >> unicode_category(cp) & 1;
}

uint32_t unicode_mask(const char *name, size_t n)
{
    static const char order[] = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCoCn";
    uint32_t mask = 0;

    if (n != 1 && n != 2)
        return 0;
    for (int c = 0; c < UC_COUNT; c++)
        if (memcmp(order + 2 * c, name, n) == 0)
            mask |= 1u << c;
    return mask;
}

const struct unicode_range *unicode_script(const char *name, size_t n, size_t *count)
{
#define SCRIPT(s, table)                                                                           \
    {                                                                                              \
        s, table, sizeof(table) / sizeof *(table)                                                  \
    }
    static const struct {
        const char *name;
        const struct unicode_range *range;
        size_t count;
    } script[] = {SCRIPT("Han", han), SCRIPT("Hiragana", hiragana), SCRIPT("Katakana", katakana),
                  SCRIPT("Hangul", hangul)};
#undef SCRIPT

    for (size_t i = 0; i < sizeof script / sizeof *script; i++)
        if (strlen(script[i].name) == n && memcmp(script[i].name, name, n) == 0) {
            *count = script[i].count;
            return script[i].range;
        }
    return NULL;
}

bool unicode_next_run(uint32_t mask, uint32_t *lo, uint32_t *hi)
{
    size_t i;

    if (*lo >= UNICODE_END)
        return false;
    for (i = run_of(*lo); i < RUNS && !(mask >> (category_run[i] & 31) & 1); i++)
        ;
    if (i == RUNS)
        return false;
    if (category_run[i] >> 5 > *lo)
        *lo = category_run[i] >> 5;
    while (i < RUNS && (mask >> (category_run[i] & 31) & 1))
        i++;
    *hi = (i < RUNS ? category_run[i] >> 5 : UNICODE_END) - 1;
    return true;
}

bool unicode_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= '\t' && cp <= '\r');
    return cp == 0x85 || category_in(cp, 1u << UC_ZS | 1u << UC_ZL | 1u << UC_ZP);
}

bool unicode_is_word(uint32_t cp)
{
    return category_in(cp, unicode_mask("L", 1) | unicode_mask("M", 1) | 1u << UC_ND | 1u << UC_NL |
                               1u << UC_PC) ||
           RANGES_HOLD(word_extra, cp);
}

bool unicode_is_numeric(uint32_t cp)
{
    return category_in(cp, 1u << UC_ND | 1u << UC_NL | 1u << UC_NO) ||
           RANGES_HOLD(numeric_extra, cp);
}

bool unicode_is_punct(uint32_t cp)
{
    if (cp < 0x80)
        return cp > ' ' && cp < 0x7f && !category_in(cp, unicode_mask("L", 1) | 1u << UC_ND);
    return RANGES_HOLD(punct_extra, cp) ||
           (category_in(cp, unicode_mask("P", 1)) && !RANGES_HOLD(punct_missing, cp));
}

bool unicode_is_inert(uint32_t cp)
{
    return RANGES_HOLD(inert, cp);
}

/* Simple mappings of Unicode 16 and later that an older utf8proc lacks. */
static const struct lower_run {
    uint32_t lo, hi;
    int32_t step;
} lower_new[] = {
    {0x1c89, 0x1c89, 1},      {0xa7cb, 0xa7cb, -0xa567}, {0xa7cc, 0xa7cc, 1},
    {0xa7ce, 0xa7ce, 1},      {0xa7d2, 0xa7d2, 1},       {0xa7d4, 0xa7d4, 1},
    {0xa7da, 0xa7da, 1},      {0xa7dc, 0xa7dc, -0xa641}, {0x10d50, 0x10d65, 0x20},
    {0x16ea0, 0x16eb8, 0x1b},
};

int unicode_lower(uint32_t cp, uint32_t out[2])
{
    out[0] = cp;
    if (cp < 0x80) {
        out[0] = cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
        return 1;
    }
    if (cp == 0x130) { /* the only full mapping that differs: i and a dot above */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    for (size_t i = 0; i < sizeof lower_new / sizeof *lower_new; i++)
        if (cp >= lower_new[i].lo && cp <= lower_new[i].hi) {
            out[0] = (uint32_t)((int32_t)cp + lower_new[i].step);
            return 1;
        }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    return 1;
}

int utf8_encode(uint32_t cp, char out[UTF8_MAX])
{
    if (cp < 0x80)
        return out[0] = (char)cp, 1;
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}
