// A tokenizer.json that is wrong, or asks for what is not built, is refused with one exact line.
// links: loader
#include "loader/tokenizer.h"
#include "tests/test.h"

/* A whole tokenizer; each case replaces one part. */
struct parts {
    const char *model, *added, *normalizer, *pre, *post;
};

#define VOCAB "\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"<s>\": 3}"
#define MODEL "{\"type\": \"BPE\", " VOCAB ", \"merges\": [\"a b\"]}"
#define TOKEN(id, content)                                                                         \
    "{\"id\": " #id ", \"content\": \"" content "\", \"single_word\": false, \"lstrip\": false, "  \
    "\"rstrip\": false, \"normalized\": true, \"special\": false}"
#define SPLIT(regex)                                                                               \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex                                      \
    "\"}, \"behavior\": \"Isolated\", \"invert\": false}"
#define TEMPLATE(single, table)                                                                    \
    "{\"type\": \"TemplateProcessing\", \"single\": [" single "], \"special_tokens\": {" table "}" \
    "}"
#define TEXT_A  "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}"
#define SPECIAL "{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}"

static const struct {
    struct parts parts;
    const char *message;
} wrong[] = {
    /* model */
    {{.model = "[]"}, "t:1:2: model is not an object"},
    {{.model = "{\"type\": \"Unigram\", \"vocab\": []}"},
     "t:1:12: model Unigram is not supported (BPE is)"},
    {{.model = "{\"type\": \"WordPiece\", \"vocab\": {}}"},
     "t:1:12: model WordPiece is not supported (BPE is)"},
    {{.model = "{\"merges\": []}"}, "t:1:2: vocab is missing"},
    {{.model = "{\"vocab\": {}, \"merges\": []}"}, "t:1:12: vocab is empty"},
    {{.model = "{" VOCAB "}"}, "t:1:2: merges is missing"},
    {{.model = "{\"vocab\": {\"a\": -1}, \"merges\": []}"},
     "t:1:22: vocab: got -1, want 0 to 16777215"},
    {{.model = "{\"vocab\": {\"a\": 0.5}, \"merges\": []}"},
     "t:1:22: vocab: got 0.5, want an integer"},
    {{.model = "{\"vocab\": {\"a\": \"0\"}, \"merges\": []}"},
     "t:1:22: vocab: got \"0\", want an integer"},
    {{.model = "{\"vocab\": {\"a\": 1000000000}, \"merges\": []}"},
     "t:1:22: vocab: got 1000000000, want 0 to 16777215"},
    {{.model = "{\"vocab\": {\"a\": 7, \"b\": 7}, \"merges\": []}"},
     "t:1:12: vocab: id 7 belongs to two tokens, \"a\" and \"b\""},
    {{.model = "{\"vocab\": {\"a\": 0, \"a\": 1}, \"merges\": []}"},
     "t:1:30: key \"a\" appears twice in one object"},
    {{.model = "{" VOCAB ", \"merges\": {}}"}, "t:1:58: merges is not a list"},
    {{.model = "{" VOCAB ", \"merges\": [\"ab\"]}"},
     "t:1:69: merges: got \"ab\", want two tokens with one space between"},
    {{.model = "{" VOCAB ", \"merges\": [\"a b c\"]}"},
     "t:1:69: merges: got \"a b c\", want two tokens with one space between"},
    {{.model = "{" VOCAB ", \"merges\": [\"a \"]}"},
     "t:1:69: merges: \"\" is not in the vocabulary"},
    {{.model = "{" VOCAB ", \"merges\": [[\"a\"]]}"}, "t:1:69: merges: want two tokens"},
    {{.model = "{" VOCAB ", \"merges\": [[\"a\", 1]]}"}, "t:1:75: merges: got 1, want a string"},
    {{.model = "{" VOCAB ", \"merges\": [\"a x\"]}"},
     "t:1:69: merges: \"x\" is not in the vocabulary"},
    {{.model = "{" VOCAB ", \"merges\": [\"b a\"]}"},
     "t:1:69: merges: \"ba\" is not in the vocabulary"},
    {{.model = "{" VOCAB ", \"merges\": [], \"unk_token\": \"<unk>\"}"},
     "t:1:72: unk_token: \"<unk>\" is not in the vocabulary"},
    {{.model = "{" VOCAB ", \"merges\": [], \"dropout\": 0.1}"},
     "t:1:72: dropout makes ids random: want null or 0"},
    {{.model = "{" VOCAB ", \"merges\": [], \"end_of_word_suffix\": \"</w>\"}"},
     "t:1:72: end_of_word_suffix is not supported"},
    {{.model = "{" VOCAB ", \"merges\": [], \"byte_fallback\": 1}"},
     "t:1:72: byte_fallback: got 1, want true or false"},
    /* added tokens */
    {{.added = "{}"}, "t:2:1: added_tokens is not a list"},
    {{.added = "[{\"id\": 4, \"content\": \"x\"}]"}, "t:2:18: single_word is missing"},
    {{.added = "[" TOKEN(9, "x") "]"},
     "t:2:19: added_tokens: \"x\" has id 9, want 4 (the next free id)"},
    {{.added = "[" TOKEN(5, "a") "]"},
     "t:2:19: added_tokens: \"a\" has id 5, want 0 (its id in the vocabulary)"},
    {{.added = "[" TOKEN(-4, "x") "]"}, "t:2:19: added_tokens: id: got -4, want 0 to 16777215"},
    {{.added = "[" TOKEN(4, "x") ", " TOKEN(4, "x") "]"},
     "t:2:139: added_tokens: \"x\" stands twice"},
    {{.added = "[" TOKEN(4, "") "]"}, "t:2:18: added_tokens: an empty token"},
    {{.added = "[" TOKEN(4, "X") ", " TOKEN(5, "x") "]", .normalizer = "{\"type\": \"Lowercase\"}"},
     "t:2:139: added_tokens: \"x\" equals another once normalized"},
    {{.added = "[" TOKEN(4, " ") "]",
      .normalizer = "{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": false}"},
     "t:2:18: added_tokens: \" \" is empty once normalized"},
    /* normalizers */
    {{.normalizer = "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"\"}"},
     "t:3:1: normalizer Precompiled is not supported"},
    {{.normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"BertNormalizer\"}]}"},
     "t:3:52: normalizer BertNormalizer is not supported"},
    {{.normalizer = "\"NFC\""}, "t:3:1: normalizer is not an object"},
    {{.normalizer = "{\"type\": \"Strip\"}"}, "t:3:1: strip_left is missing"},
    {{.normalizer = "{\"type\": \"Prepend\", \"prepend\": \"\"}"}, "t:3:35: prepend is empty"},
    {{.normalizer = "{\"type\": \"Replace\", \"pattern\": \" \", \"content\": \"_\"}"},
     "t:3:35: pattern is neither {\"Regex\": ...} nor {\"String\": ...}"},
    /* pre-tokenizers */
    {{.pre = "{\"type\": \"UnicodeScripts\"}"},
     "t:4:1: pre-tokenizer UnicodeScripts is not supported"},
    {{.pre = "{\"type\": \"Sequence\"}"}, "t:4:1: pretokenizers is missing"},
    {{.pre = "{\"type\": \"ByteLevel\"}"}, "t:4:1: add_prefix_space is missing"},
    {{.pre = "{\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, \"behavior\": \"isolated\", "
             "\"invert\": false}"},
     "t:4:64: behavior: got \"isolated\", want Isolated, Removed, MergedWithPrevious, "
     "MergedWithNext or Contiguous"},
    {{.pre = "{\"type\": \"Metaspace\", \"replacement\": \"__\"}"},
     "t:4:40: replacement is not one character"},
    {{.pre = "{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"last\"}"},
     "t:4:60: prepend_scheme: got \"last\", want always, first or never"},
    {{.pre = "{\"type\": \"Metaspace\", \"replacement\": \"_\", \"add_prefix_space\": false}"},
     "t:4:1: add_prefix_space is false, but prepend_scheme is always"},
    {{.pre = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}, "
             "{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"first\"}]}"},
     "t:4:86: prepend_scheme first behind another pre-tokenizer"},
    {{.pre = SPLIT("(a")},
     "t:4:36: regex: missing closing parenthesis (after the first 2 bytes as rewritten)"},
    {{.pre = SPLIT("a)")},
     "t:4:36: regex: a closing bracket too many at byte 1 is not supported (in a))"},
    {{.pre = SPLIT("[a")}, "t:4:36: regex: an open class at byte 2 is not supported (in [a)"},
    {{.pre = SPLIT("[[:alpha:]]")},
     "t:4:36: regex: this kind of class at byte 1 is not supported (in [[:alpha:]])"},
    {{.pre = SPLIT("[b-a]")},
     "t:4:36: regex: a range that ends first at byte 4 is not supported (in [b-a])"},
    {{.pre = SPLIT("\\\\p{Cherokee}")},
     "t:4:36: regex: the property Cherokee is not supported (general categories and CJK scripts "
     "are)"},
    {{.pre = SPLIT("\\\\bx")}, "t:4:36: regex: \\b at byte 1 is not supported (in \\bx)"},
    {{.pre = SPLIT("(a)\\\\1")}, "t:4:36: regex: \\1 at byte 4 is not supported (in (a)\\1)"},
    {{.pre = SPLIT("(*UCP)a")},
     "t:4:36: regex: this kind of group at byte 0 is not supported (in (*UCP)a)"},
    {{.pre = SPLIT("(?m:a)")},
     "t:4:36: regex: this kind of group at byte 0 is not supported (in (?m:a))"},
    {{.pre = SPLIT("a(?i)b|c")},
     "t:4:36: regex: (?i) within a branch at byte 1 is not supported (in a(?i)b|c)"},
    {{.pre = SPLIT("\\\\x{110000}")},
     "t:4:36: regex: this character code at byte 1 is not supported (in \\x{110000})"},
    {{.pre = SPLIT("a{2}?")}, "t:4:36: regex: {n}? at byte 1 is not supported (in a{2}?)"},
    /* post-processors */
    {{.post = "{\"type\": \"XLNet\"}"}, "t:5:1: post-processor XLNet is not supported"},
    {{.post = TEMPLATE(SPECIAL ", " TEXT_A, "")},
     "t:5:79: post_processor: \"<s>\" is not in special_tokens"},
    {{.post = TEMPLATE(SPECIAL ", " TEXT_A,
                       "\"<s>\": {\"id\": \"<s>\", \"ids\": [1], \"tokens\": [\"<s>\"]}")},
     "t:5:198: post_processor: \"<s>\" has id 1, want 3"},
    {{.post = TEMPLATE(SPECIAL ", " TEXT_A,
                       "\"<s>\": {\"id\": \"<s>\", \"ids\": [3], \"tokens\": [\"<t>\"]}")},
     "t:5:198: post_processor: \"<t>\" is not a token"},
    {{.post = TEMPLATE(SPECIAL, "\"<s>\": {\"id\": \"<s>\", \"ids\": [3], \"tokens\": [\"<s>\"]}")},
     "t:5:50: post_processor: the template leaves out the text"},
    {{.post = TEMPLATE(TEXT_A ", " TEXT_A, "")},
     "t:5:102: post_processor: want a SpecialToken, or once the Sequence \"A\""},
    {{.post = "{\"type\": \"BertProcessing\", \"sep\": [\"<s>\", 3]}"}, "t:5:1: cls is missing"},
    {{.post = "{\"type\": \"Sequence\", \"processors\": [" TEMPLATE(TEXT_A, "") ", " TEMPLATE(
          TEXT_A, "") "]}"},
     "t:5:162: a second post-processor that adds tokens"},
};

