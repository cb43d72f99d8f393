/* Proves which GPU a rank takes: the one of its local rank among those that it is shown. Launchers show
 * them in different ways; what they say besides (SLURM_LOCALID is 0 for all ranks that an mpirun
 * started in a Slurm job) does not count. */
#include "tests/results.h"
#include "tests/test.h"

enum { RANKS = 2, RUN_S = 60 };

#define ALL "all" /* CUDA_VISIBLE_DEVICES is not set */

static const struct shown {
    const char *what, *to[RANKS]; /* CUDA_VISIBLE_DEVICES of each rank */
    int devices;
    const char *slurm, *backend;
    int takes[RANKS];  /* the number of its GPU on the host */
    const char *words; /* NULL = it runs; else why not */
} ways[] = {
    {"all to both", {ALL, ALL}, 2, NULL, "cuda", {0, 1}, NULL},
    {"a list to both", {"0,1", "0,1"}, 2, NULL, "cuda", {0, 1}, NULL},
    {"in another order", {"1,0", "1,0"}, 2, NULL, "cuda", {1, 0}, NULL},
    {"some of four", {"3,1", "3,1"}, 4, NULL, "cuda", {3, 1}, NULL},
    {"one each", {"0", "1"}, 2, NULL, "cuda", {0, 1}, NULL},
    {"one each, the other way round", {"1", "0"}, 2, NULL, "cuda", {1, 0}, NULL},
    {"two each of four", {"0,1", "2,3"}, 4, NULL, "cuda", {0, 3}, NULL},
    {"UUIDs", {"GPU-000000a1,GPU-000000a0", "GPU-000000a1,GPU-000000a0"}, 2, NULL, "cuda", {1, 0}, NULL},
    {"a UUID each", {"GPU-000000a1-0000", "GPU-000000a0-0000"}, 2, NULL, "cuda", {1, 0}, NULL},
    {"srun, a GPU for each task", {"0", "1"}, 2, "SLURM_LOCALID=$OMPI_COMM_WORLD_RANK "
     "SLURM_STEP_GPUS=0,1 SLURM_GPUS_PER_TASK=1", "cuda", {0, 1}, NULL},
    {"mpirun in a Slurm job", {ALL, ALL}, 2, "SLURM_LOCALID=0 SLURM_PROCID=0 SLURM_JOB_GPUS=0,1",
     "cuda", {0, 1}, NULL},
    {"nothing", {"", ""}, 2, NULL, "cuda", {0, 0}, "rank 0 of 2 (HOST): cuda: no GPU to use: "},
    {"nothing to one", {"0", ""}, 2, NULL, "cuda", {0, 0}, "rank 1 of 2 (HOST): cuda: no GPU to use: "},
    {"nothing to one, which may do without", {"0", ""}, 2, NULL, "auto", {0, 0},
     "backend: rank 1 of 2 (HOST) has cpu, rank 0 ("},
    {"a list that ends early", {"0,9,1", "0,9,1"}, 2, NULL, "cuda", {0, 0},
     "is shared with another rank: give each a cap"},
    {"the same to both", {"1", "1"}, 2, NULL, "cuda", {0, 0},
     "is shared with another rank: give each a cap"},
};

static struct args words_of(const struct shown *w)
{
    const char *spec = scratch_path("spec.json");
    struct args a = args_ppl(RANKS);
    char *path = a.word[--a.n];

    file_printf(spec,
                "{ \"model_dir\": \"%s/models/qwen3-mixed\", \"backend\": \"%s\", \"stages\": %d,\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 20, \"max_rows\": 2 } }\n",
                TEST_DATA, w->backend, RANKS, TEST_DATA);
    args_add(&a, "sh");
    args_add(&a, "-c");
    args_add(&a,
             "eval \"shown=\\$SHOWN_$OMPI_COMM_WORLD_RANK\"\n"
             "export CUDA_VISIBLE_DEVICES=\"$shown\" %s\n"
             "[ \"$shown\" != " ALL " ] || unset CUDA_VISIBLE_DEVICES\n"
             "exec \"$0\" \"$@\"",
             w->slurm ? w->slurm : "");
    args_add(&a, "%s", path);
    args_add(&a, "%s", spec);
    free(path);
    return a;
}

/* "rank 1 (HOST): CUDA on CPU, 0000:01:00.0, driver ..." */
static bool takes(const struct run *r, int rank, int gpu)
{
    char head[32], bus[64];
    const char *line, *end, *at;

    snprintf(head, sizeof head, "rank %d (", rank);
    snprintf(bus, sizeof bus, "): CUDA on CPU, 0000:%02x:00.0, driver 580.00, ECC off: ", gpu);
    line = strstr(r->err, head);
    end = line ? strchr(line, '\n') : NULL;
    at = line ? strstr(line, bus) : NULL;
    return at && end && at < end;
}

/* Whatever stands for HOST in the words. */
static bool says(const char *text, const char *words)
{
    const char *host = strstr(words, "HOST"), *at;

    if (!host)
        return strstr(text, words) != NULL;
    for (at = text; *at && strncmp(at, words, (size_t)(host - words)) != 0;)
        at++;
    return strstr(at, host + strlen("HOST")) != NULL;
}

static void one_way(const struct shown *w)
{
    struct args a = words_of(w);
    char devices[16];
    struct run *r;
    bool right;

    snprintf(devices, sizeof devices, "%d", w->devices);
    setenv("CUDA_HOST_DEVICES", devices, 1);
    setenv("SHOWN_0", w->to[0], 1);
    setenv("SHOWN_1", w->to[1], 1);
    r = run_program(&a, RUN_S);
    if (w->words)
        right = r->code != 0 && r->code != -1 && says(r->err, w->words);
    else
        right = r->code == 0 && takes(r, 0, w->takes[0]) && takes(r, 1, w->takes[1]);
    printf("%s %s: %.1f s\n", right ? "pass" : "FAIL", w->what, r->seconds);
    fflush(stdout);
    if (!right)
        run_print(r);
    EXPECT(right);
    run_close(r);
}

int main(void)
{
    if (!*MPIRUN)
        SKIP("mpirun not found");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        one_way(&ways[i]);
    return 0;
}
