/* 1,000 random (model, caps, windows, ranks): each plan holds, or is refused with advice that, when
 * followed, holds. And the split is the best there is, checked against all splits of small models. */
// links: stage
// timeout: 300
#include "stage/plan.h"
#include "tests/fake_model.h"
#include "tests/test.h"

enum { RANKS_MAX = 12 };

static size_t fake_scratch(const struct work_shape *w)
{
    return (size_t)w->tokens * (size_t)w->k_max * 4 + (size_t)w->threads * 65536 +
           (size_t)w->vocab * 256;
}

static const struct kernels fake = {.name = "fake", .arena_is_host = true, .tokens_wanted = 2048,
                                    .scratch_bytes = fake_scratch};
static const struct kernels fake_gpu = {.name = "fake GPU", .tokens_wanted = 8192,
                                        .scratch_bytes = fake_scratch};

static uint64_t seed = 20261123;

static int pick(int low, int high) /* low .. high, xorshift */
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return low + (int)(seed % (uint64_t)(high - low + 1));
}

/* What every plan must be, whatever was asked. */
static void check_plan(const struct plan *p, const struct plan_request *q)
{
    int next = 0;
    int64_t microbatches = 0, windows = 0;
    uint64_t owned = 0, all = fake_model_bytes(q->model);

    EXPECT(p->ranks == q->ranks && p->stages * p->replicas == p->ranks);
    EXPECT(!q->stages || p->stages == q->stages);
    EXPECT(q->stages || p->replicas <= p->microbatches); /* none is idle, unless asked for */
    EXPECT(p->microbatch >= 1 && p->tokens >= q->len_max - 1);
    EXPECT(p->microbatches == (q->windows + p->microbatch - 1) / p->microbatch);
    for (int r = 0; r < p->ranks; r++) {
        const struct plan_rank *k = &p->rank[r], *like = &p->rank[r % p->stages];

        EXPECT(k->replica == r / p->stages && k->stage == r % p->stages);
        if (k->stage == 0)
            next = 0;
        EXPECT(k->first == like->first && k->last == like->last && k->streamed == like->streamed);
        EXPECT(k->map.bytes == like->map.bytes && k->wave == like->wave);
        EXPECT(k->first == next && k->last >= k->first);
        next = k->last;
        EXPECT(k->total <= q->cap[r].bytes);
        EXPECT(k->total == k->weights + k->activations + k->scratch + k->scoring + k->comm +
                               k->overhead);
        EXPECT(k->map.bytes <= k->total && k->map.scratch + k->map.scratch_bytes <= k->map.bytes);
        EXPECT(k->streamed >= 0 && k->streamed <= k->last - k->first && k->wave >= 1);
        EXPECT(k->streamed > 0 || k->wave == 1);
        EXPECT(k->parked >= 0 && k->parked <= k->wave && (k->parked == 0 || k->streamed > 0));
        EXPECT(k->parked_bytes == (uint64_t)k->parked * k->map.hidden_bytes);
        EXPECT(k->parked_bytes <= q->cap[r].park);
        EXPECT(k->passing >= (k->parked > 0) && k->passing <= 2 * (k->parked > 0));
        EXPECT(k->passing < 2 || !q->kernels->arena_is_host);
        EXPECT(k->n_hidden ==
               k->wave - k->parked + k->passing + (k->stage > 0) + (k->stage < p->stages - 1));
        if (q->stream == STREAM_NEVER)
            EXPECT(k->streamed == 0);
        if (q->stream == STREAM_ALWAYS)
            EXPECT(k->streamed == k->last - k->first);
        EXPECT(k->stall >= 0 && k->stall <= k->seconds);
        EXPECT(k->embed == (k->stage == 0) && k->head == (k->stage == p->stages - 1));
        owned += k->owned;
        if (k->head) {
            microbatches += k->microbatches;
            windows += k->windows;
        }
        EXPECT(k->microbatches >= 0 && (k->windows + p->microbatch - 1) / p->microbatch == k->microbatches);
        if (q->n_by_hand)
            EXPECT(k->last - k->first == q->by_hand[k->stage]);
        EXPECT(!k->head || next == q->model->n_layers);
    }
    EXPECT(microbatches == p->microbatches && windows == q->windows);
    EXPECT(owned >= all * (uint64_t)p->replicas); /* a tied matrix may be on two ranks */
    EXPECT(p->balance > 0 && p->balance <= 1 + 1e-12);
}

