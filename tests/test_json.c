// links: spec
// timeout: 60
/* Proves that json.h takes what RFC 8259 takes and nothing else, names the place of every mistake,
 * refuses what cJSON would silently bend, and stays near-linear on objects with 200,000 keys. */
#include "spec/json.h"

#include <time.h>
#include <unistd.h>

#include "tests/test.h"

static void accept(const char *text, size_t bytes, int flags)
{
    struct json *j;
    struct err e;

    if (json_parse("t", text, bytes, flags, ERR_DATA, &j, &e) != OK) {
        printf("FAIL: refused %.60s: %s\n", text, e.msg);
        exit(1);
    }
    EXPECT(json_root(j) != NULL);
    json_close(j);
}

static void refuse(const char *text, size_t bytes, int flags, const char *message)
{
    struct json *j;
    struct err e;

    EXPECT(json_parse("t", text, bytes, flags, ERR_DATA, &j, &e) == ERR_DATA);
    EXPECT(e.code == ERR_DATA && j == NULL);
    EXPECT_TEXT(e.msg, message);
}

static void test_grammar(void)
{
    static const char *const good[] = {
        "{}",
        "[]",
        " null ",
        "true",
        "false",
        "0",
        "-0",
        "-1.5e-3",
        "1E+2",
        "\"\"",
        "\"a\\n\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "[1,[2,[3]],{}]",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":2}]}",
        "\t\r\n[ ]\n",
        "\"\xf0\x9f\x98\x80\"",
        "\"\x7f\"",
        "\"\\/\"",
    };
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"", "t:1:1: got the end of the text, want a value"},
        {"{\"a\":1,}", "t:1:8: got '}', want a key in double quotes"},
        {"[1,]", "t:1:4: got ']', want a value"},
        {"[1 2]", "t:1:4: got '2', want ',' or ']'"},
        {"{\"a\" 1}", "t:1:6: got '1', want ':' after a key"},
        {"{a:1}", "t:1:2: got 'a', want a key in double quotes"},
        {"{'a':1}", "t:1:2: got ''', want a key in double quotes"},
        {"{\n  \"a\": tru\n}", "t:2:8: got 't', want a value"},
        {"01", "t:1:2: got '1', want no digit after a leading 0"},
        {"+1", "t:1:1: got '+', want a value"},
        {"1.", "t:1:3: got the end of the text, want a digit"},
        {".5", "t:1:1: got '.', want a value"},
        {"[1.e5]", "t:1:4: got 'e', want a digit"},
        {"[-]", "t:1:3: got ']', want a digit"},
        {"1e", "t:1:3: got the end of the text, want a digit"},
        {"NaN", "t:1:1: got 'N', want a value"},
        {"[Infinity]", "t:1:2: got 'I', want a value"},
        {"\"a\tb\"",
         "t:1:3: got the character U+0009, want it escaped inside a string, or the closing '\"'"},
        {"\"a", "t:1:3: got the end of the text, want the closing '\"' of a string"},
        {"\"a\\", "t:1:4: got the end of the text, want an escape that JSON knows after '\\'"},
        {"\"\\x\"", "t:1:3: got 'x', want an escape that JSON knows after '\\'"},
        {"\"\\u12g4\"", "t:1:6: got 'g', want four hexadecimal digits after \\u"},
        {"\"\\ud800\"", "t:1:2: got half of a surrogate pair, want both"},
        {"\"\\ud800\\u0041\"", "t:1:2: got half of a surrogate pair, want both"},
        {"\"\\udc00\"", "t:1:2: got half of a surrogate pair, want both"},
        {"\"a\\u0000b\"", "t:1:3: got \\u0000, want text without it"},
        {"{} {}", "t:1:4: got '{', want nothing after the end of the document"},
        {"[1]]", "t:1:4: got ']', want nothing after the end of the document"},
        {"[1", "t:1:3: got the end of the text, want ',' or ']'"},
        {"{\"a\":1", "t:1:7: got the end of the text, want ',' or '}'"},
        {"[1}", "t:1:3: got '}', want ',' or ']'"},
        {"// no\n1", "t:1:1: got '/', want a value"},
        {"\xef\xbb\xbf{}", "t:1:1: got a byte order mark, want JSON (save it as plain UTF-8)"},
        {"\"\xc3\xa9\xff\"", "t:1:3: not valid UTF-8"},
        {"[\"\xed\xa0\x80\"]", "t:1:3: not valid UTF-8"},
        {"[\xc3\xa9]", "t:1:2: got a character beyond ASCII, want a value"},
        {"{\"a\":1,\n \"b\":2,\n \"a\":3}", "t:3:2: key \"a\" appears twice in one object"},
        {"[{\"x\":{\"\\u0061\":1,\"a\":3}}]", "t:1:19: key \"a\" appears twice in one object"},
        {"1111111111222222222233333333334444444444555555555566666666667777",
         "t:1:1: got a number of 64 characters, want at most 63"},
    };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        accept(good[i], strlen(good[i]), JSON_STRICT);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refuse(wrong[i].text, strlen(wrong[i].text), JSON_STRICT, wrong[i].message);
    refuse("[1,\0002]", 6, JSON_STRICT, "t:1:4: got the character U+0000, want a value");
    refuse("1\000", 2, JSON_STRICT,
           "t:1:2: got the character U+0000, want nothing after the end of the document");
    refuse("\"a\000b\"", 5, JSON_STRICT,
           "t:1:3: got the character U+0000, want it escaped inside a string, or the closing '\"'");
}

