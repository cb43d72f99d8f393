/* cublas.c - finding cuBLASLt. */
#include "kernels/cuda/cublas.h"

#include <dlfcn.h>

#include "spec/library.h"

static const char *const libraries[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                        "/usr/local/cuda/lib64/libcublasLt.so"};

static const struct library_function functions[] = {
    {offsetof(struct cublas, create), "cublasLtCreate"},
    {offsetof(struct cublas, destroy), "cublasLtDestroy"},
    {offsetof(struct cublas, desc_create), "cublasLtMatmulDescCreate"},
    {offsetof(struct cublas, desc_destroy), "cublasLtMatmulDescDestroy"},
    {offsetof(struct cublas, desc_set), "cublasLtMatmulDescSetAttribute"},
    {offsetof(struct cublas, layout_create), "cublasLtMatrixLayoutCreate"},
    {offsetof(struct cublas, layout_destroy), "cublasLtMatrixLayoutDestroy"},
    {offsetof(struct cublas, preference_create), "cublasLtMatmulPreferenceCreate"},
    {offsetof(struct cublas, preference_destroy), "cublasLtMatmulPreferenceDestroy"},
    {offsetof(struct cublas, preference_set), "cublasLtMatmulPreferenceSetAttribute"},
    {offsetof(struct cublas, choose), "cublasLtMatmulAlgoGetHeuristic"},
    {offsetof(struct cublas, multiply), "cublasLtMatmul"},
};

enum status cublas_load(struct cublas *c, struct err *e)
{
    const char *missing;

    *c = (struct cublas){0};
    for (size_t i = 0; !c->library && i < sizeof libraries / sizeof *libraries; i++)
        c->library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL);
    if (!c->library)
        return fail(e, ERR_UNAVAILABLE,
                    "cuda: %s is not found (put the CUDA libraries on LD_LIBRARY_PATH, or try "
                    "--backend cpu)",
                    libraries[0]);
    missing = library_functions(c->library, functions, sizeof functions / sizeof *functions, c);
    if (missing) {
        cublas_unload(c);
        return fail(e, ERR_UNAVAILABLE, "cuda: libcublasLt has no %s (want version 12 or 13)", missing);
    }
    return OK;
}

void cublas_unload(struct cublas *c)
{
    if (c->library)
        dlclose(c->library);
    *c = (struct cublas){0};
}
