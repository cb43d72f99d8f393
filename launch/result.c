#include "launch/result.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct report_rank rank_report(const struct run *r, int i)
{
    const struct plan_rank *p = &r->plan->rank[i];
    struct report_rank out = {.rank = i,
                              .first = p->first,
                              .last = p->last,
                              .begin = p->first,
                              .streamed = p->streamed,
                              .cap_bytes = p->cap.bytes,
                              .planned_bytes = p->total,
                              .parked_bytes = p->parked_bytes,
                              .bytes_owned = p->owned,
                              .predicted = {NAN, NAN}};

    if (r->timed)
        out.predicted = (struct report_prediction){p->seconds, p->stall};

    if (!r->rank)
        return out; /* interrupted: nobody was asked */
    snprintf(out.host, sizeof out.host, "%s", r->rank[i].host);
    snprintf(out.device, sizeof out.device, "%s", r->rank[i].device);
    out.peak_bytes = r->rank[i].peak;
    out.bytes_read = r->rank[i].read;
    out.begin = r->rank[i].begin;
    out.kept = r->rank[i].kept;
    out.keep = r->rank[i].keep;
    out.parked_peak_bytes = r->rank[i].parked;
    out.seconds = (struct report_seconds){r->rank[i].load, r->rank[i].compute,
                                          r->rank[i].wait + r->rank[i].stall, r->rank[i].total,
                                          r->rank[i].stall};
    return out;
}

/* None where the journal had everything already. */
static int planned_ranks(const struct run *r)
{
    return r->plan ? r->plan->ranks : 0;
}

/* The variants that took part, each once: "avx512", or "avx512+avx2". */
static void join_isa(const struct run *r, char *out, size_t size)
{
    snprintf(out, size, "%s", r->kernels->isa(r->device));
    for (int i = 0; r->rank && i < r->plan->ranks; i++)
        if (!strstr(out, r->rank[i].isa))
            snprintf(out + strlen(out), size - strlen(out), "+%s", r->rank[i].isa);
}

/* Per word and byte: of whole texts only. */
static void fill_rolling(const struct run *r, const struct totals *t, struct report_model *m)
{
    double bytes = (double)r->corpus->bytes, words = (double)r->corpus->words;
    bool whole = r->windows->score == SCORE_ROLLING && t->windows == r->windows->all &&
                 r->windows->all == r->windows->before[r->corpus->n_docs] && bytes > 0;

    m->word_perplexity = whole ? exp(t->sum_nll / words) : NAN;
    m->byte_perplexity = whole ? exp(t->sum_nll / bytes) : NAN;
    m->words = r->corpus->words;
    m->bytes = r->corpus->bytes;
    m->bits_per_byte = whole ? t->sum_nll / bytes / log(2) : NAN;
}

static void fill_totals(const struct run *r, const struct totals *t, struct report_model *m)
{
    m->windows = t->windows;
    m->windows_all = r->windows->all;
    m->windows_restored = r->restored;
    m->tokens = t->tokens;
    m->nonfinite = t->nonfinite;
    m->ppl = t->ppl;
    m->mean_nll = t->mean_nll;
    m->se_iid = t->se_iid;
    m->se_block = t->se_block;
    m->tokens_per_second = run_rate(r);
}

/* The run's times: the longest of any rank. */
static struct report_seconds longest(const struct report_rank *rank, int n)
{
    struct report_seconds s = {0};

    for (int i = 0; i < n; i++) {
        s.load = fmax(s.load, rank[i].seconds.load);
        s.compute = fmax(s.compute, rank[i].seconds.compute);
        s.wait = fmax(s.wait, rank[i].seconds.wait);
        s.total = fmax(s.total, rank[i].seconds.total);
        s.stall = fmax(s.stall, rank[i].seconds.stall);
    }
    return s;
}

/* The whole run's; the stall of the rank that waits longest. */
static struct report_prediction prediction(const struct run *r, const struct report_rank *rank)
{
    struct report_prediction p = {NAN, NAN};

    if (!r->timed || !r->plan)
        return p;
    p = (struct report_prediction){r->plan->seconds, 0};
    for (int i = 0; i < r->plan->ranks; i++)
        p.stall = fmax(p.stall, rank[i].predicted.stall);
    return p;
}

