// links: spec run
// timeout: 300
// labels: slow
// processors: 2
/* Proves A11: the conventions other than plain windows give what llama.cpp, Hugging Face and
 * lm-evaluation-harness give (values/scores.json: totals, token counts, llama.cpp's standard error),
 * and the dataset "wiki2" is the text that Hugging Face users mean, to the hash (text/wiki2.json). */
#include "tests/results.h"
#include "tests/test.h"

/* Relative; the rolling references were made in float32. */
static const double TOLERANCE = 2e-6, TOLERANCE_ROLLING = 2e-5;

static void expect_near(const char *what, double got, double want, double relative)
{
    printf("  %s: %.9g, want %.9g\n", what, got, want);
    EXPECT_NEAR(got, want, relative * fabs(want));
}

static void check_rolling(const cJSON *want, const cJSON *got)
{
    const cJSON *document;
    double sum = 0;

    cJSON_ArrayForEach(document, json_at(want, "loglikelihood"))
        sum -= document->valuedouble;
    expect_near("sum of nll", json_number(got, "mean_nll") * json_number(got, "tokens"), sum,
                TOLERANCE_ROLLING);
    EXPECT(json_number(got, "words") == json_number(want, "words_lm_eval"));
    EXPECT(json_number(got, "bytes") == json_number(want, "bytes"));
    expect_near("bits per byte", json_number(got, "bits_per_byte"),
                json_number(want, "bits_per_byte"), TOLERANCE_ROLLING);
    expect_near("log of word perplexity", log(json_number(got, "word_perplexity")),
                log(json_number(want, "word_perplexity")), TOLERANCE_ROLLING);
    expect_near("log of byte perplexity", log(json_number(got, "byte_perplexity")),
                log(json_number(want, "byte_perplexity")), TOLERANCE_ROLLING);
}

static void check_whole_text(const cJSON *want, const cJSON *got)
{
    const cJSON *windows = cJSON_GetObjectItemCaseSensitive(want, "windows");
    const cJSON *se = cJSON_GetObjectItemCaseSensitive(want, "se_iid");

    EXPECT(json_number(got, "tokens") == json_number(want, "tokens"));
    expect_near("mean nll", json_number(got, "mean_nll"), log(json_number(want, "ppl")), TOLERANCE);
    if (windows)
        EXPECT(json_number(got, "windows") == windows->valuedouble);
    if (se)
        expect_near("standard error", json_number(got, "se_iid"), se->valuedouble, 1e-5);
}

/* Keys are "SCORE FILE" or "SCORE FILE bos none". */
static void check_score(const char *root, const char *model, const cJSON *want)
{
    const char *spec = scratch_path("spec.json");
    const cJSON *stride = cJSON_GetObjectItemCaseSensitive(want, "eval_stride");
    double eval_len = json_number(want, "eval_len");
    char score[32], file[64], bos[32] = "auto";

    printf("%s, %s\n", model, want->string);
    EXPECT(sscanf(want->string, "%31s %63s bos %31s", score, file, bos) >= 2);
    file_printf(spec,
                "{ \"model_dir\": \"%s/models/%s\", \"dtype\": \"float32\",\n"
                "  \"data\": { \"%s\": \"%s/text/%s\", \"eval_len\": %.0f, \"eval_stride\": %.0f,"
                " \"score\": \"%s\", \"bos\": \"%s\" } }\n",
                root, model, strstr(file, ".jsonl") ? "jsonl" : "text", root, file, eval_len,
                stride ? stride->valuedouble : eval_len, score, bos);
    struct args a = args_ppl(1);
    args_add(&a, "%s", spec);
    struct measurement m = must_measure(&a, 120);
    EXPECT_TEXT(json_text(m.result, "score"), score);
    if (strcmp(score, "rolling") == 0)
        check_rolling(want, m.result);
    else
        check_whole_text(want, m.result);
    measurement_close(&m);
}

static void check_scores(const char *root)
{
    char path[4096];
    const cJSON *model, *score;
    int checked = 0;

    snprintf(path, sizeof path, "%s/values/scores.json", root);
    cJSON *all = json_file(path);
    cJSON_ArrayForEach(model, all) {
        cJSON_ArrayForEach(score, model) {
            check_score(root, model->string, score);
            checked++;
        }
    }
    EXPECT(checked > 0);
    cJSON_Delete(all);
}

static void check_wiki2(void)
{
    char path[4096];
    struct args a = args_ppl(1);
    const char *spec = scratch_path("spec.json");

    snprintf(path, sizeof path, "%s/text/wiki2.json", golden_dir());
    cJSON *want = json_file(path);
    const cJSON *ids = json_at(json_at(want, "ids"), "ours-4096");
    file_printf(spec,
                "{ \"model_dir\": \"%s/models/llama-nvfp4\",\n"
                "  \"data\": { \"dataset\": \"wiki2\", \"eval_len\": 64, \"max_rows\": 1 } }\n",
                golden_dir());
    args_add(&a, "%s", spec);
    args_add(&a, "--data-dir");
    args_add(&a, "%s/text", golden_dir());
    struct measurement m = must_measure(&a, 60);
    EXPECT(json_number(m.result, "ids") == json_number(ids, "n"));
    EXPECT_TEXT(json_text(m.result, "ids_sha256"), json_text(ids, "sha256_le_int32"));
    measurement_close(&m);
    cJSON_Delete(want);
}

int main(void)
{
    check_scores(TEST_DATA);
    if (!file_exists(golden_dir()))
        SKIP("no golden data at %s (NVFP4_PPL_GOLDEN); what the tree carries agreed", golden_dir());
    check_scores(golden_dir());
    check_wiki2();
    return 0;
}
