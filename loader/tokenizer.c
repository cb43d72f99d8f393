#include "loader/tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "loader/tok.h"
#include "spec/utf8.h"

struct tokenizer {
    struct tok_bpe *bpe;
    struct tok_normalize *normalize; /* NULL: none */
    struct tok_split *split;         /* NULL: none */
    struct tok_added *added;
    struct tok_post post;
};

static enum status open_parts(const struct json *j, struct tokenizer *t, struct tok_matcher *m,
                              struct err *e)
{
    const cJSON *root = json_root(j), *model;

    TRY(tok_need(j, root, "model", &model, e));
    TRY(tok_bpe_open(j, model, &t->bpe, e));
    TRY(tok_normalize_open(j, json_member(root, "normalizer"), &t->normalize, e));
    TRY(tok_split_open(j, json_member(root, "pre_tokenizer"), &t->split, e));
    TRY(tok_added_open(j, json_member(root, "added_tokens"), t->bpe, t->normalize, m, &t->added,
                       e));
    return tok_post_open(j, json_member(root, "post_processor"), t->bpe, t->added, &t->post, e);
}

static enum status open_json(const struct json *j, struct tokenizer **out, struct err *e)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    struct tok_matcher m = {0};
    enum status s;

    if (!t)
        return fail(e, ERR_FIT, "tokenizer: out of memory");
    s = tok_matcher_open(&m, e);
    if (s == OK)
        s = open_parts(j, t, &m, e);
    tok_matcher_close(&m);
    if (s != OK) {
        tokenizer_close(t);
        return s;
    }
    *out = t;
    return OK;
}

enum status tokenizer_open(const char *path, struct tokenizer **out, struct err *e)
{
    char file[PATH_MAX];
    struct stat st;
    struct json *j;
    enum status s;

    *out = NULL;
    if (snprintf(file, sizeof file, "%s", path) >= (int)sizeof file - 20)
        return fail(e, ERR_NO_INPUT, "%.200s...: the path is too long", path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        strcat(file, "/tokenizer.json");
    TRY(json_open(file, TOK_FILE_MAX, JSON_NUL, ERR_DATA, &j, e));
    s = open_json(j, out, e);
    json_close(j);
    return s;
}

enum status tokenizer_parse(const char *name, const char *text, size_t bytes,
                            struct tokenizer **out, struct err *e)
{
    struct json *j;
    enum status s;

    *out = NULL;
    TRY(json_parse(name, text, bytes, JSON_NUL, ERR_DATA, &j, e));
    s = open_json(j, out, e);
    json_close(j);
    return s;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    tok_bpe_close(t->bpe);
    tok_normalize_close(t->normalize);
    tok_split_close(t->split);
    tok_added_close(t->added);
    tok_post_close(&t->post);
    free(t);
}

/* Buffers of one encoding. */
struct encoding {
    const struct tokenizer *t;
    struct tok_matcher matcher;
    struct tok_bpe_work *work;
    struct tok_text text, spare; /* normalizing */
    struct tok_pieces pieces, spare_pieces;
    struct tok_ids ids;
};

/* Text between added tokens, normalized: cut, then merged piece by piece. */
static enum status encode_plain(struct encoding *x, const char *text, size_t n, bool at_start,
                                struct err *e)
{
    struct tok_pieces *p = &x->pieces;

    p->n = p->text.n = 0;
    p->at_start = at_start;
    TRY(tok_text_add(&p->text, text, n, e));
    TRY(tok_pieces_add(p, 0, n, e));
    TRY(tok_split(x->t->split, &x->matcher, p, &x->spare_pieces, e));
    for (size_t i = 0; i < p->n; i++)
        TRY(tok_bpe_piece(x->t->bpe, x->work, p->text.at + p->span[i].at, p->span[i].n, &x->ids,
                          e));
    return OK;
}

/* Text between added tokens of the first kind: normalized, then searched for those of the second.
 */
static enum status encode_gap(struct encoding *x, const char *text, size_t n, bool at_start,
                              struct err *e)
{
    struct tok_added_walk w;
    size_t at, len;
    int32_t id;
    bool moved;

    x->text.n = 0;
    TRY(tok_text_add(&x->text, text, n, e));
    TRY(tok_normalize(x->t->normalize, &x->matcher, &x->text, &x->spare, &moved, e));
    tok_added_start(&w, x->t->added, true, x->text.at, x->text.n);
    while (tok_added_next(&w, &at, &len, &id))
        TRY(id >= 0 ? tok_ids_add(&x->ids, &id, 1, e)
                    : encode_plain(x, x->text.at + at, len, at_start && at == 0 && !moved, e));
    return OK;
}

static enum status encode_all(struct encoding *x, const char *text, size_t bytes, bool special,
                              struct err *e)
{
    const struct tok_post *post = &x->t->post;
    struct tok_added_walk w;
    size_t at, len;
    int32_t id;

    TRY(tok_matcher_open(&x->matcher, e));
    TRY(tok_bpe_work_open(bytes, &x->work, e));
    if (special)
        TRY(tok_ids_add(&x->ids, post->before.at, post->before.n, e));
    tok_added_start(&w, x->t->added, false, text, bytes);
    while (tok_added_next(&w, &at, &len, &id))
        TRY(id >= 0 ? tok_ids_add(&x->ids, &id, 1, e) : encode_gap(x, text + at, len, at == 0, e));
    return special ? tok_ids_add(&x->ids, post->after.at, post->after.n, e) : OK;
}

enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t bytes,
                             bool special, int32_t **ids, size_t *n, struct err *e)
{
    struct encoding x = {.t = t};
    size_t good = utf8_check(text, bytes);
    enum status s;

    *ids = NULL;
    *n = 0;
    if (good < bytes)
        return fail(e, ERR_DATA, "text: not valid UTF-8 at byte %zu", good);
    if (bytes > TOK_TEXT_MAX)
        return fail(e, ERR_DATA, "text: got %zu bytes, want at most %d at a time", bytes,
                    TOK_TEXT_MAX);
    s = encode_all(&x, text, bytes, special, e);
    if (s == OK && !x.ids.at)
        s = tok_grow(&x.ids.at, &x.ids.cap, 1, sizeof *x.ids.at, e); /* never NULL for free() */
    tok_matcher_close(&x.matcher);
    tok_bpe_work_close(x.work);
    tok_text_free(&x.text);
    tok_text_free(&x.spare);
    tok_pieces_free(&x.pieces);
    tok_pieces_free(&x.spare_pieces);
    if (s != OK) {
        free(x.ids.at);
        return s;
    }
    *ids = x.ids.at;
    *n = x.ids.n;
    return OK;
}

int tokenizer_vocab(const struct tokenizer *t)
{
    int32_t model = tok_bpe_max(t->bpe), added = tok_added_max(t->added);

    return 1 + (model > added ? model : added);
}

int tokenizer_id(const struct tokenizer *t, const char *token)
{
    size_t n = strlen(token);
    int32_t id = tok_added_id(t->added, token, n);

    return id >= 0 ? id : tok_bpe_id(t->bpe, token, n);
}

int tokenizer_bos(const struct tokenizer *t)
{
    return t->post.before.n ? t->post.before.at[0] : -1;
}
