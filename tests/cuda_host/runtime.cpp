/* runtime.cpp - the twin of the CUDA runtime.
 *
 * Streams are queues that run only when the host waits, in a seeded order of random priorities that
 * honours nothing but stream order and events: a forgotten event gives wrong numbers here too.
 * Device memory is page-protected except while a stream runs, so that host code that reads a device
 * pointer crashes as it would with a GPU; it starts as NaN, has a hard limit, and its exact end is
 * known to AddressSanitizer. Pageable host memory is read when a copy is queued, pinned memory when
 * the copy runs, as CUDA documents. */
#include "runtime.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "poison.h"
#include "twin.h"

struct cuda_host_stream {
    std::deque<std::function<bool()>> queue;
    int device = 0;
};

struct cuda_host_event {
    unsigned long recorded = 0, done = 0;
};

namespace {

thread_local int current_device = 0; /* of this thread, as CUDA has it */
thread_local bool was_not_ready = false; /* and what cudaGetLastError then says */

enum {
    PAGE = 4096,
    DEVICE_ALIGN = 256,
    SHARED_DEFAULT = 48 << 10,
    SHARED_MAX = 99 << 10, /* of the smallest device: sm_86, sm_89, sm_120 */
    GRID_YZ_MAX = 65535,
    RESHUFFLE = 16,
    SOME_MAX = 8,
    EARLY = 4, /* of so many looks at a stream one comes before anything was done */
    OUTSIDE_NAP_US = 50,
    CONTEXT_BYTES = 3 << 20, /* unless CUDA_HOST_CONTEXT says how many */
    KERNEL_BYTES = 32 << 10 /* that one takes when it is loaded */
};

struct allocation {
    size_t bytes, mapped;
};

size_t number_from(const char *variable, size_t otherwise)
{
    const char *text = getenv(variable);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

/* Of a fault: 0 in ranks that CUDA_HOST_FAULT_RANK does not mean. */
size_t fault_from(const char *variable)
{
    const char *meant = getenv("CUDA_HOST_FAULT_RANK"), *rank = getenv("OMPI_COMM_WORLD_RANK");

    return meant && rank && strcmp(meant, rank) != 0 ? 0 : number_from(variable, 0);
}

struct runtime_state {
    std::vector<cudaStream_t> streams;
    std::vector<cudaStream_t> priority; /* the streams, first to run first; empty: to be drawn */
    cuda_host_stream null_stream;
    std::map<uintptr_t, allocation> device, pinned, symbols;
    std::set<const void *> loaded;               /* kernels */
    std::map<const void *, size_t> shared_limit; /* of kernels that asked for more */
    struct twin_usage memory = {0, 0, number_from("CUDA_HOST_MEMORY", (size_t)4 << 30), 0};
    uint64_t seed = number_from("CUDA_HOST_SEED", 1);
    bool lazy = seed == 0; /* see twin_seed */
    cudaStream_t awaited = NULL;
    int launches_to_failure = (int)fault_from("CUDA_HOST_FAIL_LAUNCH");
    int launches_to_death = (int)fault_from("CUDA_HOST_DIE_LAUNCH");
    int launches_to_hang = (int)fault_from("CUDA_HOST_HANG_LAUNCH");
    int mallocs_to_failure = (int)fault_from("CUDA_HOST_FAIL_MALLOC");
    cudaError_t failure = cudaErrorIllegalAddress;
    cudaError_t last = cudaSuccess;
    bool sticky = false;
    bool outside = false; /* work has said that it waits for another process */
    bool context = false; /* which the first cudaSetDevice makes */

    runtime_state()
    {
        streams.push_back(&null_stream);
    }
};

runtime_state &state()
{
    static runtime_state s;

    return s;
}

cudaStream_t stream_of(cudaStream_t s)
{
    return s ? s : &state().null_stream;
}

/* The host may call from several threads; calls take their turns. */
std::unique_lock<std::recursive_mutex> turn()
{
    static std::recursive_mutex mutex;

    return std::unique_lock<std::recursive_mutex>(mutex);
}

/* What a call answers: its own outcome, or the error that ended the device for good. */
cudaError_t answer(cudaError_t e)
{
    if (state().sticky)
        return state().last;
    if (e != cudaSuccess)
        state().last = e;
    return e;
}

/* No failure, but what the thread did last, until it asks. */
cudaError_t not_ready()
{
    was_not_ready = true;
    return cudaErrorNotReady;
}

unsigned next_random()
{
    uint64_t &seed = state().seed;

    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33);
}

void protect_device(int protection)
{
    for (const auto &a : state().device)
        mprotect((void *)a.first, a.second.mapped, protection);
}

/* The next piece of a stream, if there is one and it is ready. */
bool run_first(cudaStream_t s)
{
    if (!s || s->queue.empty() || !s->queue.front()())
        return false;
    s->queue.pop_front();
    return true;
}

/* Runs one piece of queued work, of the stream of highest priority that is ready; false: none is. */
bool run_one()
{
    std::vector<cudaStream_t> &priority = state().priority;

    if (priority.empty() || next_random() % RESHUFFLE == 0) {
        priority = state().streams;
        for (size_t i = priority.size() - 1; i > 0; i--)
            std::swap(priority[i], priority[next_random() % (i + 1)]);
    }
    state().outside = false;
    if (state().lazy && run_first(state().awaited))
        return true;
    for (cudaStream_t s : priority)
        if (run_first(s))
            return true;
    return false;
}

/* Runs queued work until `stop`. */
void run_until(const std::function<bool()> &stop)
{
    protect_device(PROT_READ | PROT_WRITE);
    while (!stop()) {
        if (run_one())
            continue;
        if (!state().outside)
            emulator::fault("every stream waits for an event that is never recorded");
        usleep(OUTSIDE_NAP_US);
    }
    protect_device(PROT_NONE);
}

/* Runs a few pieces of queued work: what a GPU may have done while the host did something else. */
void run_some()
{
    protect_device(PROT_READ | PROT_WRITE);
    for (unsigned n = next_random() % SOME_MAX; n > 0 && run_one(); n--)
        ;
    protect_device(PROT_NONE);
}

const allocation *find(const std::map<uintptr_t, allocation> &in, const void *p, size_t bytes)
{
    auto after = in.upper_bound((uintptr_t)p);

    if (after == in.begin())
        return NULL;
    --after;
    return (uintptr_t)p + bytes <= after->first + after->second.bytes ? &after->second : NULL;
}

/* Pages for `bytes`, whose end is poisoned, with a guard page on each side. */
void *map_memory(size_t bytes, allocation *a)
{
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    char *p = (char *)mmap(NULL, whole + 2 * PAGE, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    madvise(p, whole + 2 * PAGE, MADV_HUGEPAGE); /* it is protected and opened again all the time */
    *a = {bytes, whole};
    mprotect(p + PAGE, whole, PROT_READ | PROT_WRITE);
    memset(p + PAGE, 0xff, bytes);
    poison(p + PAGE + bytes, whole - bytes);
    return p + PAGE;
}

void unmap_memory(void *p, const allocation &a)
{
    unpoison(p, a.mapped);
    munmap((char *)p - PAGE, a.mapped + 2 * PAGE);
}

/* As a driver does that loads a kernel when it is first asked for. */
bool load_kernel(const void *kernel)
{
    return state().loaded.count(kernel) > 0 ||
           (runtime::take_memory(KERNEL_BYTES) && state().loaded.insert(kernel).second);
}

bool launch_allowed(const void *kernel, dim3 grid, dim3 block, size_t shared_bytes)
{
    auto raised = state().shared_limit.find(kernel);
    size_t limit = raised == state().shared_limit.end() ? (size_t)SHARED_DEFAULT : raised->second;
    unsigned threads = block.x * block.y * block.z;

    return threads > 0 && threads <= emulator::THREADS_MAX && threads % emulator::WARP == 0 &&
           grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= INT32_MAX && grid.y <= GRID_YZ_MAX &&
           grid.z <= GRID_YZ_MAX && shared_bytes <= limit;
}

} // namespace

void runtime::enqueue(cudaStream_t s, std::function<bool()> work)
{
    auto lock = turn();
    if (s && s->device != current_device)
        emulator::fault("a thread uses a stream of GPU %d, but its GPU is %d", s->device,
                        current_device);
    stream_of(s)->queue.push_back(std::move(work));
}

void runtime::wait_outside()
{
    state().outside = true;
}

size_t runtime::fault(const char *variable)
{
    return fault_from(variable);
}

int runtime::compute_capability()
{
    return (int)number_from("CUDA_HOST_COMPUTE", 90);
}

bool runtime::is_device(const void *p, size_t bytes)
{
    auto lock = turn();
    return find(state().device, p, bytes) || find(state().symbols, p, bytes);
}

bool runtime::take_memory(size_t bytes)
{
    auto lock = turn();
    struct twin_usage &m = state().memory;

    if (bytes > m.limit - m.used)
        return false;
    m.used += bytes;
    m.peak = m.used > m.peak ? m.used : m.peak;
    return true;
}

void runtime::give_memory(size_t bytes)
{
    auto lock = turn();
    state().memory.used -= bytes;
}

cudaError_t runtime::symbol_address(void **p, const void *symbol, size_t bytes)
{
    auto lock = turn();
    state().symbols[(uintptr_t)symbol] = {bytes, bytes};
    *p = (void *)symbol;
    return answer(cudaSuccess);
}

void runtime::launch_body(const void *kernel, const char *name, dim3 grid, dim3 block,
                          size_t shared_bytes, cudaStream_t s, std::function<void()> body)
{
    auto lock = turn();
    runtime_state &r = state();

    if (--r.launches_to_death == 0)
        raise(SIGKILL);
    if (r.launches_to_failure > 0 && --r.launches_to_failure == 0) {
        r.sticky = true;
        r.last = r.failure;
    }
    if (r.sticky)
        return;
    if (!launch_allowed(kernel, grid, block, shared_bytes)) {
        r.last = cudaErrorInvalidConfiguration;
        return;
    }
    if (!load_kernel(kernel)) {
        r.last = cudaErrorMemoryAllocation;
        return;
    }
    if (--r.launches_to_hang == 0)
        enqueue(s, []() {
            wait_outside();
            return false;
        });
    enqueue(s, [=]() {
        emulator::run_kernel(name, grid, block, shared_bytes, body);
        return true;
    });
}

struct twin_usage twin_memory(void)
{
    auto lock = turn();
    return state().memory;
}

void twin_limit_memory(size_t bytes)
{
    auto lock = turn();
    state().memory = {state().memory.used, state().memory.used, bytes, 0};
}

void twin_seed(uint64_t seed)
{
    auto lock = turn();
    state().seed = seed;
    state().lazy = seed == 0;
}

void twin_fail_launch(int n, int code)
{
    auto lock = turn();
    state().launches_to_failure = n;
    state().failure = (cudaError_t)code;
    state().sticky = false;
    state().last = cudaSuccess;
}

/* ------------------------------------------------------------------------------------ device */

/* The device that an entry of CUDA_VISIBLE_DEVICES names: by its number, or by the first characters of
 * its UUID; -1: none. */
static int device_named(const std::string &entry, int count)
{
    char *end, uuid[64];
    long number = strtol(entry.c_str(), &end, 10);

    if (!entry.empty() && !*end)
        return number >= 0 && number < count ? (int)number : -1;
    for (int i = 0; i < count && entry.compare(0, 4, "GPU-") == 0; i++) {
        snprintf(uuid, sizeof uuid, "GPU-%08x-0000-0000-0000-000000000000", 0xa0 + i);
        if (strncmp(uuid, entry.c_str(), entry.size()) == 0)
            return i;
    }
    return -1;
}

/* Numbers of the devices that this process may see. */
static std::vector<int> visible_devices()
{
    int count = (int)number_from("CUDA_HOST_DEVICES", 1);
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    std::vector<int> visible;

    for (int i = 0; !list && i < count; i++)
        visible.push_back(i);
    while (list && *list) {
        size_t n = strcspn(list, ",");
        int device = device_named(std::string(list, n), count);

        if (device < 0)
            break; /* as CUDA does: the list ends there */
        visible.push_back(device);
        list += n + (list[n] == ',');
    }
    return visible;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    auto lock = turn();
    *count = (int)visible_devices().size();
    return answer(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device)
{
    auto lock = turn();

    if (device < 0 || device >= (int)visible_devices().size())
        return answer(cudaErrorInvalidDevice);
    if (!state().context && !runtime::take_memory(number_from("CUDA_HOST_CONTEXT", CONTEXT_BYTES)))
        return answer(cudaErrorMemoryAllocation);
    state().context = true;
    current_device = device;
    return answer(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int)
{
    auto lock = turn();
    *p = {};
    strcpy(p->name, "CUDA on CPU");
    p->totalGlobalMem = state().memory.limit;
    p->major = runtime::compute_capability() / 10;
    p->minor = runtime::compute_capability() % 10;
    p->multiProcessorCount = 1;
    return answer(cudaSuccess);
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int bytes, int device)
{
    auto lock = turn();
    std::vector<int> visible = visible_devices();

    if (device < 0 || device >= (int)visible.size())
        return answer(cudaErrorInvalidDevice);
    snprintf(id, (size_t)bytes, "0000:%02x:00.0", visible[(size_t)device]);
    return answer(cudaSuccess);
}

cudaError_t cudaDeviceSynchronize(void)
{
    auto lock = turn();
    if (!state().sticky)
        run_until([] {
            for (cudaStream_t s : state().streams)
                if (!s->queue.empty())
                    return false;
            return true;
        });
    return answer(cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    auto lock = turn();
    *total = state().memory.limit;
    *available = *total - state().memory.used;
    return answer(cudaSuccess);
}

/* ------------------------------------------------------------------------------------ memory */

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    auto lock = turn();
    struct twin_usage &m = state().memory;
    allocation a;

    if (state().sticky || bytes > m.limit - m.used || --state().mallocs_to_failure == 0)
        return answer(cudaErrorMemoryAllocation);
    *p = map_memory(bytes, &a);
    if (!*p)
        return answer(cudaErrorMemoryAllocation);
    mprotect(*p, a.mapped, PROT_NONE);
    state().device[(uintptr_t)*p] = a;
    m.used += bytes;
    m.peak = m.used > m.peak ? m.used : m.peak;
    m.allocations++;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    auto lock = turn();
    auto found = state().device.find((uintptr_t)p);

    if (!p)
        return answer(cudaSuccess);
    if (found == state().device.end())
        return answer(cudaErrorInvalidValue);
    cudaDeviceSynchronize();
    state().memory.used -= found->second.bytes;
    unmap_memory(p, found->second);
    state().device.erase(found);
    return answer(cudaSuccess);
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    auto lock = turn();
    allocation a;

    *p = map_memory(bytes, &a);
    if (!*p)
        return answer(cudaErrorMemoryAllocation);
    state().pinned[(uintptr_t)*p] = a;
    return answer(cudaSuccess);
}

cudaError_t cudaFreeHost(void *p)
{
    auto lock = turn();
    auto found = state().pinned.find((uintptr_t)p);

    if (!p)
        return answer(cudaSuccess);
    if (found == state().pinned.end())
        return answer(cudaErrorInvalidValue);
    unmap_memory(p, found->second);
    state().pinned.erase(found);
    return answer(cudaSuccess);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t s)
{
    auto lock = turn();
    bool to_device = runtime::is_device(to, bytes), from_device = runtime::is_device(from, bytes);
    enum cudaMemcpyKind found = to_device ? from_device ? cudaMemcpyDeviceToDevice
                                                        : cudaMemcpyHostToDevice
                                : from_device ? cudaMemcpyDeviceToHost
                                              : cudaMemcpyHostToHost;
    std::shared_ptr<char[]> staged;

    if (kind != found && kind != cudaMemcpyDefault)
        return answer(cudaErrorInvalidValue);
    if (state().sticky)
        return answer(cudaSuccess);
    if (!from_device && !find(state().pinned, from, bytes)) {
        staged.reset(new char[bytes]);
        memcpy(staged.get(), from, bytes);
    }
    runtime::enqueue(s, [=]() {
        memcpy(to, staged ? staged.get() : from, bytes);
        return true;
    });
    if (!to_device && !find(state().pinned, to, bytes))
        return cudaStreamSynchronize(s);
    return answer(cudaSuccess);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    auto lock = turn();
    cudaError_t e = cudaDeviceSynchronize();

    if (e == cudaSuccess)
        e = cudaMemcpyAsync(to, from, bytes, kind, NULL);
    return e == cudaSuccess ? cudaDeviceSynchronize() : e;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t s)
{
    auto lock = turn();
    if (!runtime::is_device(to, bytes))
        return answer(cudaErrorInvalidValue);
    runtime::enqueue(s, [=]() {
        memset(to, value, bytes);
        return true;
    });
    return answer(cudaSuccess);
}

/* ------------------------------------------------------------------------- streams and events */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    auto lock = turn();
    *s = new cuda_host_stream;
    (*s)->device = current_device;
    state().streams.push_back(*s);
    state().priority.clear();
    return answer(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    auto lock = turn();
    std::vector<cudaStream_t> &all = state().streams;

    if (!state().sticky)
        cudaStreamSynchronize(s);
    for (size_t i = 1; i < all.size(); i++)
        if (all[i] == s)
            all.erase(all.begin() + (long)i);
    state().priority.clear();
    delete s;
    return answer(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    auto lock = turn();
    cudaStream_t which = stream_of(s);

    state().awaited = which;
    if (!state().sticky)
        run_until([which] { return which->queue.empty(); });
    return answer(cudaSuccess);
}

/* Now and then it is asked too early. */
cudaError_t cudaStreamQuery(cudaStream_t s)
{
    auto lock = turn();
    cudaStream_t which = stream_of(s);

    if (state().sticky)
        return state().last;
    if (!which->queue.empty() && next_random() % EARLY == 0)
        return not_ready();
    state().awaited = which;
    protect_device(PROT_READ | PROT_WRITE);
    while (!which->queue.empty() && run_one())
        ;
    protect_device(PROT_NONE);
    if (state().sticky)
        return state().last;
    if (!which->queue.empty() && !state().outside)
        emulator::fault("every stream waits for an event that is never recorded");
    return which->queue.empty() ? cudaSuccess : not_ready();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    auto lock = turn();
    *e = new cuda_host_event;
    return answer(cudaSuccess);
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    auto lock = turn();
    cudaDeviceSynchronize();
    delete e;
    return answer(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    auto lock = turn();
    unsigned long number = ++e->recorded;

    runtime::enqueue(s, [=]() {
        e->done = number > e->done ? number : e->done;
        return true;
    });
    return answer(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    auto lock = turn();
    unsigned long number = e->recorded;

    runtime::enqueue(s, [=]() { return e->done >= number; });
    return answer(cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    auto lock = turn();
    unsigned long number = e->recorded;

    if (!state().sticky)
        run_until([=] { return e->done >= number; });
    return answer(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    auto lock = turn();
    if (!state().sticky)
        run_some();
    if (state().sticky)
        return state().last;
    return e->done >= e->recorded ? cudaSuccess : not_ready();
}

/* ------------------------------------------------------------------------------------- kernels */

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *facts, const void *kernel)
{
    auto lock = turn();
    *facts = {emulator::THREADS_MAX};
    return answer(load_kernel(kernel) ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute, int value)
{
    auto lock = turn();
    if (value < 0 || value > SHARED_MAX)
        return answer(cudaErrorInvalidValue);
    state().shared_limit[kernel] = (size_t)value;
    return answer(cudaSuccess);
}

cudaError_t cudaGetLastError(void)
{
    auto lock = turn();
    cudaError_t e = state().last;

    if (!state().sticky)
        state().last = cudaSuccess;
    if (e == cudaSuccess && was_not_ready)
        e = cudaErrorNotReady;
    was_not_ready = false;
    return e;
}

const char *cudaGetErrorName(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "cudaSuccess";
    case cudaErrorInvalidValue:
        return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
        return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
        return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
        return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
        return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
        return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
        return "cudaErrorIllegalAddress";
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t e)
{
    return cudaGetErrorName(e);
}
