#include "loader/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spec/json.h"

static const struct {
    const char *name;
    enum tensor_type type;
    int bits;
} types[] = {
    {"BOOL", TENSOR_BOOL, 8},
    {"U8", TENSOR_U8, 8},
    {"I8", TENSOR_I8, 8},
    {"F8_E4M3", TENSOR_F8_E4M3, 8},
    {"F8_E5M2", TENSOR_F8_E5M2, 8},
    {"U16", TENSOR_U16, 16},
    {"I16", TENSOR_I16, 16},
    {"F16", TENSOR_F16, 16},
    {"BF16", TENSOR_BF16, 16},
    {"U32", TENSOR_U32, 32},
    {"I32", TENSOR_I32, 32},
    {"F32", TENSOR_F32, 32},
    {"U64", TENSOR_U64, 64},
    {"I64", TENSOR_I64, 64},
    {"F64", TENSOR_F64, 64},
    {"F4", TENSOR_OTHER, 4},
    {"F6_E2M3", TENSOR_OTHER, 6},
    {"F6_E3M2", TENSOR_OTHER, 6},
    {"F8_E8M0", TENSOR_OTHER, 8},
    {"F8_E4M3FNUZ", TENSOR_OTHER, 8},
    {"F8_E5M2FNUZ", TENSOR_OTHER, 8},
    {"C64", TENSOR_OTHER, 64},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

/* A JSON number as a size: no fraction, no sign, exact in the double it was parsed to. */
static bool to_size(const cJSON *item, uint64_t *out)
{
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1;

    if (!(v >= 0 && v <= 9007199254740992.0) || v != (double)(uint64_t)v)
        return false;
    *out = (uint64_t)v;
    return true;
}

static enum status read_shape(const struct safetensors *f, const cJSON *shape, struct tensor *t,
                              struct err *e)
{
    const cJSON *d;

    if (!cJSON_IsArray(shape))
        return fail(e, ERR_DATA, "%s: '%s': shape is missing or no array", f->name, t->name);
    cJSON_ArrayForEach(d, shape)
    {
        if (t->rank == TENSOR_RANK_MAX)
            return fail(e, ERR_DATA, "%s: '%s': more than %d dimensions", f->name, t->name,
                        TENSOR_RANK_MAX);
        if (!to_size(d, &t->dim[t->rank++]))
            return fail(e, ERR_DATA, "%s: '%s': shape holds something that is no size", f->name,
                        t->name);
    }
    return OK;
}

/* Bytes that dtype and shape ask for; types of 4 or 6 bits must end on a byte. */
static enum status shape_bytes(const struct safetensors *f, const struct tensor *t, int bits,
                               uint64_t *bytes, struct err *e)
{
    uint64_t n = (uint64_t)bits;

    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(n, t->dim[i], &n))
            return fail(e, ERR_DATA, "%s: '%s': shape overflows 64 bits", f->name, t->name);
    if (n % 8)
        return fail(e, ERR_DATA, "%s: '%s': %s elements do not fill whole bytes", f->name, t->name,
                    t->type_name);
    *bytes = n / 8;
    return OK;
}

static enum status read_offsets(const struct safetensors *f, const cJSON *pair, uint64_t data_bytes,
                                struct tensor *t, struct err *e)
{
    uint64_t begin, end;

    if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !to_size(pair->child, &begin) ||
        !to_size(pair->child->next, &end))
        return fail(e, ERR_DATA, "%s: '%s': data_offsets is no pair of sizes", f->name, t->name);
    if (begin > end)
        return fail(e, ERR_DATA, "%s: '%s': data_offsets [%llu, %llu] run backwards", f->name,
                    t->name, (unsigned long long)begin, (unsigned long long)end);
    if (end > data_bytes)
        return fail(e, ERR_DATA,
                    "%s: '%s': data_offsets end at %llu, the file holds %llu bytes of data "
                    "(truncated download?)",
                    f->name, t->name, (unsigned long long)end, (unsigned long long)data_bytes);
    t->offset = begin;
    t->bytes = end - begin;
    return OK;
}

static enum status read_tensor(const struct safetensors *f, const cJSON *item, uint64_t data_bytes,
                               struct tensor *t, struct err *e)
{
    const cJSON *dtype = json_member(item, "dtype");
    uint64_t want = 0;
    int k = 0;

