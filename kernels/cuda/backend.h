/* backend.h - the host side of the CUDA backend: what struct device holds, and its larger operations. */
#ifndef KERNELS_CUDA_BACKEND_H
#define KERNELS_CUDA_BACKEND_H

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/driver.h"
#include "kernels/cuda/gemm.h"

struct device {
    enum dtype dtype;
    enum arithmetic arithmetic;
    int index; /* among the visible GPUs */
    double patience;
    int compute; /* major number of its capability */
    bool fp4;    /* linear layers multiply 4-bit operands as they are */
    char bus_id[32], label[96], description[320], isa[16];
    struct driver_facts before; /* this process took anything */
    uint64_t taken;             /* memory: see struct device_memory */
    bool warm;                  /* products of every shape have run */
    cudaStream_t stream, copies[COPY_QUEUES];
    struct cublas_gemm *gemm;
    void *arena;
    size_t arena_bytes;
    char *scratch;
    size_t scratch_bytes;
};

/* OK, or what CUDA says about the operation that the format names ("rms_norm [17][64]"). */
enum status cuda_status(cudaError_t code, struct err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Until all that was queued in a stream of the device is done; ERR_UNAVAILABLE where that takes longer
 * than the device's patience. `what` names it. */
enum status cuda_wait(const struct device *d, cudaStream_t s, const char *what, struct err *e);

/* The next `bytes` of device memory that is taken apart from its start, aligned; *at is how much was
 * taken. base NULL: only counts. */
char *cuda_take(char *base, size_t *at, size_t bytes);

/* N and K of the matrices of such layers. */
enum { LINEAR_SHAPES = 5 };
void linear_shapes_cuda(const struct work_shape *w, int shape[LINEAR_SHAPES][2]);
size_t linear_scratch_cuda(const struct work_shape *w);
size_t head_scratch_cuda(const struct work_shape *w);

/* Has cuBLAS load what it multiplies matrices of this shape with. scratch: as much as those two say,
 * of zeros. */
enum status warm_up_products(struct device *d, const struct work_shape *w, void *scratch,
                             struct err *e);

/* The operations of kernels.h: same names, same contracts. */
enum status linear_cuda(struct device *d, void *y, const void *x, const struct weight *w, int T,
                        struct err *e);
enum status try_fp4_cuda(struct device *d, const struct work_shape *w, uint64_t cap, char *why,
                         size_t size, struct err *e);
enum status head_nll_cuda(struct device *d, double *nll, const void *x, const struct weight *head,
                          const int32_t *row, const int32_t *target, int rows, int vocab,
                          struct err *e);

#endif
