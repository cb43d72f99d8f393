/* runtime.h - inside the CUDA runtime's twin: queueing work on a stream. */
#ifndef CUDA_HOST_RUNTIME_H
#define CUDA_HOST_RUNTIME_H

#include <cuda_runtime_api.h>

#include <functional>
#include <tuple>

#include "emulator.h"

namespace runtime {

/* Queues a kernel; a launch that a GPU would refuse becomes the last error. */
void launch_body(const void *kernel, const char *name, dim3 grid, dim3 block, size_t shared_bytes,
                 cudaStream_t s, std::function<void()> body);

/* The kernel gets the values that its arguments have now, whenever it runs. */
template <class... P, class... A>
void launch(void (*kernel)(P...), const char *name, dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t s, const A &...arguments)
{
    std::tuple<P...> values(arguments...);

    launch_body((const void *)kernel, name, grid, block, shared_bytes, s,
                [=]() { std::apply(kernel, values); });
}

/* Queues `work` on the stream: true when done, false when it must wait for something. */
void enqueue(cudaStream_t s, std::function<bool()> work);

/* Said by work that returns false because it waits for another process: then no stream of this one
 * may be ready, and yet that is no deadlock. */
void wait_outside();

/* The number that a variable asks for a fault with; 0: none, or not in this rank. */
size_t fault(const char *variable);

/* Of its GPUs, in tenths: CUDA_HOST_COMPUTE, else 90. */
int compute_capability();

/* Does [p, p + bytes) lie in one allocation of device memory? */
bool is_device(const void *p, size_t bytes);

/* What a library takes for itself, beside cudaMalloc; false: there is not so much. */
bool take_memory(size_t bytes);
void give_memory(size_t bytes);

/* Of a __device__ variable. */
cudaError_t symbol_address(void **p, const void *symbol, size_t bytes);

} // namespace runtime

#endif