static void test_depth(void)
{
    char text[200];

    for (int depth = 63; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        if (depth <= 64)
            accept(text, (size_t)(2 * depth), JSON_STRICT);
        else
            refuse(text, (size_t)(2 * depth), JSON_STRICT,
                   "t:1:65: got '[', want at most 64 levels of nesting");
    }
}

static void test_comments_keep_places(void)
{
    const char *text = "// \"head\": {\n{ // \xc3\xa9t\xc3\xa9\n  \"u\": \"http://x\", // tail\n"
                       "  \"\xc3\xa9\": 1, \"last\": [ 7, // seven\n 8 ] } // end";
    struct json *j;
    struct err e;
    int line, column;
    const cJSON *last;

    EXPECT(json_parse("t", text, strlen(text), JSON_COMMENTS, ERR_SPEC, &j, &e) == OK);
    EXPECT_TEXT(json_member(json_root(j), "u")->valuestring, "http://x");
    last = json_member(json_root(j), "last");
    json_place(j, last, &line, &column);
    EXPECT(line == 4 && column == 11); /* columns count characters: the e-acute is one */
    json_place(j, last->child->next, &line, &column);
    EXPECT(line == 5 && column == 2);
    json_place(j, json_root(j), &line, &column);
    EXPECT(line == 2 && column == 1);
    EXPECT(json_fail(j, last, &e, "%s: got %d, want %d", "last", 2, 3) == ERR_SPEC);
    EXPECT_TEXT(e.msg, "t:4:11: last: got 2, want 3");
    EXPECT(json_member(json_root(j), "LAST") == NULL); /* keys are exact */
    EXPECT(json_member(last, "x") == NULL && json_member(NULL, "x") == NULL);
    json_close(j);
}

static void test_nul(void)
{
    const char *text = "{\"a\\u0000b\": \"x\\\\u0000\\u0000y\", \"z\": 1}";
    struct json *j;
    struct err e;
    int line, column;

    EXPECT(json_parse("t", text, strlen(text), JSON_NUL, ERR_DATA, &j, &e) == OK);
    EXPECT_TEXT(json_member(json_root(j), "a\xc0\x80"
                                          "b")
                    ->valuestring,
                "x\\u0000\xc0\x80y");
    json_place(j, json_member(json_root(j), "z"), &line, &column);
    EXPECT(line == 1 && column == 33);
    json_close(j);
}

