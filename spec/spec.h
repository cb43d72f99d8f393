/* spec.h - what the user asked for: spec.json (or the pair -d data.json -m model.json), checked.
 *
 * One table of keys (spec_keys) serves the parser, --set, the messages and --help. Every key is
 * checked for type and range; an unknown one is an error that gives file, line, column and the
 * nearest known key. Keys of other tools that mean nothing here are accepted and listed in
 * `ignored`. Relative paths are resolved against the file they stand in.
 *
 * One-file form: data keys in an object "data", model keys at the top level or in the objects of
 * an array "models" (then the top level's are their defaults). Two-file form: data keys at the top
 * level of the -d file, with "tokenizer_dir" and the keys that say how to run; one model or an
 * array of them in the -m file. `model_dir` may be [path, {"torch_dtype", "max_memory", ...}].
 * A later layer overrides an earlier one (shared keys, a model's own, --set in order); two values
 * of one key in one layer are an error unless they are equal. "torch_dtype": "auto" is refused: it
 * would choose the number's precision by what a config happens to say.
 *
 * Memory: spec_read allocates one struct spec with everything in it; spec_free frees it all
 *         (accepts NULL). Strings live as long as the spec.
 * Order:  spec_read; nothing changes the spec afterwards. */
#ifndef SPEC_SPEC_H
#define SPEC_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"
#include "spec/types.h"

enum {
    SPEC_RANKS_MAX = 1024,  /* ranks a cap or a layer list can name */
    SPEC_MODELS_MAX = 256,  /* models in one run */
    SPEC_LEN_MAX = 1 << 20, /* eval_len */
    SPEC_BYTES_MAX = 1 << 20
};

enum corpus_kind { CORPUS_TEXT, CORPUS_JSONL, CORPUS_TOKENS, CORPUS_WIKI2 };
enum score_kind { SCORE_WINDOW, SCORE_LAST_STRIDE, SCORE_SECOND_HALF, SCORE_ROLLING };
enum bos_kind { BOS_AUTO, BOS_ROW, BOS_NONE };
enum softmax_kind { SOFTMAX_MODEL, SOFTMAX_TOKENIZER };
enum stream_kind { STREAM_AUTO, STREAM_NEVER, STREAM_ALWAYS };
enum backend_kind { BACKEND_AUTO, BACKEND_CPU, BACKEND_CUDA };
enum transport_kind { TRANSPORT_AUTO, TRANSPORT_NCCL, TRANSPORT_MPI, TRANSPORT_LOOP };

/* Where the text comes from. */
struct spec_data {
    enum corpus_kind kind;
    const char *path;        /* file; for wiki2: NULL (found through --data-dir, NVFP4_PPL_DATA) */
    const char *text_column; /* jsonl; default "text" */
    const char *joiner;      /* jsonl; default "\n\n" */
    int eval_len;            /* tokens of a window; default 2048 */
    int eval_stride;         /* default eval_len */
    int64_t max_rows;        /* windows at most; 0 = all */
    enum score_kind score;
    enum bos_kind bos;
    enum softmax_kind softmax;
};

/* Caps in bytes; absent = 0 = what the device has free. */
struct spec_caps {
    int n_ranks;         /* 1 + the highest rank named */
    uint64_t *rank;      /* [n_ranks]; 0 where a rank is not named */
    uint64_t host;       /* "cpu": per host, shared by its ranks; 0 = none */
};

/* What the plan of a streaming rank reckons with, instead of measuring; 0 = measure. */
struct spec_rates {
    double compute; /* FLOP per second */
    double read;    /* file bytes per second */
    double copy;    /* of parked hidden states: bytes per second between device and host, one way */
    bool throttle;  /* streamed layers are read no faster than `read`: to try out a slower disk */
};

struct spec_model {
    const char *label;         /* default: last part of model_dir; no two are the same */
    const char *model_dir;
    const char *tokenizer_dir; /* default: model_dir */
    enum dtype dtype;          /* default bfloat16 */
    enum arithmetic arithmetic;
    struct spec_caps caps;
    int stages;                /* ranks in a pipeline; 0 = the plan decides */
    int n_layers_by_hand;      /* "layers": [30, 58]: layers of each stage; 0 = the plan decides */
    int *layers_by_hand;
};

struct spec {
    struct spec_data data;
    int n_models;
    struct spec_model *model; /* [n_models] */
    int microbatch;           /* windows in a microbatch; 0 = the plan decides */
    enum stream_kind stream;  /* may layers that do not fit be read again for each wave? */
    struct spec_rates rates;
    int threads;              /* per CPU rank; 0 = the cores this rank may use */
    const char *isa;          /* "auto" or a name of the CPU backend's variants; of a GPU: see keys.c */
    enum backend_kind backend;
    enum transport_kind transport;
    double stall_timeout;     /* seconds without progress before a wait gives up; default 600 */
    const char *out;          /* run folder; NULL = none */
    int n_ignored;            /* keys of other tools, each once, in order of appearance */
    const char **ignored;
    /* Of everything in the spec that changes the number: the data keys, and per model the base
     * names of its folder and tokenizer, dtype and arithmetic. Not caps, layers, stages, labels, where
     * folders lie, out, or how it is run (microbatch, threads, isa, backend, transport). */
    char sha256[65];
};

/* Where the spec comes from; `set` holds "key=value" overrides in order: "data.eval_len=1024",
 * "dtype=float32" (every model), "models.1.label=B" (the second), "max_memory.0=38GiB". A value is
 * JSON where it is JSON, else text; keys that hold text take it as it stands. Paths in it are
 * relative to the current folder. A --set without KEY= is ERR_USAGE, all else here ERR_SPEC. */
struct spec_source {
    const char *spec_path;  /* one-file form, or NULL */
    const char *data_path;  /* -d */
    const char *model_path; /* -m */
    int n_set;
    const char *const *set;
};

MUST_USE enum status spec_read(const struct spec_source *from, struct spec **out, struct err *e);
void spec_free(struct spec *s);
/* The cap of a rank; 0 = none is named. */
uint64_t spec_cap(const struct spec_caps *caps, int rank);

/* One row of the table that parser, --set, messages and --help share. */
struct spec_key {
    const char *name;     /* as --set takes it: "data.eval_len", "max_memory", ... */
    const char *type;     /* "integer", "size", "text", ... as --help prints it */
    const char *standard; /* default, as --help prints it */
    const char *help;     /* one line */

    /* The rest is the parser's (spec/keys.h). */
    const char *alias; /* another name of the same key, or NULL */
    unsigned in;       /* where it may stand: bits of enum spec_place */
    int form;          /* enum key_form: how the value is read */
    size_t field;      /* offset in struct spec_data, spec_model or spec */
    int64_t min, max;  /* range of a number, or bytes of a text */
    const char *const *choice; /* names of an enum's values, by value; ends with NULL */
};
const struct spec_key *spec_keys(int *n);

const char *score_name(enum score_kind k); /* "window", "last_stride", "second_half", "rolling" */
const char *bos_name(enum bos_kind k);     /* "auto", "row", "none" */

#endif
