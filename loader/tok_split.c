/* Pre-tokenizers: each cuts the pieces of the one before, some rewrite their text as well. */
#include <stdlib.h>
#include <string.h>

#include "loader/tok.h"

enum step_kind {
    STEP_REGEX,
    STEP_CHARS, /* each character of a set is one match */
    STEP_WORDS, /* runs of word characters, runs of others, no spaces */
    STEP_METASPACE,
    STEP_BYTES /* ByteLevel */
};

enum behavior { ISOLATED, REMOVED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS, BEHAVIORS };
enum prepend { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct step {
    enum step_kind kind;
    enum behavior behavior;
    bool invert;
    struct tok_regex *re;       /* STEP_REGEX; the pattern of STEP_BYTES or NULL */
    bool (*holds)(uint32_t cp); /* STEP_CHARS, or NULL: */
    uint32_t delimiter;         /* STEP_CHARS: the only member; STEP_METASPACE: its mark */
    enum prepend prepend;       /* STEP_METASPACE */
    bool split;                 /* STEP_METASPACE */
    bool prefix_space;          /* STEP_BYTES */
};

struct tok_split {
    int n;
    struct step step[TOK_STEPS_MAX];
};

/* ---- reading ---- */

static enum status read_behavior(const struct json *j, const cJSON *block, struct step *s,
                                 struct err *e)
{
    static const char *const name[BEHAVIORS] = {"Isolated", "Removed", "MergedWithPrevious",
                                                "MergedWithNext", "Contiguous"};
    const cJSON *item;
    const char *got;

    TRY(tok_need(j, block, "behavior", &item, e));
    TRY(json_string(j, item, "behavior", &got, e));
    for (int i = 0; i < BEHAVIORS; i++)
        if (strcmp(got, name[i]) == 0) {
            s->behavior = (enum behavior)i;
            return OK;
        }
    return json_fail(j, item, e,
                     "behavior: got \"%.40s\", want Isolated, Removed, "
                     "MergedWithPrevious, MergedWithNext or Contiguous",
                     got);
}

/* A member that is one character. */
static enum status read_char(const struct json *j, const cJSON *block, const char *key,
                             uint32_t *cp, struct err *e)
{
    struct tok_text text = {0};
    const cJSON *item;
    enum status s;
    int len;

    TRY(tok_need(j, block, key, &item, e));
    s = tok_string(j, item, key, &text, e);
    if (s == OK && (text.n == 0 || (size_t)utf8_length(*text.at) != text.n))
        s = json_fail(j, item, e, "%s is not one character", key);
    if (s == OK)
        *cp = utf8_decode(text.at, &len);
    tok_text_free(&text);
    return s;
}

static enum status read_metaspace(const struct json *j, const cJSON *block, bool leads,
                                  struct step *s, struct err *e)
{
    static const char *const name[] = {"always", "first", "never"};
    const cJSON *scheme = json_member(block, "prepend_scheme");
    const char *got = "always";
    bool prefix;
    int k = 0;

    s->kind = STEP_METASPACE;
    s->behavior = MERGED_WITH_NEXT;
    TRY(read_char(j, block, "replacement", &s->delimiter, e));
    TRY(tok_bool(j, block, "split", true, &s->split, e));
    TRY(tok_bool(j, block, "add_prefix_space", true, &prefix, e));
    if (!tok_is_null(scheme))
        TRY(json_string(j, scheme, "prepend_scheme", &got, e));
    while (k < 3 && strcmp(got, name[k]) != 0)
        k++;
    if (k == 3)
        return json_fail(j, scheme, e, "prepend_scheme: got \"%.40s\", want always, first or never",
                         got);
    if (!prefix && k != PREPEND_NEVER)
        return json_fail(j, block, e, "add_prefix_space is false, but prepend_scheme is %s", got);
    if (k == PREPEND_FIRST && !leads) /* which pieces start the text is then a matter of taste */
        return json_fail(j, block, e, "prepend_scheme first behind another pre-tokenizer");
    s->prepend = (enum prepend)k;
    return OK;
}

static enum status read_byte_level(const struct json *j, const cJSON *block, struct step *s,
                                   struct err *e)
{
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                               "|\\s+(?!\\S)|\\s+";
    bool use_regex;

