#include "loader/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/ids.h"
#include "spec/file.h"
#include "spec/outfile.h"

/* A file is: "\x93NUMPY", major and minor version, length of the header (2 bytes, from version 2 on
 * 4), the header - a Python dict - and the values. */
enum { MAGIC = 6, HEADER_MAX = 65536, CHUNK_IDS = 1 << 17 };
static const char magic[MAGIC] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

struct npy {
    enum id_type type;
    int64_t n;
    int64_t data; /* offset of the values */
};

/* ---- the header ------------------------------------------------------------------------------ */

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t\n");
}

/* A quoted word into `out`; NULL when there is none or it is too long. */
static const char *read_word(const char *p, char *out, size_t size)
{
    const char quote = *p;
    const char *end;

    if (quote != '\'' && quote != '"')
        return NULL;
    end = strchr(p + 1, quote);
    if (!end || (size_t)(end - p - 1) >= size)
        return NULL;
    memcpy(out, p + 1, (size_t)(end - p - 1));
    out[end - p - 1] = 0;
    return end + 1;
}

/* "(7,)" or "(1, 7)": the number of values of a vector or a row; -1 for another shape. */
static const char *read_shape(const char *p, int64_t *n)
{
    int64_t dim[2] = {0, 0};
    int rank = 0;

    if (*p != '(')
        return NULL;
    for (p = skip_blanks(p + 1); *p != ')'; p = skip_blanks(p)) {
        int64_t v = 0;

        if (*p < '0' || *p > '9')
            return NULL;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (v > INT64_MAX / 100)
                return NULL;
            v = v * 10 + (*p - '0');
        }
        if (rank < 2)
            dim[rank] = v;
        rank++;
        p = skip_blanks(p);
        if (*p == ',')
            p++;
        else if (*p != ')')
            return NULL;
    }
    *n = rank == 1 ? dim[0] : rank == 2 && dim[0] == 1 ? dim[1] : -1;
    return p + 1;
}

/* {'descr': '<i4', 'fortran_order': False, 'shape': (7,), }, keys in any order. The order of a
 * vector's values is the same in C and in Fortran. False when it is no such dict. */
