// links: spec launch
/* Proves that words become what they say: tasks, files, and overrides of the spec; that every
 * mistake is refused with its message; and that --help shows every option and key. */
#include "launch/options.h"

#include "tests/test.h"

enum { WORDS = 16 };

/* Splits at spaces; `copy` holds the words. */
static int split(const char *line, char copy[256], char *argv[WORDS])
{
    int argc = 0;

    snprintf(copy, 256, "nvfp4_ppl %s", line);
    for (char *rest = copy, *word; (word = strsep(&rest, " "));)
        if (*word) {
            EXPECT(argc < WORDS);
            argv[argc++] = word;
        }
    return argc;
}

static struct options must_read(const char *line, char copy[256])
{
    char *argv[WORDS];
    int argc = split(line, copy, argv);
    struct options o;
    struct err e;

    if (options_read(argc, argv, &o, &e) != OK) {
        printf("FAIL: %s: %s\n", line, e.msg);
        exit(1);
    }
    return o;
}

static void test_run(void)
{
    char copy[256];
    struct options o = must_read("spec.json", copy);

    EXPECT(o.task == TASK_RUN && o.spec.n_set == 0 && !o.quiet && !o.strict_memory);
    EXPECT_TEXT(o.spec.spec_path, "spec.json");
    EXPECT(!o.spec.data_path && !o.spec.model_path && !o.json && !o.nll && !o.data_dir);
    options_close(&o);

    o = must_read("-d data.json --model=m.json --json - --nll a=b.npy --data-dir /d --quiet "
                  "--strict-memory --set a=1 --set=b=2",
                  copy);
    EXPECT_TEXT(o.spec.data_path, "data.json");
    EXPECT_TEXT(o.spec.model_path, "m.json");
    EXPECT_TEXT(o.json, "-");
    EXPECT_TEXT(o.nll, "a=b.npy");
    EXPECT_TEXT(o.data_dir, "/d");
    EXPECT(o.quiet && o.strict_memory && !o.spec.spec_path && o.spec.n_set == 2);
    EXPECT_TEXT(o.spec.set[0], "a=1");
    EXPECT_TEXT(o.spec.set[1], "b=2");
    options_close(&o);

    o = must_read("--json=--odd -- --spec.json", copy);
    EXPECT_TEXT(o.json, "--odd");
    EXPECT_TEXT(o.spec.spec_path, "--spec.json");
    options_close(&o);
}

/* Options that name keys of the spec are overrides, in order with --set. */
static void test_overrides(void)
{
    char copy[256];
    struct options o = must_read("--threads 2 --isa=avx2 s.json --backend cpu --set threads=3 "
                                 "--transport mpi --microbatch 4 --out run",
                                 copy);
    static const char *const want[] = {"threads=2",     "isa=avx2",     "backend=cpu", "threads=3",
                                       "transport=mpi", "microbatch=4", "out=run"};

    EXPECT(o.spec.n_set == sizeof want / sizeof *want);
    for (int i = 0; i < o.spec.n_set; i++)
        EXPECT_TEXT(o.spec.set[i], want[i]);
    EXPECT(o.ids == NULL);
    options_close(&o);
    EXPECT(o.spec.n_set == 0 && o.spec.set == NULL);
    options_close(&o); /* closing twice is harmless */
}

static void test_tasks(void)
{
    char copy[256];
    struct options o = must_read("s.json --plan --ranks 8", copy);

    EXPECT(o.task == TASK_PLAN && o.ranks == 8);
    options_close(&o);
    o = must_read("s.json --plan --roofline h200", copy);
    EXPECT_TEXT(o.roofline, "h200");
    options_close(&o);
    o = must_read("--tokenize tok --bos none --out ids.npy -", copy);
    EXPECT(o.task == TASK_TOKENIZE && o.bos == BOS_NONE && o.spec.n_set == 0);
    EXPECT_TEXT(o.tokenizer, "tok");
    EXPECT_TEXT(o.ids, "ids.npy");
    EXPECT_TEXT(o.text, "-");
    EXPECT(!o.spec.spec_path);
    options_close(&o);
    o = must_read("--tokenize tok --out ids.npy --bos=auto a.txt", copy);
    EXPECT(o.bos == BOS_AUTO);
    options_close(&o);
    o = must_read("--help --nonsense", copy);
    EXPECT(o.task == TASK_HELP);
    options_close(&o);
    o = must_read("-h", copy);
    EXPECT(o.task == TASK_HELP);
    options_close(&o);
    o = must_read("s.json --plan --version", copy);
    EXPECT(o.task == TASK_VERSION);
    options_close(&o);
}