    s->kind = STEP_BYTES;
    TRY(tok_need_bool(j, block, "add_prefix_space", &s->prefix_space, e));
    TRY(tok_bool(j, block, "use_regex", true, &use_regex, e));
    return use_regex ? tok_regex_open(gpt2, sizeof gpt2 - 1, &s->re, e) : OK;
}

/* leads: no other step comes before it. */
static enum status read_step(const struct json *j, const cJSON *block, const char *type, bool leads,
                             struct step *s, struct err *e)
{
    const cJSON *item;
    bool alone;

    if (strcmp(type, "Split") == 0) {
        TRY(read_behavior(j, block, s, e));
        TRY(tok_need_bool(j, block, "invert", &s->invert, e));
        TRY(tok_need(j, block, "pattern", &item, e));
        return tok_regex_read(j, item, &s->re, e);
    }
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(j, block, s, e);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(j, block, leads, s, e);
    s->kind = STEP_CHARS;
    if (strcmp(type, "Digits") == 0) {
        s->holds = unicode_is_numeric;
        TRY(tok_need_bool(j, block, "individual_digits", &alone, e));
        s->behavior = alone ? ISOLATED : CONTIGUOUS;
        return OK;
    }
    if (strcmp(type, "Punctuation") == 0) {
        s->holds = unicode_is_punct;
        return json_member(block, "behavior") ? read_behavior(j, block, s, e) : OK;
    }
    s->behavior = REMOVED;
    if (strcmp(type, "WhitespaceSplit") == 0) {
        s->holds = unicode_is_space;
        return OK;
    }
    if (strcmp(type, "CharDelimiterSplit") == 0)
        return read_char(j, block, "delimiter", &s->delimiter, e);
    if (strcmp(type, "Whitespace") == 0) {
        s->kind = STEP_WORDS;
        return OK;
    }
    return json_fail(j, block, e, "pre-tokenizer %s is not supported", type);
}

static enum status add_steps(const struct json *j, const cJSON *block, struct tok_split *p,
                             struct err *e)
{
    const char *type;
    const cJSON *list, *member;

    TRY(tok_type(j, block, "pre-tokenizer", &type, e));
    if (strcmp(type, "Sequence") == 0) {
        TRY(tok_need_list(j, block, "pretokenizers", &list, e));
        cJSON_ArrayForEach(member, list) TRY(add_steps(j, member, p, e));
        return OK;
    }
    if (p->n == TOK_STEPS_MAX)
        return json_fail(j, block, e, "more than %d pre-tokenizers", TOK_STEPS_MAX);
    p->n++;
    return read_step(j, block, type, p->n == 1, &p->step[p->n - 1], e);
}

enum status tok_split_open(const struct json *j, const cJSON *block, struct tok_split **out,
                           struct err *e)
{
    struct tok_split *p;
    enum status s;

    *out = NULL;
    if (tok_is_null(block))
        return OK;
    p = calloc(1, sizeof *p);
    if (!p)
        return fail(e, ERR_FIT, "tokenizer: out of memory");
    s = add_steps(j, block, p, e);
    if (s != OK) {
        tok_split_close(p);
        return s;
    }
    *out = p;
    return OK;
}

void tok_split_close(struct tok_split *p)
{
    for (int i = 0; p && i < p->n; i++)
        tok_regex_close(p->step[i].re);
    free(p);
}

/* ---- cutting one piece ---- */

/* Takes matches and the gaps between them in text order and puts out what the behavior makes of
 * them. `open` is the cut that may still grow. */
struct cutter {
    enum behavior behavior;
    bool invert;
    struct tok_pieces *out;
    struct tok_span open;
    bool has_open, last_match;
};

static enum status cut_flush(struct cutter *c, struct err *e)
{
    c->has_open = false;
    return tok_pieces_add(c->out, c->open.at, c->open.n, e);
}

static enum status cut_add(struct cutter *c, size_t at, size_t end, bool match, struct err *e)
{
    bool join = false;

