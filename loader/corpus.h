/* corpus.h - the text of a run, as ids.
 *
 * Memory: corpus_read allocates; corpus_free frees (accepts NULL). */
#ifndef LOADER_CORPUS_H
#define LOADER_CORPUS_H

#include <stdint.h>

#include "loader/tokenizer.h"
#include "spec/spec.h"
#include "spec/utf8.h" /* utf8_check */

struct corpus {
    int64_t n;            /* ids */
    int32_t *ids;         /* all documents one after another */
    int64_t n_docs;       /* 1 but for SCORE_ROLLING over jsonl rows */
    int64_t *doc;         /* [n_docs + 1]: document d is ids[doc[d] .. doc[d+1]) */
    int64_t bytes, words; /* of the text (0 for frozen ids); words as re.split(r"\s+") counts them */
    int bos;              /* what tokenizer_bos says; -1 without a tokenizer */
    int vocab;            /* tokenizer_vocab; 0 without a tokenizer */
    char ids_sha256[65];  /* of ids as little-endian int32 */
};

/* Reads spec->data with the tokenizer (NULL only for CORPUS_TOKENS). data_dir: --data-dir or NULL.
 * BOS_AUTO: special tokens as the post-processor says, once per text (per row when rolling);
 * BOS_ROW, BOS_NONE: none here. second_half: one final newline of a text file is dropped. */
MUST_USE enum status corpus_read(const struct spec_data *data, const char *data_dir,
                                 const struct tokenizer *t, struct corpus **out, struct err *e);
void corpus_free(struct corpus *c);

#endif
