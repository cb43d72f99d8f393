#include "loader/corpus.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "loader/checkpoint.h"
#include "loader/corpus_text.h"
#include "loader/ids.h"
#include "loader/npy.h"
#include "spec/sha256.h"

/* ---- frozen ids ------------------------------------------------------------------------------ */

static enum status tensor_ids(const char *path, const struct tensor *t, enum id_type *type,
                              int64_t *n, struct err *e)
{
    char text[128];

    switch (t->type) {
    case TENSOR_I32:
        *type = ID_I32;
        break;
    case TENSOR_I64:
        *type = ID_I64;
        break;
    case TENSOR_U16:
        *type = ID_U16;
        break;
    case TENSOR_U32:
        *type = ID_U32;
        break;
    default:
        return fail(e, ERR_DATA, "%s: '%.100s' is %s, want ids as I32, I64, U16 or U32", path,
                    t->name, tensor_describe(t, text, sizeof text));
    }
    if (t->rank != 1 && !(t->rank == 2 && t->dim[0] == 1))
        return fail(e, ERR_DATA, "%s: '%.100s' is %s, want ids in one dimension", path, t->name,
                    tensor_describe(t, text, sizeof text));
    *n = (int64_t)(t->bytes / id_bytes(*type));
    return OK;
}

static enum status read_tensor(const struct checkpoint *file, const char *path, struct corpus *c,
                               struct err *e)
{
    const struct tensor *t;
    enum id_type type = ID_I32;
    enum status code;
    int64_t n = 0;
    void *raw;

    if (checkpoint_tensors(file) != 1)
        return fail(e, ERR_DATA, "%s: got %d tensors, want one with the ids", path,
                    checkpoint_tensors(file));
    t = checkpoint_tensor(file, 0);
    TRY(tensor_ids(path, t, &type, &n, e));
    c->ids = malloc((size_t)n * sizeof *c->ids + 1);
    raw = malloc(t->bytes + 1);
    if (!c->ids || !raw) {
        free(raw);
        return fail(e, ERR_FIT, "%s: out of memory for %" PRId64 " ids", path, n);
    }
    code = checkpoint_read(file, t, 0, t->bytes, raw, e);
    if (code == OK)
        code = ids_convert(path, raw, type, 0, (size_t)n, c->ids, e);
    if (code == OK)
        c->n = n;
    free(raw);
    return code;
}

static enum status read_safetensors(const char *path, struct corpus *c, struct err *e)
{
    struct checkpoint *file;
    enum status code;

    TRY(checkpoint_open_file(path, &file, e));
    code = read_tensor(file, path, c, e);
    checkpoint_close(file);
    return code;
}

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static enum status read_frozen(const char *path, struct corpus *c, struct err *e)
{
    if (ends_with(path, ".npy"))
        TRY(npy_read_ids(path, &c->ids, &c->n, e));
    else if (ends_with(path, ".safetensors"))
        TRY(read_safetensors(path, c, e));
    else
        return fail(e, ERR_DATA, "%s: got another kind of file, want ids in .npy or .safetensors",
                    path);
    c->n_docs = 1;
    c->doc = calloc(2, sizeof *c->doc);
    if (!c->doc)
        return fail(e, ERR_FIT, "%s: out of memory", path);
    c->doc[1] = c->n;
    return OK;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Puts the ids of one document behind those of the others. */
static enum status add_ids(struct corpus *c, int64_t *room, const int32_t *ids, size_t n,
                           struct err *e)
{
    if ((int64_t)n > *room - c->n) {
        int64_t want = c->n + (int64_t)n;
        int32_t *more;

        if (want < *room * 2)
            want = *room * 2;
        more = realloc(c->ids, (size_t)want * sizeof *more);
        if (!more)
            return fail(e, ERR_FIT, "out of memory for %" PRId64 " ids", want);
        c->ids = more;
        *room = want;
    }
    if (n)
        memcpy(c->ids + c->n, ids, n * sizeof *ids);
    c->n += (int64_t)n;
    return OK;
}

static enum status encode_text(const struct spec_data *data, const struct tokenizer *t,
                               const struct corpus_text *text, struct corpus *c, struct err *e)
{
    int64_t room = 0;

    c->doc = calloc((size_t)text->n_docs + 1, sizeof *c->doc);
    if (!c->doc)
        return fail(e, ERR_FIT, "out of memory for %" PRId64 " documents", text->n_docs);
    for (int64_t d = 0; d < text->n_docs; d++) {
        enum status code;
        int32_t *ids;
        size_t n;

        TRY(tokenizer_encode(t, text->text + text->doc[d], text->doc[d + 1] - text->doc[d],
                             data->bos == BOS_AUTO, &ids, &n, e));
        code = add_ids(c, &room, ids, n, e);
        free(ids);
        if (code != OK)
            return code;
        c->doc[++c->n_docs] = c->n;
    }
    c->bytes = (int64_t)text->bytes;
    c->words = text->words;
    return OK;
}

static enum status read_text(const struct spec_data *data, const char *data_dir,
                             const struct tokenizer *t, struct corpus *c, struct err *e)
{
    struct corpus_text text;
    enum status code;

    CHECK(t != NULL);
    code = corpus_text_read(data, data_dir, &text, e);
    if (code == OK)
        code = encode_text(data, t, &text, c, e);
    corpus_text_free(&text);
    return code;
}

enum status corpus_read(const struct spec_data *data, const char *data_dir,
                        const struct tokenizer *t, struct corpus **out, struct err *e)
{
    struct corpus *c = calloc(1, sizeof *c);
    enum status code;

    *out = NULL;
    if (!c)
        return fail(e, ERR_FIT, "out of memory for the text");
    c->bos = t ? tokenizer_bos(t) : -1;
    c->vocab = t ? tokenizer_vocab(t) : 0;
    code = data->kind == CORPUS_TOKENS ? read_frozen(data->path, c, e)
                                       : read_text(data, data_dir, t, c, e);
    if (code != OK) {
        corpus_free(c);
        return code;
    }
    sha256_of(c->ids, (size_t)c->n * sizeof *c->ids, c->ids_sha256);
    *out = c;
    return OK;
}

void corpus_free(struct corpus *c)
{
    if (!c)
        return;
    free(c->ids);
    free(c->doc);
    free(c);
}
