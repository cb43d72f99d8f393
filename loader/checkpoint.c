#include "loader/checkpoint.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/safetensors.h"
#include "spec/file.h"
#include "spec/json.h"

enum { SHARDS_MAX = 4096, INDEX_BYTES_MAX = 100000000 };

struct checkpoint {
    struct safetensors *file; /* [n_files], by name */
    int n_files;
    struct tensor *tensor; /* [n_tensors], by name */
    int n_tensors;
    const char *name; /* what messages call the whole */
    char fingerprint[SHA256_HEX];
};

static const char one_file[] = "model.safetensors";
static const char index_file[] = "model.safetensors.index.json";

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

/* One table over all shards. The tensors move into it; their names stay with the shards. */
static enum status merge_files(struct checkpoint *c, struct err *e)
{
    size_t n = 0;

    for (int i = 0; i < c->n_files; i++)
        n += (size_t)c->file[i].n_tensors;
    if (n > INT_MAX)
        return fail(e, ERR_DATA, "%s: more than %d tensors", c->name, INT_MAX);
    c->tensor = calloc(n + 1, sizeof *c->tensor);
    if (!c->tensor)
        return fail(e, ERR_FIT, "%s: out of memory for %zu tensors", c->name, n);
    for (int i = 0; i < c->n_files; i++) {
        struct safetensors *f = &c->file[i];

        for (int k = 0; k < f->n_tensors; k++) {
            f->tensor[k].file = i;
            c->tensor[c->n_tensors++] = f->tensor[k];
        }
        free(f->tensor);
        f->tensor = NULL;
    }
    qsort(c->tensor, n, sizeof *c->tensor, by_name);
    for (int i = 1; i < c->n_tensors; i++) {
        const struct tensor *a = &c->tensor[i - 1], *b = &c->tensor[i];

        if (strcmp(a->name, b->name) == 0)
            return fail(e, ERR_DATA, "%s: '%s' stands in both %s and %s", c->name, a->name,
                        checkpoint_file(c, a->file), checkpoint_file(c, b->file));
    }
    return OK;
}

static void make_fingerprint(struct checkpoint *c)
{
    struct sha256 *sha = sha256_begin();

    for (int i = 0; i < c->n_files; i++) {
        const struct safetensors *f = &c->file[i];
        char size[24];

        snprintf(size, sizeof size, "%llu", (unsigned long long)f->bytes);
        sha256_add(sha, f->name, strlen(f->name) + 1);
        sha256_add(sha, size, strlen(size) + 1);
        sha256_add(sha, f->header_sha256, strlen(f->header_sha256));
    }
    sha256_end(sha, c->fingerprint);
}

static enum status open_files(struct checkpoint *c, const char *const *path, int n, struct err *e)
{
    c->file = calloc((size_t)n, sizeof *c->file);
    if (!c->file)
        return fail(e, ERR_FIT, "%s: out of memory", c->name);
    while (c->n_files < n) {
        int i = c->n_files++; /* counted first: close frees the one that failed, too */

        TRY(safetensors_open(path[i], &c->file[i], e));
    }
    TRY(merge_files(c, e));
    make_fingerprint(c);
    return OK;
}

/* The index: which shard holds which tensor. */
struct shards {
    const cJSON *map;  /* weight_map */
    const char **name; /* [n] sorted, each once; strings of the document */
    int n;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool shard_name_ok(const char *s)
{
    return *s && *s != '.' && !strchr(s, '/') && !strstr(s, "..");
}

static enum status list_shards(const struct json *j, struct shards *out, struct err *e)
{
    const cJSON *item, *map = json_member(json_root(j), "weight_map");
    size_t n = 0;

