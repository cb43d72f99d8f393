/* cuda.c - the CUDA backend as a table of operations: opening, memory, and what takes one launch. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "kernels/cuda/backend.h"
#include "spec/clock.h"

enum {
    COMPUTE_MAJOR_MIN = 8, /* mma on bf16, cp.async */
    TOKENS_WANTED = 8192,  /* dequantizing a matrix then takes 3 % of its product's time */
    /* What a context is at most taken for where nobody says what was free before it was made. */
    CONTEXT_ASSUMED = 512 << 20,
    /* What is not there yet when memory is measured: the rest of the 2 MiB that cudaMalloc rounds up
     * to, and as much again for events and the like. Kernels are there: see take_gpu and warm_up. */
    LATER = 4 << 20,
    LATER_COLD = 64 << 20, /* and where cuBLAS has not loaded its kernels */
    NAP_US = 20           /* between two looks at a stream, once it has taken SPIN_S */
};
static const double SPIN_S = 1e-3;

static enum status status_of(cudaError_t code)
{
    switch (code) {
    case cudaSuccess:
        return OK;
    case cudaErrorMemoryAllocation:
        return ERR_FIT;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
        return ERR_INTERNAL;
    default:
        return ERR_UNAVAILABLE;
    }
}

enum status cuda_status(cudaError_t code, struct err *e, const char *format, ...)
{
    char operation[256];
    va_list arguments;

    if (code == cudaSuccess)
        return OK;
    va_start(arguments, format);
    vsnprintf(operation, sizeof operation, format, arguments);
    va_end(arguments);
    return fail(e, status_of(code), "cuda: %s: %s (%s)", operation, cudaGetErrorString(code),
                cudaGetErrorName(code));
}

char *cuda_take(char *base, size_t *at, size_t bytes)
{
    char *p = base ? base + *at : NULL;

    *at += (bytes + CUDA_ALIGN - 1) / CUDA_ALIGN * CUDA_ALIGN;
    return p;
}

/* CUDA's own wait has no end where a kernel has none. */
enum status cuda_wait(const struct device *d, cudaStream_t s, const char *what, struct err *e)
{
    double begin = clock_seconds(), waited = 0;
    cudaError_t code;

    while ((code = cudaStreamQuery(s)) == cudaErrorNotReady) {
        cudaGetLastError(); /* else the next launch seems to have failed */
        if (d->patience > 0 && !(waited <= d->patience))
            return fail(e, ERR_UNAVAILABLE, "cuda: %s: GPU %d is not done after %g s", what, d->index,
                        d->patience);
        if (waited > SPIN_S)
            usleep(NAP_US);
        waited = clock_seconds() - begin;
    }
    return cuda_status(code, e, "%s on GPU %d", what, d->index);
}

static void variants(char *out, size_t size)
{
    snprintf(out, size, "%s", CUDA_VARIANTS);
}

static bool present(void)
{
    int count = 0;

    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

static size_t scratch_bytes(const struct work_shape *w)
{
    size_t linear = linear_scratch_cuda(w), head = head_scratch_cuda(w);

    return linear > head ? linear : head;
}

/* The GPU of a rank: its local rank among the visible ones. Launchers that give each rank its own
 * GPU show only that one, which is then number 0 for all; with more ranks than GPUs they share. */
static enum status choose_gpu(int local_rank, int *index, struct err *e)
{
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);

    if (code != cudaSuccess || count == 0)
        return fail(e, ERR_UNAVAILABLE, "cuda: no GPU to use: %s (try --backend cpu)",
                    code == cudaSuccess ? "none is visible" : cudaGetErrorString(code));
    CHECK(local_rank >= 0);
    *index = local_rank % count;
    return OK;
}

static enum status describe_gpu(struct device *d, struct err *e)
{
    const struct driver_facts *driver = &d->before;
    struct cudaDeviceProp p;

