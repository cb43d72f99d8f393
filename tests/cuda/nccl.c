/* comm/nccl/api.h says what NVIDIA's nccl.h says, and the library that is found has every function
 * and makes an id, which takes no GPU. */
#include <nccl.h>

#include "comm/nccl/api.h"
#include "tests/test.h"

_Static_assert((int)NCCL_SUCCESS == ncclSuccess, "result");
_Static_assert((int)NCCL_CUDA_ERROR == ncclUnhandledCudaError, "result");
_Static_assert((int)NCCL_SYSTEM_ERROR == ncclSystemError, "result");
_Static_assert((int)NCCL_INTERNAL_ERROR == ncclInternalError, "result");
_Static_assert((int)NCCL_INVALID_ARGUMENT == ncclInvalidArgument, "result");
_Static_assert((int)NCCL_INVALID_USAGE == ncclInvalidUsage, "result");
_Static_assert((int)NCCL_REMOTE_ERROR == ncclRemoteError, "result");
_Static_assert((int)NCCL_IN_PROGRESS == ncclInProgress, "result");
_Static_assert((int)NCCL_INT8 == ncclInt8, "type");
_Static_assert((int)NCCL_UNDEFINED == NCCL_CONFIG_UNDEF_INT, "undefined");
_Static_assert(sizeof(struct nccl_id) == sizeof(ncclUniqueId), "id");

/* A prefix of theirs: every member has its place. */
#define SAME_PLACE(ours, theirs)                                                                   \
    _Static_assert(offsetof(struct nccl_config, ours) == offsetof(ncclConfig_t, theirs), #ours)
SAME_PLACE(size, size);
SAME_PLACE(magic, magic);
SAME_PLACE(version, version);
SAME_PLACE(blocking, blocking);
SAME_PLACE(cga_cluster_size, cgaClusterSize);
SAME_PLACE(min_ctas, minCTAs);
SAME_PLACE(max_ctas, maxCTAs);
SAME_PLACE(net_name, netName);
SAME_PLACE(split_share, splitShare);

int main(void)
{
    const ncclConfig_t theirs = NCCL_CONFIG_INITIALIZER;
    struct nccl_api api;
    struct nccl_id id;
    struct err e;

    EXPECT(theirs.magic == (unsigned)NCCL_CONFIG_MAGIC);
    if (nccl_load(&api, &e) != OK) {
        printf("SKIP: %s\n", e.msg);
        return 77;
    }
    EXPECT(api.get_id(&id) == NCCL_SUCCESS);
    nccl_unload(&api);
    return 0;
}