    if (!cJSON_IsObject(map) || !map->child)
        return fail(e, ERR_DATA, "%s: weight_map is missing or empty", index_file);
    out->map = map;
    out->name = calloc((size_t)cJSON_GetArraySize(map), sizeof *out->name);
    if (!out->name)
        return fail(e, ERR_FIT, "%s: out of memory", index_file);
    cJSON_ArrayForEach(item, map)
    {
        if (!cJSON_IsString(item))
            return json_fail(j, item, e, "'%s' names no file", item->string);
        if (!shard_name_ok(item->valuestring))
            return json_fail(j, item, e, "'%s' stands in '%s', which is no plain file name",
                             item->string, item->valuestring);
        out->name[n++] = item->valuestring;
    }
    qsort(out->name, n, sizeof *out->name, by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(out->name[out->n - 1], out->name[i]) != 0)
            out->name[out->n++] = out->name[i];
    if (out->n > SHARDS_MAX)
        return fail(e, ERR_DATA, "%s: %d shards, at most %d are read", index_file, out->n,
                    SHARDS_MAX);
    return OK;
}

/* Every tensor of the index stands where it says; those are marked in `listed`. */
static enum status check_listed(const struct checkpoint *c, const cJSON *map, bool *listed,
                                struct err *e)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, map)
    {
        const struct tensor *t = checkpoint_find(c, item->string);

        if (!t)
            return fail(e, ERR_DATA, "%s: '%s' is missing from %s", index_file, item->string,
                        item->valuestring);
        if (strcmp(checkpoint_file(c, t->file), item->valuestring) != 0)
            return fail(e, ERR_DATA, "%s: '%s' is said to stand in %s, but stands in %s",
                        index_file, item->string, item->valuestring, checkpoint_file(c, t->file));
        listed[t - c->tensor] = true;
    }
    return OK;
}

/* The index and the shards hold the same tensors. */
static enum status check_index(const struct checkpoint *c, const cJSON *map, struct err *e)
{
    bool *listed = calloc((size_t)c->n_tensors + 1, sizeof *listed);
    enum status s = listed ? check_listed(c, map, listed, e)
                           : fail(e, ERR_FIT, "%s: out of memory", index_file);

    for (int i = 0; i < c->n_tensors && s == OK; i++)
        if (!listed[i])
            s = fail(e, ERR_DATA, "%s: '%s' is not in %s", checkpoint_file(c, c->tensor[i].file),
                     c->tensor[i].name, index_file);
    free(listed);
    return s;
}

static enum status open_shards(struct checkpoint *c, const char *dir, const struct shards *s,
                               struct err *e)
{
    const char **path = calloc((size_t)s->n, sizeof *path);
    enum status status = path ? OK : fail(e, ERR_FIT, "%s: out of memory", index_file);

    for (int i = 0; i < s->n && status == OK; i++) {
        char *p;

        if (asprintf(&p, "%s/%s", dir, s->name[i]) < 0)
            status = fail(e, ERR_FIT, "%s: out of memory", index_file);
        else
            path[i] = p;
    }
    if (status == OK)
        status = open_files(c, path, s->n, e);
    if (status == OK)
        status = check_index(c, s->map, e);
    for (int i = 0; path && i < s->n; i++)
        free((char *)path[i]);
    free(path);
    return status;
}

static enum status open_index(struct checkpoint *c, const char *dir, const char *path,
                              struct err *e)
{
    struct json *j = NULL;
    struct shards shards = {0};
    char *text;
    size_t bytes;
    enum status s = file_read_whole(path, INDEX_BYTES_MAX, ERR_DATA, &text, &bytes, e);

    if (s != OK)
        return s;
    s = json_parse(index_file, text, bytes, JSON_STRICT, ERR_DATA, &j, e);
    free(text);
    if (s == OK)
        s = list_shards(j, &shards, e);
    if (s == OK)
        s = open_shards(c, dir, &shards, e);
    free(shards.name);
    json_close(j);
    return s;
}

/* As Hugging Face: the single file first, then the index. */
static enum status open_dir(struct checkpoint *c, const char *dir, struct err *e)
{
    char path[PATH_MAX];
    const char *one = path;

    if (snprintf(path, sizeof path, "%s/%s", dir, index_file) >= (int)sizeof path)
        return fail(e, ERR_NO_INPUT, "%.100s...: the path is too long", dir);
    if (access(dir, F_OK) != 0)
        return fail(e, ERR_NO_INPUT, "%s: %s", dir, strerror(errno));
    snprintf(path, sizeof path, "%s/%s", dir, one_file);
    if (access(path, F_OK) == 0) {
        c->name = one_file;
        return open_files(c, &one, 1, e);
    }
    snprintf(path, sizeof path, "%s/%s", dir, index_file);
    if (access(path, F_OK) == 0) {
        c->name = index_file;
        return open_index(c, dir, path, e);
    }
    return fail(e, ERR_NO_INPUT, "%s: holds neither %s nor %s", dir, one_file, index_file);
}

enum status checkpoint_open(const char *dir, struct checkpoint **out, struct err *e)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    enum status s = c ? open_dir(c, dir, e) : fail(e, ERR_FIT, "%s: out of memory", dir);

    if (s != OK) {
        checkpoint_close(c);
        c = NULL;
    }
    *out = c;
    return s;
}

