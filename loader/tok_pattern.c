#include "loader/tok_pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { PATTERN_MAX = 1 << 14, DEPTH_MAX = 64 };

struct rewriter {
    const char *s; /* pattern */
    size_t n, i;
    struct tok_text *out;
    size_t atom;             /* where the last atom starts in out: what a quantifier takes */
    size_t group[DEPTH_MAX]; /* where each open group starts */
    int depth;
    bool fresh; /* at the start of the pattern or of a group */
};

static enum status put(struct rewriter *w, const char *s, struct err *e)
{
    return tok_text_add(w->out, s, strlen(s), e);
}

static enum status refuse(const struct rewriter *w, const char *what, struct err *e)
{
    return fail(e, ERR_DATA, "regex: %s at byte %zu is not supported (in %.100s)", what, w->i,
                w->s);
}

static bool looking_at(const struct rewriter *w, const char *s)
{
    size_t n = strlen(s);

    return w->n - w->i >= n && memcmp(w->s + w->i, s, n) == 0;
}

static enum status put_range(struct rewriter *w, uint32_t lo, uint32_t hi, struct err *e)
{
    char text[32];

    /* PCRE2 takes no surrogate as the end of a range; text never holds one */
    if (lo >= 0xd800 && lo < 0xe000)
        lo = 0xe000;
    if (hi >= 0xd800 && hi < 0xe000)
        hi = 0xd7ff;
    if (lo > hi)
        return OK;
    snprintf(text, sizeof text, lo == hi ? "\\x{%x}" : "\\x{%x}-\\x{%x}", lo, hi);
    return put(w, text, e);
}

/* A set of code points: categories and a few ranges beside them. */
struct set {
    uint32_t mask;
    const uint32_t (*extra)[2]; /* ascending */
    size_t n_extra;
};

static const uint32_t space_extra[][2] = {{0x9, 0xd}, {0x85, 0x85}};
static const uint32_t hex_extra[][2] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
/* \w of Oniguruma beyond L, M, Nd, Nl, Pc; inside brackets without the first three */
enum { WORD_LATIN1 = 3 };
static const uint32_t word_extra[][2] = {
    {0xb2, 0xb3},       {0xb9, 0xb9},       {0xbc, 0xbe},       {0x24b6, 0x24e9},
    {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189},
};

#define EXTRA(a) (a), sizeof(a) / sizeof *(a)

static bool set_of_letter(char letter, bool in_class, struct set *set)
{
    switch (tolower((unsigned char)letter)) {
    case 's':
        *set = (struct set){1u << UC_ZS | 1u << UC_ZL | 1u << UC_ZP, EXTRA(space_extra)};
        return true;
    case 'd':
        *set = (struct set){1u << UC_ND, NULL, 0};
        return true;
    case 'h':
        *set = (struct set){0, EXTRA(hex_extra)};
        return true;
    case 'w':
        *set = (struct set){unicode_mask("L", 1) | unicode_mask("M", 1) | 1u << UC_ND |
                                1u << UC_NL | 1u << UC_PC,
                            EXTRA(word_extra)};
        if (in_class) {
            set->extra += WORD_LATIN1;
            set->n_extra -= WORD_LATIN1;
        }
        return true;
    }
    return false;
}

/* The next run of the set at or after *lo. */
static bool set_next(const struct set *set, uint32_t *lo, uint32_t *hi)
{
    uint32_t at = *lo;
    bool found = unicode_next_run(set->mask, lo, hi);

    for (size_t k = 0; k < set->n_extra; k++) {
        uint32_t a = set->extra[k][0] > at ? set->extra[k][0] : at;

        if (a <= set->extra[k][1] && (!found || a < *lo)) {
            *lo = a;
            *hi = set->extra[k][1];
            return true;
        }
    }
    return found;
}

/* Writes the set's ranges, or those of its complement, as they stand in brackets. */
static enum status put_set(struct rewriter *w, const struct set *set, bool negated, struct err *e)
{
    uint32_t lo = 0, hi, gap = 0;

