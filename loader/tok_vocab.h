/* tok_vocab.h - the two hash tables of a BPE model: text -> id, and pair of ids -> merge. */
#ifndef LOADER_TOK_VOCAB_H
#define LOADER_TOK_VOCAB_H

#include "loader/tok.h"

/* Texts and their ids. Texts lie in one buffer; a slot holds the entry's index + 1. */
struct tok_vocab {
    struct tok_text text;
    struct tok_vocab_entry {
        uint32_t at, n;
        int32_t id;
    } * entry;
    uint32_t *slot;
    size_t n, cap, mask;
};

uint64_t tok_hash(const char *s, size_t n);
/* Room for n entries, to be added by tok_vocab_add; text of at most TOK_FILE_MAX bytes. */
MUST_USE enum status tok_vocab_open(struct tok_vocab *v, size_t n, struct err *e);
void tok_vocab_close(struct tok_vocab *v);
/* Adds the text that was appended to v->text from `at` on, unless it is there: *twice. */
MUST_USE enum status tok_vocab_add(struct tok_vocab *v, size_t at, int32_t id, bool *twice,
                                   struct err *e);
int32_t tok_vocab_find(const struct tok_vocab *v, const char *s, size_t n); /* id or -1 */

/* Pairs of ids. */
struct tok_merge {
    uint32_t left, right; /* left = UINT32_MAX: empty slot */
    uint32_t rank;
    int32_t id; /* of the two joined */
};
struct tok_merges {
    struct tok_merge *slot;
    size_t mask;
};

MUST_USE enum status tok_merges_open(struct tok_merges *m, size_t n, struct err *e);
void tok_merges_close(struct tok_merges *m);
void tok_merges_set(struct tok_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id);

static inline size_t tok_pair_hash(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);

    return (size_t)(h ^ h >> 32);
}

static inline const struct tok_merge *tok_merges_find(const struct tok_merges *m, int32_t left,
                                                      int32_t right)
{
    size_t i = tok_pair_hash((uint32_t)left, (uint32_t)right) & m->mask;

    for (; m->slot[i].left != UINT32_MAX; i = (i + 1) & m->mask)
        if (m->slot[i].left == (uint32_t)left && m->slot[i].right == (uint32_t)right)
            return &m->slot[i];
    return NULL;
}

#endif
