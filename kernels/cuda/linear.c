/* linear.c - linear layers and the head: weights and activations become operands of 16 bits, whose
 * products are summed in f32 on tensor cores.
 *
 * Where dtype and weights are exact in one 16-bit type, that is one product. Else both are split into
 * bf16 pieces that add up to them exactly (f32: 3 pieces, f16: 2), and the products of the pieces are
 * summed, smallest first, in f32; products below 2^-24 of the whole are left out. NVFP4 weights are
 * q*s, exact in one piece, so f32 takes three products.
 *
 * With d->fp4, NVFP4 weights and inputs quantized as vLLM does are multiplied as they are: the codes
 * of the weights where they lie, their scales swizzled into scratch.
 *
 * Who rounds: a single product without bias is stored by cuBLAS as dtype(g * sum). Else the f32 sums
 * go to scratch and launch_store_sums does g * sum + bias and rounds once. */
#include <string.h>

#include "kernels/cuda/backend.h"

enum { HEAD_COLUMNS = 4096 /* of the logits in scratch at a time */ };

/* How a weight and the activations it meets become operands. */
struct operands {
    enum operand type;
    int x_pieces, w_pieces;
    bool hf, quantized;
    float g; /* what the sums are still to be multiplied by */
};

/* Scratch of a product, from the start: cuBLAS's workspace, x[pieces][GEMM_TOKENS][K] (4-bit: codes,
 * then scales), sums [GEMM_TOKENS][N] f32, the weights [N][K] (4-bit: their scales), states of the
 * softmax. */
struct scratch {
    char *workspace, *x, *x_scale, *sums, *w;
    struct softmax_state *state; /* [GEMM_TOKENS] */
    size_t bytes;
};

static int pieces_of(enum dtype t)
{
    return t == DTYPE_BF16 ? 1 : t == DTYPE_F16 ? 2 : PIECES_MAX;
}

static struct scratch lay_out(char *base, enum operand type, int pieces, size_t N, size_t K)
{
    bool fp4 = type == OPERAND_FP4;
    size_t x = GEMM_TOKENS * K, at = 0;
    struct scratch s;

    s.workspace = cuda_take(base, &at, GEMM_WORKSPACE);
    s.x = cuda_take(base, &at, fp4 ? x / 2 : (size_t)pieces * x * sizeof(uint16_t));
    s.x_scale = cuda_take(base, &at, fp4 ? swizzled_bytes(GEMM_TOKENS, K) : 0);
    s.sums = cuda_take(base, &at, GEMM_TOKENS * N * sizeof(float));
    s.w = cuda_take(base, &at, fp4 ? swizzled_bytes(N, K) : N * K * sizeof(uint16_t));
    s.state = (struct softmax_state *)cuda_take(base, &at, GEMM_TOKENS * sizeof *s.state);
    s.bytes = at;
    return s;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

void linear_shapes_cuda(const struct work_shape *w, int shape[LINEAR_SHAPES][2])
{
    const int all[LINEAR_SHAPES][2] = {{w->q_dim, w->hidden},
                                       {w->kv_dim, w->hidden},
                                       {w->hidden, w->q_dim},
                                       {w->ffn, w->hidden},
                                       {w->hidden, w->ffn}};

    memcpy(shape, all, sizeof all);
}

/* 4-bit operands take no more than 16-bit ones: their scales, filled up to whole tiles, are at most
 * 8 * 4 / 16 bytes for each value. */
size_t linear_scratch_cuda(const struct work_shape *w)
{
    int shape[LINEAR_SHAPES][2];
    size_t bytes = 0;

    linear_shapes_cuda(w, shape);
    for (int i = 0; i < LINEAR_SHAPES; i++)
        bytes = larger(bytes, lay_out(NULL, OPERAND_BF16, pieces_of(w->dtype), (size_t)shape[i][0],
                                      (size_t)shape[i][1]).bytes);
    return bytes;
}

size_t head_scratch_cuda(const struct work_shape *w)
{
    int columns = w->vocab < HEAD_COLUMNS ? w->vocab : HEAD_COLUMNS;

    return lay_out(NULL, OPERAND_BF16, pieces_of(w->dtype), (size_t)columns, (size_t)w->hidden).bytes;
}

static struct operands operands_of(const struct device *d, const struct weight *w, bool fp4)
{
    static const int w_pieces[] = {
        [WEIGHT_F32] = 3, [WEIGHT_F16] = 2, [WEIGHT_BF16] = 1, [WEIGHT_NVFP4] = 1};
    bool nvfp4 = w->format == WEIGHT_NVFP4;
    bool four_bit_inputs = d->arithmetic == W4A4_HF || d->arithmetic == W4A4_VLLM;
    struct operands o = {.type = OPERAND_BF16,
                         .x_pieces = pieces_of(d->dtype),
                         .w_pieces = w_pieces[w->format],
                         .g = 1};

