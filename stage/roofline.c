#include "stage/roofline.h"

#include <math.h>
#include <stdlib.h>

/* What one rank does with one microbatch. */
struct job {
    const struct plan_request *q;
    const struct plan *plan;
    const struct plan_rank *rank;
    const struct roofline_device *device;
    double T, size; /* tokens; bytes of an element of the hidden states */
};

const char *roofline_step_name(enum roofline_step s)
{
    static const char *const name[ROOFLINE_STEPS] = {
        "embed", "dequantize", "gemm", "attention", "elementwise", "head", "send", "read", "copy"};
    return name[s];
}

struct plan_rates roofline_rates(const struct roofline_device *d)
{
    return (struct plan_rates){.flops = d->fp4 > 0 ? d->fp4 : d->matrix,
                               .read = d->host > 0 ? fmin(d->host, d->disk) : d->disk,
                               .park = d->host > 0 ? d->host : d->memory / 2};
}

/* The device as the plan reckons with it: the reverse of roofline_rates. */
static struct roofline_device reckoned(const struct roofline_device *d, struct plan_rates rates)
{
    struct roofline_device r = *d;

    *(d->fp4 > 0 ? &r.fp4 : &r.matrix) = rates.flops;
    r.disk = rates.read;
    if (d->host > 0)
        r.host = rates.park;
    return r;
}

static void add_cost(struct roofline_cost *to, double bytes, double flops, double seconds)
{
    to->bytes += bytes;
    to->flops += flops;
    to->seconds += seconds;
}

static double linear_flops(const struct linear *l)
{
    return 2.0 * l->N * l->K;
}

/* f32 and f16 are sums of 16-bit pieces that are multiplied each with each, but for products below
 * 2^-24 of the whole; NVFP4 weights are exact in one piece of either 16-bit type. */
static int products(enum dtype x, enum weight_format w)
{
    static const int x_pieces[] = {[DTYPE_BF16] = 1, [DTYPE_F16] = 2, [DTYPE_F32] = 3};
    static const int w_pieces[] = {
        [WEIGHT_BF16] = 1, [WEIGHT_NVFP4] = 1, [WEIGHT_F16] = 2, [WEIGHT_F32] = 3};
    int n = 0;

    if (x == DTYPE_F16 && (w == WEIGHT_F16 || w == WEIGHT_NVFP4))
        return 1;
    for (int i = 0; i < x_pieces[x]; i++)
        for (int j = 0; j < w_pieces[w]; j++)
            n += i + j < 3;
    return n;
}

/* y[T][N] = x[T][K] W^T. Dequantization reads codes and scales and writes 16-bit weights, which the
 * product reads; as 4-bit operands they are read as they are, and need no step before. */
static void add_linear(const struct job *j, const struct linear *l, struct roofline_stage *s)
{
    size_t N = (size_t)l->N, K = (size_t)l->K;
    double packed =
        (double)(weight_data_bytes(l->format, N, K) + weight_scale_bytes(l->format, N, K));
    double weights = (double)l->N * l->K, y = j->T * l->N * j->size, x = j->T * l->K * j->size;
    bool nvfp4 = l->format == WEIGHT_NVFP4, as_is = nvfp4 && j->device->fp4 > 0;
    double bytes = x + y + (as_is ? packed : 2 * weights);
    double flops = linear_flops(l) * j->T * (as_is ? 1 : products(j->q->dtype, l->format));
    double rate = as_is ? j->device->fp4 : j->device->matrix;

    if (nvfp4 && !as_is)
        add_cost(&s->step[STEP_DEQUANTIZE], packed + 2 * weights, 0,
                 (packed + 2 * weights) / j->device->memory);
    add_cost(&s->step[STEP_GEMM], bytes, flops, fmax(flops / rate, bytes / j->device->memory));
}

/* Elements that the steps between products read and write, per token: two norms 4H, residuals 6H,
 * the check for NaN H; rope, and per-head norms, q and k twice; SwiGLU 3F. */
static void add_elementwise(const struct job *j, const struct layer *l, struct roofline_stage *s)
{
    const struct model *m = j->q->model;
    double heads = (double)(m->heads + m->kv_heads) * m->head_dim;
    double elements = 11.0 * m->hidden + 3.0 * m->ffn + 2 * heads * (l->q_norm ? 2 : 1);
    double bytes = j->T * elements * j->size;

    add_cost(&s->step[STEP_ELEMENTWISE], bytes, 0, bytes / j->device->memory);
}

/* Reads q, k, v and writes as much as q. Its FLOPs are the plan's of the rank, less those of the
 * rank's matrices (of one token). */
static void add_attention(const struct job *j, double matrices, struct roofline_stage *s)
{
    const struct model *m = j->q->model;
    double rate = j->q->dtype == DTYPE_F32 ? j->device->attention_f32 : j->device->attention;
    double width = 2.0 * (m->heads + m->kv_heads) * m->head_dim;
    double bytes = (j->rank->last - j->rank->first) * j->T * width * j->size;
    double tokens = (double)j->rank->windows * (j->q->len_max - 1); /* of the run */
    double flops = fmax(j->rank->flops / tokens - matrices, 0) * j->T;

    add_cost(&s->step[STEP_ATTENTION], bytes, flops, fmax(flops / rate, bytes / j->device->memory));
}

/* The product with the head, then its f32 logits written and read once. */
static void add_head(const struct job *j, struct roofline_stage *s)
{
    const struct linear *head = &j->q->model->head;
    double weights = (double)head->N * head->K, logits = 2 * j->T * head->N * sizeof(float);
    double flops = linear_flops(head) * j->T * products(j->q->dtype, head->format);

    add_cost(&s->step[STEP_HEAD], 2 * weights + logits, flops,
             fmax(flops / j->device->matrix, 2 * weights / j->device->memory) +
                 logits / j->device->memory);
}

