#include <math.h>

#include "stage/plan_parts.h"

enum { PLAYED = 16 }; /* waves; the others are like the last one played */

double plan_park_seconds(const struct plan_sizes *s, const struct plan_rank *r, int i)
{
    int ways = (i > r->first) + (i < r->last - 1);
    double copies, beside;

    if (!r->parked || !(s->q->rates.park > 0))
        return 0;
    copies = ways * (double)s->hidden / s->q->rates.park;
    beside = r->passing > 1 ? (s->flops[i + 1] - s->flops[i]) * s->tokens / s->q->rates.flops : 0;
    return r->parked * fmax(copies - beside, 0);
}

/* Tokens of a wave; the last one may be shorter. */
static double wave_tokens(const struct plan_sizes *s, const struct plan_rank *r, int64_t wave)
{
    int64_t windows = (int64_t)r->wave * s->microbatch, left = r->windows - wave * windows;

    return (double)(left < windows ? left : windows) * (s->q->len_max - 1);
}

/* The layers of a rank at work: the reader fills one slot while the other is computed; the very first
 * layer is read before the run starts. */
struct play {
    double clock, read_done, stall;
    double freed[PLAN_SLOTS];
    int64_t reads;
};

static void play_layer(struct play *p, const struct plan_sizes *s, const struct plan_rank *r, int i,
                       double tokens)
{
    double work = (s->flops[i + 1] - s->flops[i]) * tokens / s->q->rates.flops;

    work += plan_park_seconds(s, r, i);
    if (plan_streams(r, i)) {
        double read = (double)(s->bytes[i + 1] - s->bytes[i]) / s->q->rates.read;
        double *slot = &p->freed[p->reads % PLAN_SLOTS];

        p->read_done = p->reads == 0 ? 0 : fmax(p->read_done, *slot) + read;
        p->stall += fmax(p->read_done - p->clock, 0);
        p->clock = fmax(p->clock, p->read_done);
        *slot = p->clock + work;
        p->reads++;
    }
    p->clock += work;
}

void plan_predict(const struct plan_sizes *s, struct plan_rank *r)
{
    int64_t waves = (r->microbatches + r->wave - 1) / r->wave;
    int64_t played = waves < PLAYED ? waves : PLAYED;
    struct play p = {0}, before = {0};

    r->stall = 0;
    r->seconds = r->flops / s->q->rates.flops;
    if (!r->streamed)
        return;
    for (int64_t wave = 0; wave < played; wave++) {
        double tokens = wave_tokens(s, r, wave);

        before = p;
        for (int i = r->first; i < r->last; i++)
            play_layer(&p, s, r, i, tokens);
        if (r->head)
            p.clock += s->head_flops * tokens / s->q->rates.flops;
    }
    r->stall = p.stall + (p.stall - before.stall) * (double)(waves - played);
    for (int i = r->first; i < r->last; i++)
        r->seconds += plan_park_seconds(s, r, i) * (double)waves;
    r->seconds += r->stall;
}

double plan_wave_seconds(const struct plan_rank *r)
{
    return r->seconds * r->wave / (double)r->microbatches;
}

static void keep_waves(const struct plan_sizes *s, struct plan_rank *r)
{
    double waves = ceil((double)r->microbatches / r->wave), layers = r->last - r->first;
    double layer, writing, most, pieces;

    r->keep_bytes = (uint64_t)r->wave * s->hidden;
    layer = plan_wave_seconds(r) / layers;
    writing = (double)r->keep_bytes / s->q->rates.read;
    most = fmax(floor(PLAN_LOSS / layer / s->stages),
                fmax(1, ceil(PLAN_KEEP_SHARE * writing / layer)));
    if (most >= layers) /* a whole wave takes less */
        return;
    pieces = ceil(layers / most); /* of equal size: no shorter one at the end */
    r->keep = (int)ceil(layers / pieces);
    r->seconds += waves * (ceil(layers / r->keep) - 1) * writing;
}

void plan_keep(const struct plan_sizes *s, struct plan *p)
{
    int64_t later = 0; /* microbatches that are in the buffers of later stages at a time */

    for (int i = p->ranks - 1; s->q->keeps && i >= 0; i--) {
        struct plan_rank *r = &p->rank[i];

        if (r->head)
            later = 0;
        if (r->streamed && r->microbatches > 0)
            keep_waves(s, r);
        /* files go when the last one of their wave is scored; two of the next wave are beside them */
        r->keep_files = 2 + (later + r->wave - 1) / r->wave + (later > 0);
        later += r->n_hidden + r->parked;
    }
}

double plan_longest_wait(const struct plan *p)
{
    double longest = 0, sum = 0;

    for (int i = 0; i < p->ranks; i++) {
        const struct plan_rank *r = &p->rank[i];
        struct plan_wave w = {0};
        int waves = 1;

        if (r->stage == 0)
            sum = 0;
        if (!r->streamed || r->microbatches == 0)
            continue;
        while (plan_next_wave(p, i, &w))
            waves += w.begin > r->first;
        sum += waves * plan_wave_seconds(r);
        longest = fmax(longest, sum);
    }
    return longest;
}

/* It waits for the others before the last layer. */
double plan_lag(const struct plan_rank *r)
{
    double wave = plan_wave_seconds(r), layers = r->last - r->first;

    return layers > 0 ? wave * (layers - 1 + 1.0 / r->wave) / layers : wave;
}

double plan_pipeline_seconds(const struct plan *p)
{
    double begin = 0, end = 0;

    for (int i = 0; i < p->stages; i++) {
        end = fmax(begin + p->rank[i].seconds, end + plan_lag(&p->rank[i]));
        begin += plan_lag(&p->rank[i]);
    }
    return end;
}
