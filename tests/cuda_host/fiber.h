/* fiber.h - cooperative threads of control on one OS thread (x86-64), known to AddressSanitizer. */
#ifndef CUDA_HOST_FIBER_H
#define CUDA_HOST_FIBER_H

#include <stddef.h>

struct fiber {
    void *sp;
    const void *stack; /* lowest address; unset for the fiber that the process started with */
    size_t bytes;
    void *fake_stack;  /* AddressSanitizer's */
};

/* `entry` runs at the first switch to f, must call fiber_started first, and must never return. */
void fiber_make(fiber *f, void *stack, size_t bytes, void (*entry)(void));
void fiber_started(fiber *creator);
/* Saves the running fiber in `from` and goes on with `to`. `ends`: `from` will not run again. */
void fiber_switch(fiber *from, fiber *to, bool ends);

#endif
