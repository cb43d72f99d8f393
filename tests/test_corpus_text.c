// links: spec loader
/* Proves which text is scored before it becomes ids: plain files, JSONL rows, WikiText-2 against
 * the rows, bytes and hash that Hugging Face datasets gives; where invalid UTF-8 starts, as Python
 * says; and words as Python's re.split(r"\s+") counts them. */
#include "loader/corpus_text.h"

#include <unistd.h>

#include "spec/json.h"
#include "spec/sha256.h"
#include "tests/test.h"

static char folder[] = "/tmp/test_corpus_XXXXXX";

static void write_file(const char *path, const char *text, size_t bytes)
{
    FILE *f = fopen(path, "wb");

    EXPECT(f != NULL && fwrite(text, 1, bytes, f) == bytes && fclose(f) == 0);
}

/* ---- UTF-8 and words ------------------------------------------------------------------------- */

static void test_utf8(void)
{
    EXPECT(utf8_check("", 0) == 0);
    EXPECT(utf8_check("12345678\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\xc2\x80", 20) == 20);
    EXPECT(utf8_check("12345678\xf4\x90\x80\x80", 12) == 8);
}

static void test_golden_utf8(void)
{
    char path[4096], bytes[256];
    struct json *j;
    struct err e;
    const cJSON *item;

    snprintf(path, sizeof path, "%s/tokenizers/bytes_cases.json", golden_dir());
    EXPECT(json_open(path, 1 << 20, JSON_STRICT, ERR_DATA, &j, &e) == OK);
    EXPECT(cJSON_GetArraySize(json_root(j)) >= 52);
    cJSON_ArrayForEach(item, json_root(j))
    {
        const char *hex = json_member(item, "hex")->valuestring;
        size_t n = strlen(hex) / 2, want = (size_t)json_member(item, "at")->valuedouble;

        for (size_t i = 0; i < n; i++)
            EXPECT(sscanf(hex + 2 * i, "%2hhx", (unsigned char *)&bytes[i]) == 1);
        EXPECT(utf8_check(bytes, n) == want);
        /* After ASCII of any length: the fast path must not lose its place. */
        for (size_t ahead = 1; ahead < 18; ahead++) {
            char longer[300];

            memset(longer, 'a', ahead);
            memcpy(longer + ahead, bytes, n);
            EXPECT(utf8_check(longer, ahead + n) == ahead + want);
        }
    }
    json_close(j);
}

/* Values from Python 3.11: len(re.split(r"\s+", text)). */
static void test_words(void)
{
    static const struct {
        const char *text;
        int64_t words;
    } row[] = {
        {"", 1},
        {"a", 1},
        {" ", 2},
        {"a b", 2},
        {" a  b\n", 4},
        {"a\t\n\v\f\r b", 2},
        {"a\x1c"
         "b\x1d"
         "c\x1e"
         "d\x1f"
         "e",
         5},
        {"a\xc2\x85"
         "b\xc2\xa0"
         "c",
         3}, /* U+0085, U+00A0 */
        {"a\xe1\x9a\x80"
         "b\xe2\x80\x80\xe2\x80\x8a"
         "c",
         3}, /* U+1680, U+2000 U+200A */
        {"a\xe2\x80\xa8"
         "b\xe2\x80\xa9"
         "c\xe2\x80\xaf"
         "d\xe2\x81\x9f"
         "e\xe3\x80\x80"
         "f",
         6},
        {"a\xe2\x80\x8b"
         "b\xef\xbb\xbf"
         "c\xe1\xa0\x8e"
         "d",
         1}, /* U+200B, FEFF, 180E: none */
        {"\xc3\x85\xc3\xa0 \xe4\xbd\xa0", 2},
    };

    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        EXPECT(count_words(row[i].text, strlen(row[i].text)) == row[i].words);
    EXPECT(count_words("a\0 b", 4) == 2);
}

/* ---- plain text ------------------------------------------------------------------------------ */

