/* Added tokens: found in the text before anything is cut, leftmost and then longest first. */
#include <stdlib.h>
#include <string.h>

#include "loader/tok.h"
#include "loader/tok_vocab.h"

/* A trie by bytes. Children are a list; the first byte, which nearly always fails, is a table. */
struct node {
    int32_t child, next; /* node or -1 */
    int32_t token;       /* index of the token that ends here, or -1 */
    char byte;
};

struct trie {
    struct node *node;
    size_t n, cap;
    int32_t root[256];
};

struct added {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized;
};

struct tok_added {
    struct tok_vocab text; /* content -> id */
    struct added *token;   /* [text.n] */
    struct trie trie[2];   /* [0] looked up in the raw text, [1] in the normalized text */
    int32_t id_max;
};

static enum status trie_add(struct trie *t, const char *s, size_t n, int32_t token, bool *twice,
                            struct err *e)
{
    int32_t parent = -1, at = -1;

    for (size_t i = 0; i < n; i++, parent = at) {
        int32_t head = i ? t->node[parent].child : t->root[(unsigned char)*s];

        for (at = head; at >= 0 && t->node[at].byte != s[i];)
            at = t->node[at].next;
        if (at >= 0)
            continue;
        TRY(tok_grow(&t->node, &t->cap, t->n + 1, sizeof *t->node, e));
        at = (int32_t)t->n++;
        t->node[at] = (struct node){-1, head, -1, s[i]};
        *(i ? &t->node[parent].child : &t->root[(unsigned char)*s]) = at;
    }
    *twice = t->node[at].token >= 0;
    t->node[at].token = token;
    return OK;
}

/* The longest token at the start of s[0..n), or -1. */
static int32_t trie_longest(const struct trie *t, const char *s, size_t n, size_t *len)
{
    int32_t best = -1, at = t->root[(unsigned char)*s];

    for (size_t i = 0; i < n; i++, at = t->node[at].child) {
        while (at >= 0 && t->node[at].byte != s[i])
            at = t->node[at].next;
        if (at < 0)
            break;
        if (t->node[at].token >= 0) {
            best = t->node[at].token;
            *len = i + 1;
        }
    }
    return best;
}

/* ---- reading ---- */

/* The id Hugging Face gives a token, whatever the file says: the vocabulary's, else the next. */
static int32_t expected_id(const struct tok_added *a, const struct tok_bpe *b, const char *s,
                           size_t n)
{
    int32_t id = tok_bpe_id(b, s, n), count = tok_bpe_count(b);

    if (id >= 0)
        return id;
    return a->id_max >= count ? a->id_max + 1 : count;
}

static enum status read_token(const struct json *j, const cJSON *item, const struct tok_bpe *b,
                              struct tok_added *a, struct err *e)
{
    struct added *token = &a->token[a->text.n];
    size_t at = a->text.text.n, n;
    const cJSON *content, *id_item;
    const char *s;
    int32_t expected;
    int64_t id;
    bool twice;

    TRY(tok_need(j, item, "content", &content, e));
    TRY(tok_need(j, item, "id", &id_item, e));
    TRY(json_int(j, id_item, "added_tokens: id", 0, TOK_ID_MAX, &id, e));
    TRY(tok_need_bool(j, item, "single_word", &token->single_word, e));
    TRY(tok_need_bool(j, item, "lstrip", &token->lstrip, e));
    TRY(tok_need_bool(j, item, "rstrip", &token->rstrip, e));
    TRY(tok_need_bool(j, item, "normalized", &token->normalized, e));
    token->id = (int32_t)id;
    TRY(tok_string(j, content, "added_tokens: content", &a->text.text, e));
    s = a->text.text.at + at;
    n = a->text.text.n - at;
    if (n == 0)
        return json_fail(j, item, e, "added_tokens: an empty token");
    expected = expected_id(a, b, s, n);
    if (tok_vocab_add(&a->text, at, (int32_t)id, &twice, e) != OK)
        return json_fail(j, item, e, "added_tokens: %s", e->msg);
    if (twice)
        return json_fail(j, item, e, "added_tokens: \"%.*s\" stands twice", (int)(n < 60 ? n : 60),
                         s);
    if (id != expected)
        return json_fail(j, id_item, e, "added_tokens: \"%.*s\" has id %d, want %d (%s)",
                         (int)(n < 60 ? n : 60), s, (int)id, (int)expected,
                         tok_bpe_id(b, s, n) >= 0 ? "its id in the vocabulary"
                                                  : "the next free id");
    if (id > a->id_max)
        a->id_max = (int32_t)id;
    return OK;
}

/* The text that one token is looked up by. */
static enum status add_to_trie(const struct json *j, const cJSON *item, struct tok_added *a,
                               size_t i, const struct tok_normalize *z, struct tok_matcher *m,
                               struct tok_text text[2], struct err *e)
{
    const struct tok_vocab_entry *x = &a->text.entry[i];
    const char *content = a->text.text.at + x->at;
    int shown = (int)(x->n < 60 ? x->n : 60);
    bool moved, twice;

    text->n = 0;
    TRY(tok_text_add(text, content, x->n, e));
    if (a->token[i].normalized)
        TRY(tok_normalize(z, m, text, text + 1, &moved, e));
    if (text->n == 0) /* Hugging Face would find it everywhere */
        return json_fail(j, item, e, "added_tokens: \"%.*s\" is empty once normalized", shown,
                         content);
    TRY(trie_add(&a->trie[a->token[i].normalized], text->at, text->n, (int32_t)i, &twice, e));
    if (twice) /* Hugging Face takes one of the two by chance */
        return json_fail(j, item, e, "added_tokens: \"%.*s\" equals another once normalized", shown,
                         content);
    return OK;
}

