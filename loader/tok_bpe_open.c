/* Reads the "model" block of tokenizer.json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/tok_bpe.h"

static int by_id(const void *a, const void *b)
{
    const struct tok_vocab_entry *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

/* Two tokens with one id: found on a sorted copy. */
static enum status check_ids(const struct json *j, const cJSON *item, const struct tok_vocab *v,
                             struct err *e)
{
    struct tok_vocab_entry *copy = malloc((v->n ? v->n : 1) * sizeof *copy);
    enum status s = OK;

    if (!copy)
        return fail(e, ERR_FIT, "tokenizer: out of memory");
    if (v->n)
        memcpy(copy, v->entry, v->n * sizeof *copy);
    qsort(copy, v->n, sizeof *copy, by_id);
    for (size_t i = 1; i < v->n && s == OK; i++)
        if (copy[i].id == copy[i - 1].id)
            s = json_fail(j, item, e, "vocab: id %d belongs to two tokens, \"%.*s\" and \"%.*s\"",
                          copy[i].id, (int)(copy[i - 1].n < 60 ? copy[i - 1].n : 60),
                          v->text.at + copy[i - 1].at, (int)(copy[i].n < 60 ? copy[i].n : 60),
                          v->text.at + copy[i].at);
    free(copy);
    return s;
}

static enum status read_vocab(const struct json *j, const cJSON *vocab, struct tok_bpe *b,
                              struct err *e)
{
    const cJSON *item;
    size_t n = 0;

    if (!cJSON_IsObject(vocab))
        return json_fail(j, vocab, e, "vocab is not an object");
    for (item = vocab->child; item; item = item->next)
        n++;
    if (n == 0)
        return json_fail(j, vocab, e, "vocab is empty");
    TRY(tok_vocab_open(&b->vocab, n, e));
    for (item = vocab->child; item; item = item->next) {
        cJSON key = {.type = cJSON_String, .valuestring = item->string};
        size_t at = b->vocab.text.n;
        int64_t id;
        bool twice;

        TRY(json_int(j, item, "vocab", 0, TOK_ID_MAX, &id, e));
        TRY(tok_string(j, &key, "vocab", &b->vocab.text, e));
        if (tok_vocab_add(&b->vocab, at, (int32_t)id, &twice, e) != OK || twice)
            return json_fail(j, item, e, "vocab: %s", twice ? "a token stands twice" : e->msg);
        if (id > b->id_max)
            b->id_max = (int32_t)id;
    }
    return check_ids(j, vocab, &b->vocab, e);
}

/* Finds both sides of "a b" or ["a", "b"], left in text[0..*left), right behind it. */
static enum status read_merge(const struct json *j, const cJSON *item, struct tok_text *text,
                              size_t *left, struct err *e)
{
    const char *space;

    text->n = 0;
    if (cJSON_IsArray(item)) {
        if (cJSON_GetArraySize(item) != 2)
            return json_fail(j, item, e, "merges: want two tokens");
        TRY(tok_string(j, item->child, "merges", text, e));
        *left = text->n;
        return tok_string(j, item->child->next, "merges", text, e);
    }
    TRY(tok_string(j, item, "merges", text, e));
    space = text->n ? memchr(text->at, ' ', text->n) : NULL;
    if (!space || memchr(space + 1, ' ', text->n - (size_t)(space + 1 - text->at)))
        return json_fail(j, item, e, "merges: got \"%.*s\", want two tokens with one space between",
                         (int)(text->n < 60 ? text->n : 60), text->at);
    *left = (size_t)(space - text->at);
    memmove(text->at + *left, space + 1, text->n - *left - 1);
    text->n--;
    return OK;
}

static enum status find_part(const struct json *j, const cJSON *item, const struct tok_bpe *b,
                             const char *s, size_t n, int32_t *id, struct err *e)
{
    *id = tok_vocab_find(&b->vocab, s, n);
    if (*id < 0 || n == 0)
        return json_fail(j, item, e, "merges: \"%.*s\" is not in the vocabulary",
                         (int)(n < 60 ? n : 60), s);
    return OK;
}

static void add_joint(struct tok_bpe *b, const char *text, size_t left)
{
    int len;
    int32_t last = bpe_char(b, text + utf8_before(text, left), &len);
    int32_t first = bpe_char(b, text + left, &len);

    if (last >= 0 && first >= 0)
        tok_merges_set(&b->joints, last, first, 0, 0);
}

static enum status read_merges(const struct json *j, const cJSON *list, struct tok_bpe *b,
                               struct tok_text *text, struct err *e)
{
    const cJSON *item;
    size_t n = 0, left = 0;
    uint32_t rank = 0;