static void add_transfers(const struct job *j, bool last, struct roofline_stage *s)
{
    double hidden = j->T * j->q->model->hidden * j->size;
    double layers = (double)j->rank->streamed_bytes;
    double copies = 2.0 * (j->rank->last - j->rank->first - 1) * hidden;

    if (!last)
        add_cost(&s->step[STEP_SEND], hidden, 0, hidden / j->device->link);
    if (layers > 0)
        add_cost(&s->step[STEP_READ], layers, 0, layers / j->q->rates.read);
    if (j->rank->parked)
        add_cost(&s->step[STEP_COPY], copies, 0, copies / j->q->rates.park);
}

/* Of so many microbatches in one wave, the last ones are parked. */
static double copy_seconds(const struct roofline_stage *s, const struct plan_rank *r, int64_t n)
{
    return s->step[STEP_COPY].seconds * fmax((double)(n - (r->wave - r->parked)), 0);
}

/* Seconds of `n` microbatches in one wave: what runs side by side counts once. */
static double wave_seconds(const struct roofline_stage *s, const struct plan_rank *r, int64_t n)
{
    double busy = fmax(s->compute, s->step[STEP_SEND].seconds) * (double)n;

    return fmax(fmax(busy, copy_seconds(s, r, n)), s->step[STEP_READ].seconds);
}

static enum roofline_step what_binds(const struct roofline_stage *s, const struct plan_rank *r)
{
    enum roofline_step most = STEP_EMBED;

    if (s->step[STEP_READ].seconds >= s->wave)
        return STEP_READ;
    if (s->step[STEP_SEND].seconds * r->wave >= s->wave)
        return STEP_SEND;
    if (copy_seconds(s, r, r->wave) >= s->wave)
        return STEP_COPY;
    for (enum roofline_step i = STEP_EMBED; i < STEP_SEND; i++)
        if (s->step[i].seconds > s->step[most].seconds)
            most = i;
    return most;
}

static void add_times(const struct job *j, struct roofline_stage *s)
{
    int64_t waves = j->rank->microbatches / j->rank->wave;
    int64_t rest = j->rank->microbatches % j->rank->wave;

    for (int i = STEP_EMBED; i < STEP_SEND; i++)
        s->compute += s->step[i].seconds;
    s->wave = wave_seconds(s, j->rank, j->rank->wave);
    s->seconds = (double)waves * s->wave + (rest ? wave_seconds(s, j->rank, rest) : 0);
    s->tokens_hide_read = s->step[STEP_READ].seconds / s->compute * j->T;
    s->binds = what_binds(s, j->rank);
}

static void add_embed(const struct job *j, struct roofline_stage *s)
{
    const struct linear *table = &j->q->model->embed;
    double rows = (double)weight_data_bytes(table->format, (size_t)j->T, (size_t)table->K);
    double bytes = rows + j->T * table->K * j->size;

    add_cost(&s->step[STEP_EMBED], bytes, 0, bytes / j->device->memory);
}

static void cost_stage(const struct job *j, bool last, struct roofline_stage *s)
{
    const struct model *m = j->q->model;
    double matrices = j->rank->head ? linear_flops(&m->head) : 0;

    if (j->rank->embed)
        add_embed(j, s);
    for (int i = j->rank->first; i < j->rank->last; i++) {
        const struct layer *l = &m->layer[i];
        const struct linear *linear[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};

        for (size_t k = 0; k < sizeof linear / sizeof *linear; k++) {
            add_linear(j, linear[k], s);
            matrices += linear_flops(linear[k]);
        }
        add_elementwise(j, l, s);
    }
    add_attention(j, matrices, s);
    if (j->rank->head)
        add_head(j, s);
    add_transfers(j, last, s);
    add_times(j, s);
}

enum status roofline_make(const struct plan_request *q, const struct plan *p,
                          const struct roofline_device *d, struct roofline **out, struct err *e)
{
    struct job j = {q, p, NULL, NULL, p->tokens, (double)dtype_bytes(q->dtype)};
    struct roofline *r;

    *out = NULL;
    if (d->fp4 > 0 && q->arithmetic != W4A4_VLLM)
        return fail(e, ERR_SPEC,
                    "roofline: %s multiplies 4-bit inputs: arithmetic: got %s, want %s", d->name,
                    arithmetic_name(q->arithmetic), arithmetic_name(W4A4_VLLM));
    r = calloc(1, sizeof *r);
    if (r)
        r->stage = calloc((size_t)p->stages, sizeof *r->stage);
    if (!r || !r->stage) {
        free(r);
        return fail(e, ERR_FIT, "no memory for the roofline of %d stages", p->stages);
    }
    r->device = reckoned(d, q->rates);
    j.device = &r->device;
    r->stages = p->stages; /* of the first replica, which has the most to do */
    for (int i = 0; i < p->stages; i++) {
        j.rank = &p->rank[i];
        cost_stage(&j, i == p->stages - 1, &r->stage[i]);
        if (r->stage[i].seconds > r->stage[r->slowest].seconds)
            r->slowest = i;
    }
    r->seconds = r->stage[r->slowest].seconds;
    for (int i = 0; i < p->stages; i++) /* before its first wave, and after its last */
        if (i != r->slowest)
            r->seconds += r->stage[i].wave;
    r->bubble = 1 - r->stage[r->slowest].seconds / r->seconds;
    r->tokens_per_second = (double)q->windows * (q->len_max - 1) / r->seconds;
    *out = r;
    return OK;
}

void roofline_free(struct roofline *r)
{
    if (r)
        free(r->stage);
    free(r);
}
