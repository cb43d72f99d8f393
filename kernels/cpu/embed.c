/* embed.c - rows of the embedding table. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parts.h"

/* Values [at, at + n) of row `id` of an NVFP4 table, n and at multiples of NVFP4_GROUP. With hf,
 * rounded as Hugging Face rounds a weight: bf16(q * (s * g)), else q*s*g rounded to f32 once. */
static void decode_nvfp4(const struct row_ops *ops, const struct weight *w, size_t id, size_t at,
                         size_t n, bool hf, float *y)
{
    size_t first = id * (size_t)w->K + at;
    const uint8_t *code = (const uint8_t *)w->data + first / 2;
    const uint8_t *scale = w->scale + first / NVFP4_GROUP;
    float stored = w->global_stored;
    double g = w->global_divides ? 1.0 / stored : stored;

    for (size_t i = 0; i < n; i++) {
        float q = e2m1_to_f32(i % 2 ? code[i / 2] >> 4 : code[i / 2]);
        float s = e4m3_to_f32(scale[i / NVFP4_GROUP]);
        float s1 = w->global_divides ? s / stored : s * stored;

        y[i] = hf ? q * s1 : (float)(q * s * g);
    }
    if (hf) {
        uint16_t rounded[PART];

        ops->narrow(DTYPE_BF16, y, rounded, n);
        ops->widen(DTYPE_BF16, rounded, y, n);
    }
}

static void embed_part(const struct device *d, const struct weight *w, size_t id, size_t at,
                       size_t n, float *y)
{
    const struct row_ops *ops = d->isa->rows;
    size_t first = id * (size_t)w->K + at;

    switch (w->format) {
    case WEIGHT_F32:
        ops->widen(DTYPE_F32, (const float *)w->data + first, y, n);
        return;
    case WEIGHT_F16:
        ops->widen(DTYPE_F16, (const uint16_t *)w->data + first, y, n);
        return;
    case WEIGHT_BF16:
        ops->widen(DTYPE_BF16, (const uint16_t *)w->data + first, y, n);
        return;
    case WEIGHT_NVFP4:
        decode_nvfp4(ops, w, id, at, n,
                     d->arithmetic == W4A16_HF || d->arithmetic == W4A4_HF, y);
        return;
    }
    CHECK(!"a weight format");
}

enum status embed_cpu(struct device *d, void *y, const struct weight *table, const int32_t *ids,
                      int T, struct err *e)
{
    size_t H = (size_t)table->K;

    (void)e;
#pragma omp parallel for num_threads(d->threads) schedule(static)
    for (int t = 0; t < T; t++) {
        CHECK(ids[t] >= 0 && ids[t] < table->N);
        for (size_t at = 0; at < H; at += PART) {
            size_t n = part_length(at, H);
            float part[PART];

            embed_part(d, table, (size_t)ids[t], at, n, part);
            d->isa->rows->narrow(d->dtype, part, value_at(y, d->dtype, (size_t)t * H + at), n);
        }
    }
    return OK;
}
