// links: spec run
// timeout: 600
// labels: slow
// processors: 2
/* Proves A1 and A2 over the golden folder: every model in it, measured through the built program in
 * every arithmetic and dtype, gives the nll per token that other programs gave. */
#include "tests/golden.h"
#include "tests/run.h"
#include "tests/test.h"

int main(void)
{
    if (!file_exists(golden_dir()))
        SKIP("no golden data at %s (NVFP4_PPL_GOLDEN)", golden_dir());
    EXPECT(golden_check(golden_dir()) == 0);
    return 0;
}
