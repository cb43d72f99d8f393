// links: spec loader
// timeout: 60
/* Proves that a corpus becomes the ids that Hugging Face gives (count and hash of WikiText-2 for
 * five tokenizers), that rows become documents, where BOS goes, and that ids frozen in .npy and
 * safetensors are the same corpus. */
#include "loader/corpus.h"

#include <unistd.h>

#include "loader/npy.h"
#include "spec/json.h"
#include "tests/test.h"

static char folder[] = "/tmp/test_corpus_XXXXXX";
static const char *const text_a = "The kettle had been singing for some time.";

static void write_file(const char *path, const void *text, size_t bytes)
{
    FILE *f = fopen(path, "wb");

    EXPECT(f != NULL && fwrite(text, 1, bytes, f) == bytes && fclose(f) == 0);
}

static struct corpus *must_read(const struct spec_data *data, const char *data_dir,
                                const struct tokenizer *t)
{
    struct corpus *c;
    struct err e;

    if (corpus_read(data, data_dir, t, &c, &e) != OK) {
        printf("FAIL: %s\n", e.msg);
        exit(1);
    }
    EXPECT(c->doc[0] == 0 && c->doc[c->n_docs] == c->n);
    return c;
}

static struct tokenizer *open_tokenizer(const char *path)
{
    struct tokenizer *t;
    struct err e;

    if (tokenizer_open(path, &t, &e) != OK) {
        printf("FAIL: %s\n", e.msg);
        exit(1);
    }
    return t;
}

/* The demo tokenizer puts BOS before a text. */
static void test_bos_and_documents(const struct tokenizer *t)
{
    static const char rows[] =
        "{\"text\": \"One two.\"}\n{\"text\": \"\"}\n{\"text\": \"Three\"}\n";
    struct spec_data data = {
        .kind = CORPUS_TEXT, .path = "a.txt", .text_column = "text", .joiner = "\n\n"};
    struct corpus *with, *without;

    EXPECT(tokenizer_bos(t) >= 0);
    write_file("a.txt", text_a, strlen(text_a));
    with = must_read(&data, NULL, t);
    data.bos = BOS_NONE;
    without = must_read(&data, NULL, t);
    EXPECT(with->n == without->n + 1 && with->ids[0] == tokenizer_bos(t));
    EXPECT(memcmp(with->ids + 1, without->ids, (size_t)without->n * sizeof(int32_t)) == 0);
    EXPECT(with->n_docs == 1 && with->words == 8 && with->bytes == (int64_t)strlen(text_a));
    EXPECT(with->bos == tokenizer_bos(t) && with->vocab == tokenizer_vocab(t));
    EXPECT(strcmp(with->ids_sha256, without->ids_sha256) != 0);
    corpus_free(with);
    corpus_free(without);
    data.bos = BOS_ROW; /* of each window, which is not known here */
    without = must_read(&data, NULL, t);
    EXPECT(without->ids[0] != tokenizer_bos(t));
    corpus_free(without);

    write_file("a.jsonl", rows, sizeof rows - 1);
    data = (struct spec_data){.kind = CORPUS_JSONL,
                              .path = "a.jsonl",
                              .text_column = "text",
                              .joiner = "\n\n",
                              .score = SCORE_ROLLING};
    with = must_read(&data, NULL, t);
    EXPECT(with->n_docs == 3 && with->bytes == 13 && with->words == 2 + 1 + 1);
    for (int d = 0; d < 3; d++) /* BOS once per row */
        EXPECT(with->ids[with->doc[d]] == tokenizer_bos(t));
    EXPECT(with->doc[2] - with->doc[1] == 1); /* an empty row is BOS alone */
    corpus_free(with);
    data.score = SCORE_WINDOW;
    with = must_read(&data, NULL, t);
    EXPECT(with->n_docs == 1 && with->bytes == 13 + 4);
    corpus_free(with);
    unlink("a.txt");
    unlink("a.jsonl");
}

/* ids[n] as a safetensors file. */
static void write_safetensors(const char *path, const char *header, const void *data, size_t bytes)
{
    char file[1024] = {0};
    size_t n = strlen(header);

    EXPECT(8 + n + bytes <= sizeof file);
    file[0] = (char)n; /* below 256 here */
    file[1] = (char)(n >> 8);
    memcpy(file + 8, header, n);
    memcpy(file + 8 + n, data, bytes);
    write_file(path, file, 8 + n + bytes);
}

