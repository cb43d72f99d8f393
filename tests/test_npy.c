// links: spec loader
/* Proves that ids are read from what numpy.save writes for every type that is allowed, that what is
 * written is what numpy.save would write, byte for byte, and that wrong files are named. */
#include "loader/npy.h"

#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

static char folder[] = "/tmp/test_npy_XXXXXX";

/* A file of version `major` with this dict as its header, padded as NumPy does it, and values. */
static void write_npy(const char *path, int major, const char *dict, const void *data, size_t bytes)
{
    const size_t lead = major == 1 ? 10 : 12;
    const size_t header = (lead + strlen(dict) + 1 + 63) / 64 * 64 - lead;
    FILE *f = fopen(path, "wb");

    EXPECT(f != NULL);
    fwrite("\x93NUMPY", 1, 6, f);
    fputc(major, f);
    fputc(0, f);
    for (size_t i = 0; i < lead - 8; i++)
        fputc((int)(header >> (8 * i) & 255), f);
    fprintf(f, "%-*s\n", (int)header - 1, dict);
    fwrite(data, 1, bytes, f);
    EXPECT(fclose(f) == 0);
}

#define I4(shape) "{'descr': '<i4', 'fortran_order': False, 'shape': " shape ", }"

static void expect_ids(const int32_t *want, int64_t count)
{
    int32_t *ids;
    int64_t n;
    struct err e;

    if (npy_read_ids("a.npy", &ids, &n, &e) != OK) {
        printf("FAIL: %s\n", e.msg);
        exit(1);
    }
    EXPECT(n == count);
    for (int64_t i = 0; i < n; i++)
        EXPECT(ids[i] == want[i]);
    free(ids);
}

static void test_types(void)
{
    const int32_t i4[] = {0, 7, INT32_MAX};
    const int64_t i8[] = {0, 7, INT32_MAX};
    const uint16_t u2[] = {0, 7, 65535};
    const uint32_t u4[] = {0, 7, INT32_MAX};
    const int32_t of_u2[] = {0, 7, 65535};

    write_npy("a.npy", 1, I4("(3,)"), i4, sizeof i4);
    expect_ids(i4, 3);
    write_npy("a.npy", 1, I4("(1, 3)"), i4, sizeof i4);
    expect_ids(i4, 3);
    write_npy("a.npy", 1, I4("(0,)"), i4, 0);
    expect_ids(i4, 0);
    write_npy("a.npy", 1, "{'shape':(3,),'fortran_order':True,\"descr\":'<i8'}", i8, sizeof i8);
    expect_ids(i4, 3);
    write_npy("a.npy", 2, "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }", u2,
              sizeof u2);
    expect_ids(of_u2, 3);
    write_npy("a.npy", 3, "{'descr': '<u4', 'fortran_order': False, 'shape': (3,), }", u4,
              sizeof u4);
    expect_ids(i4, 3);
}

/* More than one chunk, through both directions. */
static void test_long(void)
{
    enum { N = 300001 };
    int32_t *ids = malloc(N * sizeof *ids), *back;
    int64_t n;
    struct err e;

    EXPECT(ids != NULL);
    for (int i = 0; i < N; i++)
        ids[i] = i * 7 % 128256;
    EXPECT(npy_write_ids("a.npy", ids, N, &e) == OK);
    EXPECT(access("a.npy.tmp", F_OK) != 0);
    EXPECT(npy_read_ids("a.npy", &back, &n, &e) == OK);
    EXPECT(n == N && memcmp(ids, back, N * sizeof *ids) == 0);
    free(back);
    free(ids);
}

static void expect_file(const char *want, size_t bytes)
{
    char got[512];
    FILE *f = fopen("a.npy", "rb");

    EXPECT(f != NULL && bytes < sizeof got);
    EXPECT(fread(got, 1, sizeof got, f) == bytes);
    EXPECT(memcmp(got, want, bytes) == 0);
    fclose(f);
}

/* numpy.save pads with spaces to 128 bytes here: 0x76 = 118 of header. */
static void test_bytes(void)
{
    const int32_t ids[] = {1, 2};
    const double value[2][3] = {{1, 2, 3}, {4, 5, NAN}};
    char want[512];
    struct err e;

    EXPECT(npy_write_ids("a.npy", ids, 2, &e) == OK);
    memcpy(want, "\x93NUMPY\x01\x00\x76\x00", 10);
    snprintf(want + 10, 119, "%-117s\n", I4("(2,)"));
    memcpy(want + 128, ids, sizeof ids);
    expect_file(want, 128 + sizeof ids);

    EXPECT(npy_write_f64("a.npy", &value[0][0], 2, 3, &e) == OK);
    snprintf(want + 10, 119, "%-117s\n",
             "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }");
    memcpy(want + 128, value, sizeof value);
    expect_file(want, 128 + sizeof value);
}