static void random_request(struct plan_request *q, struct model *m, struct plan_cap *cap)
{
    int ranks = pick(1, RANKS_MAX), each = pick(0, 2);
    uint64_t budget = (uint64_t)(pick(0, 2) ? pick(0, 4000) : 0) << 20; /* of the one host */

    *q = (struct plan_request){.model = m,
                               .kernels = &fake,
                               .dtype = pick(0, 2),
                               .threads = pick(1, 8),
                               .windows = pick(1, 2000),
                               .len_max = pick(2, 4096),
                               .microbatch = pick(0, 3) ? 0 : pick(1, 8),
                               .stream = pick(0, 2),
                               .rates = {1e9 * pick(1, 1000), 1e5 * (1 << pick(0, 16)),
                                         1e8 * pick(0, 100)},
                               .ranks = ranks,
                               .stages = pick(0, 2) ? 0 : ranks / pick(1, ranks),
                               .cap = cap};
    if (q->stages && ranks % q->stages != 0)
        q->stages = ranks;
    q->eval_len = q->len_max;
    for (int r = 0; r < ranks; r++) /* from hopeless to roomy */
        cap[r] = (struct plan_cap){.bytes = (uint64_t)pick(1, each ? 400 : 4000) << 20,
                                   .given = true,
                                   .park = budget / (uint64_t)ranks};
}

/* Follows "a cap of N MiB" and "eval_len N", each by itself. */
static void follow_advice(const struct plan_request *q, const struct err *refusal)
{
    const char *cap_at = strstr(refusal->msg, "a cap of "), *len_at = strstr(refusal->msg, "or eval_len ");
    struct plan_request again = *q;
    struct plan_cap cap[RANKS_MAX];
    struct plan *p = NULL;
    struct err e;
    uint64_t mib;

    EXPECT(cap_at);
    mib = strtoull(cap_at + 9, NULL, 10);
    for (int r = 0; r < q->ranks; r++) {
        cap[r] = q->cap[r];
        if (cap[r].bytes < mib << 20)
            cap[r].bytes = mib << 20;
    }
    again.cap = cap;
    EXPECT(plan_make(&again, &p, &e) == OK);
    check_plan(p, &again);
    plan_free(p);
    for (int r = 0; r < q->ranks; r++) /* and it was the least */
        if (q->cap[r].bytes < mib << 20)
            cap[r].bytes = (mib - 1) << 20 > q->cap[r].bytes ? (mib - 1) << 20 : q->cap[r].bytes;
    EXPECT(plan_make(&again, &p, &e) == ERR_FIT);
    if (!len_at)
        return;
    again = *q;
    again.len_max = again.eval_len = atoi(len_at + 12);
    EXPECT(again.len_max >= 2 && again.len_max < q->len_max);
    again.windows = q->windows * q->len_max / again.len_max;
    EXPECT(plan_make(&again, &p, &e) == OK);
    check_plan(p, &again);
    plan_free(p);
}

static bool parks(const struct plan *p)
{
    for (int r = 0; r < p->ranks; r++)
        if (p->rank[r].parked)
            return true;
    return false;
}

/* Parking takes less time than doing without, with as many stages; nothing fits because of it. */
static void check_budget(const struct plan *p, const struct plan_request *q)
{
    struct plan_request poor = *q;
    struct plan_cap cap[RANKS_MAX];
    struct plan *without = NULL;
    struct err e;

    for (int r = 0; r < q->ranks; r++) {
        cap[r] = q->cap[r];
        cap[r].park = 0;
    }
    poor.cap = cap;
    EXPECT(plan_make(&poor, &without, &e) == OK);
    check_plan(without, &poor);
    EXPECT(p->stages != without->stages || p->seconds <= 1.01 * without->seconds);
    plan_free(without);
}