/* Does a link between ranks bind, or their computing? */
static void judge_links(const struct run *r, char *out, size_t size)
{
    double slowest = 0; /* of a window, in seconds */

    out[0] = '\0';
    for (int i = 0; r->rank && i < r->plan->ranks; i++)
        slowest = fmax(slowest, r->rank[i].compute / (double)r->plan->rank[i].windows);
    if (r->rank)
        link_judge(r->link, r->plan, slowest, out, size);
}

enum status result_make(const struct run *r, const char *partial, struct result *out,
                        struct err *e)
{
    const struct spec_data *d = &r->spec->data;
    int ranks = planned_ranks(r);

    memset(out, 0, sizeof *out);
    out->rank = calloc((size_t)ranks + 1, sizeof *out->rank);
    if (!out->rank)
        return fail(e, ERR_FIT, "no memory for the result");
    for (int i = 0; i < ranks; i++)
        out->rank[i] = rank_report(r, i);
    join_isa(r, out->isa, sizeof out->isa);
    judge_links(r, out->link, sizeof out->link);
    snprintf(out->ids_sha256, sizeof out->ids_sha256, "%s", r->corpus->ids_sha256);
    snprintf(out->config_sha256, sizeof out->config_sha256, "%s", r->model->config_sha256);
    snprintf(out->fingerprint, sizeof out->fingerprint, "%s",
             checkpoint_fingerprint(r->model->checkpoint));
    out->totals = score_totals(r->score);
    out->report = (struct report_model){.label = r->choice->label,
                                        .model_dir = r->choice->model_dir,
                                        .partial = partial,
                                        .score = score_name(d->score),
                                        .bos = bos_name(d->bos),
                                        .dtype = dtype_name(r->choice->dtype),
                                        .arithmetic = arithmetic_name(r->choice->arithmetic),
                                        .backend = r->kernels->name,
                                        .isa = out->isa,
                                        .transport = transport_name(&r->transport),
                                        .eval_len = r->windows->eval_len,
                                        .eval_stride = r->windows->eval_stride,
                                        .softmax_width = r->vocab,
                                        .ids = r->corpus->n,
                                        .ids_sha256 = out->ids_sha256,
                                        .config_sha256 = out->config_sha256,
                                        .weights_fingerprint = out->fingerprint,
                                        .seconds = longest(out->rank, ranks),
                                        .predicted = prediction(r, out->rank),
                                        .scoring_seconds = r->score_seconds,
                                        .link = *out->link ? out->link : NULL,
                                        .n_ranks = ranks,
                                        .rank = out->rank};
    fill_totals(r, &out->totals, &out->report);
    fill_rolling(r, &out->totals, &out->report);
    return OK;
}

void result_free(struct result *r)
{
    free(r->rank);
    *r = (struct result){0};
}

/* The earliest layer that any rank saw in the microbatch of the first bad window; false when that
 * window was computed by an earlier run. */
static bool first_bad_layer(const struct result *res, const struct run *r, int *rank, int *layer)
{
    int64_t place = windows_place(r->windows, res->totals.bad_window), microbatch;

    *rank = *layer = -1;
    if (place < 0)
        return false;
    microbatch = place / r->plan->microbatch;
    for (int i = 0; r->rank && i < r->plan->ranks; i++)
        if (r->rank[i].fault.microbatch == microbatch) {
            *rank = i;
            *layer = r->rank[i].fault.layer;
            break;
        }
    return true;
}

void result_fault(const struct result *res, const struct run *r, char *out, size_t size)
{
    int rank, layer;
    char where[64] = "hidden states are finite: it is the head";

    if (!first_bad_layer(res, r, &rank, &layer))
        snprintf(where, sizeof where, "computed by an earlier run: it is in the journal");
    else if (rank >= 0 && layer >= 0)
        snprintf(where, sizeof where, "hidden states first in layer %d, rank %d", layer, rank);
    else if (rank >= 0)
        snprintf(where, sizeof where, "hidden states already in the embedding, rank %d", rank);
    snprintf(out, size, "%lld of %lld nll are not finite, the first at window %lld, position %d (%s)",
             (long long)res->totals.nonfinite, (long long)res->totals.tokens,
             (long long)res->totals.bad_window, res->totals.bad_position, where);
}
