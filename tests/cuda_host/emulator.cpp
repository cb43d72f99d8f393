#include "emulator.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "fiber.h"
#include "poison.h"

namespace emulator {
namespace {

enum {
    STACK_BYTES = (192 << 10) + 4096 + 192, /* no power of two: tops in different cache sets */
    SHARED_ALIGN = 1024
};
enum run_state { READY, WAITING, DONE };

struct async_copy {
    void *to;
    const void *from; /* NULL: zeros */
    int group;
};

struct thread {
    struct fiber fiber;
    run_state state;
    dim3 index;
    unsigned lane, warp;
    const char *operation; /* that it waits in, "barrier" for __syncthreads; NULL: none */
    int line;
    unsigned mask;
    void *argument;
    std::vector<async_copy> copies;
    int group; /* of the copies issued now */
};

struct launch {
    const char *kernel;
    dim3 grid, block, block_index;
    const std::function<void()> *body;
    std::vector<thread> threads;
    std::vector<unsigned> order; /* in which ready threads run */
    thread *current;
    unsigned running, at_barrier;
    int barrier_line;
    unsigned arrived[WARPS_MAX]; /* lanes of each warp that wait in a warp operation */
    unsigned char *shared;
    struct fiber scheduler;
};

enum order_kind { FORWARD, REVERSE, RANDOM };

struct order_choice {
    order_kind kind;
    uint64_t seed;
};

order_choice choose_order()
{
    const char *text = getenv("CUDA_HOST_ORDER");

    if (text && strcmp(text, "reverse") == 0)
        return {REVERSE, 0};
    if (text && strncmp(text, "random:", 7) == 0)
        return {RANDOM, strtoull(text + 7, NULL, 10) + 1};
    return {FORWARD, 0};
}

launch *active;
order_choice order = choose_order();

uint64_t next_random()
{
    order.seed = order.seed * 6364136223846793005u + 1442695040888963407u;
    return order.seed >> 33;
}

unsigned char *fiber_stacks()
{
    static unsigned char *stacks;

    if (!stacks) {
        void *p = mmap(NULL, (size_t)THREADS_MAX * STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED)
            fault("no memory for the stacks of %d threads", THREADS_MAX);
        stacks = (unsigned char *)p;
    }
    return stacks;
}

void wait()
{
    thread *self = active->current;

    self->state = WAITING;
    fiber_switch(&self->fiber, &active->scheduler, false);
}

void run_thread()
{
    thread *self;

    fiber_started(&active->scheduler);
    (*active->body)();
    self = active->current;
    if (!self->copies.empty())
        fault("a thread ends with asynchronous copies that it never waited for");
    self->state = DONE;
    active->running--;
    fiber_switch(&self->fiber, &active->scheduler, true);
}

void shuffle_order()
{
    unsigned n = (unsigned)active->order.size();

    for (unsigned i = 0; i < n; i++)
        active->order[i] = order.kind == REVERSE ? n - 1 - i : i;
    for (unsigned i = n - 1; order.kind == RANDOM && i > 0; i--)
        std::swap(active->order[i], active->order[next_random() % (i + 1)]);
}

void start_block(unsigned index, size_t shared_bytes)
{
    launch *l = active;
    const dim3 &b = l->block;

    l->block_index = dim3(index % l->grid.x, index / l->grid.x % l->grid.y,
                          index / l->grid.x / l->grid.y);
    l->running = (unsigned)l->threads.size();
    l->at_barrier = 0;
    memset(l->arrived, 0, sizeof l->arrived);
    memset(l->shared, 0xff, shared_bytes); /* NaN in every float format */
    for (unsigned i = 0; i < l->threads.size(); i++) {
        thread *t = &l->threads[i];

        t->state = READY;
        t->index = dim3(i % b.x, i / b.x % b.y, i / b.x / b.y);
        t->lane = i % WARP;
        t->warp = i / WARP;
        t->operation = NULL;
        t->group = 0;
        fiber_make(&t->fiber, fiber_stacks() + (size_t)i * STACK_BYTES, STACK_BYTES, run_thread);
    }
    shuffle_order();
}

[[noreturn]] void report_deadlock()
{
    int shown = 0;

    for (size_t i = 0; i < active->threads.size() && shown < 8; i++) {
        const thread *t = &active->threads[i];

        if (t->state == WAITING && ++shown)
            fprintf(stderr, "cuda_host: thread %zu waits in %s at line %d\n", i, t->operation,
                    t->line);
    }
    active->current = NULL;
    fault("deadlock: %u of %zu threads never leave a barrier or a warp operation",
          active->running, active->threads.size());
}

/* Runs every ready thread among the next 32 of the order once; false when none was ready. */
bool run_some(unsigned first)
{
    launch *l = active;
    bool ran = false;

    for (unsigned i = first; i < first + WARP && i < l->order.size(); i++) {
        thread *t = &l->threads[l->order[i]];

        if (t->state != READY)
            continue;
        ran = true;
        l->current = t;
        fiber_switch(&l->scheduler, &t->fiber, false);
    }
    return ran;
}

/* A warp runs as far as it can before the next one; with a random order, all run in turn. */
void finish_block()
{
    while (active->running > 0) {
        bool ran = false;

        for (unsigned first = 0; first < active->order.size(); first += WARP)
            while (run_some(first)) {
                ran = true;
                if (order.kind == RANDOM)
                    break;
            }
        if (!ran)
            report_deadlock();
    }
}

thread *self()
{
    return active->current;
}

} // namespace

void fault(const char *format, ...)
{
    va_list arguments;

    fputs("cuda_host: ", stderr);
    if (active) {
        fprintf(stderr, "kernel %s, block (%u,%u,%u)", active->kernel, active->block_index.x,
                active->block_index.y, active->block_index.z);
        if (active->current)
            fprintf(stderr, ", thread (%u,%u,%u)", self()->index.x, self()->index.y,
                    self()->index.z);
        fputs(": ", stderr);
    }
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

const dim3 &thread_index()
{
    return self()->index;
}

const dim3 &block_index()
{
    return active->block_index;
}

const dim3 &block_size()
{
    return active->block;
}

const dim3 &grid_size()
{
    return active->grid;
}

int lane()
{
    return (int)self()->lane;
}

unsigned char *shared_memory()
{
    return active->shared;
}

void run_kernel(const char *name, dim3 grid, dim3 block, size_t shared_bytes,
                const std::function<void()> &body)
{
    launch l = {};
    size_t whole = (shared_bytes / SHARED_ALIGN + 1) * SHARED_ALIGN;
    unsigned blocks = grid.x * grid.y * grid.z;

    l.kernel = name;
    l.grid = grid;
    l.block = block;
    l.body = &body;
    l.threads.resize(block.x * block.y * block.z);
    l.order.resize(l.threads.size());
    l.shared = (unsigned char *)aligned_alloc(SHARED_ALIGN, whole);
    poison(l.shared + shared_bytes, whole - shared_bytes);
    active = &l;
    for (unsigned i = 0; i < blocks; i++) {
        start_block(i, shared_bytes);
        finish_block();
    }
    active = NULL;
    unpoison(l.shared, whole);
    free(l.shared);
}

void barrier(int line)
{
    launch *l = active;

    if (l->at_barrier > 0 && l->barrier_line != line)
        fault("threads of one block meet a barrier at different lines, %d and %d",
              l->barrier_line, line);
    l->barrier_line = line;
    self()->operation = "barrier";
    self()->line = line;
    if (++l->at_barrier < l->threads.size()) {
        wait();
        return;
    }
    l->at_barrier = 0;
    for (thread &t : l->threads)
        if (t.state == WAITING && strcmp(t.operation, "barrier") == 0)
            t.state = READY;
}

void warp_operation(unsigned mask, const char *name, int line, void *argument, warp_function fn)
{
    thread *me = self(), *warp = &active->threads[me->warp * WARP];
    unsigned *arrived = &active->arrived[me->warp];
    void *arguments[WARP] = {};

    if (!(mask >> me->lane & 1))
        fault("%s at line %d: lane %u is not in its mask %08x", name, line, me->lane, mask);
    me->operation = name;
    me->line = line;
    me->argument = argument;
    me->mask = mask;
    *arrived |= 1u << me->lane;
    if ((*arrived & mask) != mask) {
        wait();
        return;
    }
    for (int i = 0; i < WARP; i++) {
        if (!(mask >> i & 1))
            continue;
        if (warp[i].line != line || warp[i].mask != mask)
            fault("%s at line %d: the warp diverged, lane %d waits in %s at line %d", name, line, i,
                  warp[i].operation, warp[i].line);
        arguments[i] = warp[i].argument;
        warp[i].state = READY;
    }
    *arrived &= ~mask;
    fn(arguments, mask);
}

void copy_async(void *to, const void *from, bool valid)
{
    thread *me = self();

    if (((uintptr_t)to | (uintptr_t)from) % 16 != 0)
        fault("cp.async of 16 bytes: an address is not a multiple of 16");
    memset(to, 0xff, 16); /* NaN until waited for */
    me->copies.push_back({to, valid ? from : NULL, me->group});
}

void copy_async_commit()
{
    self()->group++;
}

void copy_async_wait(int pending)
{
    thread *me = self();
    size_t kept = 0;

    for (const async_copy &c : me->copies) {
        if (c.group >= me->group - pending)
            me->copies[kept++] = c;
        else if (c.from)
            memcpy(c.to, c.from, 16);
        else
            memset(c.to, 0, 16);
    }
    me->copies.resize(kept);
}

} // namespace emulator
