/* driver.cpp - the twin of the driver's library. CUDA_HOST_NO_DRIVER: it knows nothing. */
#include "kernels/cuda/driver.h"

#include <stdio.h>
#include <stdlib.h>

#include "twin.h"

void driver_ask(const char *, struct driver_facts *out)
{
    struct twin_usage m = twin_memory();

    *out = {};
    if (getenv("CUDA_HOST_NO_DRIVER"))
        return;
    out->memory_known = true;
    out->available = m.limit - m.used;
    snprintf(out->version, sizeof out->version, "580.00");
}
