/* Proves what the program promises of one GPU, whichever it is: the same bits resident and streamed,
 * capped and not, on one rank and on two that share it; measured memory is at most what was planned,
 * which is at most the cap, and little less; what cannot be is refused in one line, before anything is
 * loaded, with what would do; the mean of the CPU backend; no GPU is an error, or the CPU. */
#include <stdarg.h>

#include "tests/cuda/one_gpu.h"
#include "tests/results.h"

enum { RUN_S = 120, MIB = 1 << 20 };

/* What a device may take more of from one run to the next, as others use it. */
static double slack;

/* A small run; `more` are members of the spec, of models/llama-nvfp4 unless another is given. */
struct job {
    int np;
    const char *dtype, *model, *more;
};

static struct args words_of(const struct job *j)
{
    const char *spec = scratch_path("spec.json");
    struct args a = args_ppl(j->np);

    file_printf(spec,
                "{ \"model_dir\": \"%s\", \"dtype\": \"%s\", \"backend\": \"cuda\", %s\n"
                "  \"data\": { \"text\": \"" TEST_DATA "/text/demo.txt\", \"eval_len\": 40, "
                "\"max_rows\": 3 } }\n",
                j->model ? j->model : TEST_DATA "/models/llama-nvfp4",
                j->dtype ? j->dtype : "bfloat16", j->more ? j->more : "");
    args_add(&a, "%s", spec);
    return a;
}

static const char *format(const char *text, ...) __attribute__((format(printf, 1, 2)));
static const char *format(const char *text, ...)
{
    static char out[4][512];
    static int n;
    va_list ap;

    n = (n + 1) % 4;
    va_start(ap, text);
    vsnprintf(out[n], sizeof out[n], text, ap);
    va_end(ap);
    return out[n];
}

static bool said(const struct run *r, const char *text)
{
    bool found = strstr(r->err, text) != NULL;

    if (!found) {
        printf("it does not say \"%s\"\n", text);
        run_print(r);
    }
    return found;
}

/* Measured, planned and cap of each rank, and the words about them. Ranks that share a GPU cannot tell
 * who holds what, and plan for the worse. */
static void check_memory(const struct measurement *m, double cap)
{
    bool shared = strstr(m->run->err, "shared with another rank");
    const cJSON *rank;

    EXPECT(said(m->run, "for CUDA and the transport") && said(m->run, "free before the arena"));
    cJSON_ArrayForEach(rank, json_at(m->result, "ranks")) {
        double peak = json_number(rank, "peak_bytes"), planned = json_number(rank, "planned_bytes");

        printf("  planned %.0f, measured %.0f: %.4f\n", planned, peak, planned / peak);
        EXPECT(peak <= planned && planned <= json_number(rank, "cap_bytes"));
        EXPECT(cap == 0 || json_number(rank, "cap_bytes") == cap);
        EXPECT(shared || planned <= 1.02 * peak);
    }
}

static struct measurement run_job(const struct job *j, const struct measurement *want)
{
    struct args a = words_of(j);
    struct measurement m = must_measure(&a, RUN_S);

    printf("np %d, %s: %.1f s\n", j->np, j->more ? j->more : "-", m.run->seconds);
    fflush(stdout);
    EXPECT(!want || (m.nll->rows == want->nll->rows && array_distance(m.nll, want->nll) == 0));
    return m;
}

static double of_rank_0(const struct measurement *m, const char *key)
{
    return json_number(cJSON_GetArrayItem(json_at(m->result, "ranks"), 0), key);
}

/* Refused: one line, this code, nothing loaded. Returns what it said. */
static struct run *refused(const struct job *j, int code, const char *words)
{
    struct args a = words_of(j);
    struct run *r = run_program(&a, RUN_S);

    /* mpirun makes another code of some; of one rank it is the program's */
    if ((j->np == 1 && r->code != code) || r->code == 0 || r->code == -1)
        run_print(r);
    EXPECT(j->np == 1 ? r->code == code : r->code != 0 && r->code != -1);
    EXPECT(said(r, words) && !strstr(r->err, "free before the arena"));
    EXPECT(!strstr(strstr(r->err, words), "\nnvfp4_ppl: "));
    return r;
}

