#include "launch/run.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launch/memory.h"
#include "launch/rates.h"
#include "spec/clock.h"
#include "stage/backend.h"

/* The token before a document: BOS, else EOS, of config.json. */
static int prefix_token(const struct model *m)
{
    return m->bos >= 0 ? m->bos : m->eos;
}

static enum status check_ids(const struct corpus *c, const struct model *m, struct err *e)
{
    for (int64_t i = 0; i < c->n; i++)
        if (c->ids[i] < 0 || c->ids[i] >= m->vocab)
            return fail(e, ERR_DATA,
                        "token id %d at position %lld is not in the model's vocabulary of %d (is "
                        "this the model's tokenizer?)",
                        c->ids[i], (long long)i, m->vocab);
    if (c->bos >= m->vocab || prefix_token(m) >= m->vocab)
        return fail(e, ERR_DATA, "the BOS or EOS token is not in the model's vocabulary of %d",
                    m->vocab);
    return OK;
}

/* Rank 0: the text as ids. Frozen ids do without a tokenizer unless the softmax asks for its width. */
static enum status read_corpus(struct run *r, const char *data_dir, struct err *e)
{
    const struct spec_data *data = &r->spec->data;
    bool need = data->kind != CORPUS_TOKENS || data->softmax == SOFTMAX_TOKENIZER ||
                data->bos == BOS_ROW;
    struct tokenizer *tokenizer = NULL;
    enum status st = OK;

    if (need)
        TRY(tokenizer_open(r->choice->tokenizer_dir, &tokenizer, e));
    st = corpus_read(data, data_dir, tokenizer, &r->corpus, e);
    tokenizer_close(tokenizer);
    return st == OK ? check_ids(r->corpus, r->model, e) : st;
}

static enum status open_files(struct run *r, const char *data_dir, struct err *e)
{
    TRY(model_open(r->choice->model_dir, &r->model, e));
    return r->comm->rank == 0 ? read_corpus(r, data_dir, e) : OK;
}

/* The number must not depend on which rank computes what: "auto" is the same on all. */
static enum status choose_backend(struct run *r, struct err *e)
{
    TRY(job_agree(r->comm, backend_choose(r->spec->backend, &r->kernels, e), e));
    return job_same(r->comm, "backend", r->kernels->name,
                    "give each rank a GPU that works, or all of them --backend cpu", e);
}

/* Copies of a model on several hosts must be the same model. */
static enum status same_model(struct run *r, struct err *e)
{
    static const char hint[] = "the hosts have different copies of the model";

    TRY(job_same(r->comm, "config.json (SHA-256)", r->model->config_sha256, hint, e));
    return job_same(r->comm, "weights (fingerprint)",
                    checkpoint_fingerprint(r->model->checkpoint), hint, e);
}

enum status run_open(const struct spec *spec, int index, struct comm *comm, const char *data_dir,
                     struct run **out, struct err *e)
{
    struct run *r = calloc(1, sizeof *r);
    enum status st;

    if (!r)
        return fail(e, ERR_FIT, "no memory for a run");
    comm_note(comm, "opening the model and the text", 0);
    r->spec = spec;
    r->choice = &spec->model[index];
    r->comm = comm;
    r->started = clock_seconds();
    st = choose_backend(r, e);
    if (st == OK)
        st = job_agree(comm, open_files(r, data_dir, e), e);
    if (st == OK)
        st = same_model(r, e);
    if (st == OK)
        st = job_share_corpus(comm, &r->corpus, e);
    if (st == OK)
        st = windows_make(&spec->data, r->corpus, prefix_token(r->model), &r->windows, e);
    if (st != OK) {
        run_close(r);
        return st;
    }
    r->vocab = r->model->vocab;
    if (spec->data.softmax == SOFTMAX_TOKENIZER && r->corpus->vocab < r->vocab)
        r->vocab = r->corpus->vocab;
    *out = r;
    return OK;
}

void run_close(struct run *r)
{
    if (!r)
        return;
    transport_close(&r->transport);
    budget_close(&r->budget);
    stage_close(r->stage);
    wave_file_close(r->waves);
    if (r->device)
        r->kernels->close(r->device);
    score_close(r->score);
    plan_free(r->plan);
    windows_free(r->windows);
    corpus_free(r->corpus);
    model_close(r->model);
    free(r->cap);
    free(r->link);
    free(r->rank);
    free(r);
}

