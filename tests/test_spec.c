// links: spec
/* Proves the contract of the spec: both forms, defaults, overrides and paths, and that every wrong
 * input is refused with the one message that says what to do. */
#include "spec/spec.h"

#include <sys/stat.h>
#include <unistd.h>

#include "spec/json.h"
#include "tests/test.h"

static char folder[] = "/tmp/test_spec_XXXXXX";

/* Writes JSON whose quotes are single here, so that it can be read. */
static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    EXPECT(f != NULL);
    for (; *text; text++)
        EXPECT(fputc(*text == '\'' ? '"' : *text, f) != EOF);
    EXPECT(fclose(f) == 0);
}

static struct spec *read_spec(const char *spec, const char *set)
{
    const struct spec_source from = {.spec_path = "spec.json", .n_set = set != NULL, .set = &set};
    struct spec *s;
    struct err e;

    write_file("spec.json", spec);
    if (spec_read(&from, &s, &e) != OK) {
        printf("FAIL: %s\n", e.msg);
        exit(1);
    }
    return s;
}

static void test_defaults(void)
{
    struct spec *s = read_spec("{'model_dir': 'm/llama/', 'data': {'text': 'a.txt'}}", NULL);

    EXPECT(s->data.kind == CORPUS_TEXT);
    EXPECT_TEXT(s->data.path, "a.txt"); /* spec.json stands in the current folder */
    EXPECT_TEXT(s->data.text_column, "text");
    EXPECT_TEXT(s->data.joiner, "\n\n");
    EXPECT(s->data.eval_len == 2048 && s->data.eval_stride == 2048 && s->data.max_rows == 0);
    EXPECT(s->data.score == SCORE_WINDOW && s->data.bos == BOS_AUTO);
    EXPECT(s->data.softmax == SOFTMAX_MODEL);
    EXPECT(s->n_models == 1);
    EXPECT_TEXT(s->model[0].label, "llama");
    EXPECT_TEXT(s->model[0].model_dir, "m/llama/");
    EXPECT_TEXT(s->model[0].tokenizer_dir, "m/llama/");
    EXPECT(s->model[0].dtype == DTYPE_BF16 && s->model[0].arithmetic == W4A16);
    EXPECT(s->model[0].caps.n_ranks == 0 && s->model[0].caps.host == 0);
    EXPECT(s->model[0].n_layers_by_hand == 0);
    EXPECT(s->microbatch == 0 && s->threads == 0 && s->out == NULL && s->n_ignored == 0);
    EXPECT_TEXT(s->isa, "auto");
    EXPECT(s->backend == BACKEND_AUTO && s->transport == TRANSPORT_AUTO);
    EXPECT_NEAR(s->stall_timeout, 600, 0);
    spec_free(s);
    spec_free(NULL);
}

static void test_every_key(void)
{
    struct spec *s = read_spec(
        "{ // the example of the design, and the rest\n"
        "  'model_dir': '/models/behemoth-123b-nvfp4', 'label': 'Behemoth 123B NVFP4',\n"
        "  'tokenizer_dir': 'tok',\n"
        "  'data': {'jsonl': 'rows.jsonl', 'text_column': 'body', 'joiner': '',\n"
        "    'eval_len': 1024, 'eval_stride': 512, 'max_rows': 20, 'score': 'last_stride',\n"
        "    'bos': 'row', 'softmax': 'tokenizer'},\n"
        "  'max_memory': {'0': '38GiB', '2': '90GB', 'cpu': 1000},\n"
        "  'layers': [30, 0, 58], 'dtype': 'float16', 'arithmetic': 'w4a4-vllm',\n"
        "  'microbatch': 4, 'threads': 8, 'isa': 'avx2', 'backend': 'cpu',\n"
        "  'transport': 'mpi', 'stream': 'never', 'stall_timeout': 0.5, 'out': 'run/1',\n"
        "  'trust_remote_code': true, 'load_fn': 'x' }",
        NULL);
    const struct spec_model *m = &s->model[0];

    EXPECT(s->data.kind == CORPUS_JSONL && s->data.eval_len == 1024 && s->data.eval_stride == 512);
    EXPECT_TEXT(s->data.text_column, "body");
    EXPECT_TEXT(s->data.joiner, "");
    EXPECT(s->data.max_rows == 20 && s->data.score == SCORE_LAST_STRIDE);
    EXPECT(s->data.bos == BOS_ROW && s->data.softmax == SOFTMAX_TOKENIZER);
    EXPECT_TEXT(m->label, "Behemoth 123B NVFP4");
    EXPECT_TEXT(m->tokenizer_dir, "tok");
    EXPECT(m->dtype == DTYPE_F16 && m->arithmetic == W4A4_VLLM);
    EXPECT(m->caps.n_ranks == 3 && m->caps.host == 1000);
    EXPECT(m->caps.rank[0] == UINT64_C(38) << 30 && m->caps.rank[1] == 0);
    EXPECT(m->caps.rank[2] == UINT64_C(90000000000));
    EXPECT(m->n_layers_by_hand == 3 && m->layers_by_hand[0] == 30 && m->layers_by_hand[1] == 0);
    EXPECT(s->microbatch == 4 && s->threads == 8 && s->backend == BACKEND_CPU);
    EXPECT(s->transport == TRANSPORT_MPI && s->stream == STREAM_NEVER);
    EXPECT_TEXT(s->isa, "avx2");
    EXPECT_TEXT(s->out, "run/1");
    EXPECT_NEAR(s->stall_timeout, 0.5, 0);
    EXPECT(s->n_ignored == 2);
    EXPECT_TEXT(s->ignored[0], "trust_remote_code");
    EXPECT_TEXT(s->ignored[1], "load_fn");
    spec_free(s);
}

