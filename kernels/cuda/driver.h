/* driver.h - what the driver's own library (NVML) says of a GPU and the CUDA runtime does not: its
 * memory before this process has a context there, and the driver's version. Found at run time; where
 * it is not, nothing is known, and that is no failure. */
#ifndef KERNELS_CUDA_DRIVER_H
#define KERNELS_CUDA_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct driver_facts {
    bool memory_known;
    uint64_t available; /* bytes */
    char version[80];   /* "580.95.05"; "" = not known */
};

/* Of the GPU with that bus id, as cudaDeviceGetPCIBusId says it. */
void driver_ask(const char *bus_id, struct driver_facts *out);

#ifdef __cplusplus
}
#endif

#endif
