/* safetensors.h - one safetensors file: its header, read and checked in full. For checkpoint.c.
 *
 *     8 bytes        n, little endian
 *     n bytes        JSON: {"name": {"dtype": "BF16", "shape": [..], "data_offsets": [a, b]}, ...}
 *     the rest       data; offsets count from here
 *
 * Memory: safetensors_open fills *f; safetensors_close frees it, also when open failed. */
#ifndef LOADER_SAFETENSORS_H
#define LOADER_SAFETENSORS_H

#include <sys/stat.h>

#include "loader/checkpoint.h"
#include "loader/file_reader.h"
#include "spec/sha256.h"

enum { SAFETENSORS_HEADER_MAX = 100000000 }; /* as the reference reader */

struct safetensors {
    char *name; /* last part of the path */
    int fd;     /* -1: not open */
    struct file_direct direct;
    uint64_t bytes;
    struct timespec mtime;
    char header_sha256[SHA256_HEX];
    struct tensor *tensor; /* in order of offset; .file is left 0 */
    int n_tensors;
    char *names; /* holds every tensor's name */
};

MUST_USE enum status safetensors_open(const char *path, struct safetensors *f, struct err *e);
void safetensors_close(struct safetensors *f);

/* The same checks on a header in memory, `data_bytes` of data behind it (also what is fuzzed). */
MUST_USE enum status safetensors_parse(const char *text, uint64_t text_bytes, uint64_t data_bytes,
                                       struct safetensors *f, struct err *e);

/* Bytes of the file, `what` names them. */
struct file_span safetensors_span(const struct safetensors *f, const char *what, uint64_t offset,
                                  uint64_t bytes, void *dst);

#endif
