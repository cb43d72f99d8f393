#include "launch/version.h"

#include <cjson/cJSON.h>

#include "comm/comm.h"
#include "stage/backend.h"

#ifdef __clang__
#define COMPILER "clang"
#else
#define COMPILER "gcc"
#endif

const char *version_name(void)
{
    return NVFP4_PPL_VERSION;
}

void version_print(FILE *to)
{
    char variants[256];

    backend_variants(variants, sizeof variants);
    fprintf(to, "nvfp4_ppl %s\n", version_name());
    fprintf(to, "compiler: %s %s\n", COMPILER, __VERSION__);
    fprintf(to, "backends: %s\n", variants);
    fprintf(to, "MPI:      %s\n", comm_mpi_version());
    fprintf(to, "cJSON:    %s\n", cJSON_Version());
}
