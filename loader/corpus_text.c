#include "loader/corpus_text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "spec/file.h"
#include "spec/json.h"
#include "spec/sha256.h"

#define TEXT_BYTES_MAX (UINT64_C(1) << 36)

static const char wiki2_file[] = "wiki.test.raw";
static const char wiki2_sha256[] =
    "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08";

/* ---- white space as Python's str has it ------------------------------------------------------ */

/* Bytes of the white-space character at `p` (valid UTF-8), or 0. Python counts U+0009..000D,
 * 001C..0020, 0085, 00A0, 1680, 2000..200A, 2028, 2029, 202F, 205F and 3000. */
static size_t space_bytes(const char *p, size_t left)
{
    unsigned char a = (unsigned char)p[0], b, c;

    if (a < 0x80)
        return (a >= 0x09 && a <= 0x0d) || (a >= 0x1c && a <= 0x20);
    if (left < 2)
        return 0;
    b = (unsigned char)p[1];
    if (a == 0xc2)
        return b == 0x85 || b == 0xa0 ? 2 : 0;
    if (left < 3 || a < 0xe1 || a > 0xe3)
        return 0;
    c = (unsigned char)p[2];
    if ((a == 0xe1 && b == 0x9a && c == 0x80) || (a == 0xe3 && b == 0x80 && c == 0x80))
        return 3;
    if (a == 0xe2 && b == 0x80)
        return c <= 0x8a || c == 0xa8 || c == 0xa9 || c == 0xaf ? 3 : 0;
    return a == 0xe2 && b == 0x81 && c == 0x9f ? 3 : 0;
}

int64_t count_words(const char *text, size_t bytes)
{
    int64_t words = 1;
    bool in_space = false;

    for (size_t at = 0; at < bytes;) {
        size_t space = space_bytes(text + at, bytes - at);

        if (space && !in_space)
            words++;
        in_space = space > 0;
        at += space ? space : 1; /* bytes inside a character never look like white space */
    }
    return words;
}

static bool is_blank(const char *text, size_t bytes)
{
    size_t at = 0, space;

    while (at < bytes && (space = space_bytes(text + at, bytes - at)))
        at += space;
    return at >= bytes;
}

/* ---- files ----------------------------------------------------------------------------------- */

static enum status no_memory(const char *name, struct err *e)
{
    return fail(e, ERR_FIT, "%s: out of memory for its text", name);
}

static enum status read_utf8(const char *path, char **text, size_t *bytes, struct err *e)
{
    size_t good;

    TRY(file_read_whole(path, TEXT_BYTES_MAX, ERR_DATA, text, bytes, e));
    if (*bytes == 0)
        return fail(e, ERR_DATA, "%s: got 0 bytes, want text", path);
    good = utf8_check(*text, *bytes);
    if (good < *bytes)
        return fail(e, ERR_DATA, "%s: byte %zu (0x%02x): not valid UTF-8", path, good,
                    (unsigned char)(*text)[good]);
    return OK;
}

/* The whole text as one document. */
static enum status one_document(const char *name, struct corpus_text *t, struct err *e)
{
    t->doc = calloc(2, sizeof *t->doc);
    if (!t->doc)
        return no_memory(name, e);
    t->n_docs = 1;
    t->doc[1] = t->bytes;
    return OK;
}

