/* Copies beside the computation: layers streamed through two slots, hidden states parked in pinned
 * memory. Whatever the order in which streams run, and however many buffers parked states pass
 * through, the nll is that of a resident model, bit for bit. */
#include <stdlib.h>
#include <string.h>

#include "stage/plan.h"
#include "stage/schedule.h"
#include "tests/cuda/expect_ok.h"
#include "twin.h"

enum { SEEDS = 3, WINDOWS = 4, LEN = 9, IDS = WINDOWS * LEN + 1, ROOM_MAX = 3 };

struct setup {
    struct model *model;
    struct windows *windows;
    struct plan_cap cap;
    struct plan_request request;
};

static void setup_make(struct setup *s, struct corpus *corpus)
{
    static const struct spec_data data = {.eval_len = LEN, .eval_stride = LEN};

    EXPECT_OK(model_open(TEST_DATA "/models/qwen2-nvfp4", &s->model, &err));
    for (int64_t i = 0; i < corpus->n; i++)
        corpus->ids[i] = (int32_t)((i * i + 7 * i) % s->model->vocab);
    EXPECT_OK(windows_make(&data, corpus, -1, &s->windows, &err));
    EXPECT(s->windows->count == WINDOWS && s->windows->len_max == LEN);
    s->cap = (struct plan_cap){.bytes = 1ull << 31, .given = true};
    s->request = (struct plan_request){.model = s->model, .kernels = &kernels_cuda,
                                       .dtype = DTYPE_BF16, .arithmetic = W4A16, .threads = 1,
                                       .windows = WINDOWS, .len_max = LEN, .eval_len = LEN,
                                       .microbatch = 1, .rates = {.flops = 1e12, .read = 1e6},
                                       .ranks = 1, .cap = &s->cap};
}

/* nll[WINDOWS][LEN - 1] of a run by that plan. */
static void run_plan(const struct setup *s, const struct plan *p, uint64_t seed, double *nll)
{
    const struct device_options o = {.dtype = DTYPE_BF16, .arithmetic = W4A16};
    struct stage_request q = {.model = s->model, .kernels = &kernels_cuda, .plan = p,
                              .dtype = DTYPE_BF16, .len_max = LEN, .vocab = s->model->vocab,
                              .files = {.method = FILE_PREAD, .keep = true, .timeout = 30}};
    struct schedule_request r = {.plan = p, .windows = s->windows, .hidden = s->model->hidden,
                                 .dtype = DTYPE_BF16};
    struct schedule_times times;

    twin_seed(seed);
    EXPECT_OK(comm_open_loop(&r.comm, &err));
    EXPECT_OK(kernels_cuda.open(&o, &q.device, &err));
    EXPECT_OK(stage_open(&q, &r.stage, &err));
    EXPECT_OK(score_open(s->windows, &r.score, &err));
    EXPECT_OK(schedule_run(&r, &times, &err));
    EXPECT(stage_parked(r.stage) == p->rank[0].parked_bytes);
    memcpy(nll, score_table(r.score), WINDOWS * (LEN - 1) * sizeof *nll);
    score_close(r.score);
    stage_close(r.stage);
    kernels_cuda.close(q.device);
    comm_close(r.comm);
}

/* All windows in one wave, `room` of which have a buffer in the arena. */
static struct plan *parking_plan(struct setup *s, int room)
{
    struct plan *p = NULL;

    s->request.stream = STREAM_ALWAYS;
    s->cap = (struct plan_cap){.bytes = 1ull << 31, .given = true};
    EXPECT_OK(plan_make(&s->request, &p, &err));
    EXPECT(p->rank[0].wave == WINDOWS && p->rank[0].n_hidden == WINDOWS);
    s->cap.bytes = p->rank[0].total - (uint64_t)(WINDOWS - room) * p->rank[0].map.hidden_bytes;
    s->cap.park = 1 << 30;
    plan_free(p);
    EXPECT_OK(plan_make(&s->request, &p, &err));
    EXPECT(p->rank[0].wave == WINDOWS && p->rank[0].n_hidden == room);
    EXPECT(p->rank[0].passing == (room == 1 ? 1 : 2));
    EXPECT(p->rank[0].parked == WINDOWS - room + p->rank[0].passing);
    return p;
}

int main(void)
{
    int32_t ids[IDS];
    int64_t doc[] = {0, IDS};
    struct corpus corpus = {.n = IDS, .ids = ids, .n_docs = 1, .doc = doc, .bos = -1};
    double want[WINDOWS * (LEN - 1)], got[WINDOWS * (LEN - 1)];
    struct setup s;
    struct plan *p = NULL;

    setup_make(&s, &corpus);
    s.request.stream = STREAM_NEVER;
    EXPECT_OK(plan_make(&s.request, &p, &err));
    run_plan(&s, p, 1, want);
    plan_free(p);
    for (int room = 1; room <= ROOM_MAX; room++) {
        p = parking_plan(&s, room);
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            run_plan(&s, p, seed, got);
            EXPECT(memcmp(got, want, sizeof want) == 0);
        }
        plan_free(p);
    }
    windows_free(s.windows);
    model_close(s.model);
    return 0;
}
