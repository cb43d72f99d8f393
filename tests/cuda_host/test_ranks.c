/* Proves B2 (design N4) on the CUDA shim: the nll file is the same, byte for byte, for 1, 2 and 3
 * ranks, four as two pipelines, several windows in a microbatch, hidden states by nccl and by mpi,
 * and 20 orders in which streams run. Each order meets one of the 12 ways, so that all of it takes a
 * minute. */
#include <stdlib.h>

#include "tests/results.h"
#include "tests/test.h"

enum { SEEDS = 20 };

struct way {
    int np, stages, microbatch;
    const char *transport;
};

static const struct way ways[] = {
    {2, 2, 1, "nccl"}, {3, 3, 2, "nccl"}, {2, 2, 1, "mpi"},  {1, 1, 2, "auto"},
    {3, 3, 1, "nccl"}, {2, 2, 2, "nccl"}, {3, 3, 1, "mpi"},  {4, 2, 1, "nccl"},
    {2, 1, 1, "nccl"}, {3, 3, 2, "mpi"},  {3, 1, 1, "auto"}, {4, 2, 1, "mpi"},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

static char *nll_bytes(const struct way *w, int seed, size_t *bytes)
{
    const char *nll = scratch_path("nll.npy"), *spec = scratch_path("spec.json");
    char text[16];
    struct args a = args_ppl(w->np);

    printf("  seed %d: np %d, stages %d, microbatch %d, %s\n", seed, w->np, w->stages, w->microbatch,
           w->transport);
    fflush(stdout);
    snprintf(text, sizeof text, "%d", seed);
    setenv("CUDA_HOST_SEED", text, 1);
    snprintf(text, sizeof text, "%d", w->np); /* each rank has a GPU of its own */
    setenv("CUDA_HOST_DEVICES", text, 1);
    file_printf(spec,
                "{ \"model_dir\": \"%s/models/llama-nvfp4\", \"dtype\": \"bfloat16\",\n"
                "  \"backend\": \"cuda\", \"transport\": \"%s\", \"stages\": %d, \"microbatch\": %d,\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 20, \"max_rows\": 3 } }\n",
                TEST_DATA, w->transport, w->stages, w->microbatch, TEST_DATA);
    remove(nll);
    args_add(&a, "%s", spec);
    args_add(&a, "--nll");
    args_add(&a, "%s", nll);
    struct run *r = run_program(&a, 60);
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
    char *data = file_read(nll, bytes);
    EXPECT(data != NULL);
    return data;
}

int main(void)
{
    const struct way one = {1, 1, 3, "auto"};
    size_t want_bytes, bytes;
    char *want = nll_bytes(&one, 1, &want_bytes);

    for (int seed = 1; seed <= SEEDS; seed++) {
        char *got = nll_bytes(&ways[seed % WAYS], seed, &bytes);

        EXPECT(bytes == want_bytes && memcmp(got, want, bytes) == 0);
        free(got);
    }
    free(want);
    return 0;
}
