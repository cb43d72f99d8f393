/* Byte-pair encoding of one piece of text. */
#include <stdlib.h>
#include <string.h>

#include "loader/tok_bpe.h"

enum {
    CACHE_KEY = 23, /* bytes of the longest word that is remembered */
    CACHE_IDS = 9,
    CACHE_MIN = 1 << 6,
    CACHE_MAX = 1 << 15,
    WORD_LONG = 64 /* bytes; longer ones are taken apart first */
};

/* One symbol of a word; a doubly linked list in an array. */
struct symbol {
    int32_t id; /* -1: merged into the one before */
    int32_t prev, next;
};

/* A merge that was possible when it was pushed. */
struct candidate {
    uint64_t key; /* rank << 32 | position: lowest rank first, ties leftmost */
    int32_t id;
};

struct cached {
    uint8_t n, n_ids;
    char key[CACHE_KEY];
    int32_t id[CACHE_IDS];
};

struct tok_bpe_work {
    struct symbol *symbol;
    struct candidate *heap;
    struct cached *cache;
    size_t n, cap, heap_n, heap_cap, cache_mask;
};

int32_t tok_bpe_id(const struct tok_bpe *b, const char *s, size_t n)
{
    return tok_vocab_find(&b->vocab, s, n);
}

int32_t tok_bpe_count(const struct tok_bpe *b)
{
    return (int32_t)b->vocab.n;
}

int32_t tok_bpe_max(const struct tok_bpe *b)
{
    return b->id_max;
}

enum status tok_bpe_work_open(size_t bytes, struct tok_bpe_work **out, struct err *e)
{
    struct tok_bpe_work *w = calloc(1, sizeof *w);
    size_t n = CACHE_MIN;

    while (n < CACHE_MAX && n < bytes / 8)
        n *= 2;
    *out = w;
    if (w && (w->cache = calloc(n, sizeof *w->cache)) != NULL) {
        w->cache_mask = n - 1;
        return OK;
    }
    tok_bpe_work_close(w);
    *out = NULL;
    return fail(e, ERR_FIT, "tokenizer: out of memory");
}

void tok_bpe_work_close(struct tok_bpe_work *w)
{
    if (!w)
        return;
    free(w->symbol);
    free(w->heap);
    free(w->cache);
    free(w);
}

/* ---- the heap of candidates ---- */

static enum status heap_push(struct tok_bpe_work *w, struct candidate c, struct err *e)
{
    size_t i = w->heap_n;

    if (i == w->heap_cap)
        TRY(tok_grow(&w->heap, &w->heap_cap, i + 1, sizeof *w->heap, e));
    w->heap_n++;
    for (; i > 0 && w->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = c;
    return OK;
}

static struct candidate heap_pop(struct tok_bpe_work *w)
{
    struct candidate top = w->heap[0], last = w->heap[--w->heap_n];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < w->heap_n) {
        if (child + 1 < w->heap_n && w->heap[child + 1].key < w->heap[child].key)
            child++;
        if (last.key <= w->heap[child].key)
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* ---- one word ---- */

static enum status add_symbol(struct tok_bpe_work *w, int32_t id, struct err *e)
{
    int32_t i = (int32_t)w->n;

    if (w->n == w->cap)
        TRY(tok_grow(&w->symbol, &w->cap, w->n + 1, sizeof *w->symbol, e));
    w->symbol[w->n++] = (struct symbol){id, i - 1, i + 1};
    return OK;
}

/* The bytes of a character as tokens: false when one of them has none. */
static enum status add_bytes(const struct tok_bpe *b, struct tok_bpe_work *w, const char *s,
                             int len, bool *done, struct err *e)
{
    *done = b->byte_fallback;
    for (int i = 0; i < len; i++)
        *done = *done && b->byte_id[(unsigned char)s[i]] >= 0;
    for (int i = 0; *done && i < len; i++)
        TRY(add_symbol(w, b->byte_id[(unsigned char)s[i]], e));
    return OK;
}

/* The symbols a word starts from. An unknown character waits until the next known one comes, so
 * bytes of others overtake it: ids as Hugging Face gives them. */
static enum status add_symbols(const struct tok_bpe *b, struct tok_bpe_work *w, const char *s,
                               size_t n, struct err *e)
{
    bool unknown = false, done;
    int len;

    w->n = 0;
    for (size_t i = 0; i < n; i += (size_t)len) {
        int32_t id = bpe_char(b, s + i, &len);

        if (id >= 0) {
            if (unknown)
                TRY(add_symbol(w, b->unk, e));
            unknown = false;
            TRY(add_symbol(w, id, e));
            continue;
        }
        TRY(add_bytes(b, w, s + i, len, &done, e));
        if (done || b->unk < 0)
            continue;
        if (unknown && !b->fuse_unk)
            TRY(add_symbol(w, b->unk, e));
        unknown = true;
    }
    return unknown ? add_symbol(w, b->unk, e) : OK;
}

static enum status push_pair(const struct tok_bpe *b, struct tok_bpe_work *w, int32_t at,
                             struct err *e)
{
    const struct symbol *s = &w->symbol[at];
    const struct tok_merge *m;

