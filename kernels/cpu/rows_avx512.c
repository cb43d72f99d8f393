#include "kernels/cpu/vec_avx512.h"

#include "kernels/cpu/rows_body.h"

const struct row_ops rows_avx512 = ROW_OPS;