static void test_wrong(void)
{
    static const struct {
        const char *line, *message;
    } wrong[] = {
#define C "command line: "
        {"s.json --jsn a", C "unknown option --jsn: the nearest known one is --json"},
        {"s.json --treads=2", C "unknown option --treads: the nearest known one is --threads"},
        {"s.json -json a", C "unknown option -json: the nearest known one is --json"},
        {"s.json --no-progress", C "unknown option --no-progress (--help lists them)"},
        {"-dx.json", C "unknown option -dx.json: the nearest known one is --json"},
        {"s.json --json", C "--json: got no value, want --json FILE"},
        {"s.json --json --quiet", C "--json: got no value, want --json FILE"},
        {"-d -m m.json", C "--data: got no value, want --data FILE"},
        {"s.json --quiet=1", C "--quiet: got a value, want none"},
        {"s.json --json a --json=b", C "--json: given twice, want it once"},
        {"s.json --threads 1 --threads 2", C "--threads: given twice, want it once"},
        {"s.json --plan --plan", C "--plan: given twice, want it once"},
        {"s.json t.json", C "got s.json and t.json, want one file"},
        {"s.json --plan --ranks 0", C "--ranks: got 0, want 1 to 1024"},
        {"s.json --plan --ranks 1025", C "--ranks: got 1025, want 1 to 1024"},
        {"s.json --plan --ranks two", C "--ranks: got two, want 1 to 1024"},
        {"s.json --ranks 2",
         C "--ranks: want --plan or --check beside it (a run has the ranks that mpirun starts)"},
        {"s.json --roofline h200", C "--roofline: want --plan beside it"},
        {"s.json --plan --roofline h2000",
         C "--roofline: got h2000, want one of a100, h100, h200, b200, b200-fp4, 4090, 5090, "
           "5090-fp4, pro6000, pro6000-fp4, gb10, gb10-fp4"},
        {"s.json --bos none",
         C "--bos: want --tokenize beside it (for a run: --set data.bos=none)"},
        {"--tokenize t --bos row --out o a", C "--bos: got row, want auto or none"},
        {"--tokenize t --out o",
         C "--tokenize: got no text, want --tokenize TOKENIZER --out IDS.npy FILE (or -)"},
        {"--tokenize t a.txt",
         C "--tokenize: got no --out, want --tokenize TOKENIZER --out IDS.npy FILE (or -)"},
        {"s.json --plan --tokenize t", C "got two of --plan, --check and --tokenize, want one"},
#undef C
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char copy[256], *argv[WORDS];
        int argc = split(wrong[i].line, copy, argv);
        struct options o;
        struct err e;

        EXPECT(options_read(argc, argv, &o, &e) == ERR_USAGE);
        EXPECT_TEXT(e.msg, wrong[i].message);
        EXPECT(o.spec.set == NULL && o.n_owned == 0);
    }
}

/* --help of a table that the parser uses; no line wider than 100 columns. */
static void test_help(void)
{
    static const char *const option[] = {
        "-d, --data FILE",      "-m, --model FILE", "--set KEY=VALUE", "--json FILE",
        "--tokenize TOKENIZER", "-h, --help",       "--ranks N",       "--strict-memory"};
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    int n;
    const struct spec_key *key = spec_keys(&n);

    EXPECT(f != NULL);
    options_print_help(f);
    EXPECT(fclose(f) == 0 && bytes > 0);
    for (size_t i = 0; i < sizeof option / sizeof *option; i++)
        EXPECT(strstr(text, option[i]) != NULL);
    for (int i = 0; i < n; i++)
        EXPECT(strstr(text, key[i].name) && strstr(text, key[i].help));
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
        EXPECT(strlen(line) <= 100);
    free(text);
}

/* Every option that is a key of the spec is one. */
static void test_keys_exist(void)
{
    static const char *const names[] = {"isa",       "threads",    "backend",
                                        "transport", "microbatch", "out"};
    int n;
    const struct spec_key *key = spec_keys(&n);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int found = 0;

        for (int k = 0; k < n; k++)
            found += strcmp(key[k].name, names[i]) == 0;
        EXPECT(found == 1);
    }
}

int main(void)
{
    test_run();
    test_overrides();
    test_tasks();
    test_wrong();
    test_help();
    test_keys_exist();
    return 0;
}
