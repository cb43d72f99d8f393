/* keys.h - the table of keys, and looking one up (private to spec/). */
#ifndef SPEC_KEYS_H
#define SPEC_KEYS_H

#include <stdbool.h>

#include "spec/spec.h"

/* Where a key may stand. */
enum spec_place {
    IN_SPEC = 1,      /* top level of the one-file form */
    IN_DATA = 2,      /* its "data" */
    IN_DATA_FILE = 4, /* top level of the -d file */
    IN_MODEL = 8,     /* an object of the -m file or of "models" */
    IN_OPTIONS = 16   /* the object in "model_dir": [path, {...}] */
};

/* How a value is read, and into what. */
enum key_form {
    FORM_INT,       /* int in [min, max] */
    FORM_COUNT,     /* int64_t in [min, max] */
    FORM_SECONDS,   /* double, above min and at most max */
    FORM_TEXT,      /* string of min to max bytes */
    FORM_LINE,      /* the same without control characters */
    FORM_PATH,      /* string, resolved */
    FORM_CHOICE,    /* enum, by name */
    FORM_CORPUS,    /* path of kind `min`, into struct spec_data */
    FORM_DATASET,   /* "wiki2" */
    FORM_CAPS,      /* {"0": size, ..., "cpu": size} */
    FORM_RATES,     /* {"compute": GFLOP/s, "read": size, "throttle": bool} */
    FORM_LAYERS,    /* [layers of rank 0, of rank 1, ...] */
    FORM_MODEL_DIR, /* path, or [path, {...}] */
    FORM_DATA,      /* the object "data" */
    FORM_MODELS     /* the array "models" */
};

/* The struct that `field` counts in. */
static inline bool key_of_model(const struct spec_key *k)
{
    return k->in & IN_MODEL;
}
static inline bool key_of_data(const struct spec_key *k)
{
    return k->in & IN_DATA;
}

/* Row of the key that stands as `name` in `place`, or NULL. */
const struct spec_key *key_find(enum spec_place place, const char *name);
/* Row by its full name ("data.eval_len") or alias, as --set gives it. */
const struct spec_key *key_find_full(const char *name);
int key_index(const struct spec_key *k);

/* Is it a key of other tools that changes nothing here? */
bool key_is_foreign(const char *name);

enum { KEY_ADVICE = 128 };
/* What to try instead of an unknown key; place 0: in --set. Returns out. */
const char *key_advice(unsigned place, const char *name, char out[KEY_ADVICE]);

#endif