    o.hf = nvfp4 && (d->arithmetic == W4A16_HF || d->arithmetic == W4A4_HF);
    o.quantized = four_bit_inputs && w->input_global != 0;
    if (d->dtype == DTYPE_F16 && !o.hf && (nvfp4 || w->format == WEIGHT_F16)) {
        o.type = OPERAND_F16;
        o.x_pieces = o.w_pieces = 1;
    }
    if (nvfp4 && !o.hf)
        o.g = w->global_divides ? 1.0f / w->global_stored : w->global_stored;
    if (o.quantized && d->arithmetic == W4A4_VLLM) {
        o.x_pieces = 1; /* q*s */
        o.g *= 1.0f / w->input_global;
        if (fp4 && nvfp4)
            o.type = OPERAND_FP4;
    }
    return o;
}

/* *operand = piece number `piece` of w, in place where it lies there as it is needed, else in `to`. */
static enum status weight_operand(struct device *d, const struct weight *w,
                                  const struct operands *o, int piece, char *to,
                                  struct gemm_operand *operand, struct err *e)
{
    size_t n = (size_t)w->N * (size_t)w->K;
    enum weight_format plain = o->type == OPERAND_F16 ? WEIGHT_F16 : WEIGHT_BF16;
    cudaError_t code;

    *operand = (struct gemm_operand){to, NULL};
    if (w->format == plain && o->w_pieces == 1) {
        operand->data = w->data;
        return OK;
    }
    if (o->type == OPERAND_FP4) {
        *operand = (struct gemm_operand){w->data, (const uint8_t *)to};
        code = launch_swizzle(to, w->scale, w->N, w->K, d->stream);
    } else if (o->hf)
        code = launch_dequantize_hf(to, w->data, w->scale, w->global_stored, w->global_divides, n,
                                    d->stream);
    else if (w->format == WEIGHT_NVFP4)
        code = launch_dequantize(to, o->type, w->data, w->scale, n, d->stream);
    else
        code = launch_weight_piece(to, w->format, w->data, piece, n, d->stream);
    return cuda_status(code, e, "%s weights [%d][%d]", weight_format_name(w->format), w->N, w->K);
}

/* *operand = rows of x as pieces [x_pieces][GEMM_TOKENS][K]: x itself where it is that already. */
static enum status row_operand(struct device *d, const struct weight *w, const struct operands *o,
                               const void *x, const int32_t *row, int rows,
                               const struct scratch *s, struct gemm_operand *operand, struct err *e)
{
    enum dtype plain = o->type == OPERAND_F16 ? DTYPE_F16 : DTYPE_BF16;
    struct input_quantizer q = {d->arithmetic, w->input_global, w->input_scale_unrounded};
    bool there = !row && !o->quantized && rows == GEMM_TOKENS && d->dtype == plain &&
                 o->x_pieces == 1 && (uintptr_t)x % GEMM_ALIGN == 0;
    cudaError_t code;

    *operand = (struct gemm_operand){there ? x : s->x, NULL};
    if (there)
        return OK;
    if (o->type == OPERAND_FP4) {
        operand->scale = (const uint8_t *)s->x_scale;
        code = launch_quantize_codes(s->x, (uint8_t *)s->x_scale, x, d->dtype, rows, w->K, q.global,
                                     d->stream);
    } else if (o->quantized)
        code = launch_quantize_rows(s->x, o->type, o->x_pieces, x, d->dtype, row, rows, w->K, q,
                                    d->stream);
    else
        code = launch_split_rows(s->x, o->type, o->x_pieces, x, d->dtype, row, rows, w->K, d->stream);
    return cuda_status(code, e, "operands [%d][%d]", rows, w->K);
}

/* y[GEMM_TOKENS][N] = alpha * the sum of the products of all pieces. `ready`: the only piece of w,
 * or no data: pieces are made on the way. */
static enum status multiply(struct device *d, const struct weight *w, const struct operands *o,
                            const struct scratch *s, struct gemm_operand x,
                            struct gemm_operand ready, float alpha, enum dtype to, void *y,
                            struct err *e)
{
    struct product p = {w->N, w->K, o->type, to};
    size_t x_bytes = (size_t)GEMM_TOKENS * (size_t)w->K * sizeof(uint16_t);
    bool add = false;