static void test_frozen(void)
{
    const int32_t ids[] = {5, 0, 128255, 7};
    const int64_t wide[] = {5, 0, 128255, 7};
    struct spec_data data = {.kind = CORPUS_TOKENS, .path = "ids.npy"};
    struct corpus *npy, *tensor;
    struct err e;

    EXPECT(npy_write_ids("ids.npy", ids, 4, &e) == OK);
    npy = must_read(&data, NULL, NULL);
    EXPECT(npy->n == 4 && npy->n_docs == 1 && memcmp(npy->ids, ids, sizeof ids) == 0);
    EXPECT(npy->bos == -1 && npy->vocab == 0 && npy->words == 0);
    /* printf '\x05\0\0\0\0\0\0\0\xff\xf4\x01\0\x07\0\0\0' | sha256sum */
    EXPECT_TEXT(npy->ids_sha256,
                "3838d84ca5f393d946ebc4a537bee46b0d7c3d599ffa82801ef732c55ee057d2");
    data.path = "ids.safetensors";
    write_safetensors(data.path,
                      "{\"x\":{\"dtype\":\"I64\",\"shape\":[1,4],\"data_offsets\":[0,32]}}", wide,
                      sizeof wide);
    tensor = must_read(&data, NULL, NULL);
    EXPECT_TEXT(tensor->ids_sha256, npy->ids_sha256);
    corpus_free(tensor);
    corpus_free(npy);
    corpus_free(NULL);
}

static void test_wrong_frozen(void)
{
    static const struct {
        const char *header;
        size_t bytes;
        const char *message;
    } wrong[] = {
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16,
         "x.safetensors: 'x' is F32 [4], want ids as I32, I64, U16 or U32"},
        {"{\"x\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", 16,
         "x.safetensors: 'x' is I32 [2, 2], want ids in one dimension"},
        {"{\"x\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"y\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
         16, "x.safetensors: got 2 tensors, want one with the ids"},
        {"{\"x\":{\"dtype\":\"I32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16,
         "x.safetensors: id at position 3: got -1, want 0 to 2147483647"},
    };
    const int32_t ids[] = {1, 2, 3, -1};
    struct spec_data data = {.kind = CORPUS_TOKENS, .path = "x.safetensors"};
    struct corpus *c;
    struct err e;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_safetensors(data.path, wrong[i].header, ids, wrong[i].bytes);
        EXPECT(corpus_read(&data, NULL, NULL, &c, &e) == ERR_DATA && c == NULL);
        EXPECT_TEXT(e.msg, wrong[i].message);
    }
    data.path = "ids.txt";
    EXPECT(corpus_read(&data, NULL, NULL, &c, &e) == ERR_DATA);
    EXPECT_TEXT(e.msg, "ids.txt: got another kind of file, want ids in .npy or .safetensors");
}

static void test_wiki2(void)
{
    const struct spec_data data = {.kind = CORPUS_WIKI2};
    char path[4096], text[4096];
    struct json *j;
    struct err e;
    const cJSON *want;

    snprintf(text, sizeof text, "%s/text", golden_dir());
    snprintf(path, sizeof path, "%s/text/wiki2.json", golden_dir());
    EXPECT(json_open(path, 1 << 20, JSON_STRICT, ERR_DATA, &j, &e) == OK);
    want = json_member(json_root(j), "ids");
    EXPECT(cJSON_GetArraySize(want) == 5);
    for (want = want->child; want; want = want->next) {
        struct tokenizer *t;
        struct corpus *c;

        snprintf(path, sizeof path, "%s/tokenizers/%s", golden_dir(), want->string);
        t = open_tokenizer(path);
        c = must_read(&data, text, t);
        printf("%s: %lld ids\n", want->string, (long long)c->n);
        EXPECT((double)c->n == json_member(want, "n")->valuedouble);
        EXPECT_TEXT(c->ids_sha256, json_member(want, "sha256_le_int32")->valuestring);
        corpus_free(c);
        tokenizer_close(t);
    }
    json_close(j);
}

int main(void)
{
    char *here = getcwd(NULL, 0);
    struct tokenizer *t = open_tokenizer(TEST_DATA "/demo");

    EXPECT(here && mkdtemp(folder) && chdir(folder) == 0);
    test_bos_and_documents(t);
    test_frozen();
    test_wrong_frozen();
    tokenizer_close(t);
    unlink("ids.npy");
    unlink("ids.safetensors");
    unlink("x.safetensors");
    EXPECT(chdir(here) == 0 && rmdir(folder) == 0); /* a relative golden folder starts here */
    free(here);
    if (access(golden_dir(), R_OK) != 0)
        SKIP("no golden data at %s (NVFP4_PPL_GOLDEN): WikiText-2", golden_dir());
    test_wiki2();
    return 0;
}
