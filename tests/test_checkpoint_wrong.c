// links: loader spec
// timeout: 60
/* Every malformed checkpoint is refused with its own line: wrong lengths, JSON, dtypes, shapes,
 * offsets, indexes. The list follows the reference reader's tests and bugs other readers had. */
#include <sys/stat.h>

#include "folder.h"
#include "loader/checkpoint.h"

static int failures; /* all are told, not the first alone */

static void expect(const char *what, enum status want, const char *message)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    enum status got = checkpoint_open(folder, &c, &e);

    if (got != want || c || !message_is(e.msg, message)) {
        printf("FAIL %s:\n  got  %d %s\n  want %d %s\n", what, got, e.msg, want, message);
        failures++;
    }
    folder_clear();
}

static const struct {
    const char *header;
    size_t data;
    const char *message; /* after "model.safetensors:" */
} headers[] = {
    {"", 0, "1:1: got the end of the text, want a value"},
    {"[]", 0, " the header is no JSON object"},
    {"{\"a\":", 0, "1:6: got the end of the text, want a value"},
    {"{\"a\":1}", 0, " 'a' is described by no object"},
    {"{\"__metadata__\":[]}", 0, " __metadata__ is no object"},
    {"{\"__metadata__\":{\"n\":1}}", 0, " __metadata__: 'n' is no string"},
    {"{\"a\":{\"shape\":[],\"data_offsets\":[0,4]}}", 4, " 'a': dtype is missing or no string"},
    {"{\"a\":{\"dtype\":7,\"shape\":[],\"data_offsets\":[0,4]}}", 4,
     " 'a': dtype is missing or no string"},
    {"{\"a\":{\"dtype\":\"Q4\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
     " 'a': dtype 'Q4' is not known"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, " 'a': shape is missing or no array"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,-1],\"data_offsets\":[0,4]}}", 4,
     " 'a': shape holds something that is no size"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4,
     " 'a': shape holds something that is no size"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e400],\"data_offsets\":[0,4]}}", 4,
     " 'a': shape holds something that is no size"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740994],\"data_offsets\":[0,4]}}", 4,
     " 'a': shape holds something that is no size"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
     " 'a': more than 8 dimensions"},
    /* the product is 4 modulo 2^64 */
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4194305,4194305,211106198978564],\"data_offsets\":[0,4]}"
     "}",
     4, " 'a': shape overflows 64 bits"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1,
     " 'a': F4 elements do not fill whole bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 4, " 'a': data_offsets is no pair of sizes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4,8]}}", 4,
     " 'a': data_offsets is no pair of sizes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[-4,0]}}", 4,
     " 'a': data_offsets is no pair of sizes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,0]}}", 4,
     " 'a': data_offsets [4, 0] run backwards"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4,
     " 'a': data_offsets end at 8, the file holds 4 bytes of data (truncated download?)"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
     " 'a' is F32 [2] = 8 bytes, data_offsets hold 4"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
     6, " 'b' overlaps 'a'"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
     4, " 'b' overlaps 'a'"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[6,10]}}",
     10, " 2 bytes before 'b' belong to no tensor"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", 8,
     " 4 bytes before 'a' belong to no tensor"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 9,
     " 5 bytes after the last tensor"},
    {"{}", 1, " 1 bytes after the last tensor"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
     4, "1:54: key \"a\" appears twice in one object"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}} x", 4,
     "1:55: got 'x', want nothing after the end of the document"},
};

static void check_headers(void)
{
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        char message[512];

        snprintf(message, sizeof message, "model.safetensors:%s", headers[i].message);
        folder_safetensors("model.safetensors", headers[i].header, headers[i].data);
        expect(headers[i].header, ERR_DATA, message);
    }
}

