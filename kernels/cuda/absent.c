/* absent.c - the CUDA backend of a build without CUDA: it says so. */
#include "kernels/kernels.h"

static enum status open_absent(const struct device_options *o, struct device **out, struct err *e)
{
    (void)o;
    (void)out;
    return fail(e, ERR_UNAVAILABLE,
                "cuda: this program was built without CUDA (configure with --preset cuda, or try "
                "--backend cpu)");
}

static void close_absent(struct device *d)
{
    CHECK(!d);
}

static size_t no_scratch(const struct work_shape *w)
{
    (void)w;
    return 0;
}

const struct kernels kernels_cuda = {
    .name = "cuda",
    .scratch_bytes = no_scratch,
    .open = open_absent,
    .close = close_absent,
};
