#include "spec/library.h"

#include <dlfcn.h>
#include <string.h>

const char *library_functions(void *library, const struct library_function *functions, size_t n,
                              void *table)
{
    for (size_t i = 0; i < n; i++) {
        void *found = dlsym(library, functions[i].name);

        if (!found)
            return functions[i].name;
        memcpy((char *)table + functions[i].offset, &found, sizeof found);
    }
    return NULL;
}