/* The cores this rank may use; ranks of one host that may all use all of it share them. */
static int default_threads(const struct comm *c)
{
    cpu_set_t mask;
    int mine = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : 1;

    if (c->local_ranks > 1 && mine == sysconf(_SC_NPROCESSORS_ONLN))
        mine /= c->local_ranks;
    return mine > 1 ? mine : 1;
}

static void fill_request(struct run *r, int ranks)
{
    const struct windows *w = r->windows;

    r->request = (struct plan_request){.model = r->model,
                                       .kernels = r->kernels,
                                       .dtype = r->choice->dtype,
                                       .arithmetic = r->choice->arithmetic,
                                       .threads = r->threads,
                                       .windows = w->count,
                                       .len_max = w->len_max,
                                       .eval_len = w->eval_len,
                                       .microbatch = r->spec->microbatch,
                                       .stream = r->spec->stream,
                                       .keeps = r->spec->out != NULL,
                                       .rates = rates_given(&r->spec->rates, rates_nominal()),
                                       .ranks = ranks,
                                       .stages = r->choice->stages,
                                       .cap = r->cap,
                                       .n_by_hand = r->choice->n_layers_by_hand,
                                       .by_hand = r->choice->layers_by_hand};
    r->timed = r->spec->rates.compute > 0 && r->spec->rates.read > 0;
}

static struct device_options device_options(const struct run *r)
{
    return (struct device_options){
        .dtype = r->choice->dtype,
        .arithmetic = r->choice->arithmetic,
        .threads = r->spec->threads ? r->spec->threads : default_threads(r->comm),
        .isa = r->spec->isa,
        .local_rank = r->comm->local_rank,
        .patience = r->spec->stall_timeout / 2}; /* its own rank says so before others miss it */
}

/* The model's files stay in the page cache if it can hold the whole model beside what the ranks of
 * this host take. A rank whose disk stands still says so before others miss it. */
static struct file_reader_options file_options(const struct run *r)
{
    uint64_t room = memory_for_files(r->comm->local_ranks, r->plan->rank[r->comm->rank].total);

    return (struct file_reader_options){.keep = checkpoint_bytes(r->model->checkpoint) <= room,
                                        .timeout = r->comm->stall_timeout / 2};
}

/* Measures what the spec does not give: the slowest rank's rates count. */
static enum status share_rates(struct run *r, const struct plan_request *within, struct err *e)
{
    const struct file_reader_options files = file_options(r);
    struct plan_rates mine, *all;
    enum status st;

    st = rates_measure(within, r->plan, r->comm->rank, r->device, &files, &mine, e);
    TRY(job_agree(r->comm, st, e));
    all = calloc((size_t)r->comm->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "no memory for the rates of %d ranks", r->comm->ranks);
    all[0] = mine;
    st = r->comm->ranks > 1 ? r->comm->ops->gather(r->comm, &mine, all, sizeof mine, e) : OK;
    for (int i = 1; i < r->comm->ranks; i++) {
        all[0].flops = all[i].flops < all[0].flops ? all[i].flops : all[0].flops;
        all[0].read = all[i].read < all[0].read ? all[i].read : all[0].read;
        all[0].park = all[i].park < all[0].park ? all[i].park : all[0].park;
    }
    r->request.rates = rates_given(&r->spec->rates, all[0]);
    free(all);
    return st;
}

/* Streams that nobody said how fast they are. */
static bool has_unknown_rates(const struct run *r)
{
    return !r->timed && plan_has_streams(r->plan);
}

static enum status plan_measured(struct run *r, struct plan_cap *reserved, struct err *e)
{
    struct plan_request within = r->request;

    TRY(job_agree(r->comm, rates_reserve(&r->request, r->comm->rank, r->device, reserved, e), e));
    within.cap = reserved;
    TRY(share_rates(r, &within, e));
    within.rates = r->request.rates;
    plan_free(r->plan);
    r->plan = NULL;
    TRY(plan_make(&within, &r->plan, e));
    rates_settle(&r->request, reserved, r->plan);
    r->timed = true;
    return OK;
}