    if ((size_t)s->next == w->n)
        return OK;
    m = tok_merges_find(&b->merges, s->id, w->symbol[s->next].id);
    if (!m)
        return OK;
    return heap_push(w, (struct candidate){(uint64_t)m->rank << 32 | (uint32_t)at, m->id}, e);
}

static enum status merge_symbols(const struct tok_bpe *b, struct tok_bpe_work *w, struct err *e)
{
    w->heap_n = 0;
    for (size_t i = 0; i < w->n; i++)
        TRY(push_pair(b, w, (int32_t)i, e));
    while (w->heap_n) {
        struct candidate c = heap_pop(w);
        int32_t at = (int32_t)(uint32_t)c.key, next;
        struct symbol *s = &w->symbol[at];
        const struct tok_merge *m;

        next = s->next;
        if (s->id < 0 || (size_t)next == w->n)
            continue;
        m = tok_merges_find(&b->merges, s->id, w->symbol[next].id);
        if (!m || m->id != c.id) /* one of the two has changed since */
            continue;
        s->id = c.id;
        s->next = w->symbol[next].next;
        w->symbol[next].id = -1;
        if ((size_t)s->next < w->n)
            w->symbol[s->next].prev = at;
        if (s->prev >= 0)
            TRY(push_pair(b, w, s->prev, e));
        TRY(push_pair(b, w, at, e));
    }
    return OK;
}

static enum status encode_word(const struct tok_bpe *b, struct tok_bpe_work *w, const char *s,
                               size_t n, struct tok_ids *ids, struct err *e)
{
    struct cached *c = &w->cache[tok_hash(s, n) & w->cache_mask];
    size_t start = ids->n;

    if (c->n == n && n > 0 && memcmp(c->key, s, n) == 0)
        return tok_ids_add(ids, c->id, c->n_ids, e);
    TRY(add_symbols(b, w, s, n, e));
    TRY(merge_symbols(b, w, e));
    for (size_t i = 0; i < w->n; i = (size_t)w->symbol[i].next)
        TRY(tok_ids_add(ids, &w->symbol[i].id, 1, e));
    if (n > CACHE_KEY || ids->n == start || ids->n - start > CACHE_IDS)
        return OK;
    c->n = (uint8_t)n;
    c->n_ids = (uint8_t)(ids->n - start);
    memcpy(c->key, s, n);
    memcpy(c->id, ids->at + start, c->n_ids * sizeof *c->id);
    return OK;
}

enum status tok_bpe_piece(const struct tok_bpe *b, struct tok_bpe_work *w, const char *s, size_t n,
                          struct tok_ids *ids, struct err *e)
{
    int32_t whole = b->ignore_merges ? tok_vocab_find(&b->vocab, s, n) : -1, last = -1;
    size_t start = 0;
    int len;

    if (whole >= 0)
        return tok_ids_add(ids, &whole, 1, e);
    if (n <= WORD_LONG)
        return encode_word(b, w, s, n, ids, e);
    for (size_t i = 0; i < n; i += (size_t)len) {
        int32_t id = bpe_char(b, s + i, &len);

        if (last >= 0 && id >= 0 && !tok_merges_find(&b->joints, last, id)) {
            TRY(encode_word(b, w, s + start, i - start, ids, e));
            start = i;
        }
        last = id;
    }
    return encode_word(b, w, s + start, n - start, ids, e);
}
