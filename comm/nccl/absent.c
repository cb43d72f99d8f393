/* absent.c - the NCCL transport of a program that was built without CUDA. */
#include "comm/nccl/nccl.h"

enum status comm_nccl_present(struct err *e)
{
    return fail(e, ERR_UNAVAILABLE, "nccl is not built into this program (try \"mpi\" or \"auto\")");
}

enum status comm_open_nccl(const struct nccl_request *q, struct comm **out, struct err *e)
{
    (void)q;
    *out = NULL;
    return comm_nccl_present(e);
}
