/* Proves B1: every golden model through the CUDA backend, in all four arithmetics. On a GPU whole
 * texts; on the CPU shim the first window of each.
 *
 *   cuda_golden [--folder | --only ARITHMETIC]    those that the tree carries; or those of the golden
 *                                                 folder; or one arithmetic of those of the tree */
#include <unistd.h>

#include "tests/cuda/device.h"
#include "tests/golden.h"

int main(int argc, char **argv)
{
    const char *root = argc > 1 && strcmp(argv[1], "--folder") == 0 ? golden_dir() : TEST_DATA;
    const char *only = argc > 2 && strcmp(argv[1], "--only") == 0 ? argv[2] : NULL;
    struct cudaDeviceProp p;

    require_device();
    if (access(root, R_OK) != 0)
        SKIP("no golden data in %s", root);
    EXPECT_CUDA(cudaGetDeviceProperties(&p, 0));
    printf("on %s\n", p.name);
    EXPECT(golden_check_gpu(root, strcmp(p.name, "CUDA on CPU") == 0 ? 1 : 0, only) == 0);
    return 0;
}
