/* Streams of the twin run in orders that only events bind: layers streamed through two buffers come
 * out right under every seed, and wrong under most when either event is forgotten. Memory is counted
 * and limited; pinned memory is read when the copy runs, pageable memory when it is queued; a failed
 * launch stays. */
#include "platform.cuh"
#include "tests/test.h"
#include "twin.h"

enum { LAYERS = 16, N = 64, SEEDS = 32 };
enum mistake { NONE, BUFFER_REUSED_EARLY, USED_BEFORE_COPIED };

__global__ void step(float *x, const float *w)
{
    x[threadIdx.x] = x[threadIdx.x] * 0.5f + w[threadIdx.x];
}

static float weight(int layer, int i)
{
    return (float)(1 + (layer * N + i) % 7);
}

/* x through LAYERS steps, each layer's weights copied while the one before is used. Is x right? */
static bool stream_layers(uint64_t seed, mistake m)
{
    cudaStream_t copy, compute;
    cudaEvent_t full[2], empty[2];
    float *host, *x, *w[2], got[N];
    bool right = true;

    twin_seed(seed);
    cudaStreamCreateWithFlags(&copy, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking);
    cudaMallocHost((void **)&host, LAYERS * N * sizeof *host);
    cudaMalloc((void **)&x, N * sizeof *x);
    cudaMemsetAsync(x, 0, N * sizeof *x, compute);
    for (int b = 0; b < 2; b++) {
        cudaEventCreateWithFlags(&full[b], cudaEventDisableTiming);
        cudaEventCreateWithFlags(&empty[b], cudaEventDisableTiming);
        cudaMalloc((void **)&w[b], N * sizeof *w[b]);
    }
    for (int l = 0; l < LAYERS; l++) {
        int b = l % 2;

        for (int i = 0; i < N; i++)
            host[l * N + i] = weight(l, i);
        if (l >= 2 && m != BUFFER_REUSED_EARLY)
            cudaStreamWaitEvent(copy, empty[b], 0);
        cudaMemcpyAsync(w[b], host + l * N, N * sizeof *host, cudaMemcpyHostToDevice, copy);
        cudaEventRecord(full[b], copy);
        if (m != USED_BEFORE_COPIED)
            cudaStreamWaitEvent(compute, full[b], 0);
        LAUNCH(step, 1, N, 0, compute, x, w[b]);
        cudaEventRecord(empty[b], compute);
    }
    EXPECT(cudaDeviceSynchronize() == cudaSuccess);
    EXPECT(cudaMemcpy(got, x, sizeof got, cudaMemcpyDeviceToHost) == cudaSuccess);
    for (int i = 0; i < N; i++) {
        float want = 0;

        for (int l = 0; l < LAYERS; l++)
            want = want * 0.5f + weight(l, i);
        right = right && got[i] == want;
    }
    for (int b = 0; b < 2; b++) {
        cudaEventDestroy(full[b]);
        cudaEventDestroy(empty[b]);
        cudaFree(w[b]);
    }
    cudaFree(x);
    cudaFreeHost(host);
    cudaStreamDestroy(copy);
    cudaStreamDestroy(compute);
    return right;
}

static int right_runs(mistake m)
{
    int right = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        right += stream_layers(seed, m);
    return right;
}

static void memory_is_counted()
{
    size_t before = twin_memory().used, available, total;
    void *p, *q;

    twin_limit_memory(before + 1000);
    EXPECT(cudaMalloc(&p, 700) == cudaSuccess);
    EXPECT(cudaMalloc(&q, 301) == cudaErrorMemoryAllocation);
    EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
    EXPECT(cudaMemGetInfo(&available, &total) == cudaSuccess && available == 300);
    EXPECT(twin_memory().used == before + 700 && twin_memory().allocations == 1);
    EXPECT(cudaMemcpy(p, &total, 701, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    EXPECT(cudaFree(p) == cudaSuccess && twin_memory().used == before);
    EXPECT(twin_memory().peak >= before + 700);
    cudaGetLastError();
    twin_limit_memory((size_t)1 << 30);
}

static void pinned_memory_is_read_late()
{
    float pageable = 1, *pinned, got[2];
    void *p;

    cudaMallocHost((void **)&pinned, sizeof *pinned);
    cudaMalloc(&p, sizeof got);
    *pinned = 1;
    cudaMemcpyAsync(p, &pageable, sizeof pageable, cudaMemcpyHostToDevice, NULL);
    cudaMemcpyAsync((float *)p + 1, pinned, sizeof *pinned, cudaMemcpyHostToDevice, NULL);
    pageable = *pinned = 2;
    cudaMemcpy(got, p, sizeof got, cudaMemcpyDeviceToHost);
    EXPECT(got[0] == 1 && got[1] == 2);
    cudaFree(p);
    cudaFreeHost(pinned);
}

static void failed_launches_stay()
{
    float *x;

    cudaMalloc((void **)&x, N * sizeof *x);
    twin_fail_launch(2, cudaErrorIllegalAddress);
    LAUNCH(step, 1, N, 0, NULL, x, x);
    EXPECT(cudaGetLastError() == cudaSuccess);
    LAUNCH(step, 1, N, 0, NULL, x, x);
    EXPECT(cudaGetLastError() == cudaErrorIllegalAddress);
    EXPECT(cudaGetLastError() == cudaErrorIllegalAddress);
    EXPECT(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
    twin_fail_launch(0, cudaSuccess);
    EXPECT(cudaDeviceSynchronize() == cudaSuccess);
    cudaFree(x);
}

int main()
{
    EXPECT(right_runs(NONE) == SEEDS);
    EXPECT(right_runs(BUFFER_REUSED_EARLY) <= SEEDS / 4);
    EXPECT(right_runs(USED_BEFORE_COPIED) <= SEEDS / 4);
    memory_is_counted();
    pinned_memory_is_read_late();
    failed_launches_stay();
    return 0;
}
