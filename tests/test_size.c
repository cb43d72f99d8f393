// links: spec
/* Proves that sizes mean what they say to the byte, in both directions, and that nothing else is
 * taken for a size. */
#include "spec/size.h"

#include "tests/test.h"

static void test_parse(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"17", 17},
        {"17B", 17},
        {"38GiB", UINT64_C(40802189312)},
        {"38 gib", UINT64_C(40802189312)},
        {"38GB", UINT64_C(38000000000)},
        {"512MiB", 536870912},
        {"1KB", 1000},
        {"1kib", 1024},
        {"2TB", UINT64_C(2000000000000)},
        {"1TiB", UINT64_C(1099511627776)},
        {"1.5GiB", 1610612736},
        {"0.1KB", 100},
        {"1.0009KiB", 1024},        /* rounded down to whole bytes */
        {"0.3333333333333KB", 333}, /* digits after the ninth are dropped */
        {"18446744073709551615", UINT64_MAX},
        {"16777215.999TiB", UINT64_C(18446744072610039988)}, /* 2^64 - ceil(0.001 * 2^40) */
    };
    static const struct {
        const char *text, *message;
    } wrong[] = {
#define WANT "\", want a size such as \"38GiB\", \"38.5GB\", \"512MiB\" or bytes"
        {"", "got \"" WANT},
        {"-1", "got \"-1" WANT},
        {"+1", "got \"+1" WANT},
        {" 1", "got \" 1" WANT},
        {"GiB", "got \"GiB" WANT},
        {"1 ", "got \"1 " WANT},
        {"1  GiB", "got \"1  GiB" WANT},
        {"1.GiB", "got \"1.GiB" WANT},
        {".5GiB", "got \".5GiB" WANT},
        {"1e9", "got \"1e9" WANT},
        {"38G", "got \"38G" WANT},
        {"38GiBs", "got \"38GiBs" WANT},
        {"0x10", "got \"0x10" WANT},
        {"1,5GiB", "got \"1,5GiB" WANT},
#undef WANT
        {"18446744073709551616", "got \"18446744073709551616\", want less than 2^64 bytes"},
        {"99999999999999999999999", "got \"99999999999999999999999\", want less than 2^64 bytes"},
        {"16777216TiB", "got \"16777216TiB\", want less than 2^64 bytes"},
    };
    uint64_t bytes;
    struct err e;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        EXPECT(size_parse(good[i].text, &bytes, &e) == OK);
        if (bytes != good[i].bytes)
            printf("\"%s\" became %llu\n", good[i].text, (unsigned long long)bytes);
        EXPECT(bytes == good[i].bytes);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        EXPECT(size_parse(wrong[i].text, &bytes, &e) == ERR_SPEC);
        EXPECT_TEXT(e.msg, wrong[i].message);
    }
}

static void test_format(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } row[] = {
        {0, "0 B"},
        {17, "17 B"},
        {1023, "1023 B"},
        {1024, "1.000 KiB"},
        {UINT64_C(40802189312), "38.00 GiB"},
        {536765235, "511.9 MiB"},
        {1048576 - 1, "1.000 MiB"}, /* never "1024 KiB" */
        {1047552, "1023 KiB"},
        {10239, "9.999 KiB"},
        {10240, "10.00 KiB"},
        {UINT64_MAX, "16777216 TiB"},
    };
    char out[SIZE_TEXT];

    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        EXPECT_TEXT(size_format(row[i].bytes, out), row[i].text);
}

int main(void)
{
    test_parse();
    test_format();
    return 0;
}
