/* Normalizers: a list of steps, each from one buffer into the other. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "loader/tok.h"

enum step_kind {
    STEP_FORM, /* NFC, NFD, NFKC, NFKD */
    STEP_LOWER,
    STEP_STRIP,
    STEP_PREPEND,
    STEP_REPLACE,
    STEP_BYTES /* ByteLevel */
};

struct step {
    enum step_kind kind;
    bool compose, compat;    /* STEP_FORM */
    bool left, right;        /* STEP_STRIP */
    struct tok_regex *re;    /* STEP_REPLACE */
    struct tok_text content; /* STEP_REPLACE, STEP_PREPEND */
};

struct tok_normalize {
    int n;
    struct step step[TOK_STEPS_MAX];
};

/* ---- reading ---- */

static enum status read_step(const struct json *j, const cJSON *block, const char *type,
                             struct step *s, struct err *e)
{
    const cJSON *item;

    if (strncmp(type, "NF", 2) == 0 &&
        (strcmp(type + 2, "C") == 0 || strcmp(type + 2, "D") == 0 || strcmp(type + 2, "KC") == 0 ||
         strcmp(type + 2, "KD") == 0)) {
        s->kind = STEP_FORM;
        s->compat = type[2] == 'K';
        s->compose = type[strlen(type) - 1] == 'C';
        return OK;
    }
    if (strcmp(type, "Lowercase") == 0 || strcmp(type, "ByteLevel") == 0) {
        s->kind = *type == 'L' ? STEP_LOWER : STEP_BYTES;
        return OK;
    }
    if (strcmp(type, "Strip") == 0) {
        s->kind = STEP_STRIP;
        TRY(tok_need_bool(j, block, "strip_left", &s->left, e));
        return tok_need_bool(j, block, "strip_right", &s->right, e);
    }
    if (strcmp(type, "Prepend") == 0) {
        s->kind = STEP_PREPEND;
        TRY(tok_need(j, block, "prepend", &item, e));
        TRY(tok_string(j, item, "prepend", &s->content, e));
        if (s->content.n == 0) /* Hugging Face would repeat the first character */
            return json_fail(j, item, e, "prepend is empty");
        return OK;
    }
    if (strcmp(type, "Replace") == 0) {
        s->kind = STEP_REPLACE;
        TRY(tok_need(j, block, "content", &item, e));
        TRY(tok_string(j, item, "content", &s->content, e));
        TRY(tok_need(j, block, "pattern", &item, e));
        return tok_regex_read(j, item, &s->re, e);
    }
    return json_fail(j, block, e, "normalizer %s is not supported", type);
}

/* Nesting is limited by the JSON reader, the number of steps here. */
static enum status add_steps(const struct json *j, const cJSON *block, struct tok_normalize *z,
                             struct err *e)
{
    const char *type;
    const cJSON *list, *member;

    TRY(tok_type(j, block, "normalizer", &type, e));
    if (strcmp(type, "Sequence") == 0) {
        TRY(tok_need_list(j, block, "normalizers", &list, e));
        cJSON_ArrayForEach(member, list) TRY(add_steps(j, member, z, e));
        return OK;
    }
    if (z->n == TOK_STEPS_MAX)
        return json_fail(j, block, e, "more than %d normalizers", TOK_STEPS_MAX);
    return read_step(j, block, type, &z->step[z->n++], e);
}

enum status tok_normalize_open(const struct json *j, const cJSON *block, struct tok_normalize **out,
                               struct err *e)
{
    struct tok_normalize *z;
    enum status s;

    *out = NULL;
    if (tok_is_null(block))
        return OK;
    z = calloc(1, sizeof *z);
    if (!z)
        return fail(e, ERR_FIT, "tokenizer: out of memory");
    s = add_steps(j, block, z, e);
    if (s != OK) {
        tok_normalize_close(z);
        return s;
    }
    *out = z;
    return OK;
}

void tok_normalize_close(struct tok_normalize *z)
{
    if (!z)
        return;
    for (int i = 0; i < z->n; i++) {
        tok_regex_close(z->step[i].re);
        tok_text_free(&z->step[i].content);
    }
    free(z);
}

