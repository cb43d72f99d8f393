#include "kernels/cuda/gemm.h"

#include <stdlib.h>

#include "kernels/cuda/cublas.h"

/* Shapes of a model: 5 linear layers in 2 types of results and 3 of operands, and the head's chunks,
 * of 2 widths. */
enum { SHAPES_MAX = 40 };

/* A product in cuBLAS's terms: column-major D[N][tokens] = w[K][N]^T x[K][tokens]. */
struct shape {
    struct product product;
    void *desc, *w, *x, *y;
    struct cublas_algorithm algorithm;
};

struct cublas_gemm {
    struct cublas cublas;
    void *handle;
    int n_shapes;
    struct shape shape[SHAPES_MAX];
};

enum status cublas_gemm_open(struct cublas_gemm **out, struct err *e)
{
    struct cublas_gemm *g = calloc(1, sizeof *g);
    enum status st;
    int code;

    if (!g)
        return fail(e, ERR_FIT, "cuda: out of memory");
    st = cublas_load(&g->cublas, e);
    if (st != OK)
        goto bad;
    code = g->cublas.create(&g->handle);
    if (code != CUBLAS_OK) {
        st = fail(e, ERR_UNAVAILABLE, "cuda: cublasLtCreate: cuBLAS status %d", code);
        goto bad;
    }
    *out = g;
    return OK;
bad:
    cublas_gemm_close(g);
    return st;
}

static void forget_shape(const struct cublas *c, struct shape *s)
{
    if (s->desc)
        c->desc_destroy(s->desc);
    if (s->w)
        c->layout_destroy(s->w);
    if (s->x)
        c->layout_destroy(s->x);
    if (s->y)
        c->layout_destroy(s->y);
    *s = (struct shape){0};
}

void cublas_gemm_close(struct cublas_gemm *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->n_shapes; i++)
        forget_shape(&g->cublas, &g->shape[i]);
    if (g->handle)
        g->cublas.destroy(g->handle);
    cublas_unload(&g->cublas);
    free(g);
}

static int operand_type(enum operand t)
{
    static const int type[] = {[OPERAND_BF16] = CUBLAS_REAL_BF16,
                               [OPERAND_F16] = CUBLAS_REAL_F16,
                               [OPERAND_FP4] = CUBLAS_REAL_FP4};

    return type[t];
}

static const char *operand_name(enum operand t)
{
    static const char *const name[] = {
        [OPERAND_BF16] = "bfloat16", [OPERAND_F16] = "float16", [OPERAND_FP4] = "4-bit"};

    return name[t];
}

static int result_type(enum dtype t)
{
    static const int type[] = {[DTYPE_BF16] = CUBLAS_REAL_BF16,
                               [DTYPE_F16] = CUBLAS_REAL_F16,
                               [DTYPE_F32] = CUBLAS_REAL_F32};

    return type[t];
}

/* cuBLAS's A is w, its B is x. It asks for the scales before it chooses an algorithm. */
static int set_scales(const struct cublas *c, void *desc, const uint8_t *x, const uint8_t *w)
{
    int code = c->desc_set(desc, CUBLAS_DESC_A_SCALE, &w, sizeof w);

    return code == CUBLAS_OK ? c->desc_set(desc, CUBLAS_DESC_B_SCALE, &x, sizeof x) : code;
}

static int set_scale_modes(const struct cublas *c, void *desc)
{
    const int32_t mode = CUBLAS_SCALE_E4M3_PER_16;
    int code = c->desc_set(desc, CUBLAS_DESC_A_SCALE_MODE, &mode, sizeof mode);

    return code == CUBLAS_OK ? c->desc_set(desc, CUBLAS_DESC_B_SCALE_MODE, &mode, sizeof mode)
                             : code;
}

/* Descriptors of a shape; a cuBLAS status. */
static int describe_shape(const struct cublas *c, const struct product *p, struct shape *s)
{
    int operand = operand_type(p->type), transposed = CUBLAS_TRANSPOSED, code;
    uint64_t N = (uint64_t)p->N, K = (uint64_t)p->K;

    s->product = *p;
    code = c->desc_create(&s->desc, CUBLAS_SUM_F32, CUBLAS_REAL_F32);
    if (code == CUBLAS_OK)
        code = c->desc_set(s->desc, CUBLAS_DESC_TRANSA, &transposed, sizeof transposed);
    if (code == CUBLAS_OK && p->type == OPERAND_FP4)
        code = set_scale_modes(c, s->desc);
    if (code == CUBLAS_OK)
        code = c->layout_create(&s->w, operand, K, N, p->K);
    if (code == CUBLAS_OK)
        code = c->layout_create(&s->x, operand, K, GEMM_TOKENS, p->K);
    if (code == CUBLAS_OK)
        code = c->layout_create(&s->y, result_type(p->to), N, GEMM_TOKENS, p->N);
    return code;
}

