// links: spec run
// timeout: 240
// processors: 2
/* Proves the contract of the command line (design §8, §10): what goes where, exit codes, one line
 * per failure, and that every way to give the same text gives the same number. */
#include <signal.h>

#include "spec/spec.h"
#include "tests/results.h"
#include "tests/test.h"

static const char *const demo = TEST_DATA "/demo/spec.json";

static void expect_code(const struct run *r, int code)
{
    if (r->code != code) {
        printf("FAIL: want exit code %d\n", code);
        run_print(r);
        exit(1);
    }
}

static int lines(const char *text)
{
    int n = 0;

    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

/* The program with the words of `words`, split at spaces. */
static struct run *run_words(int np, const char *words)
{
    struct args a = args_ppl(np);
    char copy[1024], *rest = copy;

    snprintf(copy, sizeof copy, "%s", words);
    for (char *word; (word = strsep(&rest, " "));)
        if (*word)
            args_add(&a, "%s", word);
    return run_program(&a, 60);
}

/* --help names every key of the spec, --version the program and its MPI; both on stdout. */
static void test_help_and_version(void)
{
    struct run *r = run_words(1, "--help");
    int n;

    expect_code(r, 0);
    EXPECT(r->err_bytes == 0);
    const struct spec_key *key = spec_keys(&n);
    EXPECT(n > 0);
    for (int i = 0; i < n; i++)
        EXPECT(strstr(r->out, key[i].name) != NULL);
    run_close(r);

    r = run_words(1, "--version");
    expect_code(r, 0);
    EXPECT(strncmp(r->out, "nvfp4_ppl ", 10) == 0);
    EXPECT(strstr(r->out, "Open MPI") && strstr(r->out, "portable") && strstr(r->out, "compiler"));
    run_close(r);
}

/* With --json - stdout is one JSON document and nothing else. */
static void test_json_on_stdout(void)
{
    struct args a = args_ppl(2);
    const char *end;

    args_add(&a, "%s", demo);
    args_add(&a, "--set");
    args_add(&a, "data.max_rows=2");
    args_add(&a, "--json");
    args_add(&a, "-");
    struct run *r = run_program(&a, 60);
    expect_code(r, 0);
    cJSON *root = cJSON_ParseWithOpts(r->out, &end, 1);
    EXPECT(root != NULL);
    EXPECT_TEXT(json_text(root, "schema"), "nvfp4_ppl/1");
    EXPECT_TEXT(json_text(root, "status"), "complete");
    EXPECT(json_number(json_result(root), "windows") == 2);
    EXPECT(cJSON_GetArraySize(json_at(json_result(root), "ranks")) == 2);
    cJSON_Delete(root);
    run_close(r);
}

/* What stands on the terminal is what stands in the JSON. */
static void test_terminal_and_json_agree(void)
{
    char ppl[32];
    struct args a = args_ppl(1);

    args_add(&a, "%s", demo);
    args_add(&a, "--set");
    args_add(&a, "data.max_rows=3");
    struct measurement m = must_measure(&a, 60);
    snprintf(ppl, sizeof ppl, "%.4f", json_number(m.result, "ppl"));
    if (!strstr(m.run->out, ppl))
        run_print(m.run);
    EXPECT(strstr(m.run->out, ppl) != NULL);
    EXPECT(strstr(m.run->out, "Demo Llama NVFP4") != NULL);
    measurement_close(&m);
}

/* --plan reads no weights, needs no second process, and says what each rank would hold: a
 * scale that loading would refuse is not even seen. */
static void test_plan(void)
{
    const unsigned char nan = 0x7f; /* e4m3 */
    const char *json = scratch_path("plan.json"), *model = scratch_path("no-weights");
    struct args a = args_ppl(1);

    folder_copy(TEST_DATA "/demo", model);
    tensor_patch(scratch_path("no-weights/model.safetensors"),
                 "model.layers.2.mlp.up_proj.weight_scale", 0, &nan, 1);
    args_add(&a, "%s/spec.json", model);
    args_add(&a, "--plan");
    args_add(&a, "--ranks");
    args_add(&a, "4");
    args_add(&a, "--set");
    args_add(&a, "stages=4");
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    struct run *r = run_program(&a, 60);
    expect_code(r, 0);
    EXPECT(strstr(r->out, "\nrank 3 would run with a cap of "));
    cJSON *root = json_file(json);
    const cJSON *ranks = json_at(cJSON_GetArrayItem(json_at(root, "plans"), 0), "ranks");
    EXPECT(cJSON_GetArraySize(ranks) == 4);
    int next = 0; /* the layers, one range after the other, none left out */
    for (int i = 0; i < 4; i++) {
        const cJSON *layers = json_at(cJSON_GetArrayItem(ranks, i), "layers");

        EXPECT(cJSON_GetArrayItem(layers, 0)->valueint == next);
        next = cJSON_GetArrayItem(layers, 1)->valueint + 1;
    }
    EXPECT(next == 8);
    cJSON_Delete(root);
    run_close(r);
}

/* --plan --roofline: the same plan as the table and as JSON, capped by the device's memory where the
 * spec gives no cap; the FLOPs of its steps are those of the plan. */
static void test_roofline(void)
{
    const char *json = scratch_path("roofline.json");
    struct args a = args_ppl(1);

    args_add(&a, "%s/demo/spec.json", TEST_DATA);
    args_add(&a, "--plan");
    args_add(&a, "--ranks=3");
    args_add(&a, "--set=stages=3");
    args_add(&a, "--roofline=gb10");
    args_add(&a, "--json=%s", json);
    struct run *r = run_program(&a, 60);
    expect_code(r, 0);
    EXPECT(strstr(r->out, "roofline: gb10") && strstr(r->out, "dequantize"));
    cJSON *root = json_file(json);
    const cJSON *plan = cJSON_GetArrayItem(json_at(root, "plans"), 0);
    const cJSON *roofline = json_at(plan, "roofline"), *stages = json_at(roofline, "stages");
    double flops = 0, padded = json_number(plan, "microbatches") * json_number(plan, "microbatch_windows");
    EXPECT(cJSON_GetArraySize(stages) == 3);
    for (int i = 0; i < 3; i++) {
        const cJSON *steps = json_at(cJSON_GetArrayItem(stages, i), "steps");

        flops += json_number(json_at(steps, "gemm"), "flops") +
                 json_number(json_at(steps, "attention"), "flops") +
                 json_number(json_at(steps, "head"), "flops");
        EXPECT((json_number(json_at(steps, "send"), "bytes") > 0) == (i < 2));
    }
    flops *= json_number(plan, "microbatches") * json_number(plan, "windows") / padded;
    EXPECT_NEAR(flops / json_number(plan, "flops"), 1, 1e-9);
    EXPECT_NEAR(json_number(cJSON_GetArrayItem(json_at(plan, "ranks"), 2), "cap_bytes"), 112e9, 0);
    EXPECT(json_number(roofline, "seconds") > 0);
    cJSON_Delete(root);
    run_close(r);
}

/* An output that fails when it is written is named, and takes none of the others with it. */
static void test_output_that_fails(void)
{
    const char *out = scratch_path("kept"), *nll = scratch_path("kept.npy");
    char words[2048];

    snprintf(words, sizeof words, "%s --set data.max_rows=2 --out %s --nll %s --json /dev/full", demo,
             out, nll);
    struct run *r = run_words(1, words);
    expect_code(r, 74);
    EXPECT(strstr(r->err, "nvfp4_ppl: /dev/full: cannot be written: No space left on device\n"));
    EXPECT(strstr(r->out, "Demo Llama NVFP4"));
    run_close(r);
    cJSON *root = json_file(scratch_path("kept/result.json"));
    EXPECT_TEXT(json_text(root, "status"), "complete");
    cJSON_Delete(root);
    EXPECT(file_exists(nll) && file_exists(scratch_path("kept/nll.npy")));
}

/* ids that --tokenize froze give the nll that the text gives, to the bit. */
static void test_tokenize(void)
{
    const char *ids = scratch_path("ids.npy"), *from_text = scratch_path("text.npy"),
               *from_ids = scratch_path("frozen.npy");
    char words[2048];
    size_t n, m;

    snprintf(words, sizeof words, "--tokenize %s/demo --out %s %s/demo/demo.txt", TEST_DATA, ids,
             TEST_DATA);
    struct run *r = run_words(1, words);
    expect_code(r, 0);
    EXPECT(strstr(r->out, "4905") != NULL);
    EXPECT(strstr(r->out, "faed50cfe9fe7038128a9f65e48c505360474b8b426e90199852d183d043c316"));
    run_close(r);
    snprintf(words, sizeof words, "%s --set data.max_rows=2 --nll %s", demo, from_text);
    r = run_words(1, words);
    expect_code(r, 0);
    run_close(r);
    file_printf(scratch_path("frozen.json"),
                "{ \"model_dir\": \"%s/demo\", \"data\": { \"tokens\": \"%s\", \"eval_len\": 256,"
                " \"max_rows\": 2 } }\n",
                TEST_DATA, ids);
    snprintf(words, sizeof words, "%s --nll %s", scratch_path("frozen.json"), from_ids);
    r = run_words(1, words);
    expect_code(r, 0);
    run_close(r);
    char *x = file_read(from_text, &n), *y = file_read(from_ids, &m);
    EXPECT(x && y && n == m && memcmp(x, y, n) == 0);
    free(x);
    free(y);
}

/* The pair of files of quantization comparisons: two models, one table, one nll file each. */
static void test_two_files(void)
{
    char words[2048];

    file_printf(scratch_path("data.json"),
                "{ \"tokenize_fn\": \"transformers\", \"tokenizer_dir\": \"%s/demo\", \"dataset\":"
                " \"wiki2\", \"eval_stride\": 128, \"eval_len\": 256, \"max_rows\": 2 }\n",
                TEST_DATA);
    file_printf(
        scratch_path("models.json"),
        "[ { \"load_fn\": \"transformers_tp\", \"fwd_fn\": \"transformers_auto\",\n"
        "    \"label\": \"first\", \"model_dir\": [ \"%s/demo\", { \"torch_dtype\": \"float32\","
        " \"trust_remote_code\": true, \"max_memory\": { \"0\": \"1GiB\" } } ] },\n"
        "  { \"label\": \"second\", \"model_dir\": \"%s/models/qwen3-mixed\" } ]\n",
        TEST_DATA, TEST_DATA);
    snprintf(words, sizeof words, "-d %s -m %s --data-dir %s%s --json %s --nll %s",
             scratch_path("data.json"), scratch_path("models.json"),
             file_exists(golden_dir()) ? golden_dir() : scratch_folder(),
             file_exists(golden_dir()) ? "/text" : "", scratch_path("two.json"),
             scratch_path("two.npy"));
    struct run *r = run_words(1, words);
    if (!file_exists(golden_dir())) {
        expect_code(r, ERR_NO_INPUT); /* no wiki.test.raw: says where to put it */
        EXPECT(strstr(r->err, "wiki.test.raw") != NULL);
    } else {
        expect_code(r, 0);
        cJSON *root = json_file(scratch_path("two.json"));
        const cJSON *results = json_at(root, "results");
        EXPECT(cJSON_GetArraySize(results) == 2);
        EXPECT_TEXT(json_text(cJSON_GetArrayItem(results, 0), "dtype"), "float32");
        EXPECT_TEXT(json_text(cJSON_GetArrayItem(results, 1), "label"), "second");
        EXPECT(file_exists(scratch_path("two.first.npy")));
        EXPECT(file_exists(scratch_path("two.second.npy")));
        EXPECT(strstr(r->err, "load_fn") && strstr(r->err, "trust_remote_code"));
        cJSON_Delete(root);
    }
    run_close(r);
}

/* A text with nothing to score is an error of one line that says what it would need. */
static void test_short_texts(void)
{
    static const struct {
        const char *text, *said;
    } cases[] = {{"", "got 0 bytes"}, {"a", "eval_len"}, {"The kettle had been", "eval_len"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char words[1024];

        file_printf(scratch_path("short.txt"), "%s", cases[i].text);
        snprintf(words, sizeof words, "%s --set data.text=%s", demo, scratch_path("short.txt"));
        struct run *r = run_words(1, words);
        expect_code(r, ERR_DATA);
        if (!strstr(r->err, cases[i].said) || lines(r->err) != 1)
            run_print(r);
        EXPECT(strstr(r->err, cases[i].said) && lines(r->err) == 1);
        run_close(r);
    }
}

/* A NaN in a weight: exit 76, one line that says where it shows first, and it is counted. The row
 * is that of BOS, which stands in the first window alone. */
static void test_nan_weight(void)
{
    const unsigned char nan[2] = {0xc0, 0x7f}; /* bfloat16, little-endian */
    const char *model = scratch_path("nan"), *json = scratch_path("nan.json");
    char words[2048];

    folder_copy(TEST_DATA "/demo", model);
    snprintf(words, sizeof words, "%s/model.safetensors", model);
    tensor_patch(words, "model.embed_tokens.weight", 0, nan, sizeof nan);
    snprintf(words, sizeof words, "%s/spec.json --set data.max_rows=2 --json %s", model, json);
    struct run *r = run_words(1, words);
    expect_code(r, ERR_NONFINITE);
    EXPECT(strstr(r->err, "window 0") && strstr(r->err, "position 1"));
    cJSON *root = json_file(json);
    EXPECT(json_number(json_result(root), "nonfinite") == 255);
    cJSON_Delete(root);
    run_close(r);
}

/* SIGTERM ends a run within seconds with what it has, marked partial. Under mpirun the code is the
 * launcher's (1), so the truth must be in the file. */
static void test_signal(int np)
{
    const char *json = scratch_path("partial%d.json", np);
    struct args a = args_ppl(np);

    args_add(&a, "%s", demo);
    args_add(&a, "--set");
    args_add(&a, "data.eval_stride=1"); /* minutes of work */
    args_add(&a, "--json");
    args_add(&a, "%s", json);
    struct run *r = run_start(&a);
    EXPECT(run_said(r, "tokens/s", 60)); /* the first progress line */
    kill(r->pid, SIGTERM);
    run_wait(r, 60);
    if (np == 1)
        expect_code(r, ERR_INTERRUPTED);
    EXPECT(r->code > 0);
    cJSON *root = json_file(json);
    double windows = json_number(json_result(root), "windows");
    EXPECT_TEXT(json_text(root, "status"), "partial");
    EXPECT(windows > 0 && windows < 4600);
    EXPECT(json_number(json_result(root), "tokens") == windows * 255);
    cJSON_Delete(root);
    run_close(r);
}

int main(void)
{
    test_help_and_version();
    test_json_on_stdout();
    test_terminal_and_json_agree();
    test_plan();
    test_roofline();
    test_output_that_fails();
    test_tokenize();
    test_two_files();
    test_short_texts();
    test_nan_weight();
    test_signal(1);
    test_signal(2);
    return 0;
}
