// links: spec
/* Proves SHA-256 against the published examples (FIPS 180-2, appendix B), in one piece and many. */
#include "spec/sha256.h"

#include "tests/test.h"

int main(void)
{
    static const char message[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    char hex[SHA256_HEX], block[1000];
    struct sha256 *s;

    sha256_of("", 0, hex);
    EXPECT_TEXT(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_of("abc", 3, hex);
    EXPECT_TEXT(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    s = sha256_begin();
    for (size_t i = 0; i < sizeof message - 1; i++)
        sha256_add(s, message + i, 1);
    sha256_end(s, hex);
    EXPECT_TEXT(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(block, 'a', sizeof block); /* a million times 'a' */
    s = sha256_begin();
    for (int i = 0; i < 1000; i++)
        sha256_add(s, block, sizeof block);
    sha256_end(s, hex);
    EXPECT_TEXT(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    return 0;
}