enum status run_rates(struct run *r, struct err *e)
{
    struct plan_cap *reserved;
    enum status st;

    if (!has_unknown_rates(r))
        return OK;
    reserved = calloc((size_t)r->comm->ranks, sizeof *reserved);
    if (!reserved)
        return fail(e, ERR_FIT, "no memory for the caps of %d ranks", r->comm->ranks);
    st = plan_measured(r, reserved, e);
    free(reserved);
    return st;
}

static enum status open_device(struct run *r, struct err *e)
{
    struct device_options o = device_options(r);

    return r->kernels->open(&o, &r->device, e);
}

enum { ISA_NAME = 32 };

/* Where a variant stands in the backend's list, best first; -1 = not there. */
static int isa_place(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = list; at; at = strstr(at, ", ")) {
        at += at == list ? 0 : 2;
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == 0))
            return (int)(at - list);
    }
    return -1;
}

/* In 16-bit dtypes a variant may sum in an order of its own, and each rank has chosen by itself: if
 * they differ, all take the one furthest down the list, which every rank has, so that the number does
 * not depend on which rank computes what. */
static enum status agree_isa(struct run *r, struct err *e)
{
    struct device_options o = device_options(r);
    char mine[ISA_NAME], list[256], (*all)[ISA_NAME];
    int last = 0;
    bool differ = false;
    enum status st;

    if (r->comm->ranks == 1 || r->choice->dtype == DTYPE_F32)
        return OK;
    all = calloc((size_t)r->comm->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "no memory for %d ranks", r->comm->ranks);
    snprintf(mine, sizeof mine, "%s", r->kernels->isa(r->device));
    r->kernels->variants(list, sizeof list);
    st = r->comm->ops->gather(r->comm, mine, all, sizeof mine, e);
    for (int i = 1; st == OK && i < r->comm->ranks; i++) {
        differ = differ || strcmp(all[i], all[0]) != 0;
        last = isa_place(list, all[i]) > isa_place(list, all[last]) ? i : last;
    }
    if (st == OK && differ) {
        o.isa = all[last];
        r->kernels->close(r->device);
        r->device = NULL;
        st = job_agree(r->comm, r->kernels->open(&o, &r->device, e), e);
    }
    free(all);
    return st;
}

/* Of this rank's device, as the spec says. */
static uint64_t own_cap(const struct run *r)
{
    uint64_t given = spec_cap(&r->choice->caps, r->comm->rank);

    return given ? given : UINT64_MAX;
}

static enum status agree_fp4(struct run *r, struct err *e)
{
    const struct model *m = r->model;
    const struct work_shape w = {.hidden = m->hidden,
                                 .ffn = m->ffn,
                                 .q_dim = m->heads * m->head_dim,
                                 .kv_dim = m->kv_heads * m->head_dim,
                                 .dtype = r->choice->dtype,
                                 .arithmetic = r->choice->arithmetic};

    return fp4_agree(&r->fp4, r->comm, r->kernels, r->device, &w, own_cap(r), r->spec->isa, e);
}

/* The plan reckons with the most threads of any rank. */
static enum status share_threads(struct run *r, struct err *e)
{
    int mine = r->kernels->threads(r->device), *all;
    enum status st = OK;

    r->threads = mine;
    if (r->comm->ranks == 1)
        return OK;
    all = calloc((size_t)r->comm->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "no memory for %d ranks", r->comm->ranks);
    st = r->comm->ops->gather(r->comm, &mine, all, sizeof mine, e);
    for (int i = 0; i < r->comm->ranks; i++)
        r->threads = all[i] > r->threads ? all[i] : r->threads;
    free(all);
    return st;
}

enum status run_device(struct run *r, struct err *e)
{
    TRY(job_agree(r->comm, open_device(r, e), e));
    TRY(agree_isa(r, e));
    if (r->kernels->label)
        comm_name_device(r->comm, r->kernels->label(r->device));
    TRY(agree_fp4(r, e));
    TRY(transport_choose(&r->transport, r->spec->transport, r->comm, r->kernels, r->device, e));
    return share_threads(r, e);
}

