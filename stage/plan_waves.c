#include <stdlib.h>

#include "stage/plan.h"

/* --- what is gone on from --- */

int plan_stage_of(const struct plan *p, int64_t layer)
{
    for (int i = 0; i < p->stages; i++)
        if (p->rank[i].first < layer && layer < p->rank[i].last)
            return i;
    return -1;
}

/* Where an offer begins or ends. */
struct edge {
    int replica;
    int64_t at;
};

static int by_place(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;

    if (x->replica != y->replica)
        return x->replica < y->replica ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* The farthest on that microbatches between two edges are offered; 0: not at all. */
static int best_layer(const struct plan_kept *offer, int n, const struct edge *from,
                      const struct edge *to)
{
    int layer = 0;

    for (int i = 0; i < n; i++)
        if (offer[i].replica == from->replica && offer[i].from <= from->at &&
            to->at <= offer[i].to && offer[i].layer > layer)
            layer = offer[i].layer;
    return layer;
}

/* Adds them to what is taken, where they may lengthen the last of it. */
static void take(struct plan *p, struct plan_kept k)
{
    struct plan_kept *last = p->n_kept ? &p->kept[p->n_kept - 1] : NULL;

    if (last && last->replica == k.replica && last->layer == k.layer && last->to == k.from)
        last->to = k.to;
    else
        p->kept[p->n_kept++] = k;
}

/* A wave of few microbatches reads as many layers as a whole one; is that less than what they save? */
static bool is_worth_it(const struct plan *p, const struct plan_kept *k)
{
    const struct plan_rank *r =
        &p->rank[k->replica * p->stages + plan_stage_of(p, k->layer)];
    int64_t whole = r->wave < r->microbatches ? r->wave : r->microbatches;
    int64_t n = k->to - k->from < whole ? k->to - k->from : whole;

    return k->layer * n >= (r->last - k->layer) * (whole - n);
}

enum status plan_go_on(struct plan *p, const struct plan_kept *offer, int n, struct err *e)
{
    struct edge *edge = malloc((2 * (size_t)n + 1) * sizeof *edge);
    int worth = 0;

    CHECK(!p->kept);
    p->kept = malloc((2 * (size_t)n + 1) * sizeof *p->kept);
    if (!edge || !p->kept) {
        free(edge);
        return fail(e, ERR_FIT, "no memory for %d pieces of waves", n);
    }
    for (int i = 0; i < n; i++) {
        edge[2 * i] = (struct edge){offer[i].replica, offer[i].from};
        edge[2 * i + 1] = (struct edge){offer[i].replica, offer[i].to};
    }
    qsort(edge, 2 * (size_t)n, sizeof *edge, by_place);
    for (int i = 0; i + 1 < 2 * n; i++) {
        int layer = 0;

        if (edge[i].replica == edge[i + 1].replica && edge[i].at < edge[i + 1].at)
            layer = best_layer(offer, n, &edge[i], &edge[i + 1]);
        if (layer > 0)
            take(p, (struct plan_kept){edge[i].replica, layer, edge[i].at, edge[i + 1].at});
    }
    for (int i = 0; i < p->n_kept; i++)
        if (is_worth_it(p, &p->kept[i]))
            p->kept[worth++] = p->kept[i];
    p->n_kept = worth;
    free(edge);
    return OK;
}

/* --- the order of a rank --- */

/* Microbatches [from, to) of a replica, all of which a rank takes from layer `begin` on. */
struct stretch {
    int64_t from, to;
    int begin;
};

/* What was kept of a replica's microbatches from `from` on, the first of it; NULL: nothing. */
static const struct plan_kept *kept_from(const struct plan *p, int replica, int64_t from)
{
    for (int i = 0; i < p->n_kept; i++)
        if (p->kept[i].replica == replica && p->kept[i].to > from)
            return &p->kept[i];
    return NULL;
}

/* The next stretch of a rank; those that only later stages take are left out. */
static bool next_stretch(const struct plan *p, const struct plan_rank *r, struct stretch *s)
{
    while (s->to < r->microbatches) {
        const struct plan_kept *k = kept_from(p, r->replica, s->to);

        s->from = s->to;
        s->begin = r->first;
        if (!k || k->from > s->from) {
            s->to = k ? k->from : r->microbatches;
            return true;
        }
        s->to = k->to;
        if (k->layer > s->begin)
            s->begin = k->layer;
        if (k->layer < r->last)
            return true;
    }
    return false;
}

int64_t plan_to_do(const struct plan *p, int rank)
{
    struct stretch s = {0};
    int64_t n = 0;

    while (next_stretch(p, &p->rank[rank], &s))
        n += s.to - s.from;
    return n;
}

int64_t plan_microbatch(const struct plan *p, int rank, int64_t i)
{
    struct stretch s = {0};

    while (next_stretch(p, &p->rank[rank], &s)) {
        if (i < s.to - s.from)
            return s.from + i;
        i -= s.to - s.from;
    }
    return p->rank[rank].microbatches; /* past the last one */
}

int64_t plan_next_arrival(const struct plan *p, int rank, int64_t i)
{
    struct stretch s = {0};
    int64_t before = 0; /* microbatches in the stretches so far */

    while (next_stretch(p, &p->rank[rank], &s)) {
        before += s.to - s.from;
        if (s.begin == p->rank[rank].first && before > i)
            return before - (s.to - s.from) > i ? before - (s.to - s.from) : i;
    }
    return before;
}

bool plan_next_wave(const struct plan *p, int rank, struct plan_wave *w)
{
    const struct plan_rank *r = &p->rank[rank];
    struct stretch s = {0};
    int64_t before = 0; /* microbatches in the stretches so far */

    w->from = w->to;
    while (w->to - w->from < r->wave && next_stretch(p, r, &s)) {
        int64_t room = w->from + r->wave - w->to, left;

        before += s.to - s.from;
        left = before - w->to;
        if (left <= 0)
            continue;
        if (w->to > w->from && s.begin != w->begin)
            break;
        w->begin = s.begin;
        w->to += left < room ? left : room;
    }
    return w->to > w->from;
}
