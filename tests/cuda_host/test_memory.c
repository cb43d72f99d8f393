/* Proves B5: over 200 random plans each rank takes one allocation of device memory, of the planned
 * size, and nothing beside it, also while it computes, and also where rates are measured before; the
 * device has no more than the cap. What a plan's overhead promises, the context took. */
#include <stdlib.h>

#include "launch/rates.h"
#include "stage/plan.h"
#include "stage/stage.h"
#include "tests/cuda/expect_ok.h"
#include "twin.h"

enum {
    PLANS = 200,
    FULL_EVERY = 10, /* of so many plans one computes all its layers; the others the first */
    MEASURED = 4,    /* plans by measured rates */
    RANKS_MAX = 3,
    LEN_MAX = 24,
    BEYOND = 96, /* rows of the head that no softmax is over: its last columns are a shape of their own */
    WINDOWS_MAX = 4,
    MIB = 1 << 20
};

static const char *const models[] = {"llama-nvfp4", "llama3-head", "mistral-nvfp4", "qwen2-nvfp4",
                                     "qwen3-mixed"};
enum { MODELS = sizeof models / sizeof models[0] };

static uint64_t later; /* kept beside what is measured, once all is loaded */
static uint64_t state = 5;
static int pick(int low, int high)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int)((state >> 33) % (uint64_t)(high - low + 1));
}

/* One microbatch, or as many as a wave has, through a rank's part. */
static void compute(struct stage *s, const struct plan_request *q, const struct plan *p, int rank,
                    bool full)
{
    const struct plan_rank *me = &p->rank[rank];
    int32_t start[WINDOWS_MAX + 1], ids[LEN_MAX * WINDOWS_MAX] = {0};
    int last = full || me->last == me->first ? me->last : me->first + 1, len = q->len_max - 1;
    double nll[LEN_MAX * WINDOWS_MAX];

    for (int i = 0; i <= p->microbatch; i++)
        start[i] = i * len;
    for (int k = 0; k < me->wave; k++) {
        EXPECT_OK(stage_begin(s, k, start, p->microbatch, &err));
        if (me->embed)
            EXPECT_OK(stage_embed(s, k, ids, &err));
    }
    for (int layer = me->first; layer < last; layer++) {
        EXPECT_OK(stage_acquire(s, layer, &err));
        for (int k = 0; k < me->wave; k++)
            EXPECT_OK(stage_layer(s, layer, k, &err));
        stage_release(s, layer);
    }
    if (me->head)
        EXPECT_OK(stage_head(s, 0, ids, ids, p->tokens, nll, &err));
}

static const struct file_reader_options files = {.method = FILE_PREAD, .keep = true, .timeout = 30};

/* The plan by measured rates, of one rank, on the device that it will run on. */
static struct plan *measured(const struct plan_request *q, const struct plan *p, struct device *d)
{
    struct plan_cap reserved;
    struct plan_request within = *q;
    struct plan *again = NULL;

    EXPECT_OK(rates_reserve(q, 0, d, &reserved, &err));
    within.cap = &reserved;
    EXPECT_OK(rates_measure(&within, p, 0, d, &files, &within.rates, &err));
    EXPECT(within.rates.flops > 0 && within.rates.read > 0 && within.rates.park > 0);
    EXPECT_OK(plan_make(&within, &again, &err));
    rates_settle(q, &reserved, again);
    return again;
}

/* With `measure`, by another plan. */
static void run_rank(const struct plan_request *q, const struct plan *p, int rank, bool full,
                     bool measure)
{
    const struct device_options o = {.dtype = q->dtype, .arithmetic = q->arithmetic};
    const struct plan_rank *me = &p->rank[rank];
    struct plan *by_rates = NULL;
    struct stage_request request = {.model = q->model,
                                    .kernels = q->kernels,
                                    .plan = p,
                                    .rank = rank,
                                    .dtype = q->dtype,
                                    .len_max = q->len_max,
                                    .vocab = q->model->vocab - BEYOND,
                                    .files = files};
    struct twin_usage used;
    struct stage *s = NULL;

    EXPECT_OK(q->kernels->open(&o, &request.device, &err));
    twin_limit_memory(me->cap.bytes - later);
    if (measure) {
        request.plan = p = by_rates = measured(q, p, request.device);
        me = &p->rank[rank];
    }
    EXPECT_OK(stage_open(&request, &s, &err));
    compute(s, q, p, rank, full);
    used = twin_memory();
    if (used.allocations != 1 || used.peak != me->total - later)
        printf("%d allocations, peak %zu, planned %llu\n", used.allocations, used.peak,
               (unsigned long long)me->total);
    EXPECT(used.allocations == 1 && used.used == used.peak && used.peak <= used.limit);
    EXPECT(used.peak == me->total - later && me->total <= me->cap.bytes);
    stage_close(s);
    plan_free(by_rates);
    q->kernels->close(request.device);
}

