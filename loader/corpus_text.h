/* corpus_text.h - the text of a run before it becomes ids (private to corpus.c and its test).
 *
 * Memory: corpus_text_read fills *t; corpus_text_free frees what it holds, also after an error. */
#ifndef LOADER_CORPUS_TEXT_H
#define LOADER_CORPUS_TEXT_H

#include "loader/corpus.h"

struct corpus_text {
    char *text; /* all documents one after another, valid UTF-8; may hold 0 bytes */
    size_t bytes;
    int64_t n_docs;
    size_t *doc;   /* [n_docs + 1]: document d is text[doc[d] .. doc[d+1]) */
    int64_t rows;  /* of a JSONL file or of WikiText-2; 1 for a plain text */
    int64_t words; /* of all documents */
};

/* For every kind but CORPUS_TOKENS. */
MUST_USE enum status corpus_text_read(const struct spec_data *data, const char *data_dir,
                                      struct corpus_text *t, struct err *e);
void corpus_text_free(struct corpus_text *t);

/* len(re.split(r"\s+", text)) of Python: runs of white space, and one. */
int64_t count_words(const char *text, size_t bytes);

#endif
