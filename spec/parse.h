/* parse.h - from documents to struct spec (private to spec/). */
#ifndef SPEC_PARSE_H
#define SPEC_PARSE_H

#include "spec/json.h"
#include "spec/keys.h"

/* What a spec owns besides itself, newest first. */
struct block {
    struct block *next;
    max_align_t data[];
};

struct spec_owner {
    struct spec spec; /* first: what callers hold is a pointer to it */
    struct block *blocks;
};

/* Zeroed memory that lives as long as the spec; NULL without memory. */
void *spec_alloc(struct spec_owner *o, size_t bytes);

/* One document: a file, or the value of one --set (then path is NULL). */
struct source {
    struct json *doc;
    const char *path;
};

/* Who set a key last. `layer` 0: nobody, the default holds. */
struct setter {
    int layer;
    const struct source *source;
    const cJSON *item;
};

enum { SPEC_KEYS_MAX = 64 }; /* at least the rows of the table */

struct reader {
    struct spec_owner *owner;
    struct spec *s; /* &owner->spec */
    int n_sources;
    struct source *source; /* [2 + n_set] */
    int layer;             /* grows with every layer: shared keys, own keys, each --set */
    struct setter run[SPEC_KEYS_MAX];      /* of data and run keys */
    struct setter (*model)[SPEC_KEYS_MAX]; /* [n_models] */
    const cJSON **model_item;              /* [n_models]: the model's object, for messages */
    const struct source *model_source, *data_source;
};

/* Reads files and --set into r->s; what nobody set is left 0. */
MUST_USE enum status spec_parse(struct reader *r, const struct spec_source *from, struct err *e);

/* Reads `item` into the field of key `k` in `base`. `what` names it in messages. */
MUST_USE enum status value_read(struct reader *r, const struct source *src,
                                const struct spec_key *k, const cJSON *item, const char *what,
                                void *base, struct err *e);
/* One entry of max_memory: `rank` is "0" or "cpu". */
MUST_USE enum status value_read_cap(struct reader *r, const struct source *src, const cJSON *item,
                                    const char *what, const char *rank, struct spec_caps *caps,
                                    struct err *e);
/* The path of `src` joined with `path`, in the spec's memory. */
MUST_USE enum status value_path(struct reader *r, const struct source *src, const cJSON *item,
                                const char *what, const char **out, struct err *e);

#endif
