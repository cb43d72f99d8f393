// links: spec run
// timeout: 240
// labels: slow
/* Proves C3: 50 random runs (model, ranks, caps, host budget, streaming, windows, threads) take
 * no more than planned, which is no more than the cap and within 2 % or 1 MiB of what was measured,
 * or are refused with a cap that would do, and does. */
#include "tests/results.h"
#include "tests/test.h"

enum { RUNS = 50, MODELS = 5, MIB = 1 << 20 };

static const char *const model[MODELS] = {"llama-nvfp4", "llama3-head", "mistral-nvfp4",
                                          "qwen2-nvfp4", "qwen3-mixed"};

static uint64_t state = 42;

static int pick(int low, int high)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int)((state >> 33) % (uint64_t)(high - low + 1));
}

/* What the random runs came to: ranks that streamed and parked, runs that were refused at first. */
struct tried {
    int streamed, parked, refused;
};

/* A random spec with these caps for each rank. */
static void write_spec(const char *spec, int np, const int *cap_kib, uint64_t from)
{
    static const char *const stream[] = {"auto", "always", "never"}, *const dtype[] = {
        "bfloat16", "float16", "float32"};
    FILE *f = fopen(spec, "w");

    state = from;
    EXPECT(f);
    fprintf(f,
            "{ \"threads\": %d, \"microbatch\": %d, \"stream\": \"%s\",\n"
            "  \"rates\": { \"compute\": %d, \"read\": \"%dMB\" },\n"
            "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": %d, \"max_rows\": %d },\n"
            "  \"model_dir\": \"%s/models/%s\", \"dtype\": \"%s\",\n"
            "  \"max_memory\": { \"cpu\": \"%dKiB\"",
            pick(1, 2), pick(0, 2), stream[pick(0, 2)], pick(1, 50), 1 << pick(0, 7), TEST_DATA,
            pick(8, 400), pick(1, 16), TEST_DATA, model[pick(0, MODELS - 1)], dtype[pick(0, 2)],
            pick(0, 3) ? pick(0, 8192) : 0);
    for (int r = 0; r < np; r++)
        fprintf(f, ", \"%d\": \"%dKiB\"", r, cap_kib[r]);
    fprintf(f, " } }\n");
    fclose(f);
}

static struct run *run_spec(int np, const char *spec, const char *how, const char *json)
{
    struct args a = args_ppl(np);

    args_add(&a, "%s", spec);
    args_add(&a, "%s", how);
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    return run_program(&a, 60);
}

/* The least cap that a plan of one rank names, in KiB. */
static int least_cap(const char *spec, const char *json)
{
    struct run *r = run_spec(1, spec, "--plan", json);

    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
    cJSON *root = json_file(json);
    const cJSON *plan = cJSON_GetArrayItem(json_at(root, "plans"), 0);
    double bytes = json_number(cJSON_GetArrayItem(json_at(plan, "ranks"), 0), "smallest_cap_bytes");
    cJSON_Delete(root);
    return (int)((bytes + 1023) / 1024);
}

/* A rank of a finished run: did it take what was planned? */
static void check_rank(int i, const cJSON *rank, struct tried *t)
{
    double cap = json_number(rank, "cap_bytes"), planned = json_number(rank, "planned_bytes");
    double peak = json_number(rank, "peak_bytes"), parked = json_number(rank, "parked_bytes");
    bool near = planned <= 1.02 * peak || planned - peak <= MIB;

    t->streamed += json_number(rank, "streamed") > 0;
    t->parked += parked > 0;
    if (!(peak <= planned && planned <= cap && near))
        printf("run %d, rank %g: peak %g, planned %g, cap %g\n", i, json_number(rank, "rank"), peak,
               planned, cap);
    EXPECT(peak <= planned && planned <= cap && near);
    EXPECT(json_number(rank, "parked_peak_bytes") == parked);
}

/* One model a process: a second one would find memory that the first has left. A refusal is
 * followed: with the cap it names, it runs. */
static void random_run(int i, struct tried *t)
{
    const int np = 1 + i % 4;
    const char *spec = scratch_path("spec.json"), *json = scratch_path("out.json");
    int cap[4];
    cJSON *root, *rank;
    uint64_t from;

    for (int r = 0; r < np; r++)
        cap[r] = 1024 * (pick(0, 2) ? pick(2, 7) : pick(8, 40));
    from = state;
    if (np == 1) { /* no room but what is needed */
        cap[0] = 1024 * 1024;
        write_spec(spec, np, cap, from);
        cap[0] = least_cap(spec, json);
    }
    write_spec(spec, np, cap, from);
    struct run *r = run_spec(np, spec, "--strict-memory", json);
    if (r->code == 71) {
        const char *advice = strstr(r->err, "a cap of ");
        int enough = advice ? atoi(advice + strlen("a cap of ")) : 0;

        t->refused++;
        for (int k = 0; k < np; k++)
            cap[k] = cap[k] > 1024 * enough ? cap[k] : 1024 * enough;
        write_spec(spec, np, cap, from);
        run_close(r);
        r = run_spec(np, spec, "--strict-memory", json);
    }
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
    root = json_file(json);
    cJSON_ArrayForEach(rank, json_at(json_result(root), "ranks"))
        check_rank(i, rank, t);
    cJSON_Delete(root);
}

int main(void)
{
    struct tried t = {0};

    for (int i = 0; i < RUNS; i++)
        random_run(i, &t);
    printf("%d ranks streamed, %d parked, %d runs followed a refusal\n", t.streamed, t.parked,
           t.refused);
    EXPECT(t.streamed > 20 && t.parked >= 3 && t.refused > 5); /* all were really tried */
    return 0;
}