    TRY(cuda_status(cudaGetDeviceProperties(&p, d->index), e, "properties of GPU %d", d->index));
    snprintf(d->description, sizeof d->description, "%.200s, %s, driver %.40s, ECC %s", p.name, d->bus_id,
             *driver->version ? driver->version : "unknown", p.ECCEnabled ? "on" : "off");
    snprintf(d->label, sizeof d->label, "GPU %d %.50s, %.20s", d->index, p.name, d->bus_id);
    snprintf(d->isa, sizeof d->isa, "sm_%d%d", p.major, p.minor);
    d->compute = p.major;
    if (p.major < COMPUTE_MAJOR_MIN)
        return fail(e, ERR_UNAVAILABLE, "cuda: %s is %s, want sm_80 or later (try --backend cpu)",
                    p.name, d->isa);
    return OK;
}

static void close_cuda(struct device *d)
{
    if (!d)
        return;
    cublas_gemm_close(d->gemm);
    for (int q = 0; q < COPY_QUEUES; q++)
        if (d->copies[q])
            cudaStreamDestroy(d->copies[q]);
    if (d->stream)
        cudaStreamDestroy(d->stream);
    cudaFree(d->arena);
    free(d);
}

static enum status open_stream(struct device *d, cudaStream_t *s, struct err *e)
{
    return cuda_status(cudaStreamCreateWithFlags(s, cudaStreamNonBlocking), e,
                       "a stream on GPU %d", d->index);
}

/* What this process has made the GPU hold so far. */
static enum status measure_taken(struct device *d, struct err *e)
{
    struct driver_facts now;
    size_t available = 0, total = 0;

    driver_ask(d->bus_id, &now);
    TRY(cuda_status(cudaMemGetInfo(&available, &total), e, "memory of GPU %d", d->index));
    d->taken = total - available < CONTEXT_ASSUMED ? total - available : CONTEXT_ASSUMED;
    if (d->before.memory_known && now.memory_known)
        d->taken = d->before.available > now.available ? d->before.available - now.available : 0;
    return OK;
}

static enum status load_kernels(struct device *d, struct err *e)
{
    static cudaError_t (*const load[])(void) = {load_weights, load_rows, load_operands, load_head,
                                                load_attention, load_attention_f32};

    for (size_t i = 0; i < sizeof load / sizeof *load; i++)
        TRY(cuda_status(load[i](), e, "loading kernels on GPU %d", d->index));
    return OK;
}

/* Everything but the arena, between two looks at what the GPU has free. */
static enum status take_gpu(struct device *d, struct err *e)
{
    TRY(cuda_status(cudaDeviceGetPCIBusId(d->bus_id, sizeof d->bus_id, d->index), e,
                    "bus id of GPU %d", d->index));
    driver_ask(d->bus_id, &d->before);
    TRY(cuda_status(cudaSetDevice(d->index), e, "GPU %d", d->index));
    TRY(describe_gpu(d, e));
    TRY(load_kernels(d, e));
    TRY(cublas_gemm_open(&d->gemm, e));
    TRY(open_stream(d, &d->stream, e));
    for (int q = 0; q < COPY_QUEUES; q++)
        TRY(open_stream(d, &d->copies[q], e));
    return measure_taken(d, e);
}

static enum status open_cuda(const struct device_options *o, struct device **out, struct err *e)
{
    struct device *d;
    int index = 0;
    enum status st;

    TRY(choose_gpu(o->local_rank, &index, e));
    d = calloc(1, sizeof *d);
    if (!d)
        return fail(e, ERR_FIT, "cuda: out of memory");
    d->dtype = o->dtype;
    d->arithmetic = o->arithmetic;
    d->index = index;
    d->patience = o->patience;
    st = take_gpu(d, e);
    if (st != OK) {
        close_cuda(d);
        return st;
    }
    *out = d;
    return OK;
}

static void use_fp4(struct device *d)
{
    CHECK(!d->fp4 && d->arithmetic == W4A4_VLLM);
    d->fp4 = true;
    strcat(d->isa, "-fp4");
}

static const char *describe(const struct device *d)
{
    return d->description;
}

static const char *label(const struct device *d)
{
    return d->label;
}

static const char *isa_name(const struct device *d)
{
    return d->isa;
}