/* The pair of files as people have it from comparing quantizations. */
static void test_pair(void)
{
    const char *set[] = {"data.max_rows=7", "models.0.max_memory.1=80GiB"};
    struct spec_source from = {.data_path = "sub/wiki2_short.json", .model_path = "model.json"};
    struct spec *s;
    struct err e;

    write_file("sub/wiki2_short.json",
               "{ 'tokenize_fn': 'transformers', 'tokenizer_dir': '/path/NVFP4', "
               "'dataset': 'wiki2', 'eval_stride': 256, 'eval_len': 1024, 'max_rows': 5 }");
    write_file("model.json", "[ { 'load_fn': 'transformers_tp', 'fwd_fn': 'transformers_auto', "
                             "'label': 'NVFP4 (Transformers)',\n"
                             "    'model_dir': [ '/path/NVFP4', { 'torch_dtype': 'bfloat16', "
                             "'trust_remote_code': true, "
                             "'max_memory': { '0': '38GiB', '1': '90GiB' } } ] } ]");
    EXPECT(spec_read(&from, &s, &e) == OK);
    EXPECT(s->data.kind == CORPUS_WIKI2 && s->data.path == NULL);
    EXPECT(s->data.eval_stride == 256 && s->data.eval_len == 1024 && s->data.max_rows == 5);
    EXPECT(s->n_models == 1 && s->model[0].dtype == DTYPE_BF16);
    EXPECT_TEXT(s->model[0].label, "NVFP4 (Transformers)");
    EXPECT_TEXT(s->model[0].model_dir, "/path/NVFP4");
    EXPECT_TEXT(s->model[0].tokenizer_dir, "/path/NVFP4");
    EXPECT(s->model[0].caps.n_ranks == 2 && s->model[0].caps.rank[1] == UINT64_C(90) << 30);
    EXPECT(s->n_ignored == 4);
    EXPECT_TEXT(s->ignored[0], "tokenize_fn");
    EXPECT_TEXT(s->ignored[3], "trust_remote_code");
    spec_free(s);

    from.n_set = 2;
    from.set = set;
    EXPECT(spec_read(&from, &s, &e) == OK);
    EXPECT(s->data.max_rows == 7 && s->model[0].caps.rank[1] == UINT64_C(80) << 30);
    EXPECT(s->model[0].caps.rank[0] == UINT64_C(38) << 30);
    spec_free(s);
}