    match = match != c->invert;
    if (c->behavior == REMOVED && match)
        return OK;
    if (c->behavior == CONTIGUOUS)
        join = match == c->last_match;
    else if (c->behavior == MERGED_WITH_PREVIOUS)
        join = match && !c->last_match;
    else if (c->behavior == MERGED_WITH_NEXT) /* a match joins the gap behind it */
        join = !match && c->last_match;
    if (c->has_open && !join)
        TRY(cut_flush(c, e));
    if (!c->has_open)
        c->open = (struct tok_span){at, 0};
    c->open.n = end - c->open.at;
    c->has_open = true;
    c->last_match = match;
    return OK;
}

static enum status cut_regex(struct cutter *c, const struct tok_regex *re, struct tok_matcher *m,
                             const char *text, struct tok_span in, struct err *e)
{
    size_t done = 0, start, end;
    bool found;

    tok_matcher_start(m, re, text + in.at, in.n);
    for (;;) {
        TRY(tok_matcher_next(m, &found, &start, &end, e));
        if (!found)
            break;
        if (start > done)
            TRY(cut_add(c, in.at + done, in.at + start, false, e));
        TRY(cut_add(c, in.at + start, in.at + end, true, e));
        done = end;
    }
    return done < in.n ? cut_add(c, in.at + done, in.at + in.n, false, e) : OK;
}

static enum status cut_chars(struct cutter *c, const struct step *s, const char *text,
                             struct tok_span in, struct err *e)
{
    size_t gap = in.at, i, end = in.at + in.n;
    int len;

    for (i = gap; i < end; i += (size_t)len) {
        uint32_t cp = utf8_decode(text + i, &len);

        if (!(s->holds ? s->holds(cp) : cp == s->delimiter))
            continue;
        if (gap < i)
            TRY(cut_add(c, gap, i, false, e));
        gap = i + (size_t)len;
        TRY(cut_add(c, i, gap, true, e));
    }
    return gap < end ? cut_add(c, gap, end, false, e) : OK;
}

static enum status cut_words(const char *text, struct tok_span in, struct tok_pieces *out,
                             struct err *e)
{
    enum { SPACE, WORD, OTHER } kind = SPACE, next;
    size_t start = in.at, i, end = in.at + in.n;
    int len;

    for (i = start; i < end; i += (size_t)len, kind = next) {
        uint32_t cp = utf8_decode(text + i, &len);

        next = unicode_is_word(cp) ? WORD : unicode_is_space(cp) ? SPACE : OTHER;
        if (next == kind)
            continue;
        if (kind != SPACE)
            TRY(tok_pieces_add(out, start, i - start, e));
        start = i;
    }
    return kind == SPACE ? OK : tok_pieces_add(out, start, end - start, e);
}

static enum status cut_piece(const struct step *s, struct tok_matcher *m, const char *text,
                             struct tok_span in, struct tok_pieces *out, struct err *e)
{
    struct cutter c = {.behavior = s->behavior, .invert = s->invert, .out = out};

    if (s->kind == STEP_WORDS)
        return cut_words(text, in, out, e);
    TRY(s->re ? cut_regex(&c, s->re, m, text, in, e) : cut_chars(&c, s, text, in, e));
    return c.has_open ? cut_flush(&c, e) : OK;
}

/* ---- rewriting one piece ---- */

/* Spaces become the mark; the mark may go before the whole. */
static enum status mark_spaces(const struct step *s, const char *text, size_t n, bool first,
                               struct tok_text *out, struct err *e)
{
    char mark[UTF8_MAX];
    size_t len = (size_t)utf8_encode(s->delimiter, mark), done = 0;
    bool marked = text[0] == ' ' || (n >= len && memcmp(text, mark, len) == 0);