static enum status parse(const struct parts *p, struct tokenizer **t, struct err *e)
{
    char text[4096];
    int n = snprintf(text, sizeof text,
                     "{\"model\": %s,\n\"added_tokens\": %s,\n\"normalizer\": %s,\n"
                     "\"pre_tokenizer\": %s,\n\"post_processor\": %s}",
                     p->model ? p->model : MODEL, p->added ? p->added : "[]",
                     p->normalizer ? p->normalizer : "null", p->pre ? p->pre : "null",
                     p->post ? p->post : "null");

    EXPECT(n > 0 && n < (int)sizeof text);
    return tokenizer_parse("t", text, (size_t)n, t, e);
}

static void check_wrong(void)
{
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct tokenizer *t;
        struct err e;

        EXPECT(parse(&wrong[i].parts, &t, &e) == ERR_DATA);
        EXPECT(!t);
        EXPECT_TEXT(e.msg, wrong[i].message);
    }
}

/* The same file without a mistake is read: what the table changes is what is refused. */
static void check_right(void)
{
    const struct parts right = {
        .post = TEMPLATE(SPECIAL ", " TEXT_A,
                         "\"<s>\": {\"id\": \"<s>\", \"ids\": [3], \"tokens\": [\"<s>\"]}")};
    struct tokenizer *t;
    struct err e;
    int32_t *ids;
    size_t n;

    EXPECT(parse(&right, &t, &e) == OK);
    EXPECT(tokenizer_vocab(t) == 4 && tokenizer_bos(t) == 3 && tokenizer_id(t, "ab") == 2);
    EXPECT(tokenizer_id(t, "ba") == -1);
    EXPECT(tokenizer_encode(t, "aba", 3, true, &ids, &n, &e) == OK);
    EXPECT(n == 3 && ids[0] == 3 && ids[1] == 2 && ids[2] == 0);
    free(ids);
    EXPECT(tokenizer_encode(t, "", 0, false, &ids, &n, &e) == OK);
    EXPECT(n == 0 && ids);
    free(ids);
    EXPECT(tokenizer_encode(t, "ab\xff", 3, true, &ids, &n, &e) == ERR_DATA);
    EXPECT_TEXT(e.msg, "text: not valid UTF-8 at byte 2");
    tokenizer_close(t);
}

/* An expression that backtracks without end is stopped. */
static void check_runaway(void)
{
    const struct parts runaway = {.pre = SPLIT("(?:a|aa)+$")};
    char text[64];
    struct tokenizer *t;
    struct err e;
    int32_t *ids;
    size_t n;

    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'b';
    EXPECT(parse(&runaway, &t, &e) == OK);
    EXPECT(tokenizer_encode(t, text, sizeof text, true, &ids, &n, &e) == ERR_DATA);
    EXPECT_TEXT(e.msg, "regex: cannot match this text: match limit exceeded");
    tokenizer_close(t);
}

int main(void)
{
    struct tokenizer *t;
    struct err e;

    EXPECT(tokenizer_open(TEST_DATA "/no-such-tokenizer", &t, &e) == ERR_NO_INPUT);
    EXPECT(!t);
    check_wrong();
    check_right();
    check_runaway();
    return 0;
}
