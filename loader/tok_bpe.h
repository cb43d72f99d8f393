/* tok_bpe.h - a BPE model as tok_bpe_open.c reads it and tok_bpe.c uses it. */
#ifndef LOADER_TOK_BPE_H
#define LOADER_TOK_BPE_H

#include "loader/tok_vocab.h"

enum { BPE_DIRECT = 0x3000 }; /* code points whose id is found without hashing */

struct tok_bpe {
    struct tok_vocab vocab;
    struct tok_merges merges;
    /* Pairs (last character of a left side, first of a right side) over all merges, by the ids of
     * the characters. Where two known characters meet that are no such pair, nothing ever merges:
     * a long word falls apart there, with the same ids. */
    struct tok_merges joints;
    int32_t direct[BPE_DIRECT];
    int32_t byte_id[256]; /* of "<0xHH>"; -1 where it is missing */
    int32_t unk, id_max;
    bool byte_fallback, fuse_unk, ignore_merges;
};

/* Id of the character at `s`, or -1; stores its length. */
static inline int32_t bpe_char(const struct tok_bpe *b, const char *s, int *len)
{
    uint32_t cp = utf8_decode(s, len);

    return cp < BPE_DIRECT ? b->direct[cp] : tok_vocab_find(&b->vocab, s, (size_t)*len);
}

#endif