    while (set_next(set, &lo, &hi)) {
        if (!negated)
            TRY(put_range(w, lo, hi, e));
        else if (gap < lo)
            TRY(put_range(w, gap, lo - 1, e));
        gap = lo = hi + 1;
    }
    return negated && gap < UNICODE_END ? put_range(w, gap, UNICODE_END - 1, e) : OK;
}

/* Reads \p{Name}, \p{^Name} or \P{Name}; w->i stands at p. */
static enum status read_property(struct rewriter *w, struct set *set, bool *negated, struct err *e)
{
    const char *s = w->s + w->i + 1, *end;

    *negated = w->s[w->i] == 'P';
    if (*s != '{' || !(end = strchr(s, '}')))
        return refuse(w, "\\p without {name}", e);
    s++;
    if (*s == '^') {
        *negated = !*negated;
        s++;
    }
    *set = (struct set){unicode_mask(s, (size_t)(end - s)), NULL, 0};
    if (!set->mask || set->mask == 1u << UC_CS) /* no text holds a surrogate */
        return fail(e, ERR_DATA,
                    "regex: the property %.*s is not supported (general categories are)",
                    (int)(end - s < 40 ? end - s : 40), s);
    w->i = (size_t)(end - w->s) + 1;
    return OK;
}

/* \uHHHH, \xHH, \x{H..}; w->i stands at the letter. */
static enum status put_code(struct rewriter *w, struct err *e)
{
    bool brace = w->s[w->i] == 'x' && w->s[w->i + 1] == '{';
    int want = brace ? 6 : w->s[w->i] == 'u' ? 4 : 2, got = 0;
    uint32_t cp = 0;
    size_t at = w->i + 1 + brace;

