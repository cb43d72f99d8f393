// links: run
// timeout: 60
/* Proves --check: one line per item, the sbatch lines when all is well, and for each thing that can
 * be wrong before a job is submitted a line that names it and its exit code; nothing is made. */
#include "tests/results.h"
#include "tests/test.h"

/* The demo with one option more. */
static struct run *check(const char *option, const char *value)
{
    struct args a = args_ppl(1);

    args_add(&a, "%s/demo/spec.json", TEST_DATA);
    args_add(&a, "--check");
    args_add(&a, "--ranks");
    args_add(&a, "2");
    args_add(&a, "%s", option);
    args_add(&a, "%s", value);
    return run_program(&a, 30);
}

static void expect_lines(struct run *r, int code, const char *const *lines)
{
    bool good = r->code == code;

    for (; good && *lines; lines++)
        good = strstr(r->out, *lines) != NULL;
    if (!good)
        run_print(r);
    EXPECT(r->code == code);
    EXPECT(!*lines);
}

static void test_good(void)
{
    static const char *const lines[] = {"ok       spec      1 model, SHA-256 ",
                                        "\nok       model     Demo Llama NVFP4: LlamaForCausalLM, "
                                        "8 layers, weights ",
                                        "\nok       tokenizer ",
                                        ": 4096 ids\n",
                                        "\nok       text      4905 ids in 19 windows, ids ",
                                        "\nok       plan      2 ranks, ",
                                        "\nok       out       ",
                                        "\n#SBATCH --ntasks-per-node=2\n",
                                        "\n#SBATCH --requeue --open-mode=append --signal=USR1@120\n",
                                        " --mpi=pmix --kill-on-bad-exit=1 --wait=30 ",
                                        NULL};
    const char *out = scratch_path("out");
    struct run *r = check("--out", out);

    expect_lines(r, 0, lines);
    EXPECT(r->err_bytes == 0 && !strstr(r->out, "problem"));
    EXPECT(!file_exists(out));
    run_close(r);
}

/* The line of the problem stands on stdout, its message once more on stderr; no sbatch lines. */
static void expect_problem(const char *option, const char *value, int code, const char *line)
{
    const char *const lines[] = {line, NULL};
    struct run *r = check(option, value);

    expect_lines(r, code, lines);
    EXPECT(strncmp(r->err, "nvfp4_ppl: ", 11) == 0 && !strstr(r->out, "#SBATCH"));
    run_close(r);
}

int main(void)
{
    test_good();
    expect_problem("--set", "data.eval_len=many", 78, "problem  spec      --set data.eval_len");
    expect_problem("--set", "model_dir=/nowhere", 66, "problem  model     /nowhere");
    expect_problem("--set", "tokenizer_dir=/nowhere", 66, "problem  tokenizer /nowhere");
    expect_problem("--set", "data.text=/nowhere.txt", 66, "problem  text      /nowhere.txt");
    expect_problem("--set", "max_memory.1=1MiB", 71, "problem  plan      plan refused: ");
    expect_problem("--out", "/proc/out", 73, "problem  out       /proc: ");
    setenv("PATH", "/nowhere", 1);
    expect_problem("--set", "threads=1", 69,
                   "problem  launcher  2 ranks, and neither mpirun nor srun is in PATH");
    return 0;
}
