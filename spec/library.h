/* library.h - the functions of a library that is found at run time, put into a table of pointers.
 *
 * Memory: none. The library stays the caller's: the pointers are good until it is closed. */
#ifndef SPEC_LIBRARY_H
#define SPEC_LIBRARY_H

#include <stddef.h>

struct library_function {
    size_t offset; /* of the pointer in the table */
    const char *name;
};

/* Fills in the n functions; returns NULL, or the name of the first that `library` (of dlopen) has
 * not. */
const char *library_functions(void *library, const struct library_function *functions, size_t n,
                              void *table);

#endif