static bool read_header(const char *text, char *descr, size_t size, int64_t *n)
{
    bool has_descr = false, has_shape = false;
    const char *p = skip_blanks(text);
    char key[32];

    if (*p != '{')
        return false;
    for (p = skip_blanks(p + 1); *p != '}'; p = skip_blanks(p)) {
        p = read_word(p, key, sizeof key);
        if (!p || *(p = skip_blanks(p)) != ':')
            return false;
        p = skip_blanks(p + 1);
        if (strcmp(key, "descr") == 0 && !has_descr) {
            has_descr = true;
            p = read_word(p, descr, size);
        } else if (strcmp(key, "shape") == 0 && !has_shape) {
            has_shape = true;
            p = read_shape(p, n);
        } else if (strcmp(key, "fortran_order") == 0) {
            p = strncmp(p, "True", 4) == 0 ? p + 4 : strncmp(p, "False", 5) == 0 ? p + 5 : NULL;
        } else {
            return false;
        }
        if (!p)
            return false;
        p = skip_blanks(p);
        if (*p == ',')
            p++;
        else if (*p != '}')
            return false;
    }
    return has_descr && has_shape;
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum status read_exactly(int fd, const char *path, int64_t at, void *data, size_t bytes,
                                struct err *e)
{
    int error;
    size_t got = file_pread(fd, data, bytes, (uint64_t)at, &error);

    if (error)
        return fail(e, ERR_IO, "%s: cannot be read: %s", path, strerror(error));
    if (got < bytes)
        return fail(e, ERR_DATA, "%s: the file ends at byte %" PRId64 ", want %zu more", path,
                    at + (int64_t)got, bytes - got);
    return OK;
}

static enum status read_type(const char *path, const char *descr, enum id_type *t, struct err *e)
{
    static const char *const name[] = {
        [ID_I32] = "<i4", [ID_I64] = "<i8", [ID_U16] = "<u2", [ID_U32] = "<u4"};

    for (unsigned i = 0; i < sizeof name / sizeof *name; i++) {
        if (strcmp(descr, name[i]) == 0) {
            *t = (enum id_type)i;
            return OK;
        }
    }
    return fail(e, ERR_DATA,
                "%s: got values of type '%s', want ids as int32, int64, uint16 or uint32", path,
                descr);
}

static enum status open_header(int fd, const char *path, struct npy *npy, struct err *e)
{
    unsigned char head[MAGIC + 6];
    char text[HEADER_MAX + 1], descr[64];
    uint32_t bytes;
    size_t lead;

    TRY(read_exactly(fd, path, 0, head, MAGIC + 4, e));
    if (memcmp(head, magic, MAGIC) != 0)
        return fail(e, ERR_DATA, "%s: not a NumPy file (.npy)", path);
    if (head[6] < 1 || head[6] > 3)
        return fail(e, ERR_DATA, "%s: got .npy version %d, want 1 to 3", path, head[6]);
    lead = head[6] == 1 ? MAGIC + 4 : MAGIC + 6;
    TRY(read_exactly(fd, path, 0, head, lead, e));
    bytes = head[8] | (uint32_t)head[9] << 8;
    if (head[6] > 1)
        bytes |= (uint32_t)head[10] << 16 | (uint32_t)head[11] << 24;
    if (bytes > HEADER_MAX)
        return fail(e, ERR_DATA, "%s: got a header of %" PRIu32 " bytes, want at most %d", path,
                    bytes, HEADER_MAX);
    TRY(read_exactly(fd, path, (int64_t)lead, text, bytes, e));
    text[bytes] = 0;
    npy->data = (int64_t)(lead + bytes);
    if (!read_header(text, descr, sizeof descr, &npy->n))
        return fail(e, ERR_DATA, "%s: the header is not that of a NumPy file", path);
    if (npy->n < 0)
        return fail(e, ERR_DATA, "%s: got another shape, want ids in one dimension", path);
    return read_type(path, descr, &npy->type, e);
}

static enum status read_values(int fd, const char *path, const struct npy *npy, int32_t *ids,
                               struct err *e)
{
    const size_t size = id_bytes(npy->type);
    void *chunk = malloc(CHUNK_IDS * size);
    enum status code = OK;

    if (!chunk)
        return fail(e, ERR_FIT, "%s: out of memory", path);
    for (int64_t i = 0; i < npy->n && code == OK; i += CHUNK_IDS) {
        size_t now = npy->n - i < CHUNK_IDS ? (size_t)(npy->n - i) : CHUNK_IDS;

        code = read_exactly(fd, path, npy->data + i * (int64_t)size, chunk, now * size, e);
        if (code == OK)
            code = ids_convert(path, chunk, npy->type, i, now, ids + i, e);
    }
    free(chunk);
    return code;
}

static enum status read_ids(int fd, const char *path, int32_t **ids, int64_t *n, struct err *e)
{
    struct npy npy;
    struct stat st;
    int64_t room;

    if (fstat(fd, &st) != 0)
        return fail(e, ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(e, ERR_NO_INPUT, "%s: not a file", path);
    TRY(open_header(fd, path, &npy, e));
    room = (st.st_size - npy.data) / (int64_t)id_bytes(npy.type);
    if (npy.n != room || (st.st_size - npy.data) % (int64_t)id_bytes(npy.type) != 0)
        return fail(e, ERR_DATA,
                    "%s: got %" PRId64 " bytes of values, want %" PRId64 " ids of %zu bytes", path,
                    (int64_t)st.st_size - npy.data, npy.n, id_bytes(npy.type));
    *ids = malloc((size_t)npy.n * sizeof **ids + 1); /* + 1: no ids are not out of memory */
    if (!*ids)
        return fail(e, ERR_FIT, "%s: out of memory for %" PRId64 " ids", path, npy.n);
    *n = npy.n;
    return read_values(fd, path, &npy, *ids, e);
}

enum status npy_read_ids(const char *path, int32_t **ids, int64_t *n, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum status code;

    *ids = NULL;
    *n = 0;
    if (fd < 0)
        return fail(e, ERR_NO_INPUT, "%s: cannot be opened: %s", path, strerror(errno));
    code = read_ids(fd, path, ids, n, e);
    close(fd);
    if (code != OK) {
        free(*ids);
        *ids = NULL;
        *n = 0;
    }
    return code;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Header of version 1.0, padded so that the values start at a multiple of 64 bytes. */
static size_t make_header(char out[256], const char *descr, const char *shape)
{
    int n = snprintf(out + MAGIC + 4, 256 - MAGIC - 4,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    size_t bytes = MAGIC + 4 + (size_t)n, padded = (bytes + 1 + 63) / 64 * 64;
    size_t header = padded - MAGIC - 4;

    CHECK(n > 0 && padded <= 256);
    memcpy(out, magic, MAGIC);
    out[MAGIC] = 1;
    out[MAGIC + 1] = 0;
    out[MAGIC + 2] = (char)(header & 255);
    out[MAGIC + 3] = (char)(header >> 8);
    memset(out + bytes, ' ', padded - bytes);
    out[padded - 1] = '\n';
    return padded;
}

static enum status write_file(const char *path, const char *descr, const char *shape,
                              const void *data, size_t bytes, struct err *e)
{
    char header[256];
    size_t header_bytes = make_header(header, descr, shape);
    struct outfile out;

    TRY(outfile_open(path, &out, e));
    fwrite(header, 1, header_bytes, out.f);
    fwrite(data, 1, bytes, out.f);
    return outfile_close(&out, e);
}

enum status npy_write_ids(const char *path, const int32_t *ids, int64_t n, struct err *e)
{
    char shape[32];

    snprintf(shape, sizeof shape, "%" PRId64 ",", n);
    return write_file(path, "<i4", shape, ids, (size_t)n * sizeof *ids, e);
}

enum status npy_write_f64(const char *path, const double *value, int64_t rows, int64_t cols,
                          struct err *e)
{
    char shape[64];

    snprintf(shape, sizeof shape, "%" PRId64 ", %" PRId64, rows, cols);
    return write_file(path, "<f8", shape, value, (size_t)rows * (size_t)cols * sizeof *value, e);
}
