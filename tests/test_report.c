// links: launch spec
// timeout: 20
/* The report: JSON reads back to the same bits, with every key of design §10; the terminal shows
 * one example letter by letter; partial, not finite and not comparable results say so. */
#include "launch/report.h"
#include "spec/json.h"
#include "tests/test.h"

#include <unistd.h>

static const char sha_a[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const char sha_b[] = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

static const struct report_rank two_ranks[] = {
    {.rank = 0, .host = "node1", .device = "CPU, 8 threads", .first = 0, .last = 12, .streamed = 4,
     .cap_bytes = 2ull << 30, .planned_bytes = 1600ull << 20, .peak_bytes = 1599ull << 20,
     .bytes_owned = 900ull << 20, .bytes_read = 901ull << 20,
     .seconds = {.load = 1.25, .compute = 10, .wait = 0.5, .total = 12, .stall = 0.25},
     .predicted = {.seconds = 10.5, .stall = 0.375}},
    {.rank = 1, .host = "node2", .device = "CPU, 16 threads", .first = 12, .last = 12,
     .cap_bytes = 1ull << 30, .planned_bytes = 300ull << 20, .peak_bytes = 299ull << 20,
     .bytes_owned = 17, .bytes_read = 17, .seconds = {.load = 0.125, .compute = 2, .wait = 9.5},
     .predicted = {.seconds = NAN, .stall = NAN}},
};

static struct report_model example(void)
{
    return (struct report_model){
        .label = "Demo \"NVFP4\" \xe2\x82\xac", .model_dir = "/models/demo",
        .ppl = 8.1234567890123456, .mean_nll = 2.0947557143518512, .se_iid = 0.1 + 0.2,
        .se_block = 1.0 / 3, .tokens = 20460, .windows = 20, .windows_all = 20, .word_perplexity = NAN,
        .byte_perplexity = NAN, .bits_per_byte = NAN, .score = "window", .bos = "auto",
        .dtype = "bfloat16", .arithmetic = "w4a16", .backend = "cpu", .isa = "avx512", .transport = "mpi",
        .eval_len = 1024, .eval_stride = 512, .softmax_width = 151936, .ids = 287644,
        .ids_sha256 = sha_a, .config_sha256 = sha_b, .weights_fingerprint = sha_a,
        .seconds = {.load = 1.25, .compute = 10, .wait = 0.5, .total = 12.25},
        .predicted = {.seconds = 10.5, .stall = 0.375}, .scoring_seconds = 10.75,
        .tokens_per_second = 1687.4226804123712, .n_ranks = 2, .rank = two_ranks};
}

/* What a printing function wrote; the caller frees. */
static char *text_of(const struct report *r, void (*print)(const struct report *r, FILE *out))
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    EXPECT(f);
    print(r, f);
    EXPECT(fclose(f) == 0 && text);
    return text;
}

static void print_first(const struct report *r, FILE *out)
{
    report_print_model(&r->model[0], out);
}

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = json_member(object, key);

    if (!item)
        printf("FAIL no key %s\n", key);
    EXPECT(item);
    return item;
}

static double number(const cJSON *object, const char *key)
{
    const cJSON *item = member(object, key);

    EXPECT(cJSON_IsNumber(item));
    return item->valuedouble;
}

static const char *text(const cJSON *object, const char *key)
{
    return cJSON_GetStringValue(member(object, key));
}

static void expect_prediction(const cJSON *got, const struct report_prediction *want)
{
    const cJSON *p = json_member(got, "predicted");

    EXPECT((p != NULL) == !isnan(want->seconds));
    if (p)
        EXPECT(number(p, "seconds") == want->seconds && number(p, "stall") == want->stall);
}

static void expect_rank(const cJSON *got, const struct report_rank *want)
{
    const cJSON *layers = member(got, "layers"), *seconds = member(got, "seconds");

    EXPECT(number(got, "rank") == want->rank);
    EXPECT_TEXT(text(got, "host"), want->host);
    EXPECT_TEXT(text(got, "device"), want->device);
    EXPECT(cJSON_GetArraySize(layers) == (want->last > want->first ? 2 : 0));
    if (want->last > want->first) {
        EXPECT(cJSON_GetArrayItem(layers, 0)->valuedouble == want->first);
        EXPECT(cJSON_GetArrayItem(layers, 1)->valuedouble == want->last - 1);
    }
    EXPECT(number(got, "streamed") == want->streamed);
    EXPECT(number(got, "cap_bytes") == (double)want->cap_bytes);
    EXPECT(number(got, "planned_bytes") == (double)want->planned_bytes);
    EXPECT(number(got, "peak_bytes") == (double)want->peak_bytes);
    EXPECT(number(got, "bytes_owned") == (double)want->bytes_owned);
    EXPECT(number(got, "bytes_read") == (double)want->bytes_read);
    EXPECT(number(seconds, "load") == want->seconds.load);
    EXPECT(number(seconds, "compute") == want->seconds.compute);
    EXPECT(number(seconds, "wait") == want->seconds.wait);
    EXPECT(number(seconds, "total") == want->seconds.total);
    EXPECT(number(seconds, "stall") == want->seconds.stall);
    expect_prediction(got, &want->predicted);
}