static void expect_text(const struct spec_data *data, const char *want, size_t bytes, int64_t rows,
                        int64_t words)
{
    struct corpus_text t;
    struct err e;

    if (corpus_text_read(data, NULL, &t, &e) != OK) {
        printf("FAIL: %s\n", e.msg);
        exit(1);
    }
    EXPECT(t.bytes == bytes && memcmp(t.text, want, bytes) == 0);
    EXPECT(t.rows == rows && t.words == words);
    EXPECT(t.doc[0] == 0 && t.doc[t.n_docs] == bytes);
    corpus_text_free(&t);
}

static void expect_wrong(const struct spec_data *data, const char *data_dir, enum status code,
                         const char *message)
{
    struct corpus_text t;
    struct err e;

    EXPECT(corpus_text_read(data, data_dir, &t, &e) == code);
    EXPECT_TEXT(e.msg, message);
    corpus_text_free(&t);
}

static void test_plain(void)
{
    struct spec_data data = {.kind = CORPUS_TEXT, .path = "a.txt"};

    write_file("a.txt", "a\r\n\0b\n\n", 7);
    expect_text(&data, "a\r\n\0b\n\n", 7, 1, 3);
    data.score = SCORE_SECOND_HALF; /* drops one final newline */
    expect_text(&data, "a\r\n\0b\n", 6, 1, 3);
    data.score = SCORE_WINDOW;
    write_file("a.txt", "good \xc3\xa9 \xe2\x82 x", 12);
    expect_wrong(&data, NULL, ERR_DATA, "a.txt: byte 8 (0xe2): not valid UTF-8");
    write_file("a.txt", "", 0);
    expect_wrong(&data, NULL, ERR_DATA, "a.txt: got 0 bytes, want text");
    unlink("a.txt");
    expect_wrong(&data, NULL, ERR_NO_INPUT, "a.txt: cannot be opened: No such file or directory");
}

/* ---- JSONL ----------------------------------------------------------------------------------- */

#define ROWS                                                                                       \
    "{\"text\": \"a b\", \"n\": 1}\n\n  \r\n{\"text\": \"\"}\n{\"text\": \"\\u00e9\\u0000x\"}"

static void test_jsonl(void)
{
    struct spec_data data = {
        .kind = CORPUS_JSONL, .path = "a.jsonl", .text_column = "text", .joiner = "\n\n"};
    struct corpus_text t;
    struct err e;

    write_file("a.jsonl", ROWS, strlen(ROWS)); /* blank lines are no rows; empty rows are */
    expect_text(&data, "a b\n\n\n\n\xc3\xa9\0x", 11, 3, 3);
    data.joiner = "";
    expect_text(&data, "a b\xc3\xa9\0x", 7, 3, 2);
    data.score = SCORE_ROLLING; /* every row is a document */
    EXPECT(corpus_text_read(&data, NULL, &t, &e) == OK);
    EXPECT(t.n_docs == 3 && t.rows == 3 && t.words == 2 + 1 + 1);
    EXPECT(t.doc[1] == 3 && t.doc[2] == 3 && t.doc[3] == 7);
    corpus_text_free(&t);
    data.text_column = "n";
    expect_wrong(&data, NULL, ERR_DATA, "a.jsonl:1:17: n: got 1, want a string");
}