/* The same on GPUs; does the first rank park there in two buffers? */
static bool check_gpu(const struct plan_request *q)
{
    struct plan_request there = *q;
    struct plan *p = NULL;
    struct err e;
    bool beside;

    there.kernels = &fake_gpu;
    EXPECT(plan_make(&there, &p, &e) == OK); /* no more is planned there */
    check_plan(p, &there);
    beside = p->rank[0].passing == 2;
    plan_free(p);
    return beside;
}

static void random_plans(void)
{
    int held = 0, refused = 0, parked = 0, beside = 0;

    for (int i = 0; i < 1000; i++) {
        struct model *m = fake_model(pick(1, 40), 16 * pick(1, 64), 16 * pick(1, 128), pick(1, 8),
                                     pick(1, 4), 16 * pick(1, 8), 256 * pick(1, 64), pick(0, 1));
        struct plan_cap cap[RANKS_MAX];
        struct plan_request q;
        struct plan *p = NULL;
        struct err e;

        random_request(&q, m, cap);
        if (plan_make(&q, &p, &e) == OK) {
            held++;
            check_plan(p, &q);
            beside += check_gpu(&q);
            if (parks(p)) {
                parked++;
                check_budget(p, &q);
            }
            plan_free(p);
        } else {
            refused++;
            EXPECT(e.code == ERR_FIT);
            follow_advice(&q, &e);
        }
        fake_model_free(m);
    }
    printf("%d held, %d of them with parked states (%d on GPUs beside computing), %d refused\n", held,
           parked, beside, refused);
    EXPECT(held > 200 && refused > 200 && parked > 20 && beside > 10); /* all were really tried */
}

static double slowest(const struct plan *p)
{
    double most = 0;

    for (int r = 0; r < p->ranks; r++)
        if (p->rank[r].flops > most)
            most = p->rank[r].flops;
    return most;
}

/* No cut of three ranks by hand is faster than the plan's own. */
static void split_is_best(void)
{
    struct model *m = fake_model(11, 256, 512, 4, 2, 64, 8192, 0);
    struct plan_cap cap[3] = {{.bytes = 40 << 20}, {.bytes = 60 << 20}, {.bytes = 1 << 30}};
    struct plan_request q = {.model = m, .kernels = &fake, .threads = 1, .windows = 64,
                             .len_max = 257, .eval_len = 257, .ranks = 3, .stages = 3, .cap = cap,
                             .rates = {.flops = 1e9, .read = 1e9}, .stream = STREAM_NEVER};
    struct plan *best = NULL;
    struct err e;
    int tried = 0;

    EXPECT(plan_make(&q, &best, &e) == OK);
    check_plan(best, &q);
    q.n_by_hand = 3;
    for (int a = 0; a <= 11; a++)
        for (int b = 0; a + b <= 11; b++) {
            int by_hand[3] = {a, b, 11 - a - b};
            struct plan *p = NULL;

            q.by_hand = by_hand;
            if (plan_make(&q, &p, &e) != OK)
                continue;
            tried++;
            check_plan(p, &q);
            EXPECT(slowest(best) <= slowest(p) * (1 + 1e-6));
            plan_free(p);
        }
    EXPECT(tried > 10);
    plan_free(best);
    fake_model_free(m);
}

static void by_hand_is_checked(void)
{
    struct model *m = fake_model(4, 64, 64, 1, 1, 16, 256, 1);
    struct plan_cap cap[2] = {{.bytes = 1 << 30}, {.bytes = 1 << 30}};
    int short_of[3] = {1, 2, 1}; /* of two stages, 3 layers */
    struct plan_request q = {.model = m, .kernels = &fake, .threads = 1, .windows = 1, .len_max = 9,
                             .eval_len = 9, .ranks = 2, .cap = cap, .n_by_hand = 2,
                             .by_hand = short_of, .rates = {.flops = 1e9, .read = 1e9}};
    struct plan *p = NULL;
    struct err e;

    EXPECT(plan_make(&q, &p, &e) == ERR_SPEC);
    EXPECT_TEXT(e.msg, "\"layers\" adds up to 3, but the model has 4 layers");
    q.stages = 1;
    EXPECT(plan_make(&q, &p, &e) == ERR_SPEC);
    EXPECT_TEXT(e.msg, "\"layers\" names 2 stages, but \"stages\" is 1");
    q.stages = 3;
    EXPECT(plan_make(&q, &p, &e) == ERR_SPEC);
    EXPECT_TEXT(e.msg, "\"stages\" is 3, but 2 ranks are no multiple of it");
    q.stages = 0;
    q.n_by_hand = 3;
    EXPECT(plan_make(&q, &p, &e) == ERR_SPEC);
    EXPECT_TEXT(e.msg, "\"layers\" names 3 stages, but 2 ranks are no multiple of it");
    fake_model_free(m);
}