static void expect_model(const cJSON *got, const struct report_model *want)
{
    const cJSON *seconds = member(got, "seconds"), *ranks = member(got, "ranks");

    EXPECT_TEXT(text(got, "label"), want->label);
    EXPECT_TEXT(text(got, "model_dir"), want->model_dir);
    EXPECT(number(got, "ppl") == want->ppl && number(got, "mean_nll") == want->mean_nll);
    EXPECT(number(got, "se_iid") == want->se_iid && number(got, "se_block") == want->se_block);
    EXPECT(number(got, "tokens") == (double)want->tokens);
    EXPECT(number(got, "windows") == (double)want->windows);
    EXPECT(number(got, "nonfinite") == (double)want->nonfinite);
    EXPECT_TEXT(text(got, "score"), want->score);
    EXPECT(number(got, "eval_len") == want->eval_len);
    EXPECT(number(got, "eval_stride") == want->eval_stride);
    EXPECT_TEXT(text(got, "bos"), want->bos);
    EXPECT(number(got, "softmax_width") == want->softmax_width);
    EXPECT_TEXT(text(got, "dtype"), want->dtype);
    EXPECT_TEXT(text(got, "arithmetic"), want->arithmetic);
    EXPECT_TEXT(text(got, "backend"), want->backend);
    EXPECT_TEXT(text(got, "isa"), want->isa);
    EXPECT(number(got, "ids") == (double)want->ids);
    EXPECT_TEXT(text(got, "ids_sha256"), want->ids_sha256);
    EXPECT_TEXT(text(got, "config_sha256"), want->config_sha256);
    EXPECT_TEXT(text(got, "weights_fingerprint"), want->weights_fingerprint);
    EXPECT(number(seconds, "load") == want->seconds.load);
    EXPECT(number(seconds, "compute") == want->seconds.compute);
    EXPECT(number(seconds, "wait") == want->seconds.wait);
    EXPECT(number(seconds, "total") == want->seconds.total);
    expect_prediction(got, &want->predicted);
    EXPECT(number(got, "scoring_seconds") == want->scoring_seconds);
    EXPECT(number(got, "tokens_per_second") == want->tokens_per_second);
    EXPECT(cJSON_GetArraySize(ranks) == want->n_ranks);
    for (int i = 0; i < want->n_ranks; i++)
        expect_rank(cJSON_GetArrayItem(ranks, i), &want->rank[i]);
}

static void test_json(void)
{
    struct report_model models[2] = {example(), example()};
    struct report r = {.version = "0.1.0", .n_models = 2, .model = models, .complete = false};
    const cJSON *results;
    struct json *j;
    struct err e;
    char *out;

    models[1].partial = "SIGTERM";
    models[1].label = "tab\tquote\" \xff";
    models[1].se_block = INFINITY;
    models[1].ppl = NAN;
    models[0].word_perplexity = 25.5;
    models[0].byte_perplexity = 1.75;
    models[0].bits_per_byte = 0.8073549220576041;
    out = text_of(&r, report_print_json);
    EXPECT(json_parse("report", out, strlen(out), JSON_STRICT, ERR_DATA, &j, &e) == OK);
    EXPECT_TEXT(text(json_root(j), "schema"), "nvfp4_ppl/1");
    EXPECT_TEXT(text(json_root(j), "version"), "0.1.0");
    EXPECT_TEXT(text(json_root(j), "status"), "partial");
    results = member(json_root(j), "results");
    EXPECT(cJSON_GetArraySize(results) == 2);
    expect_model(cJSON_GetArrayItem(results, 0), &models[0]);
    EXPECT(number(cJSON_GetArrayItem(results, 0), "bits_per_byte") == models[0].bits_per_byte);
    EXPECT_TEXT(text(cJSON_GetArrayItem(results, 1), "label"), "tab\tquote\" \xef\xbf\xbd");
    EXPECT_TEXT(text(cJSON_GetArrayItem(results, 1), "status"), "partial");
    EXPECT_TEXT(text(cJSON_GetArrayItem(results, 1), "reason"), "SIGTERM");
    EXPECT(cJSON_IsNull(member(cJSON_GetArrayItem(results, 1), "ppl")));
    EXPECT(cJSON_IsNull(member(cJSON_GetArrayItem(results, 1), "se_block")));
    EXPECT(!json_member(cJSON_GetArrayItem(results, 1), "word_perplexity"));
    json_close(j);
    free(out);
}

