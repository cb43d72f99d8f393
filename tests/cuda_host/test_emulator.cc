/* The shim reports what is wrong with a kernel: each fault below ends its process with the words
 * given here. Without a report it would be no oracle for the kernels. */
#include <sys/wait.h>
#include <unistd.h>

#include "platform.cuh"
#include "tests/test.h"

enum { THREADS = 64 };

__global__ void divergent_shuffle(float *)
{
    float v = 1;

    if (threadIdx.x < 16)
        v += __shfl_xor_sync(0xffffffffu, v, 1);
}

__global__ void conditional_barrier(float *)
{
    if (threadIdx.x < 40)
        __syncthreads();
}

__global__ void two_barriers(float *)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

__global__ void shuffle_from_outside(float *)
{
    if (threadIdx.x < 16)
        __shfl_xor_sync(0x0000ffffu, 1.0f, 16);
}

__global__ void copy_never_awaited(float *p)
{
    SHARED_MEMORY(shared);

    if (threadIdx.x == 0)
        copy_async_16(shared, p, true);
}

__global__ void misaligned_rows(float *)
{
    SHARED_MEMORY(shared);
    uint32_t fragment[4];

    load_matrix_x4(fragment, shared + 2);
}

static const struct fault {
    const char *name;
    void (*kernel)(float *);
    const char *words;
} faults[] = {
    {"a shuffle that half a warp skips", divergent_shuffle, "deadlock"},
    {"a barrier that some threads skip", conditional_barrier, "deadlock"},
    {"one barrier at two places", two_barriers, "at different lines"},
    {"a shuffle from a lane outside the mask", shuffle_from_outside, "not in mask"},
    {"a copy that nobody waits for", copy_never_awaited, "never waited for"},
    {"rows off their alignment", misaligned_rows, "multiple of 16"},
};

/* Runs the kernel in a child; its stderr into text. */
static void run_fault(const struct fault *f, char *text, size_t size)
{
    int pipes[2], status;
    size_t n = 0;
    ssize_t got;
    pid_t child;

    EXPECT(pipe(pipes) == 0);
    child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        void *p;

        dup2(pipes[1], STDERR_FILENO);
        cudaMalloc(&p, THREADS * sizeof(float));
        LAUNCH(f->kernel, 1, THREADS, 256, NULL, (float *)p);
        cudaDeviceSynchronize();
        _exit(0);
    }
    close(pipes[1]);
    while ((got = read(pipes[0], text + n, size - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(pipes[0]);
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* What was never written is NaN: shared memory, an asynchronous copy before the wait, and the device's
 * memory. */
__global__ void read_unwritten(float *out, const float *global)
{
    SHARED_MEMORY(shared);
    const float *s = (const float *)shared;

    if (threadIdx.x > 0)
        return;
    out[0] = s[5];
    copy_async_16(shared, global, true);
    copy_async_commit();
    out[1] = s[0];
    copy_async_wait(0);
    out[2] = s[0];
    copy_async_16(shared, global, false);
    copy_async_commit();
    copy_async_wait(0);
    out[3] = s[0];
}

static void unwritten_is_nan()
{
    const float one[4] = {1, 1, 1, 1};
    float got[4];
    void *out, *in;

    EXPECT(cudaMalloc(&out, sizeof got) == cudaSuccess);
    EXPECT(cudaMalloc(&in, sizeof one) == cudaSuccess);
    EXPECT(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost) == cudaSuccess);
    EXPECT(isnan(got[0]) && isnan(got[3]));
    EXPECT(cudaMemcpy(in, one, sizeof one, cudaMemcpyHostToDevice) == cudaSuccess);
    LAUNCH(read_unwritten, 1, 32, 256, NULL, (float *)out, (const float *)in);
    EXPECT(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost) == cudaSuccess);
    EXPECT(isnan(got[0]) && isnan(got[1]) && got[2] == 1 && got[3] == 0);
    cudaFree(out);
    cudaFree(in);
}

__global__ void nothing()
{
}

static cudaError_t launch_of(dim3 grid, dim3 block, size_t shared_bytes)
{
    runtime::launch(nothing, "nothing", grid, block, shared_bytes, NULL);
    return cudaGetLastError();
}

static void launch_limits()
{
    enum { SHARED = 64 << 10 };

    EXPECT(launch_of(1, 32, 0) == cudaSuccess);
    EXPECT(launch_of(0, 32, 0) == cudaErrorInvalidConfiguration);
    EXPECT(launch_of(1, 1056, 0) == cudaErrorInvalidConfiguration);
    EXPECT(launch_of(dim3(1, 65536), 32, 0) == cudaErrorInvalidConfiguration);
    EXPECT(launch_of(1, 32, SHARED) == cudaErrorInvalidConfiguration); /* without asking first */
    EXPECT(cudaFuncSetAttribute((const void *)nothing, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                SHARED) == cudaSuccess);
    EXPECT(launch_of(1, 32, SHARED) == cudaSuccess);
    EXPECT(cudaFuncSetAttribute((const void *)nothing, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                128 << 10) == cudaErrorInvalidValue);
    EXPECT(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
    EXPECT(cudaDeviceSynchronize() == cudaSuccess);
}

int main()
{
    for (const fault &f : faults) {
        char text[4096];

        run_fault(&f, text, sizeof text);
        if (!strstr(text, f.words)) {
            printf("FAIL %s: want \"%s\" in: %s\n", f.name, f.words, text);
            return 1;
        }
    }
    unwritten_is_nan();
    launch_limits();
    return 0;
}
