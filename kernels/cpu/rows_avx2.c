#include "kernels/cpu/vec_avx2.h"

#include "kernels/cpu/rows_body.h"

const struct row_ops rows_avx2 = ROW_OPS;