static void check_lengths(void)
{
    static const uint8_t huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    static const uint8_t large[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    static const uint8_t limit[16] = {1, 0xe1, 0xf5, 0x05}; /* 100,000,001 */
    static const uint8_t not_utf8[] = {4, 0, 0, 0, 0, 0, 0, 0, '{', '"', 0xff, '}'};
    char path[512];

    folder_write("model.safetensors", "", 0);
    expect("empty", ERR_DATA, "model.safetensors: 0 bytes are too few for a safetensors file");
    folder_write("model.safetensors", huge, 7);
    expect("7 bytes", ERR_DATA, "model.safetensors: 7 bytes are too few for a safetensors file");
    folder_write("model.safetensors", huge, sizeof huge);
    expect("length 2^64-1", ERR_DATA,
           "model.safetensors: header of 18446744073709551615 bytes, at most 100000000 are allowed "
           "(is it a safetensors file?)");
    folder_write("model.safetensors", limit, sizeof limit);
    expect("length over the limit", ERR_DATA,
           "model.safetensors: header of 100000001 bytes, at most 100000000 are allowed "
           "(is it a safetensors file?)");
    folder_write("model.safetensors", large, sizeof large);
    expect("length over the file", ERR_DATA,
           "model.safetensors: header of 3 bytes in a file of 10 (truncated download?)");
    folder_write("model.safetensors", not_utf8, sizeof not_utf8);
    expect("not UTF-8", ERR_DATA, "model.safetensors:1:3: not valid UTF-8");
    expect("no file", ERR_NO_INPUT,
           "DIR: holds neither model.safetensors nor model.safetensors.index.json");
    EXPECT(mkdir(folder_path("model.safetensors", path), 0700) == 0);
    expect("a folder", ERR_NO_INPUT, "DIR/model.safetensors: not a regular file");
    EXPECT(mkfifo(folder_path("model.safetensors", path), 0600) == 0);
    expect("a FIFO", ERR_NO_INPUT, "DIR/model.safetensors: not a regular file");
}

static const char shard_a[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
static const char shard_b[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";

static const struct {
    const char *index, *message;
} indexes[] = {
    {"{}", "model.safetensors.index.json: weight_map is missing or empty"},
    {"{\"weight_map\":{}}", "model.safetensors.index.json: weight_map is missing or empty"},
    {"{\"weight_map\":{\"a\":1}}", "model.safetensors.index.json:1:16: 'a' names no file"},
    {"{\"weight_map\":{\"a\":\"../1.safetensors\"}}",
     "model.safetensors.index.json:1:16: 'a' stands in '../1.safetensors', which is no plain "
     "file name"},
    {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}",
     "model.safetensors.index.json:1:16: 'a' stands in '/etc/passwd', which is no plain file "
     "name"},
    {"{\"weight_map\":{\"a\":\"\"}}",
     "model.safetensors.index.json:1:16: 'a' stands in '', which is no plain file name"},
    {"{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"2.safetensors\",\"b\":\"2.safetensors\"}}",
     "model.safetensors.index.json: 'c' is missing from 2.safetensors"},
    {"{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}",
     "model.safetensors.index.json: 'a' is said to stand in 2.safetensors, but stands in "
     "1.safetensors"},
    {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"twin.safetensors\"}}",
     "model.safetensors.index.json: 'a' stands in both 1.safetensors and twin.safetensors"},
    {"{\"weight_map\":{\"a\":\"1.safetensors\",\"a\":\"1.safetensors\"}}",
     "model.safetensors.index.json:1:36: key \"a\" appears twice in one object"},
    {"{\"weight_map\":{\"b\":\"both.safetensors\"}}",
     "both.safetensors: 'a' is not in model.safetensors.index.json"},
};

static void check_indexes(void)
{
    static const char lonely[] = "{\"weight_map\":{\"a\":\"1.safetensors\"}}";

    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        folder_safetensors("1.safetensors", shard_a, 4);
        folder_safetensors("2.safetensors", shard_b, 4);
        folder_safetensors("twin.safetensors", shard_a, 4);
        folder_safetensors("both.safetensors",
                           "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                           "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
                           8);
        folder_write("model.safetensors.index.json", indexes[i].index, strlen(indexes[i].index));
        expect(indexes[i].index, ERR_DATA, indexes[i].message);
    }
    folder_write("model.safetensors.index.json", lonely, strlen(lonely));
    expect("shard missing", ERR_NO_INPUT, "DIR/1.safetensors: No such file or directory");
}

/* A shard that shrinks after it was opened is an error that names file and tensor, no crash. */
static void check_cut_in_use(void)
{
    struct checkpoint *c;
    struct err e;
    char path[512], data[4];

    folder_safetensors("model.safetensors", shard_a, 4);
    EXPECT(checkpoint_open(folder, &c, &e) == OK);
    EXPECT(checkpoint_unchanged(c, &e) == OK);
    EXPECT(truncate(folder_path("model.safetensors", path), 8 + (long)strlen(shard_a) + 1) == 0);
    EXPECT(checkpoint_unchanged(c, &e) == ERR_IO);
    EXPECT_TEXT(e.msg, "model.safetensors: was changed while in use");
    EXPECT(checkpoint_read(c, checkpoint_tensor(c, 0), 0, 4, data, &e) == ERR_IO);
    EXPECT_TEXT(e.msg, "model.safetensors: 'a': the file ends at byte 62, 3 more are wanted (cut "
                       "short while in use?)");
    checkpoint_close(c);
    folder_clear();
}

int main(void)
{
    folder_make();
    check_headers();
    check_lengths();
    check_indexes();
    check_cut_in_use();
    return failures > 0;
}
