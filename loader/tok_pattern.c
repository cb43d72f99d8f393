#include "loader/tok_pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "loader/tok_set.h"

enum { PATTERN_MAX = 1 << 14, DEPTH_MAX = 64, CLASS_DEPTH_MAX = 8 };

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

/* Writes a set in brackets. The negation stays outside: without regard to case [^a] is not the same
 * as all characters but a. */
static enum status put_set(struct rewriter *w, struct tok_set *set, bool negated, struct err *e)
{
    size_t start;

    tok_set_tidy(set);
    TRY(put(w, negated ? "[^" : "[", e));
    start = w->out->n;
    for (size_t i = 0; i < set->n; i++)
        TRY(put_range(w, set->range[i].lo, set->range[i].hi, e));
    if (w->out->n == start)
        return refuse(w, "an empty class", e);
    return put(w, "]", e);
}

/* \w of Oniguruma beyond L, M, Nd, Nl, Pc; inside brackets without the first three. */
enum { WORD_LATIN1 = 3 };
static const struct unicode_range word_extra[] = {
    {0xb2, 0xb3},       {0xb9, 0xb9},       {0xbc, 0xbe},       {0x24b6, 0x24e9},
    {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189},
};

static enum status add_spaces(struct tok_set *set, struct err *e)
{
    TRY(tok_set_add(set, '\t', '\r', e));
    TRY(tok_set_add(set, 0x85, 0x85, e));
    return tok_set_add_mask(set, unicode_mask("Z", 1), e);
}

/* Adds \s, \d, \h or \w. */
static enum status add_letter(char letter, bool in_class, struct tok_set *set, struct err *e)
{
    size_t skip = in_class ? WORD_LATIN1 : 0;

    switch (letter) {
    case 's':
        return add_spaces(set, e);
    case 'd':
        return tok_set_add_mask(set, 1u << UC_ND, e);
    case 'h':
        TRY(tok_set_add(set, '0', '9', e));
        TRY(tok_set_add(set, 'A', 'F', e));
        return tok_set_add(set, 'a', 'f', e);
    }
    TRY(tok_set_add_mask(
        set, unicode_mask("L", 1) | unicode_mask("M", 1) | 1u << UC_ND | 1u << UC_NL | 1u << UC_PC,
        e));
    return tok_set_add_all(set, word_extra + skip, sizeof word_extra / sizeof *word_extra - skip,
                           e);
}

/* Adds \p{Name} or \p{^Name}; w->i stands at p. *negated is turned by a ^. */
static enum status add_property(struct rewriter *w, struct tok_set *set, bool *negated,
                                struct err *e)
{
    const char *s = w->s + w->i + 1, *end;
    const struct unicode_range *script;
    uint32_t mask;
    size_t n;

    if (*s != '{' || !(end = strchr(s, '}')))
        return refuse(w, "\\p without {name}", e);
    s++;
    if (*s == '^') {
        *negated = !*negated;
        s++;
    }
    w->i = (size_t)(end - w->s) + 1;
    mask = unicode_mask(s, (size_t)(end - s));
    if (mask)
        return tok_set_add_mask(set, mask, e);
    script = unicode_script(s, (size_t)(end - s), &n);
    if (script)
        return tok_set_add_all(set, script, n, e);
    return fail(
        e, ERR_DATA,
        "regex: the property %.*s is not supported (general categories and CJK scripts are)",
        (int)(end - s < 40 ? end - s : 40), s);
}

/* A class that a backslash starts (\s, \P{L}, ...), added to `set`. *is: it was one. */
static enum status add_escape(struct rewriter *w, bool in_class, struct tok_set *set, bool *is,
                              struct err *e)
{
    char c = w->s[w->i + 1], lower = (char)tolower((unsigned char)c);
    bool negated = c != lower;
    struct tok_set own = {0};
    enum status s;

    *is = c && strchr("sdhwp", lower);
    if (!*is)
        return OK;
    w->i++;
    if (lower == 'p') {
        s = add_property(w, &own, &negated, e);
    } else {
        w->i++;
        s = add_letter(lower, in_class, &own, e);
    }
    if (s == OK)
        s = negated ? tok_set_add_rest(set, &own, e) : tok_set_add_all(set, own.range, own.n, e);
    tok_set_free(&own);
    return s;
}

/* \uHHHH, \xHH, \x{H..}; w->i stands at the letter. */
static enum status read_code(struct rewriter *w, uint32_t *cp, struct err *e)
{
    bool brace = w->s[w->i] == 'x' && w->s[w->i + 1] == '{';
    int want = brace ? 6 : w->s[w->i] == 'u' ? 4 : 2, got = 0;
    size_t at = w->i + 1 + brace;