static void test_terminal(void)
{
    static const char want[] =
        "Demo \"NVFP4\" \xe2\x82\xac\n"
        "  ppl         8.1235  +/- 0.3000 (tokens independent)"
        "  +/- 0.3333 (windows independent)\n"
        "  mean nll    2.0947557 nats per token\n"
        "  scored"
        "      20460 tokens in 20 windows: score window, eval_len 1024, eval_stride 512\n"
        "  text        287644 ids, SHA-256 0123456789ab..., BOS auto\n"
        "  model       /models/demo\n"
        "              config fedcba987654..., weights 0123456789ab...\n"
        "  arithmetic  w4a16, bfloat16, softmax over 151936, backend cpu, isa avx512, transport mpi\n"
        "  time        12.25 s: load 1.25, compute 10.00, wait 0.50; 1687.4 tokens/s\n"
        "  predicted   10.50 s of computing, of which 0.38 waiting for layers; it took 10.75 and 0.00\n"
        "  rank  host   device           layers                  cap    planned"
        "       peak       read    compute       wait\n"
        "     0  node1  CPU, 8 threads   0-11, 4 streamed  2.000 GiB  1.562 GiB"
        "  1.562 GiB  901.0 MiB    10.00 s     0.50 s\n"
        "     1  node2  CPU, 16 threads  none              1.000 GiB  300.0 MiB"
        "  299.0 MiB       17 B     2.00 s     9.50 s\n";
    struct report_model model = example();
    struct report r = {.n_models = 1, .model = &model};
    char *out = text_of(&r, print_first);

    EXPECT_TEXT(out, want);
    free(out);
    out = text_of(&r, report_print_comparison);
    EXPECT_TEXT(out, "");
    free(out);

    model.partial = "SIGTERM";
    model.windows = 5;
    model.nonfinite = 3;
    model.label = "\033[2Jred";
    model.link = "rank 0 to 1 binds";
    out = text_of(&r, print_first);
    EXPECT(strstr(out, "\n  link        rank 0 to 1 binds\n"));
    EXPECT(strstr(out, "?[2Jred\n"
                       "  PARTIAL     5 of 20 windows: SIGTERM\n"
                       "  NOT FINITE  nll of 3 tokens: the perplexity means nothing\n"
                       "  ppl         8.1235") == out);
    free(out);
}

static void test_comparison(void)
{
    static const char want[] =
        "model                                              ppl    +/- iid  +/- block"
        "    mean nll     tokens  dtype      arithmetic\n"
        "Demo \"NVFP4\" \xe2\x82\xac                                  8.1235     0.3000"
        "     0.3333   2.0947557      20460  bfloat16   w4a16\n"
        "b                                               8.1235     0.3000     0.3333"
        "   2.0947557      20460  bfloat16   w4a16"
        "  not comparable to the first: different ids\n"
        "a label that is longer than the forty ch  1234567.5000     0.3000          -"
        "   2.0947557      20460  bfloat16   w4a16  PARTIAL"
        "  not comparable to the first: different numbers of windows\n";
    struct report_model models[3] = {example(), example(), example()};
    struct report r = {.n_models = 3, .model = models};
    char *out;

    models[1].label = "b";
    models[1].ids_sha256 = sha_b;
    models[2].label = "a label that is longer than the forty characters that it may take";
    models[2].partial = "SIGTERM";
    models[2].windows = 5;
    models[2].ppl = 1234567.5;
    models[2].se_block = NAN;
    out = text_of(&r, report_print_comparison);
    EXPECT_TEXT(out, want);
    free(out);
}

static void test_file(void)
{
    struct report_model model = example();
    struct report r = {.version = "0.1.0", .n_models = 1, .model = &model, .complete = true};
    char path[] = "/tmp/test_report_XXXXXX";
    int fd = mkstemp(path);
    struct json *j;
    struct err e;

    EXPECT(fd >= 0 && close(fd) == 0);
    EXPECT(report_write_json(&r, path, &e) == OK);
    EXPECT(json_open(path, 1 << 20, JSON_STRICT, ERR_DATA, &j, &e) == OK);
    EXPECT_TEXT(text(json_root(j), "status"), "complete");
    json_close(j);
    EXPECT(unlink(path) == 0);
    EXPECT(report_write_json(&r, "/nonexistent/r.json", &e) == ERR_OUTPUT);
    EXPECT_TEXT(e.msg, "/nonexistent/r.json: cannot be created: No such file or directory");
    EXPECT(report_write_json(&r, "/dev/full", &e) == ERR_IO);
    EXPECT_TEXT(e.msg, "/dev/full: cannot be written: No space left on device");
}

int main(void)
{
    test_json();
    test_file();
    test_terminal();
    test_comparison();
    return 0;
}