static void test_wrong_jsonl(void)
{
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"{\"text\": \"a\"}\n{\"txt\": \"a\"}\n",
         "a.jsonl:2:1: no \"text\": want the text under this key (or another text_column)"},
        {"{\"text\": \"a\"}\n{\"text\": \"a\"\n",
         "a.jsonl:2:13: got the end of the text, want ',' or "
         "'}'"},
        {"[\"a\"]", "a.jsonl:1:1: want an object, {...}, in every line"},
        {"{\"text\": null}", "a.jsonl:1:2: text: got null, want a string"},
        {"{\"text\": \"a\xff\"}", "a.jsonl: byte 11 (0xff): not valid UTF-8"},
        {"{\"text\": \"\\ud800\"}", "a.jsonl:1:11: got half of a surrogate pair, want both"},
        {"\n \n", "a.jsonl: got no rows, want a JSON object a line"},
        {"", "a.jsonl: got 0 bytes, want text"},
    };
    const struct spec_data data = {
        .kind = CORPUS_JSONL, .path = "a.jsonl", .text_column = "text", .joiner = "\n\n"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_file("a.jsonl", wrong[i].text, strlen(wrong[i].text));
        expect_wrong(&data, NULL, ERR_DATA, wrong[i].message);
    }
    unlink("a.jsonl");
}

/* ---- WikiText-2 ------------------------------------------------------------------------------ */

static void expect_wiki2(const char *data_dir, const cJSON *want)
{
    const struct spec_data data = {.kind = CORPUS_WIKI2};
    char sha256[SHA256_HEX];
    struct corpus_text t;
    struct err e;

    EXPECT(corpus_text_read(&data, data_dir, &t, &e) == OK);
    EXPECT((double)t.rows == json_member(want, "rows")->valuedouble);
    EXPECT((double)t.bytes == json_member(want, "joined_bytes")->valuedouble);
    sha256_of(t.text, t.bytes, sha256);
    EXPECT_TEXT(sha256, json_member(want, "joined_sha256")->valuestring);
    EXPECT(t.n_docs == 1);
    corpus_text_free(&t);
}

static void test_wiki2(void)
{
    char path[4096];
    struct json *j;
    struct err e;

    snprintf(path, sizeof path, "%s/text/wiki2.json", golden_dir());
    EXPECT(json_open(path, 1 << 20, JSON_STRICT, ERR_DATA, &j, &e) == OK);
    snprintf(path, sizeof path, "%s/text", golden_dir());
    expect_wiki2(path, json_root(j));
    setenv("NVFP4_PPL_DATA", path, 1);
    expect_wiki2(NULL, json_root(j));
    snprintf(path, sizeof path, "%s/text/wiki.test.raw", golden_dir());
    expect_wiki2(path, json_root(j));
    setenv("NVFP4_PPL_DATA", path, 1);
    expect_wiki2(NULL, json_root(j));
    json_close(j);
}

static void test_wrong_wiki2(void)
{
    const struct spec_data data = {.kind = CORPUS_WIKI2};

    unsetenv("NVFP4_PPL_DATA");
    expect_wrong(
        &data, NULL, ERR_NO_INPUT,
        "dataset \"wiki2\": where is wiki.test.raw, the raw test split of WikiText-2? (name "
        "the file or its folder with --data-dir or NVFP4_PPL_DATA)");
    expect_wrong(&data, ".", ERR_NO_INPUT,
                 "dataset \"wiki2\": ./wiki.test.raw is not there (put the raw test split of "
                 "WikiText-2 there, or name the file or its folder with --data-dir or "
                 "NVFP4_PPL_DATA)");
    write_file("wiki.test.raw", "abc", 3);
    expect_wrong(&data, ".", ERR_DATA,
                 "./wiki.test.raw: got SHA-256 "
                 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad, want "
                 "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08 (the raw test "
                 "split of WikiText-2)");
    unlink("wiki.test.raw");
}

int main(void)
{
    char *here = getcwd(NULL, 0);

    EXPECT(here && mkdtemp(folder) && chdir(folder) == 0);
    test_utf8();
    test_words();
    test_plain();
    test_jsonl();
    test_wrong_jsonl();
    test_wrong_wiki2();
    EXPECT(chdir(here) == 0 && rmdir(folder) == 0); /* a relative golden folder starts here */
    free(here);
    if (access(golden_dir(), R_OK) != 0)
        SKIP("no golden data at %s (NVFP4_PPL_GOLDEN): bytes and WikiText-2", golden_dir());
    test_golden_utf8();
    test_wiki2();
    return 0;
}