static int thread_count(const struct device *d)
{
    (void)d;
    return 1; /* of the host: it only queues */
}

static enum status memory(struct device *d, struct device_memory *out, struct err *e)
{
    size_t available = 0, total = 0;

    TRY(cuda_status(cudaMemGetInfo(&available, &total), e, "memory of GPU %d", d->index));
    *out = (struct device_memory){total, available, d->taken, d->warm ? LATER : LATER_COLD};
    return OK;
}

/* Products of every shape run once, in memory that is given back: only so does cuBLAS load its
 * kernels. Where there is not so much, the plan will refuse, and says more. */
static enum status warm_up(struct device *d, const struct work_shape *w, uint64_t cap,
                           struct err *e)
{
    size_t bytes = scratch_bytes(w);
    void *scratch = NULL;
    cudaError_t code;
    enum status st;

    if (bytes > cap || d->taken > cap - bytes)
        return OK;
    code = cudaMalloc(&scratch, bytes);
    if (code == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return OK;
    }
    st = cuda_status(code, e, "%zu bytes on GPU %d", bytes, d->index);
    if (st == OK)
        st = cuda_status(cudaMemsetAsync(scratch, 0, bytes, d->stream), e, "zeros of %zu", bytes);
    if (st == OK)
        st = warm_up_products(d, w, scratch, e);
    if (st == OK)
        st = cuda_wait(d, d->stream, "first products", e);
    cudaFree(scratch);
    d->warm = st == OK;
    return st == OK ? measure_taken(d, e) : st;
}

static enum status spare(struct device *d, void **out, struct err *e)
{
    return cuda_status(find_spare(out), e, "%d bytes of GPU %d", DEVICE_SPARE, d->index);
}

static enum status arena(struct device *d, size_t bytes, void **base, struct err *e)
{
    CHECK(!d->arena || bytes <= d->arena_bytes);
    if (!d->arena) {
        TRY(cuda_status(cudaMalloc(&d->arena, bytes), e, "an arena of %zu bytes on GPU %d", bytes,
                        d->index));
        d->arena_bytes = bytes;
    }
    *base = d->arena;
    return OK;
}

static void use_scratch(struct device *d, void *scratch, size_t bytes)
{
    CHECK((uintptr_t)scratch % CUDA_ALIGN == 0);
    d->scratch = scratch;
    d->scratch_bytes = bytes;
}

static enum status sync_cuda(struct device *d, struct err *e)
{
    return cuda_wait(d, d->stream, "computing", e);
}

/* Pageable host memory may be reused at once, pinned memory after sync. */
static enum status upload(struct device *d, void *to, const void *from_host, size_t bytes,
                          struct err *e)
{
    return cuda_status(cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, d->stream), e,
                       "upload of %zu bytes", bytes);
}

static enum status download(struct device *d, void *to_host, const void *from, size_t bytes,
                            struct err *e)
{
    TRY(sync_cuda(d, e)); /* into pageable memory the next call would wait by itself */
    TRY(cuda_status(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, d->stream), e,
                    "download of %zu bytes", bytes));
    return sync_cuda(d, e);
}

/* From any thread: one that has not chosen a GPU would open a context on the first. */
static enum status copy(struct device *d, enum copy_queue q, void *to, const void *from,
                        size_t bytes, struct err *e)
{
    TRY(cuda_status(cudaSetDevice(d->index), e, "GPU %d", d->index));
    return cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, d->copies[q]), e,
                       "copy of %zu bytes", bytes);
}

static enum status copy_wait(struct device *d, enum copy_queue q, struct err *e)
{
    return cuda_wait(d, d->copies[q], "copies", e);
}

static enum status pin(struct device *d, size_t bytes, void **host, struct err *e)
{
    return cuda_status(cudaMallocHost(host, bytes), e, "%zu bytes of pinned host memory for GPU %d",
                       bytes, d->index);
}

