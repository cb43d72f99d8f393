/* quantize.c - the 4-bit inputs of w4a4 layers: one f32 scale `gi` per layer (a divisor), and one
 * e4m3 scale per 16 values made on the fly.
 *
 *   Hugging Face:  c = RN_e4m3(gi * RN_dtype(amax/6)), 0.125 where that is 0; s' = c/gi;
 *                  x becomes RN_dtype(q s'), q = e2m1(x/s')
 *   vLLM:          s = RN_e4m3(gi * (amax * 1/6)); x becomes q s / gi, q = e2m1(x * 1/(s * 1/gi)),
 *                  and 0 where s is 0; q s is exact and 1/gi is applied to the sums
 *
 * Older Hugging Face checkpoints keep c unrounded (then FLT_EPSILON stands for 0). */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parts.h"

_Static_assert(PART % (NVFP4_GROUP * NVFP4_GROUP) == 0, "parts hold whole blocks of groups");

void quantize_rows(const struct device *d, const struct weight *w, const void *x, int rows,
                   float *xq)
{
    const struct row_ops *ops = d->isa->rows;
    size_t K = (size_t)w->K;

    CHECK(K % NVFP4_GROUP == 0 && w->input_global != 0);
    CHECK(d->arithmetic == W4A4_HF || d->arithmetic == W4A4_VLLM);
#pragma omp parallel for num_threads(d->threads) schedule(static) if (rows > 1)
    for (int r = 0; r < rows; r++)
        for (size_t at = 0; at < K; at += PART) {
            int n = (int)part_length(at, K);
            float part[PART], *to = xq + (size_t)r * K + at;

            ops->widen(d->dtype, const_value_at(x, d->dtype, (size_t)r * K + at), part, (size_t)n);
            if (d->arithmetic == W4A4_HF)
                ops->quantize_hf(part, to, n, w->input_global, w->input_scale_unrounded, d->dtype);
            else
                ops->quantize_vllm(part, to, n, w->input_global);
        }
}
