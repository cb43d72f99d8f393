/* Regular expressions through PCRE2, with Oniguruma's way of going over the matches. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "loader/tok.h"
#include "loader/tok_pattern.h"

enum {
    JIT_STACK_MAX = 64 << 20, /* only what is used becomes memory */
    HEAP_MAX_KIB = 1 << 20,   /* for the interpreter, where there is no JIT */
    MATCH_STEPS_MIN = 10000000
};

struct tok_regex {
    pcre2_code *code;
};

static enum status regex_compile(const char *s, size_t n, uint32_t options, struct tok_regex **out,
                                 struct err *e)
{
    struct tok_regex *re = calloc(1, sizeof *re);
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    int code = 0;
    PCRE2_SIZE at = 0;
    PCRE2_UCHAR message[128] = "";

    if (!re || !c) {
        free(re);
        pcre2_compile_context_free(c);
        return fail(e, ERR_FIT, "regex: out of memory");
    }
    pcre2_set_newline(c, PCRE2_NEWLINE_LF);
    re->code =
        pcre2_compile((PCRE2_SPTR)s, n, options | PCRE2_UTF | PCRE2_NO_UTF_CHECK, &code, &at, c);
    pcre2_compile_context_free(c);
    if (!re->code) {
        free(re);
        pcre2_get_error_message(code, message, sizeof message);
        return fail(e, ERR_DATA, "regex: %s (after the first %zu bytes as rewritten)",
                    (const char *)message, (size_t)at);
    }
    pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE); /* without it pcre2_match interprets */
    *out = re;
    return OK;
}

enum status tok_regex_open(const char *pattern, size_t n, struct tok_regex **out, struct err *e)
{
    struct tok_text text = {0};
    enum status s = tok_pattern_rewrite(pattern, n, &text, e);

    /* ^ and $ of Ruby are those of lines */
    if (s == OK)
        s = regex_compile(text.at ? text.at : "", text.n,
                          PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, out, e);
    tok_text_free(&text);
    return s;
}

enum status tok_regex_literal(const char *text, size_t n, struct tok_regex **out, struct err *e)
{
    return regex_compile(text, n, PCRE2_LITERAL, out, e);
}

enum status tok_regex_read(const struct json *j, const cJSON *pattern, struct tok_regex **out,
                           struct err *e)
{
    const cJSON *regex = json_member(pattern, "Regex"), *literal = json_member(pattern, "String");
    struct tok_text text = {0};
    enum status s;

    if (!regex == !literal)
        return json_fail(j, pattern, e,
                         "pattern is neither {\"Regex\": ...} nor {\"String\": ...}");
    s = tok_string(j, regex ? regex : literal, "pattern", &text, e);
    if (s == OK)
        s = tok_text_add(&text, "", 1, e); /* a NUL behind it */
    if (s == OK) {
        s = (regex ? tok_regex_open : tok_regex_literal)(text.at, text.n - 1, out, e);
        if (s == ERR_DATA)
            s = json_fail(j, pattern, e, "%s", e->msg);
    }
    tok_text_free(&text);
    return s;
}

void tok_regex_close(struct tok_regex *re)
{
    if (re)
        pcre2_code_free(re->code);
    free(re);
}

enum status tok_matcher_open(struct tok_matcher *m, struct err *e)
{
    *m = (struct tok_matcher){.data = pcre2_match_data_create(1, NULL),
                              .context = pcre2_match_context_create(NULL),
                              .stack = pcre2_jit_stack_create(32 << 10, JIT_STACK_MAX, NULL)};
    if (!m->data || !m->context) {
        tok_matcher_close(m);
        return fail(e, ERR_FIT, "regex: out of memory");
    }
    pcre2_set_heap_limit(m->context, HEAP_MAX_KIB);
    if (m->stack) /* NULL where PCRE2 was built without JIT */
        pcre2_jit_stack_assign(m->context, NULL, m->stack);
    return OK;
}

void tok_matcher_close(struct tok_matcher *m)
{
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    *m = (struct tok_matcher){0};
}

void tok_matcher_start(struct tok_matcher *m, const struct tok_regex *re, const char *text,
                       size_t n)
{
    size_t steps = MATCH_STEPS_MIN + 64 * n;

    m->re = re;
    m->text = text;
    m->n = n;
    m->next = 0;
    m->any = false;
    /* runs of any length pass; an expression that blows up exponentially does not */
    pcre2_set_match_limit(m->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_depth_limit(m->context, UINT32_MAX);
}

static enum status match_failed(int code, struct err *e)
{
    PCRE2_UCHAR message[128] = "";

    pcre2_get_error_message(code, message, sizeof message);
    return fail(e, ERR_DATA, "regex: cannot match this text: %s", (const char *)message);
}

enum status tok_matcher_next(struct tok_matcher *m, bool *found, size_t *start, size_t *end,
                             struct err *e)
{
    const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(m->data);

    *found = false;
    while (m->next <= m->n) {
        int got = pcre2_match(m->re->code, (PCRE2_SPTR)m->text, m->n, m->next, PCRE2_NO_UTF_CHECK,
                              m->data, m->context);

        if (got == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its frames on the heap */
            got = pcre2_match(m->re->code, (PCRE2_SPTR)m->text, m->n, m->next,
                              PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data, m->context);
        if (got == PCRE2_ERROR_NOMATCH)
            return OK;
        if (got < 0)
            return match_failed(got, e);
        *start = pair[0];
        *end = pair[1];
        if (*start > *end)
            return fail(e, ERR_DATA, "regex: a match ends before it starts");
        m->next = *end;
        if (*start != *end || !m->any || *end != m->last_end) {
            m->any = *found = true;
            m->last_end = *end;
            return OK;
        }
        /* an empty match right behind the last one does not count */
        m->next += *end < m->n ? (size_t)utf8_length(m->text[*end]) : 1;
    }
    return OK;
}
