/* poison.h - memory that must not be touched, told to AddressSanitizer where there is one. */
#ifndef CUDA_HOST_POISON_H
#define CUDA_HOST_POISON_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>

static inline void poison(void *p, size_t bytes)
{
    __asan_poison_memory_region(p, bytes);
}

static inline void unpoison(void *p, size_t bytes)
{
    __asan_unpoison_memory_region(p, bytes);
}
#else
static inline void poison(void *, size_t)
{
}

static inline void unpoison(void *, size_t)
{
}
#endif

#endif