/* Paths are relative to the file they stand in; a model's own keys override shared ones. */
static void test_several_models(void)
{
    const char *set[] = {"tokenizer_dir=t", "models.1.arithmetic=w4a16-hf"};
    struct spec_source from = {.data_path = "sub/data.json", .model_path = "sub/deep/models.json"};
    struct spec *s;
    struct err e;

    write_file("sub/data.json", "{'text': '../a.txt', 'tokenizer_dir': 'tok', 'threads': 3}");
    write_file("sub/deep/models.json",
               "[{'model_dir': 'one', 'dtype': 'float32'}, {'model_dir': ['/abs/two'], "
               "'tokenizer_dir': 'own', 'max_memory': {'0': 5}}]");
    EXPECT(spec_read(&from, &s, &e) == OK);
    EXPECT(s->n_models == 2 && s->threads == 3);
    EXPECT_TEXT(s->data.path, "sub/../a.txt");
    EXPECT_TEXT(s->model[0].model_dir, "sub/deep/one");
    EXPECT_TEXT(s->model[0].tokenizer_dir, "sub/tok");
    EXPECT_TEXT(s->model[1].model_dir, "/abs/two");
    EXPECT_TEXT(s->model[1].tokenizer_dir, "sub/deep/own");
    EXPECT_TEXT(s->model[1].label, "two");
    EXPECT(s->model[0].dtype == DTYPE_F32 && s->model[1].dtype == DTYPE_BF16);
    EXPECT(s->model[0].caps.n_ranks == 0 && s->model[1].caps.rank[0] == 5);
    spec_free(s);
    from.n_set = 2;
    from.set = set;
    EXPECT(spec_read(&from, &s, &e) == OK);
    EXPECT_TEXT(s->model[0].tokenizer_dir, "t"); /* of --set: relative to the current folder */
    EXPECT_TEXT(s->model[1].tokenizer_dir, "t");
    EXPECT(s->model[0].arithmetic == W4A16 && s->model[1].arithmetic == W4A16_HF);
    spec_free(s);

    s = read_spec("{'models': [{'model_dir': 'a'}, {'model_dir': 'b/a', 'dtype': 'float32'}],"
                  " 'dtype': 'float16', 'data': {'tokens': 'ids.npy'}}",
                  NULL);
    EXPECT(s->n_models == 2 && s->data.kind == CORPUS_TOKENS);
    EXPECT(s->model[0].dtype == DTYPE_F16 && s->model[1].dtype == DTYPE_F32);
    EXPECT_TEXT(s->model[0].label, "a");
    EXPECT_TEXT(s->model[1].label, "a (2)");
    spec_free(s);
}

#define GOOD "{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': 64}}"

static void test_set(void)
{
    struct spec *s = read_spec(GOOD, "data.eval_len=1024");

    EXPECT(s->data.eval_len == 1024 && s->data.eval_stride == 1024);
    spec_free(s);
    s = read_spec(GOOD, "label=123"); /* text stays text */
    EXPECT_TEXT(s->model[0].label, "123");
    spec_free(s);
    s = read_spec(GOOD, "label=\"a\\u0062\"");
    EXPECT_TEXT(s->model[0].label, "ab");
    spec_free(s);
    s = read_spec(GOOD, "label=a=\"b\\");
    EXPECT_TEXT(s->model[0].label, "a=\"b\\");
    spec_free(s);
    s = read_spec(GOOD, "max_memory={\"0\": \"1KiB\", \"1\": 7}");
    EXPECT(s->model[0].caps.n_ranks == 2 && s->model[0].caps.rank[0] == 1024);
    spec_free(s);
    s = read_spec(GOOD, "max_memory.cpu=1.5KiB");
    EXPECT(s->model[0].caps.n_ranks == 0 && s->model[0].caps.host == 1536);
    spec_free(s);
    s = read_spec(GOOD, "rates={\"compute\": 400, \"read\": \"2GB\", \"copy\": 7, \"throttle\": true}");
    EXPECT(s->rates.compute == 4e11 && s->rates.read == 2e9 && s->rates.throttle);
    EXPECT(s->rates.copy == 7);
    spec_free(s);
    s = read_spec(GOOD, "data.dataset=wiki2"); /* a later layer names another text */
    EXPECT(s->data.kind == CORPUS_WIKI2 && s->data.path == NULL);
    spec_free(s);
    s = read_spec(GOOD, "model_dir=[\"x/y\", {\"torch_dtype\": \"float32\"}]");
    EXPECT_TEXT(s->model[0].label, "y");
    EXPECT(s->model[0].dtype == DTYPE_F32);
    spec_free(s);
    s = read_spec(GOOD, "torch_dtype=float16");
    EXPECT(s->model[0].dtype == DTYPE_F16);
    spec_free(s);
    s = read_spec(GOOD, "layers=[1,2]");
    EXPECT(s->model[0].n_layers_by_hand == 2);
    spec_free(s);
}