/* The algorithm of a shape: none that splits K, for pointers of GEMM_ALIGN; a cuBLAS status. */
static int choose_algorithm(const struct cublas_gemm *g, struct shape *s)
{
    const struct cublas *c = &g->cublas;
    const uint64_t workspace = GEMM_WORKSPACE;
    const uint32_t no_split = 0, align = GEMM_ALIGN;
    struct cublas_choice choice = {.state = -1};
    void *preference = NULL;
    int found = 0, code = c->preference_create(&preference);

    if (code == CUBLAS_OK)
        code = c->preference_set(preference, CUBLAS_PREFER_WORKSPACE, &workspace, sizeof workspace);
    if (code == CUBLAS_OK)
        code = c->preference_set(preference, CUBLAS_PREFER_REDUCTION, &no_split, sizeof no_split);
    for (int a = CUBLAS_PREFER_ALIGN_A; code == CUBLAS_OK && a <= CUBLAS_PREFER_ALIGN_D; a++)
        code = c->preference_set(preference, a, &align, sizeof align);
    if (code == CUBLAS_OK)
        code = c->choose(g->handle, s->desc, s->w, s->x, s->y, s->y, preference, 1, &choice, &found);
    if (code == CUBLAS_OK)
        code = found > 0 ? choice.state : -1;
    if (preference)
        c->preference_destroy(preference);
    s->algorithm = choice.algorithm;
    return code;
}

static bool same_product(const struct product *a, const struct product *b)
{
    return a->N == b->N && a->K == b->K && a->type == b->type && a->to == b->to;
}

static enum status find_shape(struct cublas_gemm *g, const struct product *p, const uint8_t *x_scale,
                              const uint8_t *w_scale, const struct shape **out, struct err *e)
{
    struct shape made = {0};
    int code;

    for (int i = 0; i < g->n_shapes; i++)
        if (same_product(&g->shape[i].product, p)) {
            *out = &g->shape[i];
            return OK;
        }
    CHECK(g->n_shapes < SHAPES_MAX);
    code = describe_shape(&g->cublas, p, &made);
    if (code == CUBLAS_OK && p->type == OPERAND_FP4)
        code = set_scales(&g->cublas, made.desc, x_scale, w_scale);
    if (code == CUBLAS_OK)
        code = choose_algorithm(g, &made);
    if (code != CUBLAS_OK) {
        forget_shape(&g->cublas, &made);
        return fail(e, ERR_UNAVAILABLE,
                    "cuda: cuBLAS has no %s product of [%d][%d] and [%d][%d] (status %d)",
                    operand_name(p->type), GEMM_TOKENS, p->K, p->N, p->K,
                    code);
    }
    g->shape[g->n_shapes] = made;
    *out = &g->shape[g->n_shapes++];
    return OK;
}

enum status cublas_gemm_run(struct cublas_gemm *g, const struct product *p, float alpha,
                            struct gemm_operand x, struct gemm_operand w, bool add, void *y,
                            void *workspace, cudaStream_t stream, struct err *e)
{
    const struct shape *s = NULL;
    float beta = add ? 1 : 0;
    int code = CUBLAS_OK;

    CHECK(((uintptr_t)x.data | (uintptr_t)w.data | (uintptr_t)y) % GEMM_ALIGN == 0);
    CHECK((p->type == OPERAND_FP4) == (x.scale && w.scale));
    TRY(find_shape(g, p, x.scale, w.scale, &s, e));
    if (p->type == OPERAND_FP4)
        code = set_scales(&g->cublas, s->desc, x.scale, w.scale);
    if (code == CUBLAS_OK)
        code = g->cublas.multiply(g->handle, s->desc, &alpha, w.data, s->w, x.data, s->x, &beta, y,
                                  s->y, y, s->y, &s->algorithm, workspace, GEMM_WORKSPACE, stream);
    if (code != CUBLAS_OK)
        return fail(e, ERR_UNAVAILABLE, "cuda: cublasLtMatmul [%d][%d] x [%d][%d]: status %d",
                    GEMM_TOKENS, p->K, p->N, p->K, code);
    return OK;
}
