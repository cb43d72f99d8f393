/* emulator.h - one CUDA thread block after another on one OS thread: every CUDA thread is a fiber.
 *
 * A kernel runs until its threads wait in a barrier or a warp operation; the last one to arrive lets
 * the others go on. Warp operations are computed by the last lane for all lanes. What a GPU leaves
 * undefined is made visible: shared memory starts as NaN, the target of an asynchronous copy is NaN
 * until it was waited for, a barrier or warp operation that some threads never reach is reported with
 * who waits where, and the order in which threads run is chosen by CUDA_HOST_ORDER = forward,
 * reverse or random:SEED.
 *
 * A fault of the kernel under test is reported on stderr and aborts: there is nothing to go on with. */
#ifndef CUDA_HOST_EMULATOR_H
#define CUDA_HOST_EMULATOR_H

#include <stddef.h>
#include <stdint.h>

#include <functional>

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};

namespace emulator {

enum { WARP = 32, THREADS_MAX = 1024, WARPS_MAX = THREADS_MAX / WARP };
enum : unsigned { ALL_LANES = 0xffffffffu };

/* Where the running thread is. */
const dim3 &thread_index();
const dim3 &block_index();
const dim3 &block_size();
const dim3 &grid_size();
int lane();
unsigned char *shared_memory();

/* Runs `body` for every thread of every block. */
void run_kernel(const char *name, dim3 grid, dim3 block, size_t shared_bytes,
                const std::function<void()> &body);

/* __syncthreads: the threads of a block must meet at the same line. */
void barrier(int line);

/* All lanes of `mask` arrive with their argument; the last one calls fn(arguments, mask), where
 * arguments[lane] of each lane of the mask is set. */
typedef void (*warp_function)(void **arguments, unsigned mask);
void warp_operation(unsigned mask, const char *name, int line, void *argument, warp_function fn);

/* cp.async: 16 bytes to shared memory, zeros where not valid. */
void copy_async(void *to, const void *from, bool valid);
void copy_async_commit();
/* Waits for all but the newest `pending` groups of this thread. */
void copy_async_wait(int pending);

[[noreturn]] void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

} // namespace emulator

#endif
