/* In the place of uring.c where liburing was not there to build with. */
#include "loader/file_engine.h"

static enum status open_absent(void **state, struct err *e)
{
    (void)state;
    return fail(e, ERR_UNAVAILABLE, "io_uring: this program was built without liburing");
}

const struct file_engine file_engine_uring = {.open = open_absent};
