/* checkpoint.h - the tensors of a model folder: model.safetensors, or the shards that
 * model.safetensors.index.json names. Headers are read and checked in full when it opens; data is
 * read later, straight to where the caller wants it.
 *
 * Checked as the reference reader does, and more: header length within limits and file, JSON, known
 * dtypes, shape x dtype = bytes (no overflow), offsets that tile the data from 0 to the end of the
 * file without hole or overlap, no duplicate name in or over shards, shard names without '/' or
 * "..", the index agreeing with the shards.
 *
 * Memory: checkpoint_open allocates; checkpoint_close frees (accepts NULL). Tensors live as long.
 * Threads: checkpoint_read may be called from several threads. It never allocates. */
#ifndef LOADER_CHECKPOINT_H
#define LOADER_CHECKPOINT_H

#include <stdint.h>

#include "loader/file_reader.h"
#include "spec/err.h"

enum tensor_type { /* the names of the file format */
    TENSOR_BOOL, TENSOR_U8, TENSOR_I8, TENSOR_F8_E4M3, TENSOR_F8_E5M2, TENSOR_U16, TENSOR_I16,
    TENSOR_F16, TENSOR_BF16, TENSOR_U32, TENSOR_I32, TENSOR_F32, TENSOR_U64, TENSOR_I64,
    TENSOR_F64, TENSOR_OTHER /* known to the format, of no use here (F4, F6, E8M0, C64) */
};
enum { TENSOR_RANK_MAX = 8 };

struct tensor {
    const char *name;
    enum tensor_type type;
    const char *type_name; /* as in the file, for messages */
    int rank;
    uint64_t dim[TENSOR_RANK_MAX]; /* outermost first */
    int file;        /* index of the shard */
    uint64_t offset; /* bytes from the start of that file */
    uint64_t bytes;
};

struct checkpoint;

MUST_USE enum status checkpoint_open(const char *dir, struct checkpoint **out, struct err *e);
/* A single safetensors file, by its path (frozen ids). */
MUST_USE enum status checkpoint_open_file(const char *path, struct checkpoint **out, struct err *e);
void checkpoint_close(struct checkpoint *c);

const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name); /* or NULL */
int checkpoint_tensors(const struct checkpoint *c);
const struct tensor *checkpoint_tensor(const struct checkpoint *c, int i); /* by name order */
const char *checkpoint_file(const struct checkpoint *c, int file); /* base name, for messages */
/* "model.safetensors" or "model.safetensors.index.json": where a missing tensor is missed. */
const char *checkpoint_name(const struct checkpoint *c);

/* Bytes [at, at + bytes) of a tensor are wanted at dst: for a file_reader. */
struct file_span checkpoint_span(const struct checkpoint *c, const struct tensor *t, uint64_t at,
                                 uint64_t bytes, void *dst);
/* Reads them at once: for what is small. A short read is ERR_IO naming file and tensor. */
MUST_USE enum status checkpoint_read(const struct checkpoint *c, const struct tensor *t, uint64_t at,
                                     uint64_t bytes, void *dst, struct err *e);
/* Lets a file_reader read past the page cache, where the file system can. */
void checkpoint_open_direct(struct checkpoint *c);
uint64_t checkpoint_bytes(const struct checkpoint *c); /* of all files */
/* Has any shard changed size or mtime since it was opened? ERR_IO naming it. */
MUST_USE enum status checkpoint_unchanged(const struct checkpoint *c, struct err *e);

/* SHA-256 over shard names, sizes and headers: which weights these are, without reading them. */
const char *checkpoint_fingerprint(const struct checkpoint *c);

/* One element of BF16, F16 or F32, exactly. */
float tensor_float(enum tensor_type type, const void *element);

/* "F8_E4M3 [7168, 128]" for messages; returns out. */
const char *tensor_describe(const struct tensor *t, char *out, int size);

#endif