    for (; got < want && isxdigit((unsigned char)w->s[at]); got++, at++) {
        char c = (char)tolower((unsigned char)w->s[at]);

        cp = cp * 16 + (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (got == 0 || (brace ? w->s[at++] != '}' : got != want) || cp >= UNICODE_END ||
        (cp >= 0xd800 && cp < 0xe000) || (want == 2 && cp > 0x7f))
        return refuse(w, "this character code", e);
    w->i = at;
    return put_range(w, cp, cp, e);
}

/* A backslash and what follows, outside or inside brackets. */
static enum status put_escape(struct rewriter *w, bool in_class, struct err *e)
{
    char c = w->s[++w->i], text[3] = {'\\', c, 0};
    struct set set = {0};
    bool negated = isupper((unsigned char)c);

    if (w->i >= w->n)
        return refuse(w, "a backslash at the end", e);
    if (c == 'p' || c == 'P') {
        TRY(read_property(w, &set, &negated, e));
    } else if (set_of_letter(c, in_class, &set)) {
        w->i++;
    } else if (c == 'u' || c == 'x') {
        return put_code(w, e);
    } else {
        bool anchor = c == 'A' || c == 'z' || c == 'Z';

        if (isalnum((unsigned char)c) && !strchr("nrtfae", c) && !(anchor && !in_class))
            return refuse(w, text, e);
        if ((unsigned char)c >= 0x80) /* an escaped character of several bytes: itself */
            return OK;
        w->i++;
        return put(w, text, e);
    }
    if (!in_class)
        TRY(put(w, "[", e));
    TRY(put_set(w, &set, negated, e));
    return in_class ? OK : put(w, "]", e);
}

static enum status put_class(struct rewriter *w, struct err *e)
{
    bool first = true;

    TRY(put(w, "[", e));
    w->i++;
    if (looking_at(w, "^")) {
        TRY(put(w, "^", e));
        w->i++;
    }
    for (; w->i < w->n && (w->s[w->i] != ']' || first); first = false) {
        if (looking_at(w, "[:space:]")) {
            struct set set = {0};

            set_of_letter('s', true, &set);
            TRY(put_set(w, &set, false, e));
            w->i += strlen("[:space:]");
        } else if (w->s[w->i] == '[') {
            return refuse(w, "a class inside a class", e);
        } else if (looking_at(w, "&&")) {
            return refuse(w, "a class intersection", e);
        } else if (w->s[w->i] == '\\') {
            TRY(put_escape(w, true, e));
        } else {
            TRY(tok_text_add(w->out, w->s + w->i++, 1, e));
        }
    }
    if (w->i == w->n)
        return refuse(w, "an open class", e);
    w->i++;
    return put(w, "]", e);
}

static enum status put_group(struct rewriter *w, struct err *e)
{
    static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    size_t k = 0;

    if (looking_at(w, "(?i)")) {
        if (!w->fresh) /* Ruby and PCRE2 differ in how far it reaches */
            return refuse(w, "(?i) within a branch", e);
        w->i += 4;
        return put(w, "(?i)", e);
    }
    if (w->depth == DEPTH_MAX)
        return refuse(w, "nesting this deep", e);
    w->group[w->depth++] = w->out->n;
    w->fresh = true;
    if (!looking_at(w, "(?") && !looking_at(w, "(*")) {
        w->i++;
        return put(w, "(", e);
    }
    while (k < sizeof kinds / sizeof *kinds && !looking_at(w, kinds[k]))
        k++;
    if (k == sizeof kinds / sizeof *kinds)
        return refuse(w, "this kind of group", e);
    w->i += strlen(kinds[k]);
    return put(w, kinds[k], e);
}

/* {n}, {n,}, {n,m}, {,m}: w->i stands at the brace. Anything else is a literal brace. */
static enum status put_brace(struct rewriter *w, bool *interval, struct err *e)
{
    size_t lo = w->i + 1, comma, hi;
    char text[32];

    for (comma = lo; isdigit((unsigned char)w->s[comma]); comma++)
        ;
    hi = comma + (w->s[comma] == ',');
    size_t end = hi;
    while (isdigit((unsigned char)w->s[end]))
        end++;
    *interval = w->s[end] == '}' && end > lo && !(comma == lo && end == hi) && end - lo < 16;
    if (!*interval) {
        w->i++;
        return put(w, "\\{", e);
    }
    if (hi == comma && w->s[end + 1] == '?')
        return refuse(w, "{n}?", e);
    snprintf(text, sizeof text, "{%s%.*s}", comma == lo ? "0" : "", (int)(end - lo), w->s + lo);
    w->i = end + 1;
    TRY(put(w, text, e));
    if (!looking_at(w, "+"))
        return OK;
    /* Ruby: (?:X{n,m})+, where PCRE2 would read a possessive interval */
    TRY(tok_text_reserve(w->out, 4, e));
    memmove(w->out->at + w->atom + 3, w->out->at + w->atom, w->out->n - w->atom);
    memcpy(w->out->at + w->atom, "(?:", 3);
    w->out->n += 3;
    return put(w, ")", e);
}

/* One atom, quantifier or bar. */
static enum status put_item(struct rewriter *w, struct err *e)
{
    size_t start = w->out->n;
    bool fresh = w->fresh, interval;
    char c = w->s[w->i];

    w->fresh = false;
    switch (c) {
    case '\\':
        w->atom = start;
        return put_escape(w, false, e);
    case '[':
        w->atom = start;
        return put_class(w, e);
    case '(':
        w->fresh = fresh;
        return put_group(w, e);
    case ')':
        if (w->depth == 0)
            return refuse(w, "a closing bracket too many", e);
        w->atom = w->group[--w->depth];
        break;
    case '{':
        TRY(put_brace(w, &interval, e));
        if (!interval)
            w->atom = start;
        return OK;
    case '*':
    case '+':
    case '?':
        break; /* belongs to the atom before it */
    default:
        w->atom = start;
        w->i += (size_t)utf8_length(c);
        return tok_text_add(w->out, w->s + w->i - utf8_length(c), (size_t)utf8_length(c), e);
    }
    w->i++;
    return tok_text_add(w->out, &c, 1, e);
}

enum status tok_pattern_rewrite(const char *pattern, size_t n, struct tok_text *out, struct err *e)
{
    struct rewriter w = {.s = pattern, .n = n, .out = out, .fresh = true};

    if (n > PATTERN_MAX || strlen(pattern) != n)
        return fail(e, ERR_DATA, "regex: longer than %d bytes, or with a NUL in it", PATTERN_MAX);
    while (w.i < w.n)
        TRY(put_item(&w, e));
    return OK;
}
