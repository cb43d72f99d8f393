#include "kernels/cpu/gemm.h"

#include <omp.h>
#include <string.h>

/* Elements of a panel are pairs in avx512bf16, so K is rounded up to even in every size. */
static size_t packed_bytes(int rows, int K)
{
    return round_up(round_up(rows, GEMM_MR) * round_up(K, 2) * sizeof(float), CPU_ALIGN);
}

/* First the rows that a thread widens before packing, then its B panels and C block. */
static size_t own_bytes(int rows, int K, int columns)
{
    size_t widened = (size_t)GEMM_MR * K;
    size_t blocks = (round_up(rows, GEMM_MR) + GEMM_KC) * columns;

    return round_up((widened > blocks ? widened : blocks) * sizeof(float), CPU_ALIGN);
}

size_t gemm_scratch_bytes(int rows, int K, int threads)
{
    return packed_bytes(rows, K) + threads * own_bytes(rows, K, GEMM_COLUMNS);
}

/* Whole blocks where there are enough for all threads to end at about the same time. */
static int block_columns(int N, int threads)
{
    int columns = GEMM_COLUMNS;

    while (columns > GEMM_NR && N / columns < 4 * threads)
        columns /= 2;
    return columns;
}

struct gemm gemm_with(const struct device *d, const struct weight *w)
{
    bool nvfp4 = w->format == WEIGHT_NVFP4;
    const struct gemm_ops *ops = gemm_ops_of(d, nvfp4 || w->format == WEIGHT_BF16);
    struct gemm g = {.d = d, .ops = ops, .w = w, .g = 1.0f};

    g.hf = nvfp4 && (d->arithmetic == W4A16_HF || d->arithmetic == W4A4_HF);
    g.quantized = w->input_global != 0 &&
                  (d->arithmetic == W4A4_HF || d->arithmetic == W4A4_VLLM);
    g.columns = block_columns(w->N, d->threads);
    if (nvfp4 && !g.hf)
        g.g = w->global_divides ? 1.0f / w->global_stored : w->global_stored;
    if (g.quantized && d->arithmetic == W4A4_VLLM)
        g.g *= 1.0f / w->input_global;
    return g;
}

static void *panel_at(const struct gemm *g, void *packed, int panel, int k0, int kc)
{
    size_t before = round_up(g->rows, GEMM_MR) * k0 + (size_t)panel * GEMM_MR * round_up(kc, 2);

    return (char *)packed + before * g->ops->panel_bytes;
}

static int block_depth(const struct gemm *g, int k0)
{
    return g->w->K - k0 < GEMM_KC ? g->w->K - k0 : GEMM_KC;
}

/* A panels of rows panel*MR ..; rows beyond the last are 0. wide: [MR][K] */
static void pack_rows(const struct gemm *g, int panel, float *wide, void *packed)
{
    int K = g->w->K;

    for (int i = 0; i < GEMM_MR; i++) {
        int r = panel * GEMM_MR + i;
        float *to = wide + (size_t)i * K;

        if (r >= g->rows) {
            memset(to, 0, K * sizeof *to);
            continue;
        }
        size_t at = (size_t)(g->row ? g->row[r] : r) * K;
        const void *x = (const char *)g->x + at * dtype_bytes(g->d->dtype);

        if (g->quantized)
            quantize_rows(g->d, g->w, x, 1, to);
        else
            g->d->isa->rows->widen(g->d->dtype, x, to, K);
    }
    for (int k = 0; k < K; k += GEMM_KC) {
        int kc = block_depth(g, k);

        g->ops->pack(wide + k, K, kc, panel_at(g, packed, panel, k, kc));
    }
}

/* Columns n0 .. n0+n-1 for all rows, handed to finish. b: [columns/NR][KC][NR], c: [rows][columns] */
static void multiply_block(const struct gemm *g, int n0, int n, void *packed, char *b, float *c,
                           gemm_finish *finish, void *arg)
{
    int panels = (int)(round_up(g->rows, GEMM_MR) / GEMM_MR), K = g->w->K;
    size_t b_bytes = (size_t)GEMM_KC * GEMM_NR * g->ops->panel_bytes;

    for (int k = 0; k < K; k += GEMM_KC) {
        int kc = block_depth(g, k);
        bool last = k + kc == K;

        for (int j = 0; j < n; j += GEMM_NR)
            g->ops->unpack(g->w, n0 + j, k, kc, g->hf, b + j / GEMM_NR * b_bytes);
        for (int p = 0; p < panels; p++) {
            int i0 = p * GEMM_MR;
            float *cp = c + (size_t)i0 * g->columns;

            for (int j = 0; j < n; j += GEMM_NR)
                g->ops->micro(panel_at(g, packed, p, k, kc), b + j / GEMM_NR * b_bytes, kc, cp + j,
                              g->columns, k == 0);
            if (last)
                finish(g, cp, i0, g->rows - i0 < GEMM_MR ? g->rows - i0 : GEMM_MR, n0, n, arg);
        }
    }
}

void gemm_run(const struct gemm *g, unsigned char *scratch, gemm_finish *finish, void *arg)
{
    int N = g->w->N, panels = (int)(round_up(g->rows, GEMM_MR) / GEMM_MR);
    int blocks = (N + g->columns - 1) / g->columns;
    size_t own = own_bytes(g->rows, g->w->K, g->columns);
    unsigned char *spaces = scratch + packed_bytes(g->rows, g->w->K);

    CHECK(g->rows > 0 && g->rows <= GEMM_ROWS);
#pragma omp parallel num_threads(g->d->threads)
    {
        unsigned char *space = spaces + omp_get_thread_num() * own;
        float *c = (float *)space + (size_t)GEMM_KC * g->columns;

#pragma omp for schedule(dynamic)
        for (int p = 0; p < panels; p++)
            pack_rows(g, p, (float *)space, scratch);
#pragma omp for schedule(dynamic)
        for (int block = 0; block < blocks; block++) {
            int n0 = block * g->columns, n = N - n0 < g->columns ? N - n0 : g->columns;

            multiply_block(g, n0, n, scratch, (char *)space, c, finish, arg);
        }
    }
}

void gemm_scale_row(const struct gemm *g, float *c, int n0, int n)
{
    const float *bias = g->w->bias;

    g->d->isa->rows->scale(c, g->g, bias ? bias + n0 : NULL, n);
}