/* A cap, all streamed under it; two ranks under two caps. */
static void same_bits(void)
{
    struct job j = {.np = 1};
    struct measurement want = run_job(&j, NULL), m;
    double cap = of_rank_0(&want, "planned_bytes") + slack;

    check_memory(&want, 0);
    j.more = format("\"max_memory\": { \"0\": %.0f },", cap);
    m = run_job(&j, &want);
    check_memory(&m, cap);
    EXPECT(of_rank_0(&m, "streamed") == 0);
    measurement_close(&m);
    j.more = format("\"stream\": \"always\", \"max_memory\": { \"0\": %.0f },", cap);
    m = run_job(&j, &want);
    check_memory(&m, cap);
    EXPECT(of_rank_0(&m, "streamed") > 0);
    measurement_close(&m);

    /* each of two that open a GPU at once may take the other's context for its own */
    cap = 2 * cap + 64 * MIB;
    j.np = 2;
    j.more = format("\"stages\": 2, \"max_memory\": { \"0\": %.0f, \"1\": %.0f },", cap, cap);
    m = run_job(&j, &want);
    EXPECT(said(m.run, "shared with another rank") && said(m.run, "go by mpi, not nccl"));
    EXPECT_TEXT(json_text(m.result, "transport"), "mpi");
    check_memory(&m, cap);
    measurement_close(&m);
    j.more = format("\"stages\": 2, \"max_memory\": { \"0\": %.0f },", cap);
    run_close(refused(&j, 78, "is shared with another rank: give each a cap"));
    measurement_close(&want);
}

/* A model of some 20 MiB that no cap of its own size less 8 MiB holds: the plan streams by itself. */
static void streams_by_itself(void)
{
    struct args a = args_tool("make_checkpoint");
    struct job j = {.np = 1, .model = scratch_path("model")};
    struct measurement want, m;
    double cap;

    args_add(&a, "--out");
    args_add(&a, "%s", j.model);
    for (const char *const *w = (const char *const[]){
             "--layers", "8", "--hidden", "512", "--ffn", "2048", "--heads", "8", "--vocab", "4096",
             "--tokenizer", TEST_DATA "/models/llama-nvfp4", NULL}; *w; w++)
        args_add(&a, "%s", *w);
    struct run *made = run_program(&a, 60);
    if (made->code != 0)
        run_print(made);
    EXPECT(made->code == 0);
    run_close(made);
    want = run_job(&j, NULL);
    cap = of_rank_0(&want, "planned_bytes") - 8 * MIB;
    j.more = format("\"max_memory\": { \"0\": %.0f },", cap);
    m = run_job(&j, &want);
    EXPECT(of_rank_0(&want, "streamed") == 0 && of_rank_0(&m, "streamed") > 0);
    check_memory(&m, cap);
    measurement_close(&m);
    measurement_close(&want);
}

/* Too small, and the cap that it names does; more than there is. */
static void caps_that_cannot_be(void)
{
    struct job j = {.np = 1, .more = "\"max_memory\": { \"0\": \"1MiB\" },"};
    struct run *r = refused(&j, 71, "do not fit 1 rank with 1.000 MiB in all: a cap of ");
    const char *advice = strstr(r->err, "a cap of ");
    double mib = atof(advice + strlen("a cap of "));
    struct measurement m;

    EXPECT(mib > 0 && said(r, " MiB would do"));
    run_close(r);
    j.more = format("\"max_memory\": { \"0\": %.0f },", mib * MIB + slack);
    m = run_job(&j, NULL);
    check_memory(&m, mib * MIB + slack);
    measurement_close(&m);
    j.more = "\"max_memory\": { \"0\": \"100000GiB\" },";
    r = refused(&j, 71, ": the cap is ");
    EXPECT(said(r, "but only ") && said(r, " are free beside the "));
    run_close(r);
}

static void cpu_agrees(void)
{
    struct job j = {.np = 1, .dtype = "float32"};
    struct measurement gpu = run_job(&j, NULL), cpu;

    EXPECT_TEXT(json_text(gpu.result, "backend"), "cuda");
    struct args a = words_of(&j);
    args_add(&a, "--backend");
    args_add(&a, "cpu");
    cpu = must_measure(&a, RUN_S);
    EXPECT_TEXT(json_text(cpu.result, "backend"), "cpu");
    EXPECT_NEAR(json_number(gpu.result, "mean_nll"), json_number(cpu.result, "mean_nll"), 1e-5);
    measurement_close(&gpu);
    measurement_close(&cpu);
}

static void no_gpu(void)
{
    struct job j = {.np = 1};
    struct measurement m;

    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    run_close(refused(&j, 69, "cuda: no GPU to use"));
    struct args a = words_of(&j);
    args_add(&a, "--backend");
    args_add(&a, "auto");
    m = must_measure(&a, RUN_S);
    EXPECT_TEXT(json_text(m.result, "backend"), "cpu");
    measurement_close(&m);
}

int main(void)
{
    slack = one_gpu_is_emulated() ? 0 : 16 * MIB;
    if (!*MPIRUN)
        SKIP("mpirun not found");
    same_bits();
    streams_by_itself();
    caps_that_cannot_be();
    cpu_agrees();
    no_gpu();
    return 0;
}