    for (int j = o->w_pieces - 1; j >= 0; j--) {
        struct gemm_operand operand = ready;

        if (!ready.data)
            TRY(weight_operand(d, w, o, j, s->w, &operand, e));
        for (int i = o->x_pieces - 1; i >= 0; i--) {
            struct gemm_operand piece = {(const char *)x.data + (size_t)i * x_bytes, x.scale};

            if (i + j >= PIECES_MAX)
                continue;
            TRY(cublas_gemm_run(d->gemm, &p, alpha, piece, operand, add, y, s->workspace, d->stream,
                                e));
            add = true;
        }
    }
    return OK;
}

/* y = dtype(g * x w^T): a whole block of rows to its place, the last one by way of scratch, so that
 * the product is the same. */
static enum status store_product(struct device *d, const struct weight *w, const struct operands *o,
                                 const struct scratch *s, struct gemm_operand x,
                                 struct gemm_operand ready, void *y, int rows, struct err *e)
{
    bool in_place = rows == GEMM_TOKENS && (uintptr_t)y % GEMM_ALIGN == 0;
    size_t bytes = (size_t)rows * (size_t)w->N * dtype_bytes(d->dtype);

    TRY(multiply(d, w, o, s, x, ready, o->g, d->dtype, in_place ? y : s->sums, e));
    if (in_place)
        return OK;
    return cuda_status(
        cudaMemcpyAsync(y, s->sums, bytes, cudaMemcpyDeviceToDevice, d->stream), e,
        "linear [%d][%d]", rows, w->N);
}

enum status linear_cuda(struct device *d, void *y, const void *x, const struct weight *w, int T,
                        struct err *e)
{
    struct operands o = operands_of(d, w, d->fp4);
    struct scratch s = lay_out(d->scratch, o.type, o.x_pieces, (size_t)w->N, (size_t)w->K);
    bool one = o.x_pieces * o.w_pieces == 1 && !w->bias && d->dtype != DTYPE_F32;
    size_t size = dtype_bytes(d->dtype);
    struct gemm_operand ready = {NULL, NULL};

    CHECK(T > 0 && w->K > 0 && w->N > 0 && s.bytes <= d->scratch_bytes);
    CHECK(w->format != WEIGHT_NVFP4 || w->K % NVFP4_GROUP == 0);
    CHECK(!o.quantized || w->K % NVFP4_GROUP == 0);
    if (o.w_pieces == 1)
        TRY(weight_operand(d, w, &o, 0, s.w, &ready, e));
    for (int t = 0; t < T; t += GEMM_TOKENS) {
        int rows = T - t < GEMM_TOKENS ? T - t : GEMM_TOKENS;
        const char *from = (const char *)x + (size_t)t * (size_t)w->K * size;
        char *to = (char *)y + (size_t)t * (size_t)w->N * size;
        struct gemm_operand operand;

        TRY(row_operand(d, w, &o, from, NULL, rows, &s, &operand, e));
        if (one) {
            TRY(store_product(d, w, &o, &s, operand, ready, to, rows, e));
            continue;
        }
        TRY(multiply(d, w, &o, &s, operand, ready, 1, DTYPE_F32, s.sums, e));
        TRY(cuda_status(launch_store_sums(to, d->dtype, (float *)s.sums, o.g, w->bias, rows, w->N,
                                          d->stream),
                        e, "linear [%d][%d]", rows, w->N));
    }
    return OK;
}

/* Rows v0 .. v0+n-1 of a matrix. */
static struct weight slice(const struct weight *w, int v0, int n)
{
    struct weight part = *w;
    size_t row = (size_t)v0;