static int stages_under(struct plan_request *q, struct plan_cap *cap, uint64_t bytes)
{
    struct plan *p = NULL;
    struct err e;
    int stages;

    for (int r = 0; r < q->ranks; r++)
        cap[r] = (struct plan_cap){.bytes = bytes, .given = true};
    EXPECT(plan_make(q, &p, &e) == OK);
    check_plan(p, q);
    stages = p->stages;
    plan_free(p);
    return stages;
}

/* Twelve ranks: as many replicas as the caps allow, of as few stages as hold every layer; streaming
 * only where nothing else fits, then in the number of stages that takes the least time. */
static void fewest_stages(void)
{
    struct model *m = fake_model(24, 512, 1024, 8, 1, 64, 512, 0);
    uint64_t all = fake_model_bytes(m), around = 6 << 20;
    struct plan_cap cap[12];
    struct plan_request q = {.model = m, .kernels = &fake, .threads = 1, .windows = 64,
                             .len_max = 65, .eval_len = 65, .microbatch = 1, .ranks = 12, .cap = cap,
                             .rates = {.flops = 1e12, .read = 1e6}};

    EXPECT(stages_under(&q, cap, all + around) == 1);
    EXPECT(stages_under(&q, cap, all / 2 + around) == 2);
    EXPECT(stages_under(&q, cap, all / 4 + around) == 4);
    q.windows = 3; /* no more replicas than windows */
    EXPECT(stages_under(&q, cap, all + around) == 4);
    q.windows = 64;
    q.stream = STREAM_ALWAYS; /* a slow disk: the fewer layers a rank reads, the sooner it is done */
    EXPECT(stages_under(&q, cap, all / 2) == 12);
    q.rates = (struct plan_rates){.flops = 1e6, .read = 1e12}; /* a fast one: no rank waits */
    EXPECT(stages_under(&q, cap, all / 2) == 1);
    fake_model_free(m);
}

/* The one rank of a plan that reads all layers again for each wave; flops: its rate, by which a wave of
 * all microbatches takes `wave` seconds. */
static struct plan_rank kept(struct plan_request *q, double flops, double *wave)
{
    struct plan_rank r;
    struct plan *p = NULL;
    struct err e;

    q->rates.flops = flops;
    EXPECT(plan_make(q, &p, &e) == OK);
    check_plan(p, q);
    r = p->rank[0];
    *wave = r.flops / flops * r.wave / (double)r.microbatches;
    plan_free(p);
    return r;
}

/* A wave is kept so often that ten minutes may be lost, no oftener than a disk can take, and not where
 * it takes less or where there is no folder. */