static void test_getters(void)
{
    const char *text = "{\"i\": 7, \"e\": 1e3, \"f\": 1.5, \"big\": 9007199254740994, "
                       "\"inf\": 1e999, \"s\": \"x\", \"b\": true, \"n\": null, "
                       "\"o\": {}, \"a\": [], \"tenth\": 0.1}";
    struct json *j;
    struct err e;
    int64_t v;
    double d;
    int b;
    const char *s;
    const cJSON *root;

    EXPECT(json_parse("t", text, strlen(text), 0, ERR_DATA, &j, &e) == OK);
    root = json_root(j);
    EXPECT(json_int(j, json_member(root, "i"), "i", 0, 10, &v, &e) == OK && v == 7);
    EXPECT(json_int(j, json_member(root, "e"), "e", 0, 1000, &v, &e) == OK && v == 1000);
    EXPECT(json_int(j, json_member(root, "i"), "i", 8, 10, &v, &e) == ERR_DATA);
    EXPECT_TEXT(e.msg, "t:1:2: i: got 7, want 8 to 10");
    EXPECT(json_int(j, json_member(root, "f"), "f", 0, 10, &v, &e) == ERR_DATA);
    EXPECT_TEXT(e.msg, "t:1:20: f: got 1.5, want an integer");
    EXPECT(json_int(j, json_member(root, "tenth"), "tenth", 0, 10, &v, &e) == ERR_DATA);
    EXPECT_TEXT(strstr(e.msg, "tenth"), "tenth: got 0.1, want an integer");
    EXPECT(json_int(j, json_member(root, "big"), "big", 0, INT64_MAX, &v, &e) == ERR_DATA);
    EXPECT(json_int(j, json_member(root, "inf"), "inf", 0, INT64_MAX, &v, &e) == ERR_DATA);
    EXPECT(json_int(j, json_member(root, "s"), "s", 0, 10, &v, &e) == ERR_DATA);
    EXPECT_TEXT(strstr(e.msg, "s: got"), "s: got \"x\", want an integer");
    EXPECT(json_double(j, json_member(root, "f"), "f", &d, &e) == OK);
    EXPECT_NEAR(d, 1.5, 0);
    EXPECT(json_double(j, json_member(root, "inf"), "inf", &d, &e) == ERR_DATA);
    EXPECT(json_double(j, json_member(root, "n"), "n", &d, &e) == ERR_DATA);
    EXPECT_TEXT(strstr(e.msg, "n: got"), "n: got null, want a finite number");
    EXPECT(json_string(j, json_member(root, "s"), "s", &s, &e) == OK);
    EXPECT_TEXT(s, "x");
    EXPECT(json_string(j, json_member(root, "o"), "o", &s, &e) == ERR_DATA);
    EXPECT_TEXT(strstr(e.msg, "o: got"), "o: got an object, want a string");
    EXPECT(json_bool(j, json_member(root, "b"), "b", &b, &e) == OK && b == 1);
    EXPECT(json_bool(j, json_member(root, "a"), "a", &b, &e) == ERR_DATA);
    EXPECT_TEXT(strstr(e.msg, "a: got"), "a: got an array, want true or false");
    json_close(j);
}

/* Quadratic work on 200,000 keys would take minutes. */
static void test_large(void)
{
    enum { KEYS = 200000 };
    char *text = malloc(KEYS * 32);
    size_t n = 1;
    struct json *j;
    struct err e;
    clock_t start = clock();

    EXPECT(text != NULL);
    text[0] = '{';
    for (int i = 0; i < KEYS; i++)
        n += (size_t)sprintf(text + n, "%s\"token-%d\": %d", i ? ", " : "", i, i);
    strcpy(text + n++, "}");
    EXPECT(json_parse("t", text, n, JSON_NUL, ERR_DATA, &j, &e) == OK);
    json_close(j);
    strcpy(text + n - 1, ",\"token-77\":1}");
    refuse(text, strlen(text), 0, "t:1:4577781: key \"token-77\" appears twice in one object");
    EXPECT((double)(clock() - start) / CLOCKS_PER_SEC < 5);
    free(text);
}

static void test_files(void)
{
    struct json *j;
    struct err e;
    char path[] = "/tmp/test_json_XXXXXX";
    int fd = mkstemp(path);
    FILE *f;

    EXPECT(fd >= 0 && (f = fdopen(fd, "w")) != NULL);
    fprintf(f, "{\"a\": 1}");
    fclose(f);
    EXPECT(json_open(path, 8, 0, ERR_DATA, &j, &e) == OK);
    EXPECT_TEXT(json_name(j), path);
    json_close(j);
    EXPECT(json_open(path, 7, 0, ERR_SPEC, &j, &e) == ERR_SPEC);
    EXPECT(strstr(e.msg, ": too large: want at most 7 bytes"));
    unlink(path);
    EXPECT(json_open(path, 8, 0, ERR_DATA, &j, &e) == ERR_NO_INPUT && j == NULL);
    EXPECT(strstr(e.msg, ": cannot be opened: No such file or directory"));
    EXPECT(json_open("/tmp", 8, 0, ERR_DATA, &j, &e) == ERR_NO_INPUT);
    EXPECT_TEXT(e.msg, "/tmp: got a folder, want a file");
    json_close(NULL);
}

int main(void)
{
    test_grammar();
    test_depth();
    test_comments_keep_places();
    test_nul();
    test_getters();
    test_large();
    test_files();
    return 0;
}
