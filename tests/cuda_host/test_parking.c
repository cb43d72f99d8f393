/* All layers streamed and all hidden states of a rank parked in pinned memory, the whole program: the
 * same mean as with none parked, to the last bit, whatever the order in which streams run; also where
 * hidden states come from another rank while others are on their way to the host. */
#include "tests/results.h"
#include "tests/test.h"

enum { WINDOWS = 6, TOKENS = 19, HIDDEN = 128, ALIGN = 256, STATE = TOKENS * HIDDEN * 2 };
static const double state = (STATE + ALIGN - 1) / ALIGN * ALIGN; /* bytes of one microbatch */

/* With a cap for the last rank (bytes; 0 = none). */
static struct measurement streamed(int np, const char *transport, int seed, double cap)
{
    const char *path = scratch_path("spec.json");
    struct args a = args_ppl(np);
    char text[16];

    snprintf(text, sizeof text, "%d", seed);
    setenv("CUDA_HOST_SEED", text, 1);
    snprintf(text, sizeof text, "%d", np); /* each rank has a GPU of its own */
    setenv("CUDA_HOST_DEVICES", text, 1);
    file_printf(path,
                "{ \"model_dir\": \"%s/models/qwen3-mixed\", \"dtype\": \"bfloat16\",\n"
                "  \"backend\": \"cuda\", \"transport\": \"%s\", \"stages\": %d, \"microbatch\": 1,\n"
                "  \"stream\": \"always\", \"rates\": { \"compute\": 1000, \"read\": \"1MB\" },\n"
                "  \"max_memory\": { \"cpu\": \"1MiB\", \"%d\": %.0f },\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": %d, \"max_rows\": %d } }\n",
                TEST_DATA, transport, np, np - 1, cap > 0 ? cap : 1e9, TEST_DATA, TOKENS + 1, WINDOWS);
    args_add(&a, "%s", path);
    return measure(&a, 120);
}

static const cJSON *last_rank(const struct measurement *m)
{
    const cJSON *ranks;

    if (!m->nll)
        run_print(m->run);
    EXPECT(m->nll);
    ranks = json_at(m->result, "ranks");
    return cJSON_GetArrayItem(ranks, cJSON_GetArraySize(ranks) - 1);
}

/* Where `room` of the windows have a buffer on the last rank's GPU, which is too few. */
static void parked(int np, const char *transport, int room, int seeds)
{
    struct measurement all = streamed(np, transport, 1, 0);
    double planned = json_number(last_rank(&all), "planned_bytes");

    EXPECT(json_number(last_rank(&all), "parked_bytes") == 0);
    for (int seed = 1; seed <= seeds; seed++) {
        struct measurement some = streamed(np, transport, seed, planned - (WINDOWS - room) * state);

        printf("  np %d, %s, room %d, seed %d\n", np, transport, room, seed);
        EXPECT(json_number(last_rank(&some), "parked_bytes") == WINDOWS * state);
        EXPECT(json_number(last_rank(&some), "parked_peak_bytes") == WINDOWS * state);
        EXPECT_NEAR(json_number(some.result, "mean_nll"), json_number(all.result, "mean_nll"), 0);
        measurement_close(&some);
    }
    measurement_close(&all);
}

int main(void)
{
    parked(1, "auto", 2, 1);
    parked(2, "nccl", 1, 3);
    parked(2, "nccl", 2, 1);
    parked(2, "mpi", 1, 1);
    return 0;
}
