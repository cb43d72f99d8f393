/* platform.cuh - what the kernels use beyond plain C++, for nvcc: a launch, shared memory, rounding,
 * and the tensor-core instructions of sm_80 and later. The kernels also compile against a twin of
 * this file that runs on a CPU (tests/cuda_host); the include path chooses. */
#ifndef KERNELS_CUDA_PLATFORM_CUH
#define KERNELS_CUDA_PLATFORM_CUH

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#define DEVICE static __device__ __forceinline__

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                     \
    (kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
/* The block's shared memory, of the size given at launch. */
#define SHARED_MEMORY(name) extern __shared__ __align__(1024) unsigned char name[]

/* To nearest, ties to even; a NaN stays a NaN. */
DEVICE uint16_t bf16_from_float(float x)
{
    uint16_t bits;

    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

DEVICE uint16_t f16_from_float(float x)
{
    return __half_as_ushort(__float2half_rn(x));
}

DEVICE float f16_to_float(uint16_t bits)
{
    return __half2float(__ushort_as_half(bits));
}

/* 2^x within 2 ulp; results below 2^-126 are 0. */
DEVICE float exp2_fast(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Four 8x8 matrices of 16-bit values from shared memory; lane 8*j + r points to row r (16 bytes) of
 * matrix j. Lane l receives, of each, the values (l/4, 2*(l%4)) and (l/4, 2*(l%4) + 1). */
DEVICE void load_matrix_x4(uint32_t *fragment, const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(shared_address(row))
                 : "memory");
}

DEVICE void load_matrix_x4_transposed(uint32_t *fragment, const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* D[16][8] += A[16][16] B[16][8], f32 sums. Lane l = 4*g + t holds of A the rows g, g + 8 and the
 * columns 2t, 2t+1, 2t+8, 2t+9; of B the rows 2t, 2t+1, 2t+8, 2t+9 of column g; of D the rows
 * g, g + 8 and the columns 2t, 2t+1. */
DEVICE void mma_bf16(float *d, const uint32_t *a, const uint32_t *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE void mma_f16(float *d, const uint32_t *a, const uint32_t *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* 16 bytes from global to shared memory in the background, zeros where not valid (nothing is read
 * then). Copies since the last commit form a group. */
DEVICE void copy_async_16(void *to, const void *from, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
}

DEVICE void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits for all but the newest `pending` groups of this thread; a constant. */
#define copy_async_wait(pending) asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory")

#endif
