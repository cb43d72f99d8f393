/* Post-processors: all that matters for ids is what goes before and after the text. */
#include <stdlib.h>
#include <string.h>

#include "loader/tok.h"

enum { POST_IDS_MAX = 64, POST_PIECES_MAX = 256 };

struct context {
    const struct json *j;
    const struct tok_bpe *b;
    const struct tok_added *a;
};

/* A token's text and its id must agree with the vocabulary. */
static enum status check_token(const struct context *c, const cJSON *item, const cJSON *name,
                               int32_t id, struct err *e)
{
    struct tok_text text = {0};
    enum status s = tok_string(c->j, name, "token", &text, e);
    int32_t known;

    if (s == OK) {
        known = tok_added_id(c->a, text.at, text.n);
        if (known < 0)
            known = tok_bpe_id(c->b, text.at, text.n);
        if (known < 0)
            s = json_fail(c->j, item, e, "post_processor: \"%.*s\" is not a token",
                          (int)(text.n < 60 ? text.n : 60), text.at);
        else if (known != id)
            s = json_fail(c->j, item, e, "post_processor: \"%.*s\" has id %d, want %d",
                          (int)(text.n < 60 ? text.n : 60), text.at, (int)id, (int)known);
    }
    tok_text_free(&text);
    return s;
}

/* Appends the ids that stand behind a name in "special_tokens". */
static enum status add_special(const struct context *c, const cJSON *piece, const cJSON *table,
                               struct tok_ids *out, struct err *e)
{
    const cJSON *item, *entry, *ids, *tokens, *name;
    const char *key;
    int64_t id;

    TRY(tok_need(c->j, piece, "id", &item, e));
    TRY(json_string(c->j, item, "SpecialToken: id", &key, e));
    entry = json_member(table, key);
    if (!entry)
        return json_fail(c->j, item, e, "post_processor: \"%.60s\" is not in special_tokens", key);
    TRY(tok_need_list(c->j, entry, "ids", &ids, e));
    TRY(tok_need_list(c->j, entry, "tokens", &tokens, e));
    if (cJSON_GetArraySize(ids) != cJSON_GetArraySize(tokens))
        return json_fail(c->j, entry, e, "post_processor: ids and tokens differ in number");
    for (item = ids->child, name = tokens->child; item; item = item->next, name = name->next) {
        int32_t small;

        TRY(json_int(c->j, item, "ids", 0, TOK_ID_MAX, &id, e));
        small = (int32_t)id;
        TRY(check_token(c, item, name, small, e));
        if (out->n == POST_IDS_MAX)
            return json_fail(c->j, item, e, "post_processor: more than %d ids", POST_IDS_MAX);
        TRY(tok_ids_add(out, &small, 1, e));
    }
    return OK;
}

static enum status read_template(const struct context *c, const cJSON *block, struct tok_post *p,
                                 struct err *e)
{
    const cJSON *single, *piece, *item, *table = json_member(block, "special_tokens");
    int n = 0, texts = 0;

    TRY(tok_need_list(c->j, block, "single", &single, e));
    cJSON_ArrayForEach(piece, single)
    {
        if (++n > POST_PIECES_MAX)
            return json_fail(c->j, piece, e, "post_processor: a template this long");
        if ((item = json_member(piece, "SpecialToken")) != NULL) {
            TRY(add_special(c, item, table, texts ? &p->after : &p->before, e));
            continue;
        }
        item = json_member(json_member(piece, "Sequence"), "id");
        if (!item || !cJSON_IsString(item) || strcmp(item->valuestring, "A") != 0 || texts++)
            return json_fail(c->j, piece, e,
                             "post_processor: want a SpecialToken, or once the Sequence \"A\"");
    }
    if (!texts)
        return json_fail(c->j, single, e, "post_processor: the template leaves out the text");
    return OK;
}

/* "cls" and "sep" of Bert and Roberta: ["<s>", 0]. */
static enum status read_pair(const struct context *c, const cJSON *block, const char *key,
                             struct tok_ids *out, struct err *e)
{
    const cJSON *pair;
    int32_t small;
    int64_t id;

    TRY(tok_need_list(c->j, block, key, &pair, e));
    if (cJSON_GetArraySize(pair) != 2)
        return json_fail(c->j, pair, e, "post_processor: %s: want [token, id]", key);
    TRY(json_int(c->j, pair->child->next, key, 0, TOK_ID_MAX, &id, e));
    small = (int32_t)id;
    TRY(check_token(c, pair, pair->child, small, e));
    return tok_ids_add(out, &small, 1, e);
}

/* *done: a member that adds ids was read. */
static enum status read_block(const struct context *c, const cJSON *block, bool *done,
                              struct tok_post *p, struct err *e)
{
    const cJSON *list, *member;
    const char *type;

    TRY(tok_type(c->j, block, "post-processor", &type, e));
    if (strcmp(type, "ByteLevel") == 0) /* offsets only */
        return OK;
    if (strcmp(type, "Sequence") == 0) {
        TRY(tok_need_list(c->j, block, "processors", &list, e));
        cJSON_ArrayForEach(member, list) TRY(read_block(c, member, done, p, e));
        return OK;
    }
    if (*done) /* Hugging Face applies the second to each token of the first */
        return json_fail(c->j, block, e, "a second post-processor that adds tokens");
    *done = true;
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(c, block, p, e);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        TRY(read_pair(c, block, "cls", &p->before, e));
        return read_pair(c, block, "sep", &p->after, e);
    }
    return json_fail(c->j, block, e, "post-processor %s is not supported", type);
}

enum status tok_post_open(const struct json *j, const cJSON *block, const struct tok_bpe *b,
                          const struct tok_added *a, struct tok_post *out, struct err *e)
{
    struct context c = {j, b, a};
    bool done = false;

    return tok_is_null(block) ? OK : read_block(&c, block, &done, out, e);
}

void tok_post_close(struct tok_post *p)
{
    free(p->before.at);
    free(p->after.at);
    *p = (struct tok_post){0};
}