static void unpin(struct device *d, void *host, size_t bytes)
{
    struct err ignored;

    (void)bytes;
    for (int q = 0; q < COPY_QUEUES; q++)
        if (cuda_wait(d, d->copies[q], "copies", &ignored) != OK)
            return; /* it may still be read from */
    cudaFreeHost(host);
}

static enum status embed_cuda(struct device *d, void *y, const struct weight *table,
                              const int32_t *ids, int T, struct err *e)
{
    bool hf = d->arithmetic == W4A16_HF || d->arithmetic == W4A4_HF;

    return cuda_status(launch_embed(y, d->dtype, table, hf, ids, T, d->stream), e, "embed [%d][%d]",
                       T, table->K);
}

static enum status rms_norm_cuda(struct device *d, void *y, const void *x, const float *gain,
                                 int rows, int cols, float eps, struct err *e)
{
    return cuda_status(launch_rms_norm(y, x, d->dtype, gain, rows, cols, eps, d->stream), e,
                       "rms_norm [%d][%d]", rows, cols);
}

static enum status rope_cuda(struct device *d, void *x, int heads, int D, const float *cos,
                             const float *sin, const struct batch *b, struct err *e)
{
    return cuda_status(launch_rope(x, d->dtype, heads, D, cos, sin, b, d->stream), e,
                       "rope [%d][%d][%d]", b->tokens, heads, D);
}

static enum status attention_cuda(struct device *d, void *out, const void *q, const void *k,
                                  const void *v, const struct attention *a, const struct batch *b,
                                  struct err *e)
{
    cudaError_t code;

    if (a->head_dim % 8 != 0 || a->head_dim > HEAD_DIM_MAX)
        return fail(e, ERR_UNAVAILABLE,
                    "cuda: attention: head_dim is %d, want a multiple of 8 up to %d (try --backend "
                    "cpu)",
                    a->head_dim, HEAD_DIM_MAX);
    code = d->dtype == DTYPE_F32
               ? launch_attention_f32(out, q, k, v, a, b, d->stream)
               : launch_attention(out, q, k, v, d->dtype, a, b, d->stream);
    return cuda_status(code, e, "attention [%d][%d][%d]", b->tokens, a->heads, a->head_dim);
}

static enum status swiglu_cuda(struct device *d, void *gate, const void *up, size_t n,
                               struct err *e)
{
    return cuda_status(launch_swiglu(gate, up, d->dtype, n, d->stream), e, "swiglu of %zu", n);
}

static enum status add_cuda(struct device *d, void *x, const void *y, size_t n, struct err *e)
{
    return cuda_status(launch_add(x, y, d->dtype, n, d->stream), e, "add of %zu", n);
}

static enum status nonfinite_cuda(struct device *d, int32_t *flag, const void *x, size_t n,
                                  struct err *e)
{
    return cuda_status(launch_nonfinite(flag, x, d->dtype, n, d->stream), e, "nonfinite of %zu", n);
}

const struct kernels kernels_cuda = {
    .name = "cuda",
    .arena_is_host = false,
    .tokens_wanted = TOKENS_WANTED,
    .overhead = CONTEXT_ASSUMED + LATER_COLD,
    .variants = variants,
    .present = present,
    .scratch_bytes = scratch_bytes,
    .open = open_cuda,
    .close = close_cuda,
    .describe = describe,
    .label = label,
    .isa = isa_name,
    .try_fp4 = try_fp4_cuda,
    .use_fp4 = use_fp4,
    .threads = thread_count,
    .warm_up = warm_up,
    .memory = memory,
    .spare = spare,
    .arena = arena,
    .use_scratch = use_scratch,
    .upload = upload,
    .download = download,
    .sync = sync_cuda,
    .copy = copy,
    .copy_wait = copy_wait,
    .pin = pin,
    .unpin = unpin,
    .embed = embed_cuda,
    .rms_norm = rms_norm_cuda,
    .linear = linear_cuda,
    .rope = rope_cuda,
    .attention = attention_cuda,
    .swiglu = swiglu_cuda,
    .add = add_cuda,
    .head_nll = head_nll_cuda,
    .nonfinite = nonfinite_cuda,
};
