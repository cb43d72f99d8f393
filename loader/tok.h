/* tok.h - inside of the tokenizer: the parts that tokenizer.c strings together.
 *
 *   text -> added tokens -> normalizers -> added tokens -> pre-tokenizers -> BPE -> post-processor
 *
 * A part is opened from its block of tokenizer.json and is immutable afterwards. What an encoding
 * needs besides lives in buffers of that call, so one tokenizer may serve several threads.
 *
 * Memory: every *_open allocates, the *_close of the same name frees and accepts NULL. Buffers
 *         (tok_text, tok_pieces, tok_ids) start as zeroes and are freed by their *_free. */
#ifndef LOADER_TOK_H
#define LOADER_TOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loader/tok_unicode.h"
#include "spec/err.h"
#include "spec/json.h"

enum {
    TOK_FILE_MAX = 256 << 20, /* bytes of a tokenizer.json */
    TOK_TEXT_MAX = 1 << 30,   /* bytes of a text, and of what normalizers may make of it */
    TOK_ID_MAX = (1 << 24) - 1,
    TOK_TOKEN_MAX = 1 << 16, /* bytes of one token's text */
    TOK_STEPS_MAX = 64       /* members of a Sequence, nested ones included */
};

/* ---- buffers ---- */

struct tok_text {
    char *at;
    size_t n, cap;
};
void tok_text_free(struct tok_text *t);
MUST_USE enum status tok_text_reserve(struct tok_text *t, size_t more, struct err *e);
MUST_USE enum status tok_text_add(struct tok_text *t, const char *s, size_t n, struct err *e);

struct tok_ids {
    int32_t *at;
    size_t n, cap;
};
MUST_USE enum status tok_ids_add(struct tok_ids *ids, const int32_t *id, size_t n, struct err *e);

struct tok_span {
    size_t at, n;
};

/* A text cut in pieces. at_start: the text, still whole, begins where the caller's text begins. */
struct tok_pieces {
    struct tok_text text;
    struct tok_span *span;
    size_t n, cap;
    bool at_start;
};
void tok_pieces_free(struct tok_pieces *p);
MUST_USE enum status tok_pieces_add(struct tok_pieces *p, size_t at, size_t n, struct err *e);

/* Grows *array of `size`-byte items to hold `want` of them. */
MUST_USE enum status tok_grow(void *array, size_t *cap, size_t want, size_t size, struct err *e);

/* ---- reading tokenizer.json ---- */

/* Member `key` of an object, which must be there (else "KEY is missing"). */
MUST_USE enum status tok_need(const struct json *j, const cJSON *object, const char *key,
                              const cJSON **out, struct err *e);
MUST_USE enum status tok_need_bool(const struct json *j, const cJSON *object, const char *key,
                                   bool *out, struct err *e);
/* The same with a value for absent or null. */
MUST_USE enum status tok_bool(const struct json *j, const cJSON *object, const char *key,
                              bool standard, bool *out, struct err *e);
/* Appends a JSON string's bytes (C0 80 becomes NUL) to `out`. */
MUST_USE enum status tok_string(const struct json *j, const cJSON *item, const char *what,
                                struct tok_text *out, struct err *e);
/* "type" of a block. */
MUST_USE enum status tok_type(const struct json *j, const cJSON *block, const char *what,
                              const char **type, struct err *e);
bool tok_is_null(const cJSON *item); /* absent or null */
/* A list of blocks under `key`, such as the members of a Sequence. */
MUST_USE enum status tok_need_list(const struct json *j, const cJSON *object, const char *key,
                                   const cJSON **out, struct err *e);

/* ---- regular expressions ---- */

struct tok_regex;
/* Oniguruma's Ruby syntax as tokenizer files use it, rewritten for PCRE2; refuses what the two
 * engines read differently. */
MUST_USE enum status tok_regex_open(const char *pattern, size_t n, struct tok_regex **out,
                                    struct err *e);
MUST_USE enum status tok_regex_literal(const char *text, size_t n, struct tok_regex **out,
                                       struct err *e); /* matches exactly this text */
/* From a file's {"Regex": ..} or {"String": ..}. */
MUST_USE enum status tok_regex_read(const struct json *j, const cJSON *pattern,
                                    struct tok_regex **out, struct err *e);
void tok_regex_close(struct tok_regex *re);

