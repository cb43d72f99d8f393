/* made_checkpoint.h - what the parts of make_checkpoint share: the job, and the list of tensors.
 * Every element of a tensor is (random & keep) | fixed: a fixed exponent, random sign and mantissa. */
#ifndef TESTS_TOOLS_MADE_CHECKPOINT_H
#define TESTS_TOOLS_MADE_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

enum sparse { SPARSE_NONE, SPARSE_WEIGHTS, SPARSE_ALL };

struct geometry {
    const char *preset, *arch;
    long layers, hidden, ffn, heads, kv_heads, head_dim, vocab;
    double theta, eps;
    bool tied, llama3; /* llama3: rope scaling of Llama 3.1 */
    double llama3_factor;
};

struct job {
    const char *out, *format, *head_format, *tokenizer;
    struct geometry g;
    long window, shard_bytes, seed;
    bool bias;
    enum sparse sparse;
};

enum content { CONTENT_WEIGHT, CONTENT_SCALE, CONTENT_SMALL }; /* what --sparse leaves out */

struct tensor {
    char name[112];
    const char *dtype;
    int rank;
    uint64_t dim[2], bytes;
    uint64_t keep, fixed; /* element = (random & keep) | fixed, repeated to 8 bytes */
    enum content content;
    int shard;
    uint64_t offset; /* in the data of its shard */
};

struct list {
    struct tensor *tensor;
    int n, room, n_shards;
};

/* made_tensors.c: all tensors of the model, and the shard and place of each. */
void list_tensors(struct list *l, const struct job *j);
void place_tensors(struct list *l, const struct job *j);

/* made_files.c */
void write_shard(const struct list *l, const struct job *j, int shard);
void write_index(const struct list *l, const struct job *j);
void write_config(const struct job *j);
void copy_tokenizer(const struct job *j);

/* make_checkpoint.c */
bool is(const char *a, const char *b); /* the same text */
bool packs(const struct job *j);       /* are the linear layers NVFP4? */
const char *plain_format(const struct job *j); /* of what is not NVFP4 */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
