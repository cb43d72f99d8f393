/* gemm_portable.c - matrix half of the portable variant: plain C, the truth that the vector
 * variants equal bit by bit. fmaf is exact also where the processor has no FMA. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/cpu.h"

static void micro(const void *pa, const void *pb, int kc, float *c, size_t ldc, bool first)
{
    const float *a = pa, *b = pb;
    float acc[GEMM_MR][GEMM_NR] = {{0}};

    for (int k = 0; k < kc; k++)
        for (int i = 0; i < GEMM_MR; i++)
            for (int j = 0; j < GEMM_NR; j++)
                acc[i][j] = fmaf(a[k * GEMM_MR + i], b[k * GEMM_NR + j], acc[i][j]);
    for (int i = 0; i < GEMM_MR; i++)
        for (int j = 0; j < GEMM_NR; j++)
            c[i * ldc + j] = first ? acc[i][j] : c[i * ldc + j] + acc[i][j];
}

static void pack(const float *x, size_t ldx, int kc, void *to)
{
    float *a = to;

    for (int k = 0; k < kc; k++)
        for (int i = 0; i < GEMM_MR; i++)
            a[k * GEMM_MR + i] = x[i * ldx + k];
}

static float nvfp4_value(const struct weight *w, size_t n, size_t k, bool hf)
{
    size_t at = n * w->K + k;
    uint8_t byte = ((const uint8_t *)w->data)[at / 2];
    float q = e2m1_to_f32(k % 2 ? byte >> 4 : byte & 15);
    float s = e4m3_to_f32(w->scale[at / NVFP4_GROUP]);

    if (!hf)
        return q * s;
    s = w->global_divides ? s / w->global_stored : s * w->global_stored;
    return bf16_to_f32(f32_to_bf16(q * s));
}

static float value(const struct weight *w, size_t n, size_t k, bool hf)
{
    size_t at = n * w->K + k;

    switch (w->format) {
    case WEIGHT_F32:
        return ((const float *)w->data)[at];
    case WEIGHT_F16:
        return f16_to_f32(((const uint16_t *)w->data)[at]);
    case WEIGHT_BF16:
        return bf16_to_f32(((const uint16_t *)w->data)[at]);
    case WEIGHT_NVFP4:
        return nvfp4_value(w, n, k, hf);
    }
    CHECK(!"a weight format");
    return 0;
}

static void unpack(const struct weight *w, int n0, int k0, int kc, bool hf, void *panel)
{
    float *b = panel;

    for (int j = 0; j < GEMM_NR; j++)
        for (int k = 0; k < kc; k++)
            b[k * GEMM_NR + j] = n0 + j < w->N ? value(w, n0 + j, k0 + k, hf) : 0.0f;
}

const struct gemm_ops gemm_portable = {
    .panel_bytes = sizeof(float), .micro = micro, .pack = pack, .unpack = unpack};
