#include "fiber.h"

#include <string.h>

#include "poison.h"

#if !defined(__x86_64__)
#error "the CUDA-on-CPU shim switches stacks in x86-64 assembly"
#endif

/* Pushes the registers that a call must preserve, swaps stacks, pops them. */
extern "C" void fiber_swap_stacks(void **save, void *to);
asm(".text\n"
    ".globl fiber_swap_stacks\n"
    ".type fiber_swap_stacks,@function\n"
    "fiber_swap_stacks:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    ret\n");

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>

static void leave(fiber *from, const fiber *to, bool ends)
{
    __sanitizer_start_switch_fiber(ends ? NULL : &from->fake_stack, to->stack, to->bytes);
}

static void arrive(fiber *self, fiber *creator)
{
    if (creator)
        __sanitizer_finish_switch_fiber(NULL, &creator->stack, &creator->bytes);
    else
        __sanitizer_finish_switch_fiber(self->fake_stack, NULL, NULL);
}
#else
static void leave(fiber *, const fiber *, bool)
{
}

static void arrive(fiber *, fiber *)
{
}
#endif

void fiber_make(fiber *f, void *stack, size_t bytes, void (*entry)(void))
{
    enum { SAVED = 6, ALIGN = 64 };
    /* As if fiber_swap_stacks had been called by entry's caller: saved registers, return address,
     * and one word so that the stack is aligned as after a call. */
    void **sp = (void **)((char *)stack + bytes - ALIGN) - (SAVED + 2);

    unpoison(stack, bytes); /* a fiber that ended here left its frames marked */
    memset(sp, 0, (SAVED + 2) * sizeof *sp);
    sp[SAVED] = (void *)entry;
    *f = (fiber){sp, stack, bytes, NULL};
}

void fiber_started(fiber *creator)
{
    arrive(NULL, creator);
}

void fiber_switch(fiber *from, fiber *to, bool ends)
{
    leave(from, to, ends);
    fiber_swap_stacks(&from->sp, to->sp);
    arrive(from, NULL);
}