    if (!cJSON_IsObject(item))
        return fail(e, ERR_DATA, "%s: '%s' is described by no object", f->name, t->name);
    if (!cJSON_IsString(dtype))
        return fail(e, ERR_DATA, "%s: '%s': dtype is missing or no string", f->name, t->name);
    while (k < N_TYPES && strcmp(types[k].name, dtype->valuestring) != 0)
        k++;
    if (k == N_TYPES)
        return fail(e, ERR_DATA, "%s: '%s': dtype '%s' is not known", f->name, t->name,
                    dtype->valuestring);
    t->type = types[k].type;
    t->type_name = types[k].name;
    TRY(read_shape(f, json_member(item, "shape"), t, e));
    TRY(shape_bytes(f, t, types[k].bits, &want, e));
    TRY(read_offsets(f, json_member(item, "data_offsets"), data_bytes, t, e));
    if (t->bytes != want) {
        char shape[256];

        return fail(e, ERR_DATA, "%s: '%s' is %s = %llu bytes, data_offsets hold %llu", f->name,
                    t->name, tensor_describe(t, shape, sizeof shape), (unsigned long long)want,
                    (unsigned long long)t->bytes);
    }
    return OK;
}

static enum status check_metadata(const struct safetensors *f, const cJSON *metadata, struct err *e)
{
    const cJSON *item;

    if (!cJSON_IsObject(metadata))
        return fail(e, ERR_DATA, "%s: __metadata__ is no object", f->name);
    cJSON_ArrayForEach(item, metadata) if (!cJSON_IsString(item)) return fail(
        e, ERR_DATA, "%s: __metadata__: '%s' is no string", f->name, item->string);
    return OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) /* an empty tensor stands before the one that starts there */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The data from 0 to the end of the file, without hole or overlap. */
static enum status check_tiling(const struct safetensors *f, uint64_t data_bytes, struct err *e)
{
    uint64_t at = 0;

    for (int i = 0; i < f->n_tensors; i++) {
        const struct tensor *t = &f->tensor[i];

        if (t->offset < at)
            return fail(e, ERR_DATA, "%s: '%s' overlaps '%s'", f->name, t->name,
                        f->tensor[i - 1].name);
        if (t->offset > at)
            return fail(e, ERR_DATA, "%s: %llu bytes before '%s' belong to no tensor", f->name,
                        (unsigned long long)(t->offset - at), t->name);
        at = t->offset + t->bytes;
    }
    if (at != data_bytes)
        return fail(e, ERR_DATA, "%s: %llu bytes after the last tensor", f->name,
                    (unsigned long long)(data_bytes - at));
    return OK;
}

/* Allocates the tensors and one block for their names, and copies these. */
static enum status take_names(struct safetensors *f, const cJSON *root, struct err *e)
{
    const cJSON *item;
    size_t bytes = 1;
    int n = 0;
    char *at;

    cJSON_ArrayForEach(item, root)
    {
        n++;
        bytes += strlen(item->string) + 1;
    }
    f->tensor = calloc((size_t)n + 1, sizeof *f->tensor);
    f->names = at = malloc(bytes);
    if (!f->tensor || !f->names)
        return fail(e, ERR_FIT, "%s: out of memory for %d tensors", f->name, n);
    cJSON_ArrayForEach(item, root)
    {
        size_t length = strlen(item->string) + 1;

        if (strcmp(item->string, "__metadata__") == 0)
            continue;
        f->tensor[f->n_tensors++].name = memcpy(at, item->string, length);
        at += length;
    }
    return OK;
}

static enum status read_root(struct safetensors *f, const cJSON *root, uint64_t data_bytes,
                             struct err *e)
{
    const cJSON *item;
    int i = 0;

    if (!cJSON_IsObject(root))
        return fail(e, ERR_DATA, "%s: the header is no JSON object", f->name);
    TRY(take_names(f, root, e));
    cJSON_ArrayForEach(item, root)
    {
        if (strcmp(item->string, "__metadata__") == 0)
            TRY(check_metadata(f, item, e));
        else
            TRY(read_tensor(f, item, data_bytes, &f->tensor[i++], e));
    }
    qsort(f->tensor, (size_t)f->n_tensors, sizeof *f->tensor, by_offset);
    return check_tiling(f, data_bytes, e);
}