/* Same value twice in one layer is harmless; also in the options. */
static void test_same_twice(void)
{
    struct spec *s =
        read_spec("{'model_dir': ['m', {'dtype': 'float32', 'torch_dtype': 'float32'}], "
                  "'dtype': 'float32', 'data': {'text': 'a'}}",
                  NULL);

    EXPECT(s->model[0].dtype == DTYPE_F32);
    spec_free(s);
}

/* The hash changes with what changes the number, and with nothing else. */
static void test_sha256(void)
{
    static const char *const same[] = {
        "max_memory.0=1GiB",      "threads=2",     "layers=[1]",  "label=x",
        "model_dir=/elsewhere/m", "data.text=b/a", "out=o",       "stream=always",
        "isa=portable",           "backend=cpu",   "microbatch=3"};
    static const char *const other[] = {
        "data.text=b",     "data.jsonl=a",       "data.eval_len=65",   "data.eval_stride=63",
        "data.max_rows=1", "data.bos=none",      "data.score=rolling", "data.softmax=tokenizer",
        "data.joiner=x",   "data.text_column=x", "dtype=float32",      "arithmetic=w4a16-hf",
        "tokenizer_dir=t", "model_dir=n"};
    struct spec *base = read_spec(GOOD, NULL), *s;

    struct spec *dot =
        read_spec("{'model_dir': 'sub/m/.', 'data': {'text': 'a', 'eval_len': 64}}", NULL);

    EXPECT_TEXT(dot->model[0].label, "m");
    EXPECT_TEXT(dot->sha256, base->sha256);
    spec_free(dot);
    /* sha256sum of the 15 lines "nvfp4_ppl spec 1:1", "kind 1:0", "path 1:a", "text_column 4:text",
     * "joiner 2:\n\n", "eval_len 2:64", ... in the order of hash_spec, made with printf. Runs that
     * are to be continued are told apart by it: change it knowingly. */
    EXPECT_TEXT(base->sha256, "4305cba4f09be09641fe56906416a9f7de207714c514d32970569ac591e1cb60");
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        s = read_spec(GOOD, same[i]);
        EXPECT_TEXT(s->sha256, base->sha256);
        spec_free(s);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        s = read_spec(GOOD, other[i]);
        EXPECT(strcmp(s->sha256, base->sha256) != 0);
        spec_free(s);
    }
    spec_free(base);
}

