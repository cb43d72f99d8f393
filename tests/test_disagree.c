// links: run
// timeout: 60
// processors: 2
/* Proves F21: ranks that were started with different specs, ways to run, or copies of a model end
 * with 78 within 5 s and one line that names both ranks and both values. */
#include "tests/results.h"
#include "tests/test.h"

/* mpirun -np 1 PROGRAM SPEC --set FIRST : -np 1 PROGRAM SPEC --set SECOND */
static struct args two_ranks(const char *spec, const char *first, const char *second)
{
    struct args one = args_ppl(1), a = args_none();
    const char *set[] = {first, second};

    args_add(&a, "mpirun");
    args_add(&a, "-q");
    args_add(&a, "--oversubscribe");
    args_add(&a, "--bind-to");
    args_add(&a, "none");
    for (int i = 0; i < 2; i++) {
        if (i)
            args_add(&a, ":");
        args_add(&a, "-np");
        args_add(&a, "1");
        args_add(&a, "%s", one.word[0]);
        args_add(&a, "%s", spec);
        args_add(&a, "--set");
        args_add(&a, "%s", set[i]);
    }
    free(one.word[0]);
    return a;
}

/* stderr is one line: head, host, middle, host, tail; NULL: anything. */
static void expect_refusal(struct args *a, const char *head, const char *middle, const char *tail)
{
    struct run *r = run_program(a, 30);
    const char *line = strstr(r->err, head);

    printf("%.2f s: %s", r->seconds, r->err);
    if (r->code != 78 || line != r->err || !strstr(r->err, middle) || !strstr(r->err, tail))
        run_print(r);
    EXPECT(r->code == 78);
    EXPECT(line == r->err && strstr(line, middle) && strstr(line, tail));
    EXPECT(strchr(r->err, '\n') == r->err + r->err_bytes - 1);
    EXPECT(r->seconds <= 5);
    run_close(r);
}

static void test_programs(void)
{
    const char *demo = TEST_DATA "/demo/spec.json";
    struct args a = two_ranks(demo, "data.max_rows=1", "data.max_rows=2");

    expect_refusal(&a, "nvfp4_ppl: spec (SHA-256): rank 1 of 2 (", ") has ",
                   " (give all ranks the same spec and --set)\n");
    a = two_ranks(demo, "microbatch=1", "microbatch=2");
    expect_refusal(&a, "nvfp4_ppl: how to run: rank 1 of 2 (", ") has microbatch 2, stages 0, stream auto, ",
                   ") has microbatch 1, stages 0, stream auto, ");
}

/* The same folder name on "two hosts"; one config.json has a blank line more. */
static void test_copies(void)
{
    const char *here = scratch_path("a"), *there = scratch_path("b");
    char first[4096], second[4096];
    size_t bytes;
    struct args a;
    char *config;

    for (int i = 0; i < 2; i++) {
        struct args make = args_none();

        args_add(&make, "mkdir");
        args_add(&make, "%s", i ? there : here);
        run_close(run_program(&make, 5));
        folder_copy(TEST_DATA "/demo", scratch_path(i ? "b/model" : "a/model"));
    }
    config = file_read(scratch_path("b/model/config.json"), &bytes);
    EXPECT(config);
    file_printf(scratch_path("b/model/config.json"), "%s\n", config);
    free(config);
    snprintf(first, sizeof first, "model_dir=%s/model", here);
    snprintf(second, sizeof second, "model_dir=%s/model", there);
    a = two_ranks(TEST_DATA "/demo/spec.json", first, second);
    expect_refusal(&a, "nvfp4_ppl: config.json (SHA-256): rank 1 of 2 (", ") has ",
                   " (the hosts have different copies of the model)\n");
}

int main(void)
{
    if (!*MPIRUN)
        SKIP("mpirun not found");
    test_programs();
    test_copies();
    return 0;
}
