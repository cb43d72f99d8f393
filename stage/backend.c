#include "stage/backend.h"

#include <stdio.h>

enum status backend_choose(enum backend_kind kind, const struct kernels **out, struct err *e)
{
    if (kind == BACKEND_CUDA)
        return fail(e, ERR_UNAVAILABLE,
                    "backend: cuda is not built into this program (try \"cpu\" or \"auto\")");
    *out = &kernels_cpu;
    return OK;
}

void backend_variants(char *out, size_t size)
{
    char variants[200];

    kernels_cpu.variants(variants, sizeof variants);
    snprintf(out, size, "%s (%s)", kernels_cpu.name, variants);
}