/* Wrong inputs: {spec, --set or NULL, code, message}. */
static const struct wrong {
    const char *spec, *set;
    enum status code;
    const char *message;
} wrong_spec[] = {
    {"", NULL, ERR_SPEC, "spec.json:1:1: got the end of the text, want a value"},
    {"[]", NULL, ERR_SPEC, "spec.json:1:1: the spec: want an object, {...}"},
    {"{'model_dir': 'm',}", NULL, ERR_SPEC, "spec.json:1:19: got '}', want a key in double quotes"},
    {"{\n  'model_dir': 'm'\n  'data': {}\n}", NULL, ERR_SPEC,
     "spec.json:3:3: got '\"', want ',' or '}'"},
    {"/* no */ {}", NULL, ERR_SPEC, "spec.json:1:1: got '/', want a value"},
    {"{'model_dir': 'm', 'model_dir': 'n'}", NULL, ERR_SPEC,
     "spec.json:1:20: key \"model_dir\" appears twice in one object"},
    {"{'model_dir': 'm'}", NULL, ERR_SPEC,
     "spec.json:1:1: no text to score: want \"text\", \"jsonl\", \"tokens\" or \"dataset\" in "
     "\"data\""},
    {"{'data': {'text': 'a'}}", NULL, ERR_SPEC,
     "spec.json:1:1: no \"model_dir\": want the model's folder"},
    {"{'model_dir': 'm', 'data': {}}", NULL, ERR_SPEC,
     "spec.json:1:1: no text to score: want \"text\", \"jsonl\", \"tokens\" or \"dataset\" in "
     "\"data\""},
    {"{'model_dir': 'm', 'data': []}", NULL, ERR_SPEC,
     "spec.json:1:20: data: want an object, {...}"},
    {"{'model_dir': 'm', 'data': {'text': 7}}", NULL, ERR_SPEC,
     "spec.json:1:29: text: got 7, want a string"},
    {"{'model_dir': 'm', 'data': {'text': ''}}", NULL, ERR_SPEC,
     "spec.json:1:29: text: got an empty string, want a path"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'jsonl': 'b'}}", NULL, ERR_SPEC,
     "spec.json:1:42: jsonl: \"text\" is given too, want one of text, jsonl, tokens and dataset"},
    {"{'model_dir': 'm', 'data': {'dataset': 'c4'}}", NULL, ERR_SPEC,
     "spec.json:1:29: dataset: got \"c4\", want \"wiki2\" (for a file of yours: \"text\", "
     "\"jsonl\" or \"tokens\" in its place)"},
    {"{'model_dir': 'm', \n  'data': {'text': 'a',\n    'evl_len': 7}}", NULL, ERR_SPEC,
     "spec.json:3:5: unknown key \"evl_len\" here: the nearest known one is \"eval_len\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'eval_len': 7}", NULL, ERR_SPEC,
     "spec.json:1:43: unknown key \"eval_len\" here: want it in the object \"data\" (or the -d "
     "file)"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'dtype': 'float32'}}", NULL, ERR_SPEC,
     "spec.json:1:42: unknown key \"dtype\" here: want it in the model's object (top level, "
     "\"models\" or the -m file)"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'threads': 1}}", NULL, ERR_SPEC,
     "spec.json:1:42: unknown key \"threads\" here: want it in the top level of the spec or of "
     "the -d file"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': 1}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got 1, want 2 to 1048576"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': 0}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got 0, want 2 to 1048576"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': -5}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got -5, want 2 to 1048576"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': 1048577}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got 1048577, want 2 to 1048576"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': 1.5}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got 1.5, want an integer"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': '64'}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got \"64\", want an integer"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': 1e999}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got inf, want an integer"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': null}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got null, want an integer"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': true}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_len: got true, want an integer"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_len': 64, 'eval_stride': 65}}", NULL, ERR_SPEC,
     "spec.json:1:58: eval_stride: got 65, want 1 to 64 (eval_len), or tokens are never read"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'eval_stride': 0}}", NULL, ERR_SPEC,
     "spec.json:1:42: eval_stride: got 0, want 1 to 1048576"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'max_rows': -1}}", NULL, ERR_SPEC,
     "spec.json:1:42: max_rows: got -1, want 0 to 1099511627776"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'score': 'windows'}}", NULL, ERR_SPEC,
     "spec.json:1:42: score: got \"windows\", want window, last_stride, second_half or rolling"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'bos': true}}", NULL, ERR_SPEC,
     "spec.json:1:42: bos: got true, want a string"},
    {"{'model_dir': 'm', 'data': {'text': 'a', 'text_column': ''}}", NULL, ERR_SPEC,
     "spec.json:1:42: text_column: got 0 bytes of text, want 1 to 256"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'dtype': 'bf16'}", NULL, ERR_SPEC,
     "spec.json:1:43: dtype: got \"bf16\", want bfloat16, float16 or float32"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'torch_dtype': 'auto'}", NULL, ERR_SPEC,
     "spec.json:1:43: torch_dtype: got \"auto\", want bfloat16, float16 or float32 (the number "
     "depends on it: take \"torch_dtype\" or \"dtype\" of config.json)"},
    {"{'model_dir': ['m', {'dtype': 'float32', 'torch_dtype': 'bfloat16'}], 'data': {'text': "
     "'a'}}",
     NULL, ERR_SPEC, "spec.json:1:42: torch_dtype: given twice with different values, want one"},
    {"{'model_dir': ['m', {'max_memory': {'0': 1}}], 'data': {'text': 'a'}, 'max_memory': {'0': "
     "2}}",
     NULL, ERR_SPEC, "spec.json:1:71: max_memory: given twice with different values, want one"},
    {"{'model_dir': [], 'data': {'text': 'a'}}", NULL, ERR_SPEC,
     "spec.json:1:2: model_dir: want a path or [path, {options}]"},
    {"{'model_dir': ['m', 'n'], 'data': {'text': 'a'}}", NULL, ERR_SPEC,
     "spec.json:1:21: the options in model_dir: want an object, {...}"},
    {"{'model_dir': ['m', {'load_in_4bit': true}], 'data': {'text': 'a'}}", NULL, ERR_SPEC,
     "spec.json:1:22: unknown key \"load_in_4bit\" here: the nearest known one is \"arithmetic\""},
    {"{'model_dir': ['m', {'label': 'x'}], 'data': {'text': 'a'}}", NULL, ERR_SPEC,
     "spec.json:1:22: unknown key \"label\" here: want it in the model's object, beside "
     "\"model_dir\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'arithmetic': 'w4a4'}", NULL, ERR_SPEC,
     "spec.json:1:43: arithmetic: got \"w4a4\", want w4a16, w4a16-hf, w4a4-hf or w4a4-vllm"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'max_memory': '38GiB'}", NULL, ERR_SPEC,
     "spec.json:1:43: max_memory: want an object such as {\"0\": \"38GiB\", \"cpu\": \"50GiB\"}"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'max_memory': {'0': '38G'}}", NULL, ERR_SPEC,
     "spec.json:1:58: max_memory.0: got \"38G\", want a size such as \"38GiB\", \"38.5GB\", "
     "\"512MiB\" or bytes"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'max_memory': {'0': 0}}", NULL, ERR_SPEC,
     "spec.json:1:58: max_memory.0: got 0, want 1 to 9007199254740992"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'max_memory': {'0': '0GiB'}}", NULL, ERR_SPEC,
     "spec.json:1:58: max_memory.0: got no bytes, want more (leave the entry out for no cap)"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'max_memory': {'0': -1}}", NULL, ERR_SPEC,
     "spec.json:1:58: max_memory.0: got -1, want 1 to 9007199254740992"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'max_memory': {'1024': 1}}", NULL, ERR_SPEC,
     "spec.json:1:58: max_memory: got \"1024\", want a rank (0 to 1023) or \"cpu\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'max_memory': {'01': 1}}", NULL, ERR_SPEC,
     "spec.json:1:58: max_memory: got \"01\", want a rank (0 to 1023) or \"cpu\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'max_memory': {'disk': '1TB'}}", NULL, ERR_SPEC,
     "spec.json:1:58: max_memory: got \"disk\", want a rank (0 to 1023) or \"cpu\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'layers': 7}", NULL, ERR_SPEC,
     "spec.json:1:43: layers: want an array with the layers of each stage, such as [30, 58]"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'layers': []}", NULL, ERR_SPEC,
     "spec.json:1:43: layers: want an array with the layers of each stage, such as [30, 58]"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'layers': [1, -1]}", NULL, ERR_SPEC,
     "spec.json:1:57: layers: got -1, want 0 to 100000"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'label': 'a\\nb'}", NULL, ERR_SPEC,
     "spec.json:1:43: label: got a control character, want one line"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'thread': 1}", NULL, ERR_SPEC,
     "spec.json:1:43: unknown key \"thread\" here: the nearest known one is \"threads\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'threads': 4097}", NULL, ERR_SPEC,
     "spec.json:1:43: threads: got 4097, want 0 to 4096"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'backend': 'gpu'}", NULL, ERR_SPEC,
     "spec.json:1:43: backend: got \"gpu\", want auto, cpu or cuda"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'transport': 'tcp'}", NULL, ERR_SPEC,
     "spec.json:1:43: transport: got \"tcp\", want auto, nccl, mpi or loop"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'stall_timeout': 0}", NULL, ERR_SPEC,
     "spec.json:1:43: stall_timeout: got 0, want more than 0 and at most 10000000"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}, 'out': {}}", NULL, ERR_SPEC,
     "spec.json:1:43: out: got an object, want a string"},
    {"{'data': {'text': 'a'}, 'models': {}}", NULL, ERR_SPEC,
     "spec.json:1:25: models: want an array of objects, [{...}, {...}]"},
    {"{'data': {'text': 'a'}, 'models': []}", NULL, ERR_SPEC,
     "spec.json:1:25: got 0 models, want 1 to 256"},
    {"{'data': {'text': 'a'}, 'models': [7]}", NULL, ERR_SPEC,
     "spec.json:1:36: a model: want an object, {...}"},
    {"{'data': {'text': 'a'}, 'models': [{'label': 'x'}]}", NULL, ERR_SPEC,
     "spec.json:1:36: no \"model_dir\": want the model's folder"},
    {"{'data': {'text': 'a'}, 'models': [{'model_dir': 'm', 'label': 'x'}, {'model_dir': 'n', "
     "'label': 'x'}]}",
     NULL, ERR_SPEC, "spec.json:1:70: label \"x\" is another model's too, want each its own"},
    {"{'data': {'text': 'a'}, 'model_dir': 'm', 'models': [{'model_dir': 'm'}]}", NULL, ERR_SPEC,
     "spec.json:1:25: model_dir: \"models\" is given too, want it in each of those"},
    {"{'data': {'text': 'a'}, 'models': [{'model_dir': 'm', 'eval_len': 7}]}", NULL, ERR_SPEC,
     "spec.json:1:55: unknown key \"eval_len\" here: want it in the object \"data\" (or the -d "
     "file)"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "data.eval_len", ERR_USAGE,
     "command line: got --set data.eval_len, want --set KEY=VALUE"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "=1", ERR_USAGE,
     "command line: got --set =1, want --set KEY=VALUE"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "data.eval_len=1", ERR_SPEC,
     "command line: data.eval_len: got 1, want 2 to 1048576"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "data.eval_len=many", ERR_SPEC,
     "command line: data.eval_len: got \"many\", want an integer"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "data.eval_stride=4096", ERR_SPEC,
     "command line: eval_stride: got 4096, want 1 to 2048 (eval_len), or tokens are never read"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "eval_len=7", ERR_SPEC,
     "command line: unknown key \"eval_len\": want \"data.eval_len\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "data.evallen=7", ERR_SPEC,
     "command line: unknown key \"data.evallen\": the nearest known one is \"data.eval_len\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "data={}", ERR_SPEC,
     "command line: data: want one key of it, such as data.eval_len"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "models=[]", ERR_SPEC,
     "command line: models: want one key of it, such as models.0.dtype"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "models.1.dtype=float32", ERR_SPEC,
     "command line: models.1.dtype: got model 1, want 0 to 0"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "models.0.threads=1", ERR_SPEC,
     "command line: unknown key \"models.0.threads\": want \"threads\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "dtype=bf16", ERR_SPEC,
     "command line: dtype: got \"bf16\", want bfloat16, float16 or float32"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "max_memory.0=38G", ERR_SPEC,
     "command line: max_memory.0: got \"38G\", want a size such as \"38GiB\", \"38.5GB\", "
     "\"512MiB\" or bytes"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "max_memory.gpu=1", ERR_SPEC,
     "command line: max_memory: got \"gpu\", want a rank (0 to 1023) or \"cpu\""},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "layers=3", ERR_SPEC,
     "command line: layers: want an array with the layers of each stage, such as [30, 58]"},
    {"{'model_dir': 'm', 'data': {'text': 'a'}}", "label=\001", ERR_SPEC,
     "command line: label: got a control character, want one line"},
};

