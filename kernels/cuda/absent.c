/* absent.c - the CUDA backend of a program that was built without it. */
#include "kernels/kernels.h"

static void no_variants(char *out, size_t size)
{
    CHECK(size > 0);
    out[0] = '\0';
}

static bool not_present(void)
{
    return false;
}

const struct kernels kernels_cuda = {
    .name = "cuda",
    .variants = no_variants,
    .present = not_present,
};