static enum status read_plain(const struct spec_data *data, struct corpus_text *t, struct err *e)
{
    TRY(read_utf8(data->path, &t->text, &t->bytes, e));
    t->rows = 1;
    if (data->score == SCORE_SECOND_HALF && t->text[t->bytes - 1] == '\n')
        t->bytes--; /* as llama.cpp's -f */
    return one_document(data->path, t, e);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows are put one after another into a text that is never longer than the bound it is given. */
struct rows {
    struct corpus_text *t;
    size_t room;
    const char *joiner; /* NULL: every row is a document */
};

static void add_bytes(struct rows *r, const char *text, size_t bytes)
{
    CHECK(bytes <= r->room - r->t->bytes);
    memcpy(r->t->text + r->t->bytes, text, bytes);
    r->t->bytes += bytes;
}

static void add_row(struct rows *r, const char *text, size_t bytes)
{
    struct corpus_text *t = r->t;

    if (r->joiner && t->rows > 0)
        add_bytes(r, r->joiner, strlen(r->joiner));
    add_bytes(r, text, bytes);
    t->rows++;
    if (!r->joiner)
        t->doc[++t->n_docs] = t->bytes;
}

/* Room for `lines` rows that together are no longer than `bytes`. */
static enum status begin_rows(const char *name, struct rows *r, size_t lines, size_t bytes,
                              struct err *e)
{
    size_t join = r->joiner ? strlen(r->joiner) : 0;

    if (join && lines > (SIZE_MAX - bytes - 1) / join)
        return no_memory(name, e);
    r->room = bytes + lines * join;
    r->t->text = malloc(r->room + 1);
    r->t->doc = calloc(lines + 1, sizeof *r->t->doc);
    return r->t->text && r->t->doc ? OK : no_memory(name, e);
}

static size_t count_lines(const char *text, size_t bytes)
{
    size_t lines = 0;

    for (const char *p = text, *end = text + bytes; p < end; lines++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));

        p = newline ? newline + 1 : end;
    }
    return lines;
}

/* json.h gives U+0000 as C0 80, which valid UTF-8 never holds; here text may hold it. */
static size_t restore_nul(const char *text, char *out)
{
    size_t n = 0;

    for (; *text; text++) {
        if ((unsigned char)text[0] == 0xc0 && (unsigned char)text[1] == 0x80) {
            out[n++] = 0;
            text++;
        } else {
            out[n++] = *text;
        }
    }
    return n;
}

/* One line of JSONL. What a JSON string says is never longer than how it is written. */
static enum status add_json_row(const struct spec_data *data, size_t number, const char *line,
                                size_t bytes, char *buffer, struct rows *r, struct err *e)
{
    const cJSON *item;
    const char *text;
    enum status code;
    struct json *j;
    char name[1024];

    snprintf(name, sizeof name, "%.990s:%zu", data->path, number);
    TRY(json_parse(name, line, bytes, JSON_NUL | JSON_LINE, ERR_DATA, &j, e));
    item = json_member(json_root(j), data->text_column);
    if (!cJSON_IsObject(json_root(j)))
        code = json_fail(j, json_root(j), e, "want an object, {...}, in every line");
    else if (!item)
        code = json_fail(j, json_root(j), e,
                         "no \"%.64s\": want the text under this key (or another text_column)",
                         data->text_column);
    else
        code = json_string(j, item, data->text_column, &text, e);
    if (code == OK)
        add_row(r, buffer, restore_nul(text, buffer));
    json_close(j);
    return code;
}

static enum status add_json_rows(const struct spec_data *data, const char *text, size_t bytes,
                                 char *buffer, struct rows *r, struct err *e)
{
    const char *p = text, *end = text + bytes;

    for (size_t number = 1; p < end; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((newline ? newline : end) - p);

        if (!is_blank(p, n)) /* as the JSON reader of Hugging Face datasets */
            TRY(add_json_row(data, number, p, n, buffer, r, e));
        p = newline ? newline + 1 : end;
    }
    if (r->t->rows == 0)
        return fail(e, ERR_DATA, "%s: got no rows, want a JSON object a line", data->path);
    return OK;
}

static enum status read_jsonl(const struct spec_data *data, struct corpus_text *t, struct err *e)
{
    struct rows r = {.t = t, .joiner = data->score == SCORE_ROLLING ? NULL : data->joiner};
    char *text = NULL, *buffer = NULL;
    size_t bytes;
    enum status code = read_utf8(data->path, &text, &bytes, e);