static void test_wrong(void)
{
    for (size_t i = 0; i < sizeof wrong_spec / sizeof *wrong_spec; i++) {
        const struct wrong *w = &wrong_spec[i];
        const struct spec_source from = {
            .spec_path = "spec.json", .n_set = w->set != NULL, .set = &w->set};
        struct spec *s;
        struct err e = {0};

        write_file("spec.json", w->spec);
        if (spec_read(&from, &s, &e) != w->code || strcmp(e.msg, w->message) != 0) {
            printf("FAIL: %s (--set %s):\n  got  %d %s\n  want %d %s\n", w->spec,
                   w->set ? w->set : "none", e.code, e.msg, w->code, w->message);
            exit(1);
        }
        EXPECT(s == NULL && e.code == w->code);
    }
}

static void test_wrong_pair(void)
{
    static const struct {
        const char *data, *model;
        const char *message;
    } wrong[] = {
        {"{}", "{'model_dir': 'm'}",
         "d.json:1:1: no text to score: want \"text\", \"jsonl\", \"tokens\" or \"dataset\""},
        {"{'data': {'text': 'a'}}", "{'model_dir': 'm'}",
         "d.json:1:2: unknown key \"data\" here: want it in the top level of the one-file form"},
        {"{'text': 'a', 'max_row': 1}", "{'model_dir': 'm'}",
         "d.json:1:15: unknown key \"max_row\" here: the nearest known one is \"max_rows\""},
        {"{'text': 'a', 'max_memory': {}}", "{'model_dir': 'm'}",
         "d.json:1:15: unknown key \"max_memory\" here: want it in the model's object (top "
         "level, \"models\" or the -m file)"},
        {"{'text': 'a', 'models': []}", "{'model_dir': 'm'}",
         "d.json:1:15: unknown key \"models\" here: want it in the top level of the one-file form"},
        {"{'text': 'a'}", "[]", "m.json:1:1: got 0 models, want 1 to 256"},
        {"{'text': 'a'}", "7", "m.json:1:1: the model file: want an object, {...}"},
        {"{'text': 'a'}", "[{'model_dir': 'm'},\n {'model_dir': 'n', 'dtpe': 'float32'}]",
         "m.json:2:21: unknown key \"dtpe\" here: the nearest known one is \"dtype\""},
        {"{'text': 'a'}", "{'model_dir': 'm', 'dataset': 'wiki2'}",
         "m.json:1:20: unknown key \"dataset\" here: want it in the object \"data\" (or the -d "
         "file)"},
        {"{'text': 'a'}", "{'model_dir': 'm', 'threads': 1}",
         "m.json:1:20: unknown key \"threads\" here: want it in the top level of the spec or of "
         "the -d file"},
        {"{'text': 'a'}", "{'label': 'x'}",
         "m.json:1:1: no \"model_dir\": want the model's folder"},
    };
    const struct spec_source from = {.data_path = "d.json", .model_path = "m.json"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct spec *s;
        struct err e;

        write_file("d.json", wrong[i].data);
        write_file("m.json", wrong[i].model);
        EXPECT(spec_read(&from, &s, &e) == ERR_SPEC);
        EXPECT_TEXT(e.msg, wrong[i].message);
    }
}

