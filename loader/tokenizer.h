/* tokenizer.h - tokenizer.json: text to ids, identical to Hugging Face `tokenizers`.
 *
 * BPE models (byte-level and SentencePiece-style), the normalizers, pre-tokenizers, added tokens
 * and post-processors that go with them; anything else is refused by name. `truncation` and
 * `padding` blocks are ignored.
 *
 * Memory: tokenizer_open and tokenizer_parse allocate; tokenizer_close frees (accepts NULL).
 *         tokenizer_encode allocates *ids with malloc for the caller.
 * Time:   near-linear in the text, also for one word of a megabyte. */
#ifndef LOADER_TOKENIZER_H
#define LOADER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"

struct tokenizer;

/* `path`: a tokenizer.json, or the folder that holds it. */
MUST_USE enum status tokenizer_open(const char *path, struct tokenizer **out, struct err *e);
/* The same from memory; `name` is what messages call it. */
MUST_USE enum status tokenizer_parse(const char *name, const char *text, size_t bytes,
                                     struct tokenizer **out, struct err *e);
void tokenizer_close(struct tokenizer *t);

/* Encodes valid UTF-8 (else ERR_DATA with the byte offset of the first broken sequence).
 * special: apply the post-processor (BOS and the like). */
MUST_USE enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t bytes,
                                      bool special, int32_t **ids, size_t *n, struct err *e);

int tokenizer_vocab(const struct tokenizer *t);                 /* 1 + the highest id */
int tokenizer_id(const struct tokenizer *t, const char *token); /* id of a token's text, or -1 */
/* The id that the post-processor puts first before a text, or -1 when it puts none. */
int tokenizer_bos(const struct tokenizer *t);

#endif
