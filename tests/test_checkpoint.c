// links: loader spec
// timeout: 60
/* What a good checkpoint holds is what is read back: names, shapes, bytes, over one file and over
 * shards; odd but legal headers are read; a large one opens fast; the fingerprint tells files
 * apart. */
#include "folder.h"
#include "loader/checkpoint.h"
#include "spec/clock.h"

static struct checkpoint *open_ok(void)
{
    struct checkpoint *c;
    struct err e;

    if (checkpoint_open(folder, &c, &e) != OK) {
        printf("FAIL: %s\n", e.msg);
        exit(1);
    }
    return c;
}

/* Bytes 0, 1, 2, ... as data, so that a wrong offset shows in the value. */
static void write_counting(const char *name, const char *header, int data_bytes)
{
    size_t n = strlen(header);
    uint8_t file[1024] = {(uint8_t)n, (uint8_t)(n >> 8)};

    EXPECT(8 + n + (size_t)data_bytes <= sizeof file);
    memcpy(file + 8, header, n);
    for (int i = 0; i < data_bytes; i++)
        file[8 + n + (size_t)i] = (uint8_t)i;
    folder_write(name, file, 8 + n + (size_t)data_bytes);
}

/* Any order of entries, white space, metadata, a scalar, an empty tensor, a type of no use here. */
static void test_one_file(void)
{
    const struct tensor *t;
    struct checkpoint *c;
    struct err e;
    uint8_t data[8];
    char text[64];

    write_counting("model.safetensors",
                   " {\"z\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},\n"
                   "\"__metadata__\":{\"format\":\"pt\"},"
                   "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[4,4]},"
                   "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                   "\"f4\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[16,18]}}   ",
                   18);
    c = open_ok();
    EXPECT(checkpoint_tensors(c) == 4);
    EXPECT_TEXT(checkpoint_tensor(c, 0)->name, "a");
    EXPECT_TEXT(checkpoint_tensor(c, 3)->name, "z");
    EXPECT(!checkpoint_find(c, "__metadata__") && !checkpoint_find(c, ""));
    EXPECT_TEXT(checkpoint_name(c), "model.safetensors");
    t = checkpoint_find(c, "z");
    EXPECT(t && t->type == TENSOR_BF16 && t->rank == 2 && t->dim[0] == 2 && t->dim[1] == 3);
    EXPECT(t->bytes == 12 && t->file == 0);
    EXPECT_TEXT(tensor_describe(t, text, sizeof text), "BF16 [2, 3]");
    EXPECT_TEXT(tensor_describe(t, text, 8), "BF16 [2"); /* cut, never written beyond */
    EXPECT(checkpoint_read(c, t, 2, 8, data, &e) == OK);
    for (int i = 0; i < 8; i++)
        EXPECT(data[i] == 4 + 2 + i);
    t = checkpoint_find(c, "a");
    EXPECT(t->rank == 0 && t->bytes == 4);
    EXPECT_TEXT(tensor_describe(t, text, sizeof text), "F32 []");
    t = checkpoint_find(c, "empty");
    EXPECT(t->bytes == 0 && checkpoint_read(c, t, 0, 0, data, &e) == OK);
    EXPECT(checkpoint_find(c, "f4")->type == TENSOR_OTHER);
    EXPECT(checkpoint_unchanged(c, &e) == OK);
    checkpoint_close(c);
    folder_clear();
}

static void test_shards(void)
{
    static const char index[] = "{\"metadata\":{\"total_size\":1},\"weight_map\":{"
                                "\"b\":\"2.safetensors\",\"a\":\"1.safetensors\"}}";
    char first[65];
    const struct tensor *t;
    struct checkpoint *c;
    struct err e;
    uint8_t byte;

    write_counting("1.safetensors",
                   "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    write_counting("2.safetensors",
                   "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    folder_write("model.safetensors.index.json", index, strlen(index));
    c = open_ok();
    EXPECT(checkpoint_tensors(c) == 2);
    EXPECT_TEXT(checkpoint_name(c), "model.safetensors.index.json");
    t = checkpoint_find(c, "b");
    EXPECT_TEXT(checkpoint_file(c, t->file), "2.safetensors");
    EXPECT(checkpoint_read(c, t, 3, 1, &byte, &e) == OK && byte == 3);
    EXPECT(strlen(checkpoint_fingerprint(c)) == 64);
    strcpy(first, checkpoint_fingerprint(c));
    checkpoint_close(c);

    c = open_ok();
    EXPECT_TEXT(checkpoint_fingerprint(c), first);
    checkpoint_close(c);
    write_counting("2.safetensors", /* the same tensors, another dtype */
                   "{\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    c = open_ok();
    EXPECT(strcmp(checkpoint_fingerprint(c), first) != 0);
    checkpoint_close(c);
    folder_clear();
}

/* 100,000 tensors, as large mixtures of experts have: opened well within a second or two. */
static void test_many(void)
{
    enum { N = 100000 };
    double began, seconds;
    struct checkpoint *c;
    size_t bytes;
    char *header, name[64];
    FILE *f = open_memstream(&header, &bytes);

    EXPECT(f);
    for (int i = 0; i < N; i++)
        fprintf(f,
                "%c\"model.layers.%d.mlp.experts.%d.weight\":{\"dtype\":\"U8\",\"shape\":[1],"
                "\"data_offsets\":[%d,%d]}",
                i ? ',' : '{', i / 1000, i % 1000, i, i + 1);
    fprintf(f, "}");
    fclose(f);
    folder_safetensors("model.safetensors", header, N);
    free(header);
    began = clock_seconds();
    c = open_ok();
    EXPECT(checkpoint_tensors(c) == N);
    for (int i = 0; i < N; i += 7) {
        snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.weight", i / 1000, i % 1000);
        EXPECT(checkpoint_find(c, name) && checkpoint_find(c, name)->bytes == 1);
    }
    seconds = clock_seconds() - began;
    printf("%d tensors in %.3f s\n", N, seconds);
    EXPECT(seconds < 20); /* quadratic would be minutes; sanitizers are slow */
    checkpoint_close(c);
    folder_clear();
}

/* All F16 values against their definition; BF16 and F32 are bits of an F32. */
static void test_float(void)
{
    static const uint16_t bf16 = 0xc0a0;
    static const float f32 = 1.25f;

    for (unsigned h = 0; h < 0x10000; h++) {
        uint16_t half = (uint16_t)h;
        int exponent = h >> 10 & 31, mantissa = h & 1023;
        double want = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
        float got = tensor_float(TENSOR_F16, &half);

        if (exponent == 31)
            EXPECT(mantissa ? isnan(got) : isinf(got));
        else
            EXPECT(got == (h & 0x8000 ? -want : want));
        EXPECT(!signbit(got) == !(h & 0x8000));
    }
    EXPECT(tensor_float(TENSOR_BF16, &bf16) == -5);
    EXPECT(tensor_float(TENSOR_F32, &f32) == 1.25f);
}

int main(void)
{
    test_float();
    folder_make();
    test_one_file();
    test_shards();
    test_many();
    checkpoint_close(NULL);
    return 0;
}
