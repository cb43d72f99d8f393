#include "launch/plan_report.h"

#include <string.h>

#include "spec/size.h"

enum { COLUMNS = 9, LAYERS_TEXT = 48 };

static const char *const title[COLUMNS] = {"weights", "activations", "scratch", "scoring", "comm",
                                           "overhead", "total", "cap", "free"};

static void items(const struct plan_rank *r, uint64_t item[COLUMNS])
{
    const uint64_t all[COLUMNS] = {r->weights, r->activations, r->scratch,
                                   r->scoring, r->comm,        r->overhead,
                                   r->total,   r->cap.bytes,   r->cap.bytes - r->total};

    memcpy(item, all, sizeof all);
}

/* "embed, 0-43 (12 streamed), head" */
static void layers_text(const struct plan_rank *r, char *out, size_t size)
{
    int n = snprintf(out, size, "%s", r->embed ? "embed" : "");

    if (r->first < r->last)
        n += snprintf(out + n, size - (size_t)n, "%s%d-%d", n ? ", " : "", r->first, r->last - 1);
    if (r->streamed)
        n += snprintf(out + n, size - (size_t)n, " (%d streamed)", r->streamed);
    if (r->head)
        snprintf(out + n, size - (size_t)n, "%shead", n ? ", " : "");
}

static void print_row(FILE *to, const char *rank, const char *layers, int width,
                      const uint64_t item[COLUMNS], int columns)
{
    char text[SIZE_TEXT];

    fprintf(to, "%5s  %-*s", rank, width, layers);
    for (int i = 0; i < columns; i++)
        fprintf(to, "  %11s", size_format(item[i], text));
    fputc('\n', to);
}

/* How a wave is kept in the run's folder. */
static void print_keeping(FILE *to, const struct plan *p, int r)
{
    const struct plan_rank *k = &p->rank[r];
    char bytes[SIZE_TEXT];

    if (k->keep)
        fprintf(to, "rank %d keeps %s of hidden states after every %d layer%s of a wave\n", r,
                size_format(k->keep_bytes, bytes), k->keep, k->keep == 1 ? "" : "s");
}

static void print_streaming(FILE *to, const struct plan *p, const struct plan_request *q, bool timed)
{
    char bytes[SIZE_TEXT], share[SIZE_TEXT];
    bool any = false;

    for (int r = 0; r < p->ranks; r++) {
        const struct plan_rank *k = &p->rank[r];

        if (!k->streamed)
            continue;
        any = true;
        fprintf(to, "rank %d streams %d of %d layers (%s a wave) in waves of %d microbatch%s", r,
                k->streamed, k->last - k->first, size_format(k->streamed_bytes, bytes), k->wave,
                k->wave == 1 ? "" : "es");
        if (k->parked)
            fprintf(to, ", of which %d are parked on the host: %s of %s", k->parked,
                    size_format(k->parked_bytes, bytes), size_format(k->cap.park, share));
        if (timed)
            fprintf(to, "; predicted %.1f s, of which %.1f s waiting for layers", k->seconds,
                    k->stall);
        fputc('\n', to);
        if (timed)
            print_keeping(to, p, r);
    }
    if (any && timed)
        fprintf(to, "reckoned with %.0f GFLOP/s and %s/s from the file on each rank\n",
                1e-9 * q->rates.flops, size_format((uint64_t)q->rates.read, bytes));
}

void plan_print(FILE *to, const struct plan *p, const struct plan_request *q, bool timed)
{
    int width = 6;
    uint64_t item[COLUMNS], sum[COLUMNS] = {0};
    char layers[LAYERS_TEXT], rank[SIZE_TEXT];

    for (int r = 0; r < p->ranks; r++) {
        layers_text(&p->rank[r], layers, sizeof layers);
        if ((int)strlen(layers) > width)
            width = (int)strlen(layers);
    }
    fprintf(to, "plan: %d rank%s", p->ranks, p->ranks == 1 ? "" : "s");
    if (p->replicas > 1)
        fprintf(to, " (%d replicas of %d stage%s)", p->replicas, p->stages,
                p->stages == 1 ? "" : "s");
    fprintf(to, ", %lld microbatch%s of %d window%s (%d tokens), %s, %s\n",
            (long long)p->microbatches, p->microbatches == 1 ? "" : "es", p->microbatch,
            p->microbatch == 1 ? "" : "s", p->tokens, dtype_name(q->dtype),
            arithmetic_name(q->arithmetic));
    fprintf(to, "%5s  %-*s", "rank", width, "layers");
    for (int i = 0; i < COLUMNS; i++)
        fprintf(to, "  %11s", title[i]);
    fputc('\n', to);
    for (int r = 0; r < p->ranks; r++) {
        layers_text(&p->rank[r], layers, sizeof layers);
        snprintf(rank, sizeof rank, "%d", r);
        items(&p->rank[r], item);
        print_row(to, rank, layers, width, item, COLUMNS);
        for (int i = 0; i < COLUMNS; i++)
            sum[i] += item[i];
    }
    if (p->ranks > 1)
        print_row(to, "all", "", width, sum, COLUMNS - 2);
    for (int r = 0; r < p->ranks; r++)
        if (!p->rank[r].cap.given && !p->rank[r].cap.limited)
            fprintf(to, "rank %d has no cap: it may use what is free now, %s\n", r,
                    size_format(p->rank[r].cap.bytes, rank));
    for (int r = 0; r < p->ranks; r++)
        if (p->rank[r].cap.limited)
            fprintf(to, "rank %d may not take more than %s: a ulimit or its cgroup ends there\n", r,
                    size_format(p->rank[r].cap.bytes, rank));
    print_streaming(to, p, q, timed);
    if (p->ranks > 1)
        fprintf(to, "slowest rank: %.0f %% of the time of the mean one\n", 100 / p->balance);
}