static void waves_are_kept(void)
{
    struct model *m = fake_model(24, 512, 1024, 8, 1, 64, 512, 0);
    struct plan_cap cap[2] = {{.bytes = 1 << 30}, {.bytes = 1 << 30}};
    struct plan_request q = {.model = m, .kernels = &fake, .threads = 1, .windows = 64,
                             .len_max = 65, .eval_len = 65, .microbatch = 1, .ranks = 1, .cap = cap,
                             .rates = {.read = 1e12}, .stream = STREAM_ALWAYS, .keeps = true};
    double wave, second, at_one_flops;
    struct plan_rank r = kept(&q, 1, &at_one_flops);

    EXPECT(r.keep == 1);
    for (double want = 100; want < 20000; want *= 1.07) {
        r = kept(&q, at_one_flops / want, &wave);
        EXPECT((r.keep > 0) == (wave > 600));
        EXPECT(r.keep == 0 || r.keep == 1 || wave / 24 * r.keep <= 600);
        EXPECT(r.keep == 0 || ceil(24.0 / r.keep) <= 2 * ceil(wave / 600));
        EXPECT(r.keep_bytes == (uint64_t)r.wave * r.map.hidden_bytes);
    }
    r = kept(&q, at_one_flops / 2400, &wave);
    EXPECT(r.keep == 6);
    second = (double)r.keep_bytes; /* a rate by which writing takes a second */
    q.rates.read = second / 15;    /* 20 x 15 s: computing 3 layers */
    EXPECT(kept(&q, at_one_flops / 2400, &wave).keep == 6);
    q.rates.read = second / 36; /* 20 x 36 s: 7.2 layers */
    r = kept(&q, at_one_flops / 2400, &wave);
    EXPECT(r.keep == 8 && r.seconds >= r.flops / q.rates.flops + 2 * 36);
    q.rates.read = 1e12;
    q.keeps = false;
    EXPECT(kept(&q, at_one_flops / 2400, &wave).keep == 0);
    q.keeps = true;
    fake_model_free(m);
}

/* What a wave has been through since it was kept last is less than may be lost, whatever stages that is
 * in; with shorter waves nothing is kept. */
static void stages_share_the_loss(void)
{
    struct model *m = fake_model(24, 512, 1024, 8, 1, 64, 512, 0);
    struct plan_cap cap[6] = {{0}};
    struct plan_request q = {.model = m, .kernels = &fake, .threads = 1, .windows = 64,
                             .len_max = 65, .eval_len = 65, .microbatch = 1, .cap = cap,
                             .rates = {.read = 1e15}, .stream = STREAM_ALWAYS, .keeps = true};
    struct plan *p;
    struct err e;
    double waves;
    int some = 0;

    for (int i = 0; i < 6; i++)
        cap[i].bytes = 1 << 30;
    for (q.stages = 1; q.stages <= 6; q.stages++)
        for (double flops = 1e3; flops < 1e10; flops *= 1.9) {
            q.ranks = q.stages;
            q.rates.flops = flops;
            EXPECT(plan_make(&q, &p, &e) == OK);
            waves = 0;
            for (int r = 0; r < p->ranks; r++) {
                const struct plan_rank *k = &p->rank[r];
                double layer = plan_wave_seconds(k) / (k->last - k->first);
                int most = k->keep ? k->keep : k->last - k->first;

                EXPECT(k->keep == 1 || most * layer <= 1.001 * PLAN_LOSS / q.stages);
                EXPECT(k->keep < k->last - k->first);
                EXPECT(k->keep_files >= 2 && (k->keep_files == 2 || !k->head));
                some += k->keep > 1;
                waves += plan_wave_seconds(k);
            }
            EXPECT_NEAR(plan_longest_wait(p), waves, 1e-9 * waves); /* the last one's, at first */
            plan_free(p);
        }
    EXPECT(some > 10);
    fake_model_free(m);
}

enum { OFFERS = 12 };

/* The farthest on that a microbatch is offered; 0 = not at all. */
static int best_offer(const struct plan_kept *offer, int n, int replica, int64_t k)
{
    int layer = 0;

    for (int i = 0; i < n; i++)
        if (offer[i].replica == replica && offer[i].from <= k && k < offer[i].to &&
            offer[i].layer > layer)
            layer = offer[i].layer;
    return layer;
}

/* The layer from which the plan goes on with microbatch k; 0 = it is not kept. */
static int layer_of(const struct plan *p, int replica, int64_t k)
{
    int layer = 0, times = 0;

    for (int i = 0; i < p->n_kept; i++)
        if (p->kept[i].replica == replica && p->kept[i].from <= k && k < p->kept[i].to) {
            layer = p->kept[i].layer;
            times++;
        }
    EXPECT(times <= 1);
    return layer;
}

/* A rank's waves are, in the order of the text, what was not kept for a later one, each from where it
 * was kept; and what it does not begin with comes from the rank before. */
