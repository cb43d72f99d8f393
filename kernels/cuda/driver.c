/* driver.c - asking NVML. Names and layouts are those of nvml.h (version 2 of its functions). */
#include "kernels/cuda/driver.h"

#include <dlfcn.h>
#include <stddef.h>

#include "spec/library.h"

enum { NVML_OK = 0 };

struct nvml_memory {
    unsigned long long total, available, used;
};

struct nvml {
    int (*init)(void);
    int (*shut_down)(void);
    int (*driver_version)(char *out, unsigned size);
    int (*find)(const char *bus_id, void **gpu);
    int (*memory)(void *gpu, struct nvml_memory *out);
};

static const struct library_function functions[] = {
    {offsetof(struct nvml, init), "nvmlInit_v2"},
    {offsetof(struct nvml, shut_down), "nvmlShutdown"},
    {offsetof(struct nvml, driver_version), "nvmlSystemGetDriverVersion"},
    {offsetof(struct nvml, find), "nvmlDeviceGetHandleByPciBusId_v2"},
    {offsetof(struct nvml, memory), "nvmlDeviceGetMemoryInfo"},
};

static bool load(void *library, struct nvml *n)
{
    return !library_functions(library, functions, sizeof functions / sizeof *functions, n) &&
           n->init() == NVML_OK;
}

void driver_ask(const char *bus_id, struct driver_facts *out)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL), *gpu;
    struct nvml_memory memory;
    struct nvml n;

    *out = (struct driver_facts){0};
    if (library && load(library, &n)) {
        if (n.driver_version(out->version, sizeof out->version) != NVML_OK)
            out->version[0] = '\0';
        if (n.find(bus_id, &gpu) == NVML_OK && n.memory(gpu, &memory) == NVML_OK) {
            out->memory_known = true;
            out->available = memory.available;
        }
        n.shut_down();
    }
    if (library)
        dlclose(library);
}