static enum status build_tries(const struct json *j, const cJSON *item, struct tok_added *a,
                               const struct tok_normalize *z, struct tok_matcher *m, struct err *e)
{
    struct tok_text text[2] = {{0}, {0}};
    enum status s = OK;

    for (size_t i = 0; i < a->text.n && s == OK; i++, item = item->next)
        s = add_to_trie(j, item, a, i, z, m, text, e);
    tok_text_free(&text[0]);
    tok_text_free(&text[1]);
    return s;
}

static enum status read_all(const struct json *j, const cJSON *list, const struct tok_bpe *b,
                            const struct tok_normalize *z, struct tok_matcher *m,
                            struct tok_added *a, struct err *e)
{
    const cJSON *item;
    size_t n = 0;

    if (!tok_is_null(list) && !cJSON_IsArray(list))
        return json_fail(j, list, e, "added_tokens is not a list");
    if (!tok_is_null(list))
        for (item = list->child; item; item = item->next)
            n++;
    TRY(tok_vocab_open(&a->text, n, e));
    a->token = calloc(n ? n : 1, sizeof *a->token);
    if (!a->token)
        return fail(e, ERR_FIT, "tokenizer: out of memory");
    for (item = n ? list->child : NULL; item; item = item->next)
        TRY(read_token(j, item, b, a, e));
    return build_tries(j, n ? list->child : NULL, a, z, m, e);
}

enum status tok_added_open(const struct json *j, const cJSON *list, const struct tok_bpe *b,
                           const struct tok_normalize *z, struct tok_matcher *m,
                           struct tok_added **out, struct err *e)
{
    struct tok_added *a = calloc(1, sizeof *a);
    enum status s;

    *out = NULL;
    if (!a)
        return fail(e, ERR_FIT, "tokenizer: out of memory");
    a->id_max = -1;
    memset(a->trie[0].root, 0xff, sizeof a->trie[0].root);
    memset(a->trie[1].root, 0xff, sizeof a->trie[1].root);
    s = read_all(j, list, b, z, m, a, e);
    if (s != OK) {
        tok_added_close(a);
        return s;
    }
    *out = a;
    return OK;
}

void tok_added_close(struct tok_added *a)
{
    if (!a)
        return;
    tok_vocab_close(&a->text);
    free(a->token);
    free(a->trie[0].node);
    free(a->trie[1].node);
    free(a);
}

int32_t tok_added_id(const struct tok_added *a, const char *s, size_t n)
{
    return tok_vocab_find(&a->text, s, n);
}

int32_t tok_added_max(const struct tok_added *a)
{
    return a->id_max;
}

/* ---- walking over a text ---- */

void tok_added_start(struct tok_added_walk *w, const struct tok_added *a, bool normalized,
                     const char *text, size_t n)
{
    *w =
        (struct tok_added_walk){.a = a, .normalized = normalized, .text = text, .n = n, .held = -1};
}

static bool stands_alone(const char *text, size_t n, size_t at, size_t end)
{
    int len;

    return !(at > 0 && unicode_is_word(utf8_decode(text + utf8_before(text, at), &len))) &&
           !(end < n && unicode_is_word(utf8_decode(text + end, &len)));
}

static size_t skip_spaces(struct tok_added_walk *w, size_t at)
{
    int len;

    if (at >= w->space_at && at < w->space_end) /* many tokens in one run: look through it once */
        return w->space_end;
    w->space_at = at;
    while (at < w->n && unicode_is_space(utf8_decode(w->text + at, &len)))
        at += (size_t)len;
    return w->space_end = at;
}

static size_t skip_spaces_back(const struct tok_added_walk *w, size_t at)
{
    int len;

    while (at > w->start) {
        size_t before = utf8_before(w->text, at);

        if (!unicode_is_space(utf8_decode(w->text + before, &len)))
            break;
        at = before;
    }
    return at > w->start ? at : w->start; /* what an earlier token swallowed stays its own */
}

bool tok_added_next(struct tok_added_walk *w, size_t *at, size_t *len, int32_t *id)
{
    const struct trie *t = &w->a->trie[w->normalized];
    size_t n = 0;

    *id = w->held;
    w->held = -1;
    if (*id >= 0)
        return true;
    while (w->search < w->n) {
        size_t start = w->search, end;
        int32_t k = t->root[(unsigned char)w->text[start]] < 0
                        ? -1
                        : trie_longest(t, w->text + start, w->n - start, &n);
        const struct added *token = &w->a->token[k < 0 ? 0 : k];

        if (k < 0) {
            w->search++;
            continue;
        }
        /* a match that is refused is passed over whole, as if it had been taken */
        w->search = end = start + n;
        if (token->single_word && !stands_alone(w->text, w->n, start, end))
            continue;
        if (token->lstrip)
            start = skip_spaces_back(w, start);
        if (token->rstrip)
            end = skip_spaces(w, end);
        if (token->lstrip && start >= end) { /* all of it was swallowed by the one before */
            w->start = end;
            continue;
        }
        *at = w->start;
        *len = start > w->start ? start - w->start : 0;
        w->start = end;
        *id = *len ? -1 : token->id;
        w->held = *len ? token->id : -1;
        return true;
    }
    *at = w->start;
    *len = w->n - w->start;
    w->start = w->n;
    return *len > 0;
}