enum status checkpoint_open_file(const char *path, struct checkpoint **out, struct err *e)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    enum status s = c ? OK : fail(e, ERR_FIT, "%s: out of memory", path);

    if (s == OK) {
        c->name = "the file";
        s = open_files(c, &path, 1, e);
    }
    if (s == OK)
        c->name = c->file[0].name;
    if (s != OK) {
        checkpoint_close(c);
        c = NULL;
    }
    *out = c;
    return s;
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n_files; i++)
        safetensors_close(&c->file[i]);
    free(c->file);
    free(c->tensor);
    free(c);
}

const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
    struct tensor key = {.name = name};

    return bsearch(&key, c->tensor, (size_t)c->n_tensors, sizeof *c->tensor, by_name);
}

int checkpoint_tensors(const struct checkpoint *c)
{
    return c->n_tensors;
}

const struct tensor *checkpoint_tensor(const struct checkpoint *c, int i)
{
    CHECK(i >= 0 && i < c->n_tensors);
    return &c->tensor[i];
}

const char *checkpoint_file(const struct checkpoint *c, int file)
{
    CHECK(file >= 0 && file < c->n_files);
    return c->file[file].name;
}

const char *checkpoint_name(const struct checkpoint *c)
{
    return c->name;
}

struct file_span checkpoint_span(const struct checkpoint *c, const struct tensor *t, uint64_t at,
                                 uint64_t bytes, void *dst)
{
    CHECK(at <= t->bytes && bytes <= t->bytes - at);
    return safetensors_span(&c->file[t->file], t->name, t->offset + at, bytes, dst);
}

enum status checkpoint_read(const struct checkpoint *c, const struct tensor *t, uint64_t at,
                            uint64_t bytes, void *dst, struct err *e)
{
    struct file_span span = checkpoint_span(c, t, at, bytes, dst);

    return file_span_read(&span, e);
}

void checkpoint_open_direct(struct checkpoint *c)
{
    for (int i = 0; i < c->n_files; i++)
        if (c->file[i].direct.fd < 0)
            file_direct_open(c->file[i].fd, &c->file[i].direct);
}

uint64_t checkpoint_bytes(const struct checkpoint *c)
{
    uint64_t sum = 0;

    for (int i = 0; i < c->n_files; i++)
        sum += c->file[i].bytes;
    return sum;
}

enum status checkpoint_unchanged(const struct checkpoint *c, struct err *e)
{
    for (int i = 0; i < c->n_files; i++) {
        const struct safetensors *f = &c->file[i];
        struct stat st;

        if (fstat(f->fd, &st) != 0)
            return fail(e, ERR_IO, "%s: %s", f->name, strerror(errno));
        if ((uint64_t)st.st_size != f->bytes || st.st_mtim.tv_sec != f->mtime.tv_sec ||
            st.st_mtim.tv_nsec != f->mtime.tv_nsec)
            return fail(e, ERR_IO, "%s: was changed while in use", f->name);
    }
    return OK;
}

const char *checkpoint_fingerprint(const struct checkpoint *c)
{
    return c->fingerprint;
}

/* Sign, exponent and mantissa of an F16 into those of an F32; a subnormal is mantissa * 2^-24. */
static uint32_t widen_f16(uint32_t h)
{
    uint32_t sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, bits;
    float subnormal = (float)mantissa * 0x1p-24f;

    if (exponent == 31)
        return sign | 0x7f800000 | mantissa << 13;
    if (exponent)
        return sign | (exponent + 112) << 23 | mantissa << 13;
    memcpy(&bits, &subnormal, sizeof bits);
    return sign | bits;
}

float tensor_float(enum tensor_type type, const void *element)
{
    uint16_t half;
    uint32_t bits;
    float v;

    CHECK(type == TENSOR_BF16 || type == TENSOR_F16 || type == TENSOR_F32);
    if (type == TENSOR_F32) {
        memcpy(&bits, element, sizeof bits);
    } else {
        memcpy(&half, element, sizeof half);
        bits = type == TENSOR_F16 ? widen_f16(half) : (uint32_t)half << 16;
    }
    memcpy(&v, &bits, sizeof v);
    return v;
}

const char *tensor_describe(const struct tensor *t, char *out, int size)
{
    int n = snprintf(out, (size_t)size, "%s [", t->type_name);

    for (int i = 0; i < t->rank && n < size; i++)
        n += snprintf(out + n, (size_t)(size - n), "%s%llu", i ? ", " : "",
                      (unsigned long long)t->dim[i]);
    if (n < size)
        snprintf(out + n, (size_t)(size - n), "]");
    return out;
}