/* ---- normalization forms ---- */

/* Code points of one stretch between characters that nothing combines across. */
struct stretch {
    utf8proc_int32_t *cp;
    size_t n, cap;
};

static enum status stretch_add(struct stretch *x, uint32_t cp, bool compat, struct err *e)
{
    enum { LONGEST = 18 }; /* code points that one decomposes to (U+FDFA) */
    int options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compat ? UTF8PROC_COMPAT : 0), last = 0;
    utf8proc_ssize_t got;

    TRY(tok_grow(&x->cp, &x->cap, x->n + LONGEST, sizeof *x->cp, e));
    got = utf8proc_decompose_char((utf8proc_int32_t)cp, x->cp + x->n, LONGEST, options, &last);
    if (got < 0 || got > LONGEST)
        return fail(e, ERR_INTERNAL, "utf8proc: U+%04X does not decompose: %s", cp,
                    utf8proc_errmsg(got));
    x->n += (size_t)got;
    return OK;
}

static int combining_class(utf8proc_int32_t cp)
{
    return utf8proc_get_property(cp)->combining_class;
}

/* Orders a run of marks by combining class, equal ones as they stand: one pass for each class that
 * occurs, so a megabyte of marks stays linear. */
static enum status order_marks(utf8proc_int32_t *cp, size_t n, struct err *e)
{
    bool seen[256] = {false}, sorted = true;
    utf8proc_int32_t *copy;
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        seen[combining_class(cp[i])] = true;
        sorted = sorted && (i == 0 || combining_class(cp[i - 1]) <= combining_class(cp[i]));
    }
    if (sorted)
        return OK;
    copy = malloc(n * sizeof *copy);
    if (!copy)
        return fail(e, ERR_FIT, "tokenizer: out of memory");
    memcpy(copy, cp, n * sizeof *copy);
    for (int class = 1; class < 256; class ++)
        for (size_t i = 0; seen[class] && i < n; i++)
            if (combining_class(copy[i]) == class)
                cp[k++] = copy[i];
    free(copy);
    return OK;
}

static enum status put_code_point(struct tok_text *out, uint32_t cp, struct err *e)
{
    char s[UTF8_MAX];

    return tok_text_add(out, s, (size_t)utf8_encode(cp, s), e);
}

static enum status stretch_end(struct stretch *x, bool compose, struct tok_text *out, struct err *e)
{
    for (size_t i = 0, k; i < x->n; i = k + 1) {
        for (k = i; k < x->n && combining_class(x->cp[k]) != 0; k++)
            ;
        TRY(order_marks(x->cp + i, k - i, e));
    }
    if (compose && x->n > 1) {
        utf8proc_ssize_t got = utf8proc_normalize_utf32(x->cp, (utf8proc_ssize_t)x->n,
                                                        UTF8PROC_COMPOSE | UTF8PROC_STABLE);

        if (got < 0)
            return fail(e, ERR_INTERNAL, "utf8proc: %s", utf8proc_errmsg(got));
        x->n = (size_t)got;
    }
    for (size_t i = 0; i < x->n; i++) {
        utf8proc_int32_t pair[4] = {x->cp[i]};
        utf8proc_ssize_t n = 1;
        int last = 0;

        if (unicode_is_inert((uint32_t)x->cp[i])) /* made by a newer utf8proc: take it back */
            n = utf8proc_decompose_char(x->cp[i], pair, 4, UTF8PROC_DECOMPOSE, &last);
        for (utf8proc_ssize_t k = 0; k < n && k < 4; k++)
            TRY(put_code_point(out, (uint32_t)pair[k], e));
    }
    x->n = 0;
    return OK;
}

static enum status to_form(const struct step *s, const struct tok_text *in, struct tok_text *out,
                           struct stretch *x, struct err *e)
{
    size_t i = 0;