    if (!marked && (s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && first)))
        TRY(tok_text_add(out, mark, len, e));
    for (size_t i = 0; i < n; i++) {
        if (text[i] != ' ')
            continue;
        TRY(tok_text_add(out, text + done, i - done, e));
        TRY(tok_text_add(out, mark, len, e));
        done = i + 1;
    }
    return tok_text_add(out, text + done, n - done, e);
}

enum status tok_byte_level(const char *s, size_t n, struct tok_text *out, struct err *e)
{
    char *to;

    TRY(tok_text_reserve(out, 2 * n, e));
    to = out->at + out->n;
    for (size_t i = 0; i < n; i++) {
        uint32_t b = (unsigned char)s[i];

        /* bytes that print as Latin-1 stand for themselves, the other 68 follow from U+0100 */
        if (b <= ' ')
            b += 0x100;
        else if (b >= 0x7f && b <= 0xa0)
            b += 0x100 + 33 - 0x7f;
        else if (b == 0xad)
            b = 0x143;
        to += utf8_encode(b, to);
    }
    out->n = (size_t)(to - out->at);
    return OK;
}

/* Rewrites every piece of `in` into `out`: the texts in turn, one span each. */
static enum status rewrite(const struct step *s, const struct tok_pieces *in,
                           struct tok_pieces *out, bool mapped, struct err *e)
{
    for (size_t i = 0; i < in->n; i++) {
        const char *text = in->text.at + in->span[i].at;
        size_t n = in->span[i].n, start = out->text.n;

        if (s->kind == STEP_METASPACE) {
            TRY(mark_spaces(s, text, n, in->at_start, &out->text, e));
        } else if (mapped) {
            TRY(tok_byte_level(text, n, &out->text, e));
        } else {
            if (*text != ' ')
                TRY(tok_text_add(&out->text, " ", 1, e));
            TRY(tok_text_add(&out->text, text, n, e));
        }
        TRY(tok_pieces_add(out, start, out->text.n - start, e));
    }
    return OK;
}

static void swap_pieces(struct tok_pieces *a, struct tok_pieces *b)
{
    struct tok_pieces t = *a;

    *a = *b;
    *b = t;
    b->n = b->text.n = 0;
}

/* Cuts every piece; the text stays where it is. */
static enum status cut_all(const struct step *s, struct tok_matcher *m, struct tok_pieces *p,
                           struct tok_pieces *spare, struct err *e)
{
    struct tok_text text = p->text;

    for (size_t i = 0; i < p->n; i++)
        TRY(cut_piece(s, m, text.at, p->span[i], spare, e));
    p->text = spare->text;
    spare->text = text;
    swap_pieces(p, spare);
    return OK;
}

static enum status rewrite_all(const struct step *s, struct tok_pieces *p, struct tok_pieces *spare,
                               bool mapped, struct err *e)
{
    TRY(rewrite(s, p, spare, mapped, e));
    swap_pieces(p, spare);
    return OK;
}

enum status tok_split(const struct tok_split *split, struct tok_matcher *m, struct tok_pieces *p,
                      struct tok_pieces *spare, struct err *e)
{
    spare->n = spare->text.n = 0;
    for (int i = 0; split && i < split->n; i++) {
        const struct step *s = &split->step[i];

        switch (s->kind) {
        case STEP_METASPACE:
            TRY(rewrite_all(s, p, spare, false, e));
            if (s->split)
                TRY(cut_all(s, m, p, spare, e));
            break;
        case STEP_BYTES:
            if (s->prefix_space)
                TRY(rewrite_all(s, p, spare, false, e));
            if (s->re)
                TRY(cut_all(s, m, p, spare, e));
            TRY(rewrite_all(s, p, spare, true, e));
            break;
        default:
            TRY(cut_all(s, m, p, spare, e));
        }
    }
    return OK;
}
