#include "stage/backend.h"

#include <stdio.h>

static bool built_in(const struct kernels *k)
{
    char variants[200];

    k->variants(variants, sizeof variants);
    return variants[0] != '\0';
}

enum status backend_choose(enum backend_kind kind, const struct kernels **out, struct err *e)
{
    if (kind == BACKEND_CUDA && !built_in(&kernels_cuda))
        return fail(e, ERR_UNAVAILABLE,
                    "backend: cuda is not built into this program (try \"cpu\" or \"auto\")");
    if (kind == BACKEND_CUDA || (kind == BACKEND_AUTO && kernels_cuda.present()))
        *out = &kernels_cuda;
    else
        *out = &kernels_cpu;
    return OK;
}

void backend_variants(char *out, size_t size)
{
    const struct kernels *const all[] = {&kernels_cpu, &kernels_cuda};
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < sizeof all / sizeof *all && n < size; i++) {
        char variants[200];

        all[i]->variants(variants, sizeof variants);
        if (variants[0])
            n += (size_t)snprintf(out + n, size - n, "%s%s (%s)", n ? ", " : "", all[i]->name,
                                  variants);
    }
}
