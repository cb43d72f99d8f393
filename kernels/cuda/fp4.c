/* fp4.c - may products of 4-bit operands be used? Only where this device's compute capability has
 * them, cuBLAS offers every shape of the model, and each comes out as the product of the same operands
 * in 16 bits does: to the bit, because fp4_check.cu's operands leave no room for rounding. */
#include <stdio.h>

#include "kernels/cuda/backend.h"

enum { COMPUTE_MAJOR_FP4 = 10 };

/* Global scales, powers of two that do not cancel. */
static const float weight_global = 0.25f, input_global = 0.5f;

/* Device memory of a trial, from one allocation that begins with the scratch. */
struct trial {
    char *codes, *x, *got, *want;
    uint8_t *scale;
    int32_t *flag;
    size_t bytes;
};

static struct trial lay_out(char *base, size_t scratch, size_t N, size_t K)
{
    size_t at = 0;
    struct trial r;

    cuda_take(base, &at, scratch);
    r.codes = cuda_take(base, &at, N * K / 2);
    r.scale = (uint8_t *)cuda_take(base, &at, N * K / NVFP4_GROUP);
    r.x = cuda_take(base, &at, GEMM_TOKENS * K * sizeof(float));
    r.got = cuda_take(base, &at, GEMM_TOKENS * N * sizeof(float));
    r.want = cuda_take(base, &at, GEMM_TOKENS * N * sizeof(float));
    r.flag = (int32_t *)cuda_take(base, &at, sizeof *r.flag);
    r.bytes = at;
    return r;
}

static enum status fill(struct device *d, const struct trial *r, const struct weight *w,
                        struct err *e)
{
    size_t bytes = GEMM_TOKENS * (size_t)w->N * dtype_bytes(d->dtype);
    cudaError_t code = launch_check_weights(r->codes, r->scale, w->N, w->K, d->stream);

    if (code == cudaSuccess)
        code = launch_check_rows(r->x, d->dtype, w->K, w->input_global, d->stream);
    if (code == cudaSuccess)
        code = cudaMemsetAsync(r->got, 0xff, bytes, d->stream);
    if (code == cudaSuccess)
        code = cudaMemsetAsync(r->flag, 0, sizeof *r->flag, d->stream);
    return cuda_status(code, e, "operands of a 4-bit trial [%d][%d]", w->N, w->K);
}

static enum status equal(struct device *d, const struct trial *r, size_t n, bool *yes, struct err *e)
{
    int32_t differs = 1;
    cudaError_t code = launch_differ(r->flag, r->got, r->want, d->dtype, n, d->stream);

    if (code == cudaSuccess)
        code = cudaMemcpyAsync(&differs, r->flag, sizeof differs, cudaMemcpyDeviceToHost, d->stream);
    TRY(cuda_status(code, e, "comparing 4-bit products"));
    TRY(cuda_wait(d, d->stream, "comparing 4-bit products", e));
    *yes = !differs;
    return OK;
}

/* One product both ways. What cuBLAS alone refuses is no failure; what ends the device is one. */
static enum status compare(struct device *d, const struct trial *r, const struct weight *w,
                           char *why, size_t size, struct err *e)
{
    struct err refused;
    bool same = false;

    TRY(fill(d, r, w, e));
    d->fp4 = true;
    if (linear_cuda(d, r->got, r->x, w, GEMM_TOKENS, &refused) != OK) {
        snprintf(why, size, "%s", refused.msg);
        return cuda_wait(d, d->stream, "trying a 4-bit product", e);
    }
    d->fp4 = false;
    TRY(linear_cuda(d, r->want, r->x, w, GEMM_TOKENS, e));
    TRY(equal(d, r, GEMM_TOKENS * (size_t)w->N, &same, e));
    if (!same)
        snprintf(why, size, "the %s product of [%d][%d] and [%d][%d] differs from that in 16 bits",
                 dtype_name(d->dtype), GEMM_TOKENS, w->K, w->N, w->K);
    return OK;
}

/* Both results that linear layers take: of the dtype, and f32 sums. */
static enum status try_shape(struct device *d, const struct work_shape *shape, uint64_t cap, int N,
                             int K, char *why, size_t size, struct err *e)
{
    struct device as = *d;
    struct weight w = {.format = WEIGHT_NVFP4, .N = N, .K = K, .global_stored = weight_global,
                       .input_global = input_global};
    struct trial r;
    void *base = NULL;
    enum status st;

    as.scratch_bytes = linear_scratch_cuda(shape);
    r = lay_out(NULL, as.scratch_bytes, (size_t)N, (size_t)K);
    if (r.bytes > cap || d->taken > cap - r.bytes)
        return fail(e, ERR_FIT, "cuda: the cap has no room for the %zu bytes that trying 4-bit "
                                "products takes (try --isa %s, which does without)", r.bytes, d->isa);
    TRY(cuda_status(cudaMalloc(&base, r.bytes), e, "%zu bytes on GPU %d to try 4-bit products",
                    r.bytes, d->index));
    as.scratch = base;
    r = lay_out(base, as.scratch_bytes, (size_t)N, (size_t)K);
    w.data = r.codes;
    w.scale = r.scale;
    st = compare(&as, &r, &w, why, size, e);
    as.dtype = DTYPE_F32;
    if (st == OK && !*why)
        st = compare(&as, &r, &w, why, size, e);
    cudaFree(base);
    return st;
}

enum status try_fp4_cuda(struct device *d, const struct work_shape *w, uint64_t cap, char *why,
                         size_t size, struct err *e)
{
    int shape[LINEAR_SHAPES][2];
    size_t before = 0, after = 0, total;

    CHECK(!d->arena && !d->fp4 && d->arithmetic == W4A4_VLLM);
    why[0] = '\0';
    if (d->compute < COMPUTE_MAJOR_FP4) {
        snprintf(why, size, "%s has none", d->isa);
        return OK;
    }
    TRY(cuda_status(cudaMemGetInfo(&before, &total), e, "memory of GPU %d", d->index));
    linear_shapes_cuda(w, shape);
    for (int i = 0; i < LINEAR_SHAPES && !*why; i++)
        TRY(try_shape(d, w, cap, shape[i][0], shape[i][1], why, size, e));
    TRY(cuda_status(cudaMemGetInfo(&after, &total), e, "memory of GPU %d", d->index));
    d->taken += before > after ? before - after : 0; /* kernels that were loaded on the way */
    return OK;
}