/* Goes over the matches in text[0..n) as Oniguruma's iterator does. */
struct tok_matcher {
    void *data, *context, *stack; /* PCRE2's match data, match context and JIT stack */
    const struct tok_regex *re;
    const char *text;
    size_t n, next, last_end;
    bool any;
};
MUST_USE enum status tok_matcher_open(struct tok_matcher *m, struct err *e);
void tok_matcher_close(struct tok_matcher *m);
void tok_matcher_start(struct tok_matcher *m, const struct tok_regex *re, const char *text,
                       size_t n);
/* found = false at the end. */
MUST_USE enum status tok_matcher_next(struct tok_matcher *m, bool *found, size_t *start,
                                      size_t *end, struct err *e);

/* ---- normalizers ---- */

struct tok_normalize;
MUST_USE enum status tok_normalize_open(const struct json *j, const cJSON *block,
                                        struct tok_normalize **out, struct err *e);
void tok_normalize_close(struct tok_normalize *z);
/* Normalizes text in place with `spare` as the other buffer. *moved: the first byte no longer comes
 * from the first byte of the text. z = NULL does nothing. */
MUST_USE enum status tok_normalize(const struct tok_normalize *z, struct tok_matcher *m,
                                   struct tok_text *text, struct tok_text *spare, bool *moved,
                                   struct err *e);

/* ---- pre-tokenizers ---- */

struct tok_split;
MUST_USE enum status tok_split_open(const struct json *j, const cJSON *block,
                                    struct tok_split **out, struct err *e);
void tok_split_close(struct tok_split *s);
/* Cuts the pieces in *p further, with *spare as the other buffer. s = NULL does nothing. */
MUST_USE enum status tok_split(const struct tok_split *s, struct tok_matcher *m,
                               struct tok_pieces *p, struct tok_pieces *spare, struct err *e);

/* Appends bytes in GPT-2's alphabet: one printable character for each byte. */
MUST_USE enum status tok_byte_level(const char *s, size_t n, struct tok_text *out, struct err *e);

/* ---- BPE ---- */

struct tok_bpe;
MUST_USE enum status tok_bpe_open(const struct json *j, const cJSON *model, struct tok_bpe **out,
                                  struct err *e);
void tok_bpe_close(struct tok_bpe *b);
int32_t tok_bpe_id(const struct tok_bpe *b, const char *s, size_t n); /* -1: none */
int32_t tok_bpe_count(const struct tok_bpe *b); /* entries of the vocabulary */
int32_t tok_bpe_max(const struct tok_bpe *b);   /* the highest id */

struct tok_bpe_work;
/* bytes: of the whole text, for the size of the word cache. */
MUST_USE enum status tok_bpe_work_open(size_t bytes, struct tok_bpe_work **out, struct err *e);
void tok_bpe_work_close(struct tok_bpe_work *w);
/* Appends the ids of one piece. */
MUST_USE enum status tok_bpe_piece(const struct tok_bpe *b, struct tok_bpe_work *w, const char *s,
                                   size_t n, struct tok_ids *ids, struct err *e);

/* ---- added tokens ---- */

struct tok_added;
/* z: their texts are normalized with it where they ask for it. */
MUST_USE enum status tok_added_open(const struct json *j, const cJSON *list,
                                    const struct tok_bpe *b, const struct tok_normalize *z,
                                    struct tok_matcher *m, struct tok_added **out, struct err *e);
void tok_added_close(struct tok_added *a);
int32_t tok_added_id(const struct tok_added *a, const char *s, size_t n); /* -1: none */
int32_t tok_added_max(const struct tok_added *a);                         /* -1: no tokens */

/* Walks over text[0..n): each step gives a piece of plain text (id -1) or an added token. */
struct tok_added_walk {
    const struct tok_added *a;
    bool normalized; /* which of the two sets */
    const char *text;
    size_t n, search, start;    /* where the search goes on; end of what was given out */
    size_t space_at, space_end; /* the last run of white space that was looked through */
    int32_t held;               /* a token that waits behind the plain text before it, or -1 */
};
void tok_added_start(struct tok_added_walk *w, const struct tok_added *a, bool normalized,
                     const char *text, size_t n);
bool tok_added_next(struct tok_added_walk *w, size_t *at, size_t *len, int32_t *id);

/* ---- post-processor: ids before and after the text ---- */

struct tok_post {
    struct tok_ids before, after;
};
MUST_USE enum status tok_post_open(const struct json *j, const cJSON *block,
                                   const struct tok_bpe *b, const struct tok_added *a,
                                   struct tok_post *out, struct err *e);
void tok_post_close(struct tok_post *p);

#endif