    if (code == OK)
        code = begin_rows(data->path, &r, count_lines(text, bytes), bytes, e);
    if (code == OK && !(buffer = malloc(bytes + 1)))
        code = no_memory(data->path, e);
    if (code == OK)
        code = add_json_rows(data, text, bytes, buffer, &r, e);
    if (code == OK && r.joiner) {
        free(t->doc);
        code = one_document(data->path, t, e);
    }
    free(buffer);
    free(text);
    return code;
}

/* ---- WikiText-2 ------------------------------------------------------------------------------ */

/* The file itself, or the folder that holds it. */
static enum status find_wiki2(const char *data_dir, char *path, size_t size, struct err *e)
{
    const char *from = data_dir ? data_dir : getenv("NVFP4_PPL_DATA");
    struct stat st;
    int n;

    if (!from || !*from)
        return fail(e, ERR_NO_INPUT,
                    "dataset \"wiki2\": where is %s, the raw test split of WikiText-2? (name the "
                    "file or its folder with --data-dir or NVFP4_PPL_DATA)",
                    wiki2_file);
    if (stat(from, &st) == 0 && S_ISDIR(st.st_mode))
        n = snprintf(path, size, "%s/%s", from, wiki2_file);
    else
        n = snprintf(path, size, "%s", from);
    if (n < 0 || (size_t)n >= size)
        return fail(e, ERR_NO_INPUT, "%.200s...: the path is too long", from);
    if (stat(path, &st) != 0)
        return fail(e, ERR_NO_INPUT,
                    "dataset \"wiki2\": %.400s is not there (put the raw test split of WikiText-2 "
                    "there, or name the file or its folder with --data-dir or NVFP4_PPL_DATA)",
                    path);
    return OK;
}

/* Rows as Hugging Face datasets has them: a line with its newline; blank ones are empty. */
static void add_wiki_rows(const char *text, size_t bytes, struct rows *r)
{
    for (const char *p = text, *end = text + bytes; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((newline ? newline + 1 : end) - p);

        add_row(r, p, is_blank(p, n) ? 0 : n);
        p += n;
    }
}

static enum status read_wiki2(const char *data_dir, struct corpus_text *t, struct err *e)
{
    struct rows r = {.t = t, .joiner = "\n\n"};
    char path[4096], sha256[SHA256_HEX], *text = NULL;
    enum status code;
    size_t bytes;

    TRY(find_wiki2(data_dir, path, sizeof path, e));
    code = read_utf8(path, &text, &bytes, e);
    if (code == OK) {
        sha256_of(text, bytes, sha256);
        if (strcmp(sha256, wiki2_sha256) != 0)
            code = fail(e, ERR_DATA,
                        "%.400s: got SHA-256 %s, want %s (the raw test split of WikiText-2)", path,
                        sha256, wiki2_sha256);
    }
    if (code == OK)
        code = begin_rows(path, &r, count_lines(text, bytes), bytes, e);
    if (code == OK) {
        add_wiki_rows(text, bytes, &r);
        free(t->doc);
        code = one_document(path, t, e);
    }
    free(text);
    return code;
}

enum status corpus_text_read(const struct spec_data *data, const char *data_dir,
                             struct corpus_text *t, struct err *e)
{
    enum status code;

    *t = (struct corpus_text){0};
    CHECK(data->kind != CORPUS_TOKENS);
    if (data->kind == CORPUS_WIKI2)
        code = read_wiki2(data_dir, t, e);
    else
        code = data->kind == CORPUS_JSONL ? read_jsonl(data, t, e) : read_plain(data, t, e);
    if (code != OK)
        return code;
    for (int64_t d = 0; d < t->n_docs; d++)
        t->words += count_words(t->text + t->doc[d], t->doc[d + 1] - t->doc[d]);
    return OK;
}

void corpus_text_free(struct corpus_text *t)
{
    free(t->text);
    free(t->doc);
    *t = (struct corpus_text){0};
}
