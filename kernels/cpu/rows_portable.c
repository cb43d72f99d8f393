#include "kernels/cpu/vec_portable.h"

#include "kernels/cpu/rows_body.h"

const struct row_ops rows_portable = ROW_OPS;