    *cp = 0;
    for (; got < want && isxdigit((unsigned char)w->s[at]); got++, at++) {
        char c = (char)tolower((unsigned char)w->s[at]);

        *cp = *cp * 16 + (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (got == 0 || (brace ? w->s[at++] != '}' : got != want) || *cp >= UNICODE_END ||
        (*cp >= 0xd800 && *cp < 0xe000) || (want == 2 && *cp > 0x7f))
        return refuse(w, "this character code", e);
    w->i = at;
    return OK;
}

/* One character, written as itself or with a backslash. */
static enum status read_char(struct rewriter *w, uint32_t *cp, struct err *e)
{
    static const char names[] = "nrtfae", codes[] = "\n\r\t\f\a\x1b";
    char text[3] = {'\\', 0, 0};
    const char *name;
    int len;

    if (w->s[w->i] == '\\') {
        char c = w->s[++w->i];

        text[1] = c;
        if (w->i >= w->n)
            return refuse(w, "a backslash at the end", e);
        if (c == 'u' || c == 'x')
            return read_code(w, cp, e);
        if (isalnum((unsigned char)c)) {
            name = strchr(names, c);
            if (!name)
                return refuse(w, text, e);
            *cp = (uint32_t)codes[name - names];
            w->i++;
            return OK;
        }
    }
    *cp = utf8_decode(w->s + w->i, &len);
    w->i += (size_t)len;
    return OK;
}

static enum status put_escape(struct rewriter *w, struct err *e)
{
    struct tok_set set = {0};
    char c = w->s[w->i + 1], anchor[3] = {'\\', c, 0};
    enum status s;
    uint32_t cp;
    bool is;

    if (c == 'A' || c == 'z' || c == 'Z') {
        w->i += 2;
        return put(w, anchor, e);
    }
    s = add_escape(w, false, &set, &is, e);
    if (s == OK && is)
        s = put_set(w, &set, false, e);
    tok_set_free(&set);
    if (s != OK || is)
        return s;
    TRY(read_char(w, &cp, e));
    return put_range(w, cp, cp, e);
}

static enum status read_class(struct rewriter *w, int depth, struct tok_set *set, bool *negated,
                              struct err *e);

/* A class inside a class. */
static enum status add_class(struct rewriter *w, int depth, struct tok_set *set, struct err *e)
{
    struct tok_set inner = {0};
    bool negated = false;
    enum status s = read_class(w, depth + 1, &inner, &negated, e);

    if (s == OK)
        s = negated ? tok_set_add_rest(set, &inner, e)
                    : tok_set_add_all(set, inner.range, inner.n, e);
    tok_set_free(&inner);
    return s;
}

/* A member of a class: a class, a character or a range. */
static enum status add_member(struct rewriter *w, int depth, struct tok_set *set, struct err *e)
{
    uint32_t lo, hi;
    bool is;

    if (looking_at(w, "[:space:]")) {
        w->i += strlen("[:space:]");
        return add_spaces(set, e);
    }
    if (looking_at(w, "[:"))
        return refuse(w, "this kind of class", e);
    if (w->s[w->i] == '[')
        return add_class(w, depth, set, e);
    if (w->s[w->i] == '\\') {
        TRY(add_escape(w, true, set, &is, e));
        if (is)
            return OK;
    }
    TRY(read_char(w, &lo, e));
    hi = lo;
    if (w->s[w->i] == '-' && w->i + 1 < w->n && w->s[w->i + 1] != ']') {
        w->i++;
        if (w->s[w->i] == '[' || looking_at(w, "&&") ||
            (w->s[w->i] == '\\' && strchr("sSdDhHwWpP", w->s[w->i + 1])))
            return refuse(w, "this end of a range", e);
        TRY(read_char(w, &hi, e));
    }
    return lo <= hi ? tok_set_add(set, lo, hi, e) : refuse(w, "a range that ends first", e);
}

/* [...] with unions and && as in Ruby; w->i stands at the bracket. `set` comes without the ^. */
static enum status read_class(struct rewriter *w, int depth, struct tok_set *set, bool *negated,
                              struct err *e)
{
    struct tok_set left = {0}; /* of the last && */
    bool met = false, first = true;
    enum status s = OK;

    if (depth == CLASS_DEPTH_MAX)
        return refuse(w, "a class this deep in others", e);
    w->i++;
    *negated = looking_at(w, "^");
    w->i += *negated;
    for (; s == OK && w->i < w->n && (w->s[w->i] != ']' || first); first = false) {
        if (!looking_at(w, "&&")) {
            s = add_member(w, depth, set, e);
            continue;
        }
        w->i += 2;
        if (met)
            s = tok_set_keep(set, &left, e);
        met = true;
        tok_set_free(&left);
        left = *set;
        *set = (struct tok_set){0};
    }
    if (s == OK && w->i >= w->n)
        s = refuse(w, "an open class", e);
    w->i++;
    if (s == OK && met)
        s = tok_set_keep(set, &left, e);
    tok_set_free(&left);
    return s;
}

static enum status put_class(struct rewriter *w, struct err *e)
{
    struct tok_set set = {0};
    bool negated;
    enum status s = read_class(w, 0, &set, &negated, e);

    if (s == OK)
        s = put_set(w, &set, negated, e);
    tok_set_free(&set);
    return s;
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
        return put_escape(w, e);
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
