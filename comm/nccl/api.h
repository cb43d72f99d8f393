/* api.h - the few functions of NCCL that the transport takes, found at run time, so that one binary
 * starts where there is no NCCL and building needs none of its headers.
 *
 * Names, numbers and layouts are those of nccl.h (2.18 and later); tests/cuda/nccl.c compares them. */
#ifndef COMM_NCCL_API_H
#define COMM_NCCL_API_H

#include <cuda_runtime_api.h>
#include <limits.h>
#include <stddef.h>

#include "spec/err.h"

#ifdef __cplusplus
extern "C" {
#endif

enum nccl_result {
    NCCL_SUCCESS,
    NCCL_CUDA_ERROR,
    NCCL_SYSTEM_ERROR,
    NCCL_INTERNAL_ERROR,
    NCCL_INVALID_ARGUMENT,
    NCCL_INVALID_USAGE,
    NCCL_REMOTE_ERROR,
    NCCL_IN_PROGRESS
};

enum {
    NCCL_INT8 = 0,
    NCCL_VERSION_MIN = 21800, /* the configuration below */
    NCCL_UNDEFINED = INT_MIN
};

struct nccl_id {
    char bytes[128];
};

/* As of 2.18; later ones are longer, and the size tells them apart. */
struct nccl_config {
    size_t size;
    unsigned magic, version;
    int blocking, cga_cluster_size, min_ctas, max_ctas;
    const char *net_name;
    int split_share, unused;
};
enum { NCCL_CONFIG_MAGIC = (int)0xcafebeef };

struct nccl_comm; /* NCCL's */

struct nccl_api {
    void *library;
    int (*get_version)(int *version);
    int (*get_id)(struct nccl_id *id);
    int (*init)(struct nccl_comm **c, int ranks, struct nccl_id id, int rank,
                struct nccl_config *config);
    int (*async_error)(struct nccl_comm *c, int *result);
    int (*finalize)(struct nccl_comm *c);
    int (*destroy)(struct nccl_comm *c);
    int (*abort)(struct nccl_comm *c);
    int (*send)(const void *buf, size_t count, int type, int peer, struct nccl_comm *c,
                cudaStream_t s);
    int (*recv)(void *buf, size_t count, int type, int peer, struct nccl_comm *c, cudaStream_t s);
    const char *(*error_string)(int result);
    const char *(*last_error)(struct nccl_comm *c);
};

/* ERR_UNAVAILABLE when the library is not there or too old. */
MUST_USE enum status nccl_load(struct nccl_api *api, struct err *e);
void nccl_unload(struct nccl_api *api);

#ifdef __cplusplus
}
#endif

#endif