static void check_order(const struct plan *p, int rank)
{
    const struct plan_rank *r = &p->rank[rank];
    struct plan_wave w = {0};
    int64_t done = 0, arrived = 0, sent, restored = 0;

    EXPECT(plan_next_wave(p, rank, &w) || plan_to_do(p, rank) == 0);
    for (int64_t k = 0; k < r->microbatches; k++) {
        int layer = layer_of(p, r->replica, k), begin = layer > r->first ? layer : r->first;

        if (layer > 0 && layer >= r->last)
            continue;
        if (done == w.to)
            EXPECT(plan_next_wave(p, rank, &w));
        EXPECT(w.from <= done && done < w.to && w.to - w.from <= r->wave && w.begin == begin);
        EXPECT(plan_microbatch(p, rank, done) == k);
        EXPECT((plan_next_arrival(p, rank, done) == done) == (begin == r->first));
        if (begin == r->first && !r->embed) {
            EXPECT(plan_microbatch(p, rank - 1, arrived) == k);
            arrived++;
        }
        restored += done == w.from && begin > r->first;
        done++;
    }
    EXPECT(done == w.to && !plan_next_wave(p, rank, &w));
    EXPECT(done == plan_to_do(p, rank));
    EXPECT(!r->streamed || !done ||
           plan_longest_wait(p) >= (double)(1 + restored) * plan_wave_seconds(r));
    sent = r->embed ? 0 : plan_to_do(p, rank - 1);
    EXPECT(arrived == sent && (!r->head || done == r->microbatches));
}

/* Random offers of random plans: for each microbatch the farthest on, or nothing where that would not
 * be worth its wave; all ranks of a pipeline agree on who does what. */
static void goes_on(void)
{
    struct model *m = fake_model(24, 512, 1024, 8, 1, 64, 512, 0);
    struct plan_cap cap[RANKS_MAX] = {{0}};
    struct plan_request q = {.model = m, .kernels = &fake, .threads = 1, .len_max = 65,
                             .eval_len = 65, .microbatch = 1, .cap = cap,
                             .rates = {.flops = 1e12, .read = 1e9}, .stream = STREAM_ALWAYS};
    int64_t taken = 0, left = 0;

    for (int round = 0; round < 2000; round++) {
        struct plan_kept offer[OFFERS];
        struct plan *p;
        struct err e;
        int n = 0;

        q.stages = pick(1, 4);
        q.ranks = q.stages * pick(1, 3);
        q.windows = pick(1, 60);
        q.stream = pick(0, 3) ? STREAM_ALWAYS : STREAM_NEVER;
        for (int r = 0; r < q.ranks; r++)
            cap[r].bytes = (uint64_t)pick(24, 60) << 20;
        if (plan_make(&q, &p, &e) != OK)
            continue;
        for (int i = pick(0, OFFERS); i > 0; i--) {
            struct plan_kept k = {.replica = pick(0, p->replicas - 1), .layer = pick(1, 23)};

            k.from = pick(0, (int)p->rank[k.replica * p->stages].microbatches);
            k.to = pick((int)k.from, (int)p->rank[k.replica * p->stages].microbatches);
            if (plan_stage_of(p, k.layer) >= 0 && k.from < k.to)
                offer[n++] = k;
        }
        EXPECT(plan_go_on(p, offer, n, &e) == OK);
        for (int r = 0; r < p->ranks; r++) {
            for (int64_t k = 0; k < p->rank[r].microbatches; k++) {
                int layer = layer_of(p, p->rank[r].replica, k);

                EXPECT(layer == 0 || layer == best_offer(offer, n, p->rank[r].replica, k));
                taken += layer > 0;
                left += layer == 0 && best_offer(offer, n, p->rank[r].replica, k) > 0;
            }
            check_order(p, r);
        }
        plan_free(p);
    }
    printf("%lld microbatches went on, %lld were not worth it\n", (long long)taken, (long long)left);
    EXPECT(taken > 5 * left && left > 0);
    fake_model_free(m);
}

int main(void)
{
    random_plans();
    waves_are_kept();
    stages_share_the_loss();
    goes_on();
    split_is_best();
    fewest_stages();
    by_hand_is_checked();
    return 0;
}
