#include "loader/tok_vocab.h"

#include <stdlib.h>
#include <string.h>

uint64_t tok_hash(const char *s, size_t n)
{
    uint64_t h = n * UINT64_C(0x9e3779b97f4a7c15), word;

    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&word, s, 8);
        h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, s, n);
    h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 29;
}

/* A power of two that leaves half the slots empty. */
static size_t slots_for(size_t n)
{
    size_t slots = 16;

    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

enum status tok_vocab_open(struct tok_vocab *v, size_t n, struct err *e)
{
    size_t slots = slots_for(n);

    *v = (struct tok_vocab){.mask = slots - 1, .cap = n};
    v->slot = calloc(slots, sizeof *v->slot);
    v->entry = malloc((n ? n : 1) * sizeof *v->entry);
    if (v->slot && v->entry)
        return OK;
    tok_vocab_close(v);
    return fail(e, ERR_FIT, "tokenizer: no memory for a vocabulary of %zu", n);
}

void tok_vocab_close(struct tok_vocab *v)
{
    tok_text_free(&v->text);
    free(v->slot);
    free(v->entry);
    *v = (struct tok_vocab){0};
}

/* The slot that holds this text, or the empty one where it would go. */
static size_t vocab_slot(const struct tok_vocab *v, const char *s, size_t n)
{
    size_t i = tok_hash(s, n) & v->mask;

    for (; v->slot[i]; i = (i + 1) & v->mask) {
        const struct tok_vocab_entry *x = &v->entry[v->slot[i] - 1];

        if (x->n == n && memcmp(v->text.at + x->at, s, n) == 0)
            break;
    }
    return i;
}

enum status tok_vocab_add(struct tok_vocab *v, size_t at, int32_t id, bool *twice, struct err *e)
{
    size_t n = v->text.n - at, i;

    CHECK(v->n < v->cap);
    if (n > TOK_TOKEN_MAX)
        return fail(e, ERR_DATA, "a token of %zu bytes, want at most %d", n, TOK_TOKEN_MAX);
    i = vocab_slot(v, v->text.at + at, n);
    *twice = v->slot[i] != 0;
    if (*twice)
        return OK;
    v->entry[v->n++] = (struct tok_vocab_entry){(uint32_t)at, (uint32_t)n, id};
    v->slot[i] = (uint32_t)v->n;
    return OK;
}

int32_t tok_vocab_find(const struct tok_vocab *v, const char *s, size_t n)
{
    uint32_t slot = v->slot[vocab_slot(v, s, n)];

    return slot ? v->entry[slot - 1].id : -1;
}

enum status tok_merges_open(struct tok_merges *m, size_t n, struct err *e)
{
    size_t slots = slots_for(n);

    m->mask = slots - 1;
    m->slot = malloc(slots * sizeof *m->slot);
    if (!m->slot)
        return fail(e, ERR_FIT, "tokenizer: no memory for %zu merges", n);
    memset(m->slot, 0xff, slots * sizeof *m->slot);
    return OK;
}

void tok_merges_close(struct tok_merges *m)
{
    free(m->slot);
    *m = (struct tok_merges){0};
}

void tok_merges_set(struct tok_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    size_t i = tok_pair_hash((uint32_t)left, (uint32_t)right) & m->mask;

    while (m->slot[i].left != UINT32_MAX &&
           (m->slot[i].left != (uint32_t)left || m->slot[i].right != (uint32_t)right))
        i = (i + 1) & m->mask;
    m->slot[i] = (struct tok_merge){(uint32_t)left, (uint32_t)right, rank, id};
}