void plan_print_caps(FILE *to, const struct plan *p, const struct plan_least *least, bool timed)
{
    for (int r = 0; r < p->ranks; r++) {
        char bytes[SIZE_TEXT];

        fprintf(to, "rank %d would run with a cap of %s%s", r, size_format(least[r].runs, bytes),
                p->ranks > 1 ? " (the others as they are)" : "");
        if (timed && least[r].without_stall)
            fprintf(to, ", and from %s on no rank waits for layers",
                    size_format(least[r].without_stall, bytes));
        fputc('\n', to);
    }
}

static void add_bytes(cJSON *to, const char *name, uint64_t bytes)
{
    cJSON_AddNumberToObject(to, name, (double)bytes); /* exact below 2^53 */
}

static void rank_json(const struct plan_rank *r, int rank, const struct plan_least *least,
                      bool timed, cJSON *to)
{
    static const char *const key[COLUMNS] = {
        "weights_bytes",  "activations_bytes", "scratch_bytes", "scoring_bytes", "comm_bytes",
        "overhead_bytes", "planned_bytes",     "cap_bytes",     "free_bytes"};
    uint64_t item[COLUMNS];
    const int layers[2] = {r->first, r->last - 1};

    items(r, item);
    cJSON_AddNumberToObject(to, "rank", rank);
    cJSON_AddNumberToObject(to, "replica", r->replica);
    cJSON_AddNumberToObject(to, "stage", r->stage);
    cJSON_AddItemToObject(to, "layers",
                          r->first < r->last ? cJSON_CreateIntArray(layers, 2) : cJSON_CreateNull());
    cJSON_AddBoolToObject(to, "embed", r->embed);
    cJSON_AddBoolToObject(to, "head", r->head);
    cJSON_AddNumberToObject(to, "streamed", r->streamed);
    cJSON_AddNumberToObject(to, "wave", r->wave);
    cJSON_AddNumberToObject(to, "parked", r->parked);
    for (int i = 0; i < COLUMNS; i++)
        add_bytes(to, key[i], item[i]);
    cJSON_AddBoolToObject(to, "cap_given", r->cap.given);
    add_bytes(to, "parked_bytes", r->parked_bytes);
    add_bytes(to, "park_budget_bytes", r->cap.park);
    add_bytes(to, "bytes_owned", r->owned);
    add_bytes(to, "streamed_bytes", r->streamed_bytes);
    cJSON_AddNumberToObject(to, "keep_layers", r->keep);
    add_bytes(to, "keep_bytes", r->keep_bytes);
    cJSON_AddNumberToObject(to, "flops", r->flops);
    if (timed) {
        cJSON_AddNumberToObject(to, "predicted_seconds", r->seconds);
        cJSON_AddNumberToObject(to, "predicted_stall", r->stall);
    }
    add_bytes(to, "smallest_cap_bytes", least->runs);
    add_bytes(to, "smallest_cap_without_stall_bytes", least->without_stall);
}

enum status plan_json(const struct plan *p, const struct plan_request *q,
                      const struct plan_least *least, bool timed, cJSON **out, struct err *e)
{
    cJSON *root = cJSON_CreateObject(), *ranks = cJSON_AddArrayToObject(root, "ranks");

    *out = root;
    if (!ranks) {
        cJSON_Delete(root);
        *out = NULL;
        return fail(e, ERR_FIT, "no memory for the plan's JSON");
    }
    cJSON_AddNumberToObject(root, "stages", p->stages);
    cJSON_AddNumberToObject(root, "replicas", p->replicas);
    cJSON_AddNumberToObject(root, "microbatch_windows", p->microbatch);
    cJSON_AddNumberToObject(root, "microbatch_tokens", p->tokens);
    cJSON_AddNumberToObject(root, "microbatches", (double)p->microbatches);
    cJSON_AddNumberToObject(root, "windows", (double)q->windows);
    cJSON_AddStringToObject(root, "dtype", dtype_name(q->dtype));
    cJSON_AddStringToObject(root, "arithmetic", arithmetic_name(q->arithmetic));
    cJSON_AddNumberToObject(root, "flops", p->flops);
    cJSON_AddNumberToObject(root, "balance", p->balance);
    if (timed) {
        cJSON_AddNumberToObject(root, "predicted_seconds", p->seconds);
        cJSON_AddNumberToObject(root, "rate_flops_per_second", q->rates.flops);
        cJSON_AddNumberToObject(root, "rate_read_bytes_per_second", q->rates.read);
    }
    for (int r = 0; r < p->ranks; r++) {
        cJSON *one = cJSON_CreateObject();

        cJSON_AddItemToArray(ranks, one);
        rank_json(&p->rank[r], r, &least[r], timed, one);
    }
    return OK;
}
