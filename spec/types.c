#include "spec/types.h"

#include "spec/err.h"

const char *dtype_name(enum dtype t)
{
    static const char *const name[] = {
        [DTYPE_BF16] = "bfloat16", [DTYPE_F16] = "float16", [DTYPE_F32] = "float32"};

    return name[t];
}

const char *arithmetic_name(enum arithmetic a)
{
    static const char *const name[] = {[W4A16] = "w4a16",
                                       [W4A16_HF] = "w4a16-hf",
                                       [W4A4_HF] = "w4a4-hf",
                                       [W4A4_VLLM] = "w4a4-vllm"};

    return name[a];
}

const char *weight_format_name(enum weight_format f)
{
    static const char *const name[] = {[WEIGHT_F32] = "F32",
                                       [WEIGHT_F16] = "F16",
                                       [WEIGHT_BF16] = "BF16",
                                       [WEIGHT_NVFP4] = "NVFP4"};

    return name[f];
}

size_t weight_data_bytes(enum weight_format f, size_t rows, size_t cols)
{
    switch (f) {
    case WEIGHT_F32:
        return rows * cols * 4;
    case WEIGHT_F16:
    case WEIGHT_BF16:
        return rows * cols * 2;
    case WEIGHT_NVFP4:
        return rows * cols / 2;
    }
    CHECK(!"a weight format");
    return 0;
}

size_t weight_scale_bytes(enum weight_format f, size_t rows, size_t cols)
{
    return f == WEIGHT_NVFP4 ? rows * cols / NVFP4_GROUP : 0;
}
