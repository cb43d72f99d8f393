/* cublas.h says what NVIDIA's cublasLt.h says, and the library that is found has every function; it
 * makes descriptors, which takes no GPU. */
#include <cublasLt.h>

#include "kernels/cuda/cublas.h"
#include "tests/test.h"

_Static_assert((int)CUBLAS_OK == CUBLAS_STATUS_SUCCESS, "status");
_Static_assert((int)CUBLAS_TRANSPOSED == CUBLAS_OP_T, "operation");
_Static_assert((int)CUBLAS_REAL_F32 == CUDA_R_32F, "type");
_Static_assert((int)CUBLAS_REAL_F16 == CUDA_R_16F, "type");
_Static_assert((int)CUBLAS_REAL_BF16 == CUDA_R_16BF, "type");
_Static_assert((int)CUBLAS_REAL_FP4 == CUDA_R_4F_E2M1, "type");
_Static_assert((int)CUBLAS_SUM_F32 == CUBLAS_COMPUTE_32F, "compute type");
_Static_assert((int)CUBLAS_DESC_TRANSA == CUBLASLT_MATMUL_DESC_TRANSA, "attribute");
_Static_assert((int)CUBLAS_DESC_A_SCALE == CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, "attribute");
_Static_assert((int)CUBLAS_DESC_B_SCALE == CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, "attribute");
_Static_assert((int)CUBLAS_DESC_A_SCALE_MODE == CUBLASLT_MATMUL_DESC_A_SCALE_MODE, "attribute");
_Static_assert((int)CUBLAS_DESC_B_SCALE_MODE == CUBLASLT_MATMUL_DESC_B_SCALE_MODE, "attribute");
_Static_assert((int)CUBLAS_SCALE_E4M3_PER_16 == CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3, "mode");
_Static_assert(sizeof(cublasLtMatmulMatrixScale_t) == sizeof(int32_t), "mode");
_Static_assert((int)CUBLAS_PREFER_WORKSPACE == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
               "attribute");
_Static_assert((int)CUBLAS_PREFER_REDUCTION == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
               "attribute");
_Static_assert((int)CUBLAS_PREFER_ALIGN_A == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
               "attribute");
_Static_assert((int)CUBLAS_PREFER_ALIGN_B == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
               "attribute");
_Static_assert((int)CUBLAS_PREFER_ALIGN_C == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
               "attribute");
_Static_assert((int)CUBLAS_PREFER_ALIGN_D == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
               "attribute");
_Static_assert(CUBLASLT_REDUCTION_SCHEME_NONE == 0, "no split of K");
_Static_assert(sizeof(struct cublas_algorithm) == sizeof(cublasLtMatmulAlgo_t), "layout");
_Static_assert(sizeof(struct cublas_choice) == sizeof(cublasLtMatmulHeuristicResult_t), "layout");
_Static_assert(offsetof(struct cublas_choice, workspace) ==
                   offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize), "layout");
_Static_assert(offsetof(struct cublas_choice, state) ==
                   offsetof(cublasLtMatmulHeuristicResult_t, state), "layout");

int main(void)
{
    struct cublas c;
    struct err e;
    void *desc = NULL, *layout = NULL, *preference = NULL;
    int transposed = CUBLAS_TRANSPOSED;
    uint32_t align = 16;
    int32_t mode = CUBLAS_SCALE_E4M3_PER_16;
    const uint8_t *scale = NULL;

    if (cublas_load(&c, &e) != OK)
        SKIP("%s", e.msg);
    EXPECT(c.desc_create(&desc, CUBLAS_SUM_F32, CUBLAS_REAL_F32) == CUBLAS_OK);
    EXPECT(c.desc_set(desc, CUBLAS_DESC_TRANSA, &transposed, sizeof transposed) == CUBLAS_OK);
    EXPECT(c.desc_set(desc, CUBLAS_DESC_A_SCALE_MODE, &mode, sizeof mode) == CUBLAS_OK);
    EXPECT(c.desc_set(desc, CUBLAS_DESC_B_SCALE_MODE, &mode, sizeof mode) == CUBLAS_OK);
    EXPECT(c.desc_set(desc, CUBLAS_DESC_A_SCALE, &scale, sizeof scale) == CUBLAS_OK);
    EXPECT(c.desc_set(desc, CUBLAS_DESC_B_SCALE, &scale, sizeof scale) == CUBLAS_OK);
    EXPECT(c.layout_create(&layout, CUBLAS_REAL_FP4, 64, 1024, 64) == CUBLAS_OK);
    EXPECT(c.layout_destroy(layout) == CUBLAS_OK);
    EXPECT(c.layout_create(&layout, CUBLAS_REAL_BF16, 64, 1024, 64) == CUBLAS_OK);
    EXPECT(c.preference_create(&preference) == CUBLAS_OK);
    for (int a = CUBLAS_PREFER_ALIGN_A; a <= CUBLAS_PREFER_ALIGN_D; a++)
        EXPECT(c.preference_set(preference, a, &align, sizeof align) == CUBLAS_OK);
    EXPECT(c.preference_destroy(preference) == CUBLAS_OK);
    EXPECT(c.layout_destroy(layout) == CUBLAS_OK);
    EXPECT(c.desc_destroy(desc) == CUBLAS_OK);
    cublas_unload(&c);
    return 0;
}