    if (!cJSON_IsArray(list))
        return json_fail(j, list, e, "merges is not a list");
    for (item = list->child; item; item = item->next)
        n++;
    TRY(tok_merges_open(&b->merges, n, e));
    TRY(tok_merges_open(&b->joints, n, e));
    for (item = list->child; item; item = item->next) {
        int32_t a, c, joined;

        if (cJSON_IsString(item) && strncmp(item->valuestring, "#version", 8) == 0)
            continue;
        TRY(read_merge(j, item, text, &left, e));
        TRY(find_part(j, item, b, text->at, left, &a, e));
        TRY(find_part(j, item, b, text->at + left, text->n - left, &c, e));
        TRY(find_part(j, item, b, text->at, text->n, &joined, e));
        tok_merges_set(&b->merges, a, c, rank++, joined);
        add_joint(b, text->at, left);
    }
    return OK;
}

static void index_chars(struct tok_bpe *b)
{
    for (uint32_t cp = 0; cp < BPE_DIRECT; cp++) {
        char s[UTF8_MAX];

        b->direct[cp] = tok_vocab_find(&b->vocab, s, (size_t)utf8_encode(cp, s));
    }
    for (int byte = 0; byte < 256; byte++) {
        char name[8];

        snprintf(name, sizeof name, "<0x%02X>", byte);
        b->byte_id[byte] = tok_vocab_find(&b->vocab, name, 6);
    }
}

/* Members that change ids in ways not built here. */
static enum status refuse_options(const struct json *j, const cJSON *model, struct err *e)
{
    static const char *const affix[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const cJSON *type = json_member(model, "type"), *dropout = json_member(model, "dropout");
    const char *s;
    double p;

    if (!cJSON_IsObject(model))
        return json_fail(j, model, e, "model is not an object");
    if (type) {
        TRY(json_string(j, type, "type", &s, e));
        if (strcmp(s, "BPE") != 0)
            return json_fail(j, type, e, "model %.60s is not supported (BPE is)", s);
    }
    if (!tok_is_null(dropout)) {
        TRY(json_double(j, dropout, "dropout", &p, e));
        if (p != 0)
            return json_fail(j, dropout, e, "dropout makes ids random: want null or 0");
    }
    for (int i = 0; i < 2; i++) {
        const cJSON *item = json_member(model, affix[i]);

        if (tok_is_null(item))
            continue;
        TRY(json_string(j, item, affix[i], &s, e));
        if (*s)
            return json_fail(j, item, e, "%s is not supported", affix[i]);
    }
    return OK;
}

static enum status read_model(const struct json *j, const cJSON *model, struct tok_bpe *b,
                              struct err *e)
{
    const cJSON *vocab, *merges, *unk = json_member(model, "unk_token");
    struct tok_text text = {0};
    enum status s;

    TRY(refuse_options(j, model, e));
    TRY(tok_bool(j, model, "byte_fallback", false, &b->byte_fallback, e));
    TRY(tok_bool(j, model, "fuse_unk", false, &b->fuse_unk, e));
    TRY(tok_bool(j, model, "ignore_merges", false, &b->ignore_merges, e));
    TRY(tok_need(j, model, "vocab", &vocab, e));
    TRY(tok_need(j, model, "merges", &merges, e));
    TRY(read_vocab(j, vocab, b, e));
    index_chars(b);
    s = read_merges(j, merges, b, &text, e);
    text.n = 0;
    b->unk = -1;
    if (s == OK && !tok_is_null(unk)) {
        s = tok_string(j, unk, "unk_token", &text, e);
        if (s == OK && (b->unk = tok_vocab_find(&b->vocab, text.at, text.n)) < 0)
            s = json_fail(j, unk, e, "unk_token: \"%.*s\" is not in the vocabulary",
                          (int)(text.n < 60 ? text.n : 60), text.at);
    }
    tok_text_free(&text);
    return s;
}

enum status tok_bpe_open(const struct json *j, const cJSON *model, struct tok_bpe **out,
                         struct err *e)
{
    struct tok_bpe *b = calloc(1, sizeof *b);
    enum status s;

    *out = NULL;
    if (!b)
        return fail(e, ERR_FIT, "tokenizer: out of memory");
    s = read_model(j, model, b, e);
    if (s != OK) {
        tok_bpe_close(b);
        return s;
    }
    *out = b;
    return OK;
}

void tok_bpe_close(struct tok_bpe *b)
{
    if (!b)
        return;
    tok_vocab_close(&b->vocab);
    tok_merges_close(&b->merges);
    tok_merges_close(&b->joints);
    free(b);
}