    while (i < in->n) {
        size_t start = i;
        int len;

        /* ASCII stands for itself, but the last one before something else may take a mark */
        while (i < in->n && (unsigned char)in->at[i] < 0x80)
            i++;
        if (i > start && i < in->n)
            i--;
        TRY(tok_text_add(out, in->at + start, i - start, e));
        for (bool first = true; i < in->n; first = false, i += (size_t)len) {
            uint32_t cp = utf8_decode(in->at + i, &len);

            if (cp < 0x80 && !first)
                break;
            if (!unicode_is_inert(cp)) {
                TRY(stretch_add(x, cp, s->compat, e));
                continue;
            }
            TRY(stretch_end(x, s->compose, out, e));
            TRY(put_code_point(out, cp, e));
        }
        TRY(stretch_end(x, s->compose, out, e));
    }
    return OK;
}

/* ---- the other steps ---- */

static enum status to_lower(const struct tok_text *in, struct tok_text *out, struct err *e)
{
    int len;

    for (size_t i = 0; i < in->n; i += (size_t)len) {
        uint32_t lower[2];
        int n = unicode_lower(utf8_decode(in->at + i, &len), lower);

        for (int k = 0; k < n; k++)
            TRY(put_code_point(out, lower[k], e));
    }
    return OK;
}

static enum status strip(const struct step *s, const struct tok_text *in, struct tok_text *out,
                         bool *moved, struct err *e)
{
    size_t from = 0, to = in->n;
    int len;

    while (s->left && from < to && unicode_is_space(utf8_decode(in->at + from, &len)))
        from += (size_t)len;
    while (s->right && to > from) {
        size_t last = utf8_before(in->at, to);

        if (!unicode_is_space(utf8_decode(in->at + last, &len)))
            break;
        to = last;
    }
    *moved = *moved || from > 0;
    return tok_text_add(out, in->at + from, to - from, e);
}

static enum status replace(const struct step *s, struct tok_matcher *m, const struct tok_text *in,
                           struct tok_text *out, bool *moved, struct err *e)
{
    size_t done = 0, start, end;
    bool found;

    tok_matcher_start(m, s->re, in->at, in->n);
    for (;;) {
        TRY(tok_matcher_next(m, &found, &start, &end, e));
        if (!found)
            break;
        /* what replaces several characters stands where the last of them stood */
        *moved = *moved || (start == 0 && end > 0 &&
                            (s->content.n == 0 || end > (size_t)utf8_length(*in->at)));
        TRY(tok_text_add(out, in->at + done, start - done, e));
        TRY(tok_text_add(out, s->content.at, s->content.n, e));
        done = end;
    }
    return tok_text_add(out, in->at + done, in->n - done, e);
}

static enum status do_step(const struct step *s, struct tok_matcher *m, const struct tok_text *in,
                           struct tok_text *out, bool *moved, struct err *e)
{
    struct stretch x = {0};
    enum status status;

    switch (s->kind) {
    case STEP_LOWER:
        return to_lower(in, out, e);
    case STEP_STRIP:
        return strip(s, in, out, moved, e);
    case STEP_BYTES:
        return tok_byte_level(in->at, in->n, out, e);
    case STEP_PREPEND:
        TRY(tok_text_add(out, s->content.at, s->content.n, e));
        return tok_text_add(out, in->at, in->n, e);
    case STEP_REPLACE:
        return replace(s, m, in, out, moved, e);
    case STEP_FORM:
        break;
    }
    status = to_form(s, in, out, &x, e);
    free(x.cp);
    return status;
}

enum status tok_normalize(const struct tok_normalize *z, struct tok_matcher *m,
                          struct tok_text *text, struct tok_text *spare, bool *moved, struct err *e)
{
    *moved = false;
    for (int i = 0; z && i < z->n && text->n > 0; i++) {
        struct tok_text swap = *text;

        spare->n = 0;
        TRY(do_step(&z->step[i], m, text, spare, moved, e));
        if (spare->n > TOK_TEXT_MAX)
            return fail(e, ERR_DATA, "tokenizer: the text grows beyond %d bytes when normalized",
                        TOK_TEXT_MAX);
        *text = *spare;
        *spare = swap;
    }
    return OK;
}
