/* load.c - finding NCCL. */
#include <dlfcn.h>

#include "comm/nccl/api.h"
#include "spec/library.h"

static const char *const libraries[] = {"libnccl.so.2", "/usr/local/cuda/lib64/libnccl.so.2"};

static const struct library_function functions[] = {
    {offsetof(struct nccl_api, get_version), "ncclGetVersion"},
    {offsetof(struct nccl_api, get_id), "ncclGetUniqueId"},
    {offsetof(struct nccl_api, init), "ncclCommInitRankConfig"},
    {offsetof(struct nccl_api, async_error), "ncclCommGetAsyncError"},
    {offsetof(struct nccl_api, finalize), "ncclCommFinalize"},
    {offsetof(struct nccl_api, destroy), "ncclCommDestroy"},
    {offsetof(struct nccl_api, abort), "ncclCommAbort"},
    {offsetof(struct nccl_api, send), "ncclSend"},
    {offsetof(struct nccl_api, recv), "ncclRecv"},
    {offsetof(struct nccl_api, error_string), "ncclGetErrorString"},
    {offsetof(struct nccl_api, last_error), "ncclGetLastError"},
};

enum status nccl_load(struct nccl_api *api, struct err *e)
{
    const char *missing;
    int version = 0;

    *api = (struct nccl_api){0};
    /* NODELETE: an id starts a thread of NCCL's that outlives every communicator. */
    for (size_t i = 0; !api->library && i < sizeof libraries / sizeof *libraries; i++)
        api->library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!api->library)
        return fail(e, ERR_UNAVAILABLE,
                    "nccl: %s is not found (put it on LD_LIBRARY_PATH, or try \"mpi\")",
                    libraries[0]);
    missing = library_functions(api->library, functions, sizeof functions / sizeof *functions, api);
    if (missing) {
        nccl_unload(api);
        return fail(e, ERR_UNAVAILABLE,
                    "nccl: %s has no %s, want version 2.18 or later (try \"mpi\")", libraries[0],
                    missing);
    }
    if (api->get_version(&version) == NCCL_SUCCESS && version >= NCCL_VERSION_MIN)
        return OK;
    nccl_unload(api);
    return fail(e, ERR_UNAVAILABLE, "nccl: %s is version %d, want %d or later (try \"mpi\")",
                libraries[0], version, NCCL_VERSION_MIN);
}

void nccl_unload(struct nccl_api *api)
{
    if (api->library)
        dlclose(api->library);
    *api = (struct nccl_api){0};
}