static void test_wrong_source(void)
{
    static const struct {
        struct spec_source from;
        enum status code;
        const char *message;
    } wrong[] = {
        {{0}, ERR_USAGE, "command line: got no spec, want a spec file, or -d DATA -m MODEL"},
        {{.data_path = "d"},
         ERR_USAGE,
         "command line: got -d without -m, want a spec file, or -d DATA -m MODEL"},
        {{.model_path = "m"},
         ERR_USAGE,
         "command line: got -m without -d, want a spec file, or -d DATA -m MODEL"},
        {{.spec_path = "s", .data_path = "d"},
         ERR_USAGE,
         "command line: got a spec and -d or -m, want one spec, or -d DATA -m MODEL"},
        {{.spec_path = "none.json"},
         ERR_NO_INPUT,
         "none.json: cannot be opened: No such file or directory"},
        {{.spec_path = "sub"}, ERR_NO_INPUT, "sub: got a folder, want a file"},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct spec *s;
        struct err e;

        EXPECT(spec_read(&wrong[i].from, &s, &e) == wrong[i].code && s == NULL);
        EXPECT_TEXT(e.msg, wrong[i].message);
    }
}

/* The names of values are written in two tables; they must not drift apart. */
static void test_table(void)
{
    int n;
    const struct spec_key *k = spec_keys(&n);

    for (int i = 0; i < n; i++) {
        EXPECT(k[i].name && k[i].type && k[i].standard && k[i].help);
        if (strcmp(k[i].name, "dtype") == 0)
            for (int v = 0; v <= DTYPE_F32; v++)
                EXPECT_TEXT(k[i].choice[v], dtype_name((enum dtype)v));
        if (strcmp(k[i].name, "arithmetic") == 0)
            for (int v = 0; v <= W4A4_VLLM; v++)
                EXPECT_TEXT(k[i].choice[v], arithmetic_name((enum arithmetic)v));
    }
    EXPECT_TEXT(score_name(SCORE_SECOND_HALF), "second_half");
    EXPECT_TEXT(bos_name(BOS_NONE), "none");
}

int main(void)
{
    EXPECT(mkdtemp(folder) && chdir(folder) == 0);
    EXPECT(mkdir("sub", 0700) == 0 && mkdir("sub/deep", 0700) == 0);
    test_defaults();
    test_every_key();
    test_pair();
    test_several_models();
    test_set();
    test_same_twice();
    test_wrong();
    test_wrong_pair();
    test_wrong_source();
    test_table();
    test_sha256();
    unlink("spec.json");
    unlink("model.json");
    unlink("d.json");
    unlink("m.json");
    unlink("sub/wiki2_short.json");
    unlink("sub/data.json");
    unlink("sub/deep/models.json");
    EXPECT(rmdir("sub/deep") == 0 && rmdir("sub") == 0 && rmdir(folder) == 0);
    return 0;
}