enum status safetensors_parse(const char *text, uint64_t text_bytes, uint64_t data_bytes,
                              struct safetensors *f, struct err *e)
{
    struct json *json = NULL;
    enum status s = json_parse(f->name, text, text_bytes, JSON_STRICT, ERR_DATA, &json, e);

    if (s == OK)
        s = read_root(f, json_root(json), data_bytes, e);
    json_close(json);
    if (s == OK) {
        sha256_of(text, text_bytes, f->header_sha256);
        for (int i = 0; i < f->n_tensors; i++)
            f->tensor[i].offset += 8 + text_bytes;
    }
    return s;
}

struct file_span safetensors_span(const struct safetensors *f, const char *what, uint64_t offset,
                                  uint64_t bytes, void *dst)
{
    return (struct file_span){.file = f->name,
                              .what = what,
                              .fd = f->fd,
                              .direct = &f->direct,
                              .at = offset,
                              .bytes = bytes,
                              .to = dst};
}

static enum status read_now(const struct safetensors *f, const char *what, uint64_t offset,
                            uint64_t bytes, void *dst, struct err *e)
{
    struct file_span span = safetensors_span(f, what, offset, bytes, dst);

    return file_span_read(&span, e);
}

static enum status open_file(const char *path, struct safetensors *f, struct err *e)
{
    const char *slash = strrchr(path, '/');
    struct stat st;

    f->name = strdup(slash ? slash + 1 : path);
    if (!f->name)
        return fail(e, ERR_FIT, "%s: out of memory", path);
    /* not to hang on a FIFO: O_NONBLOCK means nothing for a regular file */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0)
        return fail(e,
                    errno == EMFILE || errno == ENFILE || errno == ENOMEM ? ERR_FIT : ERR_NO_INPUT,
                    "%s: %s", path, strerror(errno));
    if (fstat(f->fd, &st) != 0)
        return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(e, ERR_NO_INPUT, "%s: not a regular file", path);
    (void)!fcntl(f->fd, F_SETFL, 0); /* io_uring would not wait for a read */
    f->bytes = (uint64_t)st.st_size;
    f->mtime = st.st_mtim;
    return OK;
}

static enum status read_header(struct safetensors *f, struct err *e)
{
    unsigned char raw[8];
    uint64_t n = 0;
    char *text;
    enum status s;

    if (f->bytes < sizeof raw)
        return fail(e, ERR_DATA, "%s: %llu bytes are too few for a safetensors file", f->name,
                    (unsigned long long)f->bytes);
    TRY(read_now(f, "header length", 0, sizeof raw, raw, e));
    for (int i = 7; i >= 0; i--)
        n = n << 8 | raw[i];
    if (n > SAFETENSORS_HEADER_MAX)
        return fail(e, ERR_DATA,
                    "%s: header of %llu bytes, at most %d are allowed "
                    "(is it a safetensors file?)",
                    f->name, (unsigned long long)n, SAFETENSORS_HEADER_MAX);
    if (n > f->bytes - sizeof raw)
        return fail(e, ERR_DATA, "%s: header of %llu bytes in a file of %llu (truncated download?)",
                    f->name, (unsigned long long)n, (unsigned long long)f->bytes);
    text = malloc(n + 1);
    if (!text)
        return fail(e, ERR_FIT, "%s: out of memory for its header", f->name);
    s = read_now(f, "header", sizeof raw, n, text, e);
    if (s == OK)
        s = safetensors_parse(text, n, f->bytes - sizeof raw - n, f, e);
    free(text);
    return s;
}

enum status safetensors_open(const char *path, struct safetensors *f, struct err *e)
{
    *f = (struct safetensors){.fd = -1, .direct.fd = -1};
    TRY(open_file(path, f, e));
    return read_header(f, e);
}

void safetensors_close(struct safetensors *f)
{
    file_direct_close(&f->direct);
    if (f->fd >= 0)
        close(f->fd);
    free(f->name);
    free(f->names);
    free(f->tensor);
    *f = (struct safetensors){.fd = -1, .direct.fd = -1};
}