static struct work_shape work_shape(const struct run *r)
{
    struct work_shape w = plan_work_shape(&r->request);

    w.vocab = r->vocab;
    return w;
}

/* The failure of a device says which one: of several, or of several models. */
static enum status on_device(const struct run *r, enum status st, struct err *e)
{
    if (st == OK || r->kernels->arena_is_host)
        return st;
    return fail_in(e, "%s", r->kernels->describe(r->device));
}

enum status run_warm_up(struct run *r, struct err *e)
{
    struct work_shape w;

    if (!r->kernels->warm_up)
        return OK;
    fill_request(r, r->comm->ranks);
    w = work_shape(r);
    return job_agree(r->comm, on_device(r, r->kernels->warm_up(r->device, &w, own_cap(r), e), e), e);
}

bool run_connects(const struct run *r)
{
    return r->transport.kind == TRANSPORT_NCCL && (r->plan->stages > 1 || has_unknown_rates(r));
}

enum status run_connect(struct run *r, struct err *e)
{
    comm_note(r->comm, "connecting", 0);
    return on_device(r, transport_connect(&r->transport, r->comm, r->kernels, r->device, e), e);
}

enum status run_plan(struct run *r, struct err *e)
{
    comm_note(r->comm, "planning", 0);
    budget_close(&r->budget);
    plan_free(r->plan);
    free(r->cap);
    r->plan = NULL;
    r->cap = NULL;
    TRY(budget_open(&r->budget, r->comm, r->kernels, r->device,
                    transport_device_bytes(&r->transport), e));
    r->cap = calloc((size_t)r->comm->ranks, sizeof *r->cap);
    if (!r->cap)
        return fail(e, ERR_FIT, "no memory for the caps of %d ranks", r->comm->ranks);
    TRY(budget_caps(&r->budget, &r->choice->caps, r->threads, r->cap, e));
    fill_request(r, r->comm->ranks);
    TRY(job_same_request(r->comm, &r->request, e));
    return plan_make(&r->request, &r->plan, e);
}

/* What a rank without a cap is planned with where it does not run: all that this host, or a GPU of
 * it, has now. */
static enum status cap_here(const struct run *r, int ranks, struct plan_cap *cap, struct err *e)
{
    struct device_options o = device_options(r);
    struct work_shape w = work_shape(r);

    *cap = (struct plan_cap){.bytes = memory_free(ranks), .overhead = r->kernels->overhead};
    if (r->kernels->arena_is_host || r->choice->caps.n_ranks >= ranks)
        return OK;
    if (!r->kernels->present())
        return fail(e, ERR_SPEC, "max_memory: without a GPU here each of the %d ranks needs a cap "
                                 "(or name a device: --roofline)", ranks);
    return budget_ask(r->kernels, &o, &w, cap, e);
}

enum status run_plan_only(struct run *r, int ranks, struct err *e)
{
    struct plan_cap here;

    r->threads = r->spec->threads ? r->spec->threads : default_threads(r->comm);
    fill_request(r, ranks);
    TRY(cap_here(r, ranks, &here, e));
    r->cap = calloc((size_t)ranks, sizeof *r->cap);
    if (!r->cap)
        return fail(e, ERR_FIT, "no memory for the caps of %d ranks", ranks);
    for (int i = 0; i < ranks; i++) /* as if all were on this host */
        r->cap[i] = job_cap(&r->choice->caps, i, ranks, here, r->kernels->arena_is_host);
    r->request.cap = r->cap;
    return plan_make(&r->request, &r->plan, e);
}

/* The first messages, and what links are measured to take. */
static enum status warm_up(struct run *r, struct err *e)
{
    free(r->link);
    r->link = calloc((size_t)r->comm->ranks, sizeof *r->link);
    if (!r->link)
        return fail(e, ERR_FIT, "no memory for the links of %d ranks", r->comm->ranks);
    return link_warm_up(r->comm, r->plan, r->link, e);
}

