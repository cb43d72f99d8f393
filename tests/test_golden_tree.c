// links: spec run
// timeout: 600
// labels: slow
// processors: 2
/* Proves A1 and A2 with the models that the tree carries, so that a clone alone shows them. */
#include "tests/golden.h"
#include "tests/test.h"

int main(void)
{
    EXPECT(golden_check(TEST_DATA) == 0);
    return 0;
}