    part.N = n;
    part.data = (const char *)w->data + weight_data_bytes(w->format, row, (size_t)w->K);
    part.scale = w->scale ? w->scale + weight_scale_bytes(w->format, row, (size_t)w->K) : NULL;
    part.bias = w->bias ? w->bias + v0 : NULL;
    return part;
}

/* All columns of one pass of rows, whose operands are at x. */
static enum status take_logits(struct device *d, const struct weight *head,
                               const struct operands *o, const struct scratch *s,
                               struct gemm_operand x, const int32_t *target, int rows, int vocab, struct err *e)
{
    const struct gemm_operand none = {NULL, NULL};

    for (int v0 = 0; v0 < vocab; v0 += HEAD_COLUMNS) {
        int n = vocab - v0 < HEAD_COLUMNS ? vocab - v0 : HEAD_COLUMNS;
        struct weight part = slice(head, v0, n);

        TRY(multiply(d, &part, o, s, x, none, 1, DTYPE_F32, s->sums, e));
        TRY(cuda_status(launch_softmax_chunk(s->state, (const float *)s->sums, o->g, head->bias,
                                             target, rows, v0, n, d->stream),
                        e, "head [%d][%d]", rows, n));
    }
    return OK;
}

enum status head_nll_cuda(struct device *d, double *nll, const void *x, const struct weight *head,
                          const int32_t *row, const int32_t *target, int rows, int vocab,
                          struct err *e)
{
    struct operands o = operands_of(d, head, false);
    int columns = vocab < HEAD_COLUMNS ? vocab : HEAD_COLUMNS;
    struct scratch s = lay_out(d->scratch, o.type, o.x_pieces, (size_t)columns, (size_t)head->K);

    CHECK(vocab > 0 && vocab <= head->N && s.bytes <= d->scratch_bytes);
    for (int i = 0; i < rows; i += GEMM_TOKENS) {
        int pass = rows - i < GEMM_TOKENS ? rows - i : GEMM_TOKENS;
        struct gemm_operand operand;

        TRY(row_operand(d, head, &o, x, row + i, pass, &s, &operand, e));
        TRY(take_logits(d, head, &o, &s, operand, target + i, pass, vocab, e));
        TRY(cuda_status(launch_softmax_nll(nll + i, s.state, pass, d->stream), e, "nll [%d]", pass));
    }
    return OK;
}

/* Every product of 16 bits that matrices [N][K] may be multiplied by, over zeros in `scratch`; those of
 * 4 bits were tried before. */
static enum status try_products(struct device *d, int N, int K, char *scratch, struct err *e)
{
    struct scratch s = lay_out(scratch, OPERAND_BF16, pieces_of(d->dtype), (size_t)N, (size_t)K);
    const struct gemm_operand x = {s.x, NULL}, w = {s.w, NULL};
    enum operand own = d->dtype == DTYPE_F16 ? OPERAND_F16 : OPERAND_BF16;
    const struct product products[] = {
        {N, K, OPERAND_BF16, DTYPE_F32}, {N, K, own, DTYPE_F32}, {N, K, own, d->dtype}};

    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        TRY(cublas_gemm_run(d->gemm, &products[i], 1, x, w, false, s.sums, s.workspace, d->stream, e));
    return OK;
}

enum status warm_up_products(struct device *d, const struct work_shape *w, void *scratch,
                             struct err *e)
{
    const int columns[] = {w->vocab < HEAD_COLUMNS ? 0 : HEAD_COLUMNS, w->vocab % HEAD_COLUMNS};
    int shape[LINEAR_SHAPES][2];

    linear_shapes_cuda(w, shape);
    for (int i = 0; i < LINEAR_SHAPES; i++)
        TRY(try_products(d, shape[i][0], shape[i][1], scratch, e));
    for (int i = 0; i < 2; i++)
        if (columns[i] > 0)
            TRY(try_products(d, columns[i], w->hidden, scratch, e));
    return OK;
}
