/* tokenizer_cases.h - runs a tokenizer over a golden.json made with Hugging Face `tokenizers`:
 * {"cases": [{"text", "ids"}], "bytes_cases": [{"hex", "at"}], "files": [{"file", "n_ids",
 * "sha256_le_int32"}]}. */
#ifndef TESTS_TOKENIZER_CASES_H
#define TESTS_TOKENIZER_CASES_H

#include "loader/tokenizer.h"
#include "spec/json.h"
#include "spec/sha256.h"
#include "tests/test.h"

/* Prints the first difference and ends the test. */
static inline void expect_ids(const char *name, const char *text, const int32_t *got, size_t n,
                              const cJSON *want)
{
    size_t i = 0;

    for (const cJSON *w = want->child; w; w = w->next, i++)
        if (i >= n || got[i] != w->valueint) {
            printf("FAIL %s: \"%s\": id %zu is %d, want %d\n", name, text, i,
                   i < n ? (int)got[i] : -1, w->valueint);
            exit(1);
        }
    if (i != n) {
        printf("FAIL %s: \"%s\": %zu ids, want %zu\n", name, text, n, i);
        exit(1);
    }
}

/* A text from JSON_NUL: C0 80 stands for NUL. Returns its bytes; free it. */
static inline char *case_text(const char *json, size_t *n)
{
    size_t bytes = strlen(json);
    char *text = malloc(bytes + 1);

    EXPECT(text);
    *n = 0;
    for (size_t i = 0; i < bytes; i++) {
        bool nul = (unsigned char)json[i] == 0xc0;

        text[(*n)++] = nul ? 0 : json[i];
        i += nul;
    }
    return text;
}

/* Returns how many cases there were. */
static inline int check_cases(const char *name, const struct tokenizer *t, const cJSON *cases)
{
    int count = 0;
    const cJSON *c;

    cJSON_ArrayForEach(c, cases)
    {
        const char *json = json_member(c, "text")->valuestring;
        size_t bytes, n;
        char *text = case_text(json, &bytes);
        int32_t *ids;
        struct err e;

        if (tokenizer_encode(t, text, bytes, true, &ids, &n, &e) != OK) {
            printf("FAIL %s: \"%s\": %s\n", name, json, e.msg);
            exit(1);
        }
        expect_ids(name, json, ids, n, json_member(c, "ids"));
        free(ids);
        free(text);
        count++;
    }
    return count;
}

/* Invalid UTF-8 is refused at the byte where the broken sequence starts. */
static inline int check_bytes_cases(const struct tokenizer *t, const cJSON *cases)
{
    int count = 0;
    const cJSON *c;

    cJSON_ArrayForEach(c, cases)
    {
        const char *hex = json_member(c, "hex")->valuestring;
        size_t bytes = strlen(hex) / 2, n;
        char *text = malloc(bytes + 1), want[64];
        int32_t *ids;
        struct err e;

        for (size_t i = 0; i < bytes; i++) {
            unsigned byte = 0;

            EXPECT(sscanf(hex + 2 * i, "%2x", &byte) == 1);
            text[i] = (char)byte;
        }
        snprintf(want, sizeof want, "text: not valid UTF-8 at byte %d",
                 json_member(c, "at")->valueint);
        EXPECT(tokenizer_encode(t, text, bytes, true, &ids, &n, &e) == ERR_DATA);
        EXPECT_TEXT(e.msg, want);
        free(text);
        count++;
    }
    return count;
}

/* A whole file of `folder`, by count and SHA-256 of its ids; false when the file is not there. */
static inline bool check_file(const char *name, const struct tokenizer *t, const char *folder,
                              const cJSON *want)
{
    size_t bytes = (size_t)json_member(want, "bytes")->valueint, n;
    char path[16384], hex[SHA256_HEX], *text = malloc(bytes + 1);
    int32_t *ids;
    struct err e;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, json_member(want, "file")->valuestring);
    f = fopen(path, "rb");
    if (!f) {
        free(text);
        return false;
    }
    EXPECT(text && fread(text, 1, bytes + 1, f) == bytes);
    fclose(f);
    EXPECT(tokenizer_encode(t, text, bytes, true, &ids, &n, &e) == OK);
    sha256_of(ids, n * sizeof *ids, hex);
    if ((int)n != json_member(want, "n_ids")->valueint ||
        strcmp(hex, json_member(want, "sha256_le_int32")->valuestring) != 0) {
        printf("FAIL %s: %s: %zu ids with SHA-256 %s\n", name, path, n, hex);
        exit(1);
    }
    free(ids);
    free(text);
    return true;
}

/* Everything of one folder that holds tokenizer.json and golden.json; files lie in `texts`. */
static inline void check_tokenizer(const char *folder, const char *texts)
{
    char path[16384];
    struct tokenizer *t;
    struct json *golden;
    struct err e;
    int n, n_bytes, n_files = 0;
    const cJSON *want, *root;

    if (tokenizer_open(folder, &t, &e) != OK) {
        printf("FAIL %s: %s\n", folder, e.msg);
        exit(1);
    }
    snprintf(path, sizeof path, "%s/golden.json", folder);
    if (json_open(path, 64 << 20, JSON_NUL, ERR_DATA, &golden, &e) != OK) {
        printf("FAIL %s\n", e.msg);
        exit(1);
    }
    root = json_root(golden);
    n = check_cases(folder, t, json_member(root, "cases"));
    EXPECT(n > 0);
    n_bytes = check_bytes_cases(t, json_member(root, "bytes_cases"));
    cJSON_ArrayForEach(want, json_member(root, "files")) n_files +=
        check_file(folder, t, texts, want);
    printf("%s: %d texts, %d broken texts, %d files\n", folder, n, n_bytes, n_files);
    json_close(golden);
    tokenizer_close(t);
}

#endif