static struct plan_request request_for(const struct model *m, enum dtype dtype)
{
    return (struct plan_request){.model = m, .kernels = &kernels_cuda, .dtype = dtype, .threads = 1,
                                 .len_max = LEN_MAX};
}

/* What opening a device and its first products take, and what is kept for later. The context and
 * all that was loaded stay. `most`: that the device may hold. */
static struct device_memory open_for(const struct model *m, enum dtype dtype, uint64_t most)
{
    const struct device_options o = {.dtype = dtype};
    struct plan_request q = request_for(m, dtype);
    struct work_shape w = plan_work_shape(&q);
    struct device_memory before, after;
    struct device *d = NULL;

    w.vocab -= BEYOND;
    EXPECT_OK(kernels_cuda.open(&o, &d, &err));
    EXPECT_OK(kernels_cuda.memory(d, &before, &err));
    EXPECT_OK(kernels_cuda.warm_up(d, &w, most, &err));
    EXPECT_OK(kernels_cuda.memory(d, &after, &err));
    kernels_cuda.close(d);
    EXPECT(after.available <= before.available && after.available == after.total - twin_memory().used);
    EXPECT(after.taken - before.taken == before.available - after.available);
    return after;
}

static uint64_t overhead(struct model *const *model)
{
    struct device_memory m = open_for(model[0], DTYPE_BF16, 0);
    uint64_t bare = twin_memory().used;

    EXPECT(m.taken == bare && twin_memory().peak == bare); /* no such cap has room: left out, and kept */
    EXPECT(m.later > 4 * MIB);
    for (int i = 0; i < MODELS; i++)
        for (int t = DTYPE_BF16; t <= DTYPE_F32; t++)
            m = open_for(model[i], (enum dtype)t, UINT64_MAX);
    later = m.later;
    EXPECT(twin_memory().used > bare && later <= 4 * MIB);
    return twin_memory().used + later;
}

/* false: it fits no such cap. `measure`: all layers streamed, on one rank. */
static bool run_plan(const struct model *m, uint64_t taken, bool full, bool measure)
{
    struct plan_cap cap[RANKS_MAX];
    struct plan_request q = {.model = m,
                             .kernels = &kernels_cuda,
                             .dtype = (enum dtype)pick(DTYPE_BF16, DTYPE_F32),
                             .arithmetic = (enum arithmetic)pick(W4A16, W4A4_VLLM),
                             .threads = 1,
                             .windows = pick(1, WINDOWS_MAX),
                             .len_max = pick(2, LEN_MAX),
                             .microbatch = pick(0, 1),
                             .stream = (enum stream_kind)pick(STREAM_AUTO, STREAM_ALWAYS),
                             .rates = {.flops = 1e12, .read = 1e9},
                             .ranks = pick(1, RANKS_MAX),
                             .cap = cap};
    struct plan *p = NULL;

    if (measure) {
        q.ranks = 1;
        q.stream = STREAM_ALWAYS;
    }
    q.eval_len = q.len_max;
    q.stages = q.ranks;
    for (int r = 0; r < RANKS_MAX; r++)
        cap[r] = (struct plan_cap){.bytes = taken + (uint64_t)pick(34 * MIB, 60 * MIB),
                                   .given = true, .overhead = taken};
    if (plan_make(&q, &p, &err) != OK) {
        EXPECT(err.code == ERR_FIT);
        return false;
    }
    for (int r = 0; r < q.ranks; r++)
        run_rank(&q, p, r, full, measure);
    plan_free(p);
    return true;
}

int main(void)
{
    struct model *model[MODELS];
    uint64_t taken;
    int refused = 0;

    for (int i = 0; i < MODELS; i++) {
        char path[4096];

        snprintf(path, sizeof path, "%s/models/%s", TEST_DATA, models[i]);
        EXPECT_OK(model_open(path, &model[i], &err));
    }
    taken = overhead(model);
    for (int done = 0; done < PLANS;) {
        if (run_plan(model[pick(0, MODELS - 1)], taken, done % FULL_EVERY == 0, done < MEASURED))
            done++;
        else
            refused++;
        EXPECT(refused < 10 * PLANS);
    }
    printf("%d plans, %d more that fit no such cap\n", PLANS, refused);
    for (int i = 0; i < MODELS; i++)
        model_close(model[i]);
    return 0;
}