enum status run_load(struct run *r, void (*on_load)(void *, uint64_t, uint64_t), void *context,
                     struct err *e)
{
    struct stage_request q = {.model = r->model,
                              .kernels = r->kernels,
                              .device = r->device,
                              .plan = r->plan,
                              .rank = r->comm->rank,
                              .dtype = r->choice->dtype,
                              .len_max = r->windows->len_max,
                              .vocab = r->vocab,
                              .files = file_options(r),
                              .read_limit = r->spec->rates.throttle ? r->spec->rates.read : 0,
                              .on_load = on_load,
                              .context = context};
    double before = clock_seconds();
    uint64_t held = 0;
    enum status st = OK;

    comm_note(r->comm, "loading", 0);
    if (r->waves)
        TRY(wave_file_go_on(r->waves, r->plan, r->comm, e));
    TRY(warm_up(r, e));
    if (r->score) /* the plan counts what it holds of the windows that are to be run */
        held = (uint64_t)r->windows->count * (uint64_t)windows_columns(r->windows) * sizeof(double);
    budget_begin(&r->budget, held);
    if (!r->score && r->comm->rank == 0)
        st = score_open(r->windows, &r->score, e);
    if (st == OK)
        st = stage_open(&q, &r->stage, e);
    r->load_seconds = clock_seconds() - before;
    return job_agree(r->comm, st, e);
}

static enum status gather_ranks(struct run *r, const struct schedule_times *times, struct err *e)
{
    struct plan_wave first = {.begin = r->plan->rank[r->comm->rank].first};
    struct run_rank mine = {.fault = stage_first_fault(r->stage),
                            .read = stage_bytes_read(r->stage),
                            .parked = stage_parked(r->stage),
                            .kept = times->kept,
                            .load = r->load_seconds,
                            .compute = times->compute,
                            .wait = times->wait,
                            .stall = stage_stall(r->stage),
                            .keep = times->keep,
                            .total = clock_seconds() - r->started};

    plan_next_wave(r->plan, r->comm->rank, &first);
    mine.begin = first.begin;
    TRY(budget_peak(&r->budget, &r->plan->rank[r->comm->rank], &mine.peak, &mine.available, e));
    snprintf(mine.host, sizeof mine.host, "%s", r->comm->host);
    snprintf(mine.device, sizeof mine.device, "%s", r->kernels->describe(r->device));
    snprintf(mine.isa, sizeof mine.isa, "%s", r->kernels->isa(r->device));
    r->rank = calloc((size_t)r->comm->ranks, sizeof *r->rank);
    if (!r->rank)
        return fail(e, ERR_FIT, "no memory for %d ranks", r->comm->ranks);
    r->rank[0] = mine;
    return r->comm->ranks > 1 ? r->comm->ops->gather(r->comm, &mine, r->rank, sizeof mine, e) : OK;
}

enum status run_score(struct run *r, void (*on_score)(void *, struct score *), void *context,
                      struct err *e)
{
    struct schedule_request q = {.stage = r->stage,
                                 .plan = r->plan,
                                 .windows = r->windows,
                                 .hidden = r->model->hidden,
                                 .dtype = r->choice->dtype,
                                 .score = r->score,
                                 .store = wave_file_store(r->waves),
                                 .on_score = on_score,
                                 .context = context};
    struct schedule_times times;

    /* twice: predictions may be wrong */
    r->comm->stall_timeout = r->spec->stall_timeout + 2 * plan_longest_wait(r->plan);
    TRY(on_device(r, transport_open(&r->transport, r->comm, r->kernels, r->device,
                                    &r->plan->rank[r->comm->rank], e), e));
    q.comm = r->transport.comm;
    r->score_began = clock_seconds();
    TRY(on_device(r, schedule_run(&q, &times, e), e));
    r->score_seconds = clock_seconds() - r->score_began;
    comm_note(r->comm, "reporting", 0);
    TRY(checkpoint_unchanged(r->model->checkpoint, e));
    TRY(gather_ranks(r, &times, e));
    r->comm->stall_timeout = r->spec->stall_timeout;
    return OK;
}

double run_rate(const struct run *r)
{
    int64_t tokens = 0, done = score_running(r->score).windows - r->restored;
    double spent = r->score_seconds > 0 ? r->score_seconds : clock_seconds() - r->score_began;

    for (int64_t i = 0; i < done; i++) /* windows differ little in length: the first stand for all */
        tokens += windows_get(r->windows, i).len - 1;
    return spent > 0 ? (double)tokens / spent : 0;
}
