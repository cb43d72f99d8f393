// No text makes the tokenizer quadratic: ten times the text takes about ten times as long (less
// than 40), for one word of a megabyte, a megabyte of spaces, of marks, of added tokens.
// links: loader
#include <time.h>

#include "loader/tokenizer.h"
#include "tests/test.h"

/* SentencePiece-style: no pre-tokenizer, so a text is one word; merges join runs of a and of the
 * space mark in long chains. Marks are reordered, spaces around <x> are swallowed. */
static const char sentencepiece[] =
    "{\"added_tokens\": [{\"id\": 10, \"content\": \"<x>\", \"single_word\": false, \"lstrip\": "
    "true,"
    " \"rstrip\": true, \"normalized\": true, \"special\": false}, {\"id\": 11, \"content\": "
    "\"\\t\","
    " \"single_word\": false, \"lstrip\": true, \"rstrip\": true, \"normalized\": false,"
    " \"special\": false}],"
    " \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"},"
    " {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\\u2581\"}]},"
    " \"model\": {\"type\": \"BPE\", \"unk_token\": \"?\", \"fuse_unk\": true, \"byte_fallback\": "
    "true,"
    " \"vocab\": {\"?\": 0, \"a\": 1, \"b\": 2, \"\\u2581\": 3, \"aa\": 4, \"aaaa\": 5,"
    " \"\\u2581\\u2581\": 6, \"\\u2581\\u2581\\u2581\\u2581\": 7, \"ab\": 8, \"aba\": 9},"
    " \"merges\": [\"a a\", \"aa aa\", \"a b\", \"ab a\", [\"\\u2581\", \"\\u2581\"],"
    " [\"\\u2581\\u2581\", \"\\u2581\\u2581\"]]}}";

static const char *const unit[] = {" ",
                                   "a",
                                   "ab",
                                   "7",
                                   "\n",
                                   "\r\n",
                                   " \n",
                                   "\t",
                                   ".",
                                   "a ",
                                   "<x>",
                                   "<x> ",
                                   "  <x>  ",
                                   "\xcc\x81\xcc\x96", /* U+0301 U+0316: marks that change places */
                                   "\xe4\xb8\xad",
                                   "\xf0\x9f\x98\x80",
                                   "'s",
                                   "<|begin_of_text|>"};

/* Seconds for `bytes` of one unit over and over, and a letter behind: the best of some tries. */
static double seconds(const struct tokenizer *t, const char *piece, size_t bytes, int tries)
{
    size_t len = strlen(piece), n = bytes / len * len, count;
    char *text = malloc(n + 1);
    double best = 1e9;

    EXPECT(text);
    for (size_t i = 0; i < n; i++)
        text[i] = piece[i % len];
    text[n] = 'x';
    for (int i = 0; i < tries; i++) {
        struct timespec a, b;
        struct err e;
        int32_t *ids;
        double s;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        if (tokenizer_encode(t, text, n + 1, true, &ids, &count, &e) != OK) {
            printf("FAIL \"%s\": %s\n", piece, e.msg);
            exit(1);
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        EXPECT(count > 0);
        free(ids);
        s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        best = s < best ? s : best;
    }
    free(text);
    return best;
}

static void check_times(const char *name, const struct tokenizer *t)
{
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++) {
        double small = seconds(t, unit[i], 100000, 2), large = seconds(t, unit[i], 1000000, 1);

        if (!(large <= 40 * (small + 0.001))) {
            printf("FAIL %s, unit %zu: %.4f s for 100 KB, %.4f s for 1 MB\n", name, i, small,
                   large);
            exit(1);
        }
    }
}

int main(void)
{
    static const char *const name[] = {"ours-4096", "synth-qwen35"};
    struct tokenizer *t;
    struct err e;

    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        char path[4096];

        snprintf(path, sizeof path, "%s/tokenizers/%s", TEST_DATA, name[i]);
        EXPECT(tokenizer_open(path, &t, &e) == OK);
        check_times(name[i], t);
        tokenizer_close(t);
    }
    if (tokenizer_parse("sentencepiece", sentencepiece, strlen(sentencepiece), &t, &e) != OK) {
        printf("FAIL %s\n", e.msg);
        return 1;
    }
    check_times("sentencepiece", t);
    tokenizer_close(t);
    return 0;
}
