// links: spec run
// timeout: 240
// labels: slow
/* Proves C3 and C5: 50 random runs (model, ranks, caps, streaming, windows, threads) take no more
 * than planned, which is no more than the cap and within 2 % or 1 MiB of what was measured; a ulimit
 * of the plan and a constant is enough, a tenth of the plan less is refused before loading, and with
 * streaming allowed it runs all the same, with the same bits. */
#include <libgen.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

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

/* One model a process: a second one would find memory that the first has left. */
static void random_run(int i)
{
    static const char *const stream[] = {"auto", "always", "never"}, *const dtype[] = {
        "bfloat16", "float16", "float32"};
    const int np = 1 + i % 4;
    const char *spec = scratch_path("spec.json"), *json = scratch_path("out.json");
    struct args a = args_ppl(np);
    FILE *f = fopen(spec, "w");
    cJSON *root, *result, *rank;
    int seen = 0;

    EXPECT(f);
    fprintf(f,
            "{ \"threads\": %d, \"microbatch\": %d, \"stages\": %d, \"stream\": \"%s\",\n"
            "  \"rates\": { \"compute\": %d, \"read\": \"%dMB\" },\n"
            "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": %d, \"max_rows\": %d },\n"
            "  \"model_dir\": \"%s/models/%s\", \"dtype\": \"%s\", \"max_memory\": {",
            pick(1, 2), pick(0, 4), pick(0, 1) ? np : 0, stream[pick(0, 2)], pick(1, 50), pick(50, 2000), TEST_DATA,
            pick(8, 130), pick(1, 16), TEST_DATA, model[pick(0, MODELS - 1)], dtype[pick(0, 2)]);
    for (int r = 0; r < np; r++) /* the smallest still runs every model */
        fprintf(f, "%s \"%d\": %d", r ? "," : "", r, pick(14 * MIB, 40 * MIB));
    fprintf(f, " } }\n");
    fclose(f);
    args_add(&a, "%s", spec);
    args_add(&a, "--strict-memory");
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    struct run *r = run_program(&a, 60);
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
    root = json_file(json);
    cJSON_ArrayForEach(result, json_at(root, "results"))
    {
        seen++;
        cJSON_ArrayForEach(rank, json_at(result, "ranks"))
        {
            double cap = json_number(rank, "cap_bytes"), planned = json_number(rank, "planned_bytes");
            double peak = json_number(rank, "peak_bytes");
            bool near = planned <= 1.02 * peak || planned - peak <= MIB;

            if (!(peak <= planned && planned <= cap && near))
                printf("run %d, %s, rank %g of %d: peak %g, planned %g, cap %g\n", i,
                       json_text(result, "label"), json_number(rank, "rank"), np, peak, planned, cap);
            EXPECT(peak <= planned && planned <= cap && near);
        }
    }
    EXPECT(seen == 1);
    cJSON_Delete(root);
}

/* Address space that one process of two threads needs besides its plan: the program itself, its
 * libraries, the stacks of its threads. */
enum { CONSTANT = 48 * MIB };

static struct run *run_limited(double limit, const char *stream, const char *json, const char *nll)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit cut = {(rlim_t)limit, RLIM_INFINITY};
    struct args a = args_ppl(1);

    args_add(&a, "%s", scratch_path("large.json"));
    args_add(&a, "--set");
    args_add(&a, "stream=%s", stream);
    args_add(&a, "--strict-memory");
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    args_add(&a, "--nll");
    args_add(&a, "%s", nll);
    if (limit > 0)
        EXPECT(setrlimit(RLIMIT_AS, &cut) == 0);
    struct run *r = run_start(&a);
    EXPECT(setrlimit(RLIMIT_AS, &all) == 0);
    run_wait(r, 60);
    return r;
}

static void expect_complete(struct run *r)
{
    if (r->code != 0)
        run_print(r);
    EXPECT(r->code == 0);
    run_close(r);
}

static void expect_same(const char *a, const char *b)
{
    size_t na, nb;
    char *one = file_read(a, &na), *two = file_read(b, &nb);

    EXPECT(one && two && na == nb && memcmp(one, two, na) == 0);
    free(one);
    free(two);
}

/* It is built beside this test. */
static const char *make_checkpoint(void)
{
    static char path[PATH_MAX + 32];
    char self[PATH_MAX] = "";

    EXPECT(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(path, sizeof path, "%s/make_checkpoint", dirname(self));
    return path;
}

static void limits(void)
{
    const char *json = scratch_path("out.json"), *want = scratch_path("want.npy");
    const char *got = scratch_path("got.npy"), *folder = scratch_path("model");
    struct args a = args_none();
    cJSON *root;
    double planned;

    args_add(&a, "%s", make_checkpoint());
    args_add(&a, "--out");
    args_add(&a, "%s", folder);
    for (const char *const *w = (const char *const[]){"--layers", "20", "--hidden", "1024", "--ffn",
                                                      "4096", "--heads", "16", "--kv-heads", "4",
                                                      "--head-dim", "64", "--vocab", "4096", NULL};
         *w; w++)
        args_add(&a, "%s", *w);
    expect_complete(run_program(&a, 60));
    file_printf(scratch_path("large.json"),
                "{ \"model_dir\": \"%s\", \"tokenizer_dir\": \"%s/demo\", \"threads\": 2,\n"
                "  \"microbatch\": 1, \"rates\": { \"compute\": 100, \"read\": \"2GB\" },\n"
                "  \"data\": { \"text\": \"%s/text/demo.txt\", \"eval_len\": 33, \"max_rows\": 3 } }\n",
                folder, TEST_DATA, TEST_DATA);
    expect_complete(run_limited(0, "never", json, want));
    root = json_file(json);
    planned = json_number(cJSON_GetArrayItem(json_at(json_result(root), "ranks"), 0),
                          "planned_bytes");
    cJSON_Delete(root);
    printf("plan %.1f MiB\n", planned / MIB);
    expect_complete(run_limited(planned + CONSTANT, "never", json, got));
    expect_same(want, got);
    remove(got);
    struct run *r = run_limited(0.9 * planned + CONSTANT, "never", json, got);
    if (r->code != 71 || !strstr(r->err, "plan refused"))
        run_print(r);
    EXPECT(r->code == 71 && strstr(r->err, "plan refused") && !file_exists(got));
    run_close(r);
    expect_complete(run_limited(0.9 * planned + CONSTANT, "auto", json, got));
    expect_same(want, got);
}

int main(void)
{
    for (int i = 0; i < RUNS; i++)
        random_run(i);
    if (getenv("ASAN_OPTIONS") || getenv("TSAN_OPTIONS")) {
        printf("sanitizers map more than any ulimit\n");
        return 0;
    }
    limits();
    return 0;
}