static void expect_wrong(enum status code, const char *message)
{
    int32_t *ids;
    int64_t n;
    struct err e;

    EXPECT(npy_read_ids("a.npy", &ids, &n, &e) == code);
    EXPECT_TEXT(e.msg, message);
    EXPECT(ids == NULL && n == 0);
}

static void test_wrong(void)
{
    static const struct {
        const char *dict, *message;
    } wrong[] = {
        {I4("(3,)"), "a.npy: got 8 bytes of values, want 3 ids of 4 bytes"},
        {I4("(1,)"), "a.npy: got 8 bytes of values, want 1 ids of 4 bytes"},
        {I4("(92233720368547758,)"),
         "a.npy: got 8 bytes of values, want 92233720368547758 ids of 4 bytes"},
        {I4("(99999999999999999999,)"), "a.npy: the header is not that of a NumPy file"},
        {I4("(2, 1)"), "a.npy: got another shape, want ids in one dimension"},
        {I4("()"), "a.npy: got another shape, want ids in one dimension"},
        {I4("(1, 1, 2)"), "a.npy: got another shape, want ids in one dimension"},
        {I4("(-2,)"), "a.npy: the header is not that of a NumPy file"},
        {I4("(2 2)"), "a.npy: the header is not that of a NumPy file"},
        {I4("(2,"), "a.npy: the header is not that of a NumPy file"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
         "a.npy: got values of type '<f4', want ids as int32, int64, uint16 or uint32"},
        {"{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }",
         "a.npy: got values of type '>i4', want ids as int32, int64, uint16 or uint32"},
        {"{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,), }",
         "a.npy: the header is not that of a NumPy file"},
        {"{'fortran_order': False, 'shape': (2,), }",
         "a.npy: the header is not that of a NumPy file"},
        {"{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (2,), }",
         "a.npy: the header is not that of a NumPy file"},
        {"{'descr': '<i4', 'fortran_order': Fals", "a.npy: the header is not that of a NumPy file"},
        {"", "a.npy: the header is not that of a NumPy file"},
    };
    const int32_t two[] = {1, 2}, minus[] = {1, -2};
    const int64_t large[] = {INT64_C(1) << 31};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_npy("a.npy", 1, wrong[i].dict, two, sizeof two);
        expect_wrong(ERR_DATA, wrong[i].message);
    }
    write_npy("a.npy", 1, I4("(2,)"), minus, sizeof minus);
    expect_wrong(ERR_DATA, "a.npy: id at position 1: got -2, want 0 to 2147483647");
    write_npy("a.npy", 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", large, 8);
    expect_wrong(ERR_DATA, "a.npy: id at position 0: got 2147483648, want 0 to 2147483647");
    write_npy("a.npy", 4, I4("(2,)"), two, sizeof two);
    expect_wrong(ERR_DATA, "a.npy: got .npy version 4, want 1 to 3");
    EXPECT(truncate("a.npy", 9) == 0);
    expect_wrong(ERR_DATA, "a.npy: the file ends at byte 9, want 1 more");
    write_npy("a.npy", 1, I4("(2,)"), two, sizeof two);
    EXPECT(truncate("a.npy", 60) == 0);
    expect_wrong(ERR_DATA, "a.npy: the file ends at byte 60, want 68 more");
    EXPECT(truncate("a.npy", 0) == 0 && truncate("a.npy", 20) == 0);
    expect_wrong(ERR_DATA, "a.npy: not a NumPy file (.npy)");
    unlink("a.npy");
    expect_wrong(ERR_NO_INPUT, "a.npy: cannot be opened: No such file or directory");
    EXPECT(mkdir("a.npy", 0700) == 0);
    expect_wrong(ERR_NO_INPUT, "a.npy: not a file");
}

/* What cannot be written leaves nothing behind. */
static void test_wrong_output(void)
{
    const int32_t ids[] = {1};
    struct err e;

    EXPECT(npy_write_ids("none/a.npy", ids, 1, &e) == ERR_OUTPUT);
    EXPECT_TEXT(e.msg, "none/a.npy: cannot be created: No such file or directory");
    EXPECT(npy_write_ids("a.npy", ids, 1, &e) == ERR_OUTPUT); /* a folder, from the test before */
    EXPECT_TEXT(e.msg, "a.npy: cannot be created: Is a directory");
    EXPECT(access("a.npy.tmp", F_OK) != 0);
}

int main(void)
{
    EXPECT(mkdtemp(folder) && chdir(folder) == 0);
    test_types();
    test_long();
    test_bytes();
    test_wrong();
    test_wrong_output();
    EXPECT(rmdir("a.npy") == 0 && rmdir(folder) == 0);
    return 0;
}
