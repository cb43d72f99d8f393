// links: spec
/* Proves that a message is one line of valid UTF-8 within its limit, whatever goes into it, and
 * that a prefix keeps the end of what stood there. */
#include "spec/err.h"

#include "spec/utf8.h"
#include "tests/test.h"

int main(void)
{
    struct err e;
    char longer[3000];

    EXPECT(fail(&e, ERR_DATA, "%s: got %d, want %d", "a\nb\x7f", 1, 2) == ERR_DATA);
    EXPECT(e.code == ERR_DATA);
    EXPECT_TEXT(e.msg, "a?b?: got 1, want 2");
    EXPECT(fail_in(&e, "rank %d\n", 3) == ERR_DATA);
    EXPECT_TEXT(e.msg, "rank 3?: a?b?: got 1, want 2");

    EXPECT(fail(&e, ERR_IO, "%s", "x\xff\xc3\xa9\xc3") == ERR_IO);
    EXPECT_TEXT(e.msg, "x?\xc3\xa9?");
    EXPECT(fail(&e, ERR_IO, "%.4s", "abc\xc3\xa9") == ERR_IO); /* cut inside a character */
    EXPECT_TEXT(e.msg, "abc?");

    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = 0;
    EXPECT(fail(&e, ERR_IO, "%s", longer) == ERR_IO);
    EXPECT(strlen(e.msg) == sizeof e.msg - 1);
    EXPECT(fail_in(&e, "%s", longer) == ERR_IO);
    EXPECT(strlen(e.msg) < sizeof e.msg && strstr(e.msg, ": a") != NULL);
    EXPECT(utf8_check(e.msg, strlen(e.msg)) == strlen(e.msg));
    return 0;
}
