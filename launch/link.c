#include "launch/link.h"

#include <math.h>
#include <stdlib.h>

#include "spec/clock.h"
#include "spec/size.h"

enum { HIDDEN_BYTES = 256 << 10, NLL_BYTES = 4096, TRIES = 3 };

enum status link_pass(struct comm *c, enum comm_channel channel, int from, int to, int n,
                      char *buffer, size_t bytes, struct err *e)
{
    struct comm_ticket ticket[LINK_MESSAGES] = {{0}};

    CHECK(n <= LINK_MESSAGES);
    for (int i = 0; i < n && c->rank == from; i++)
        TRY(c->ops->send(c, to, channel, buffer, bytes, &ticket[i], e));
    for (int i = 0; i < n && c->rank == to; i++)
        TRY(c->ops->recv(c, from, channel, buffer + (size_t)i * bytes, bytes, &ticket[i], e));
    for (int i = 0; i < n; i++)
        TRY(c->ops->wait(c, &ticket[i], "the first messages", e));
    return OK;
}

/* There with n messages and back with a short one: the best of some tries. */
static enum status time_pass(struct comm *c, int from, int n, char *buffer, size_t bytes,
                             double *seconds, struct err *e)
{
    *seconds = INFINITY;
    for (int i = 0; i < TRIES; i++) {
        double before = clock_seconds();

        TRY(link_pass(c, COMM_HIDDEN, from, from + 1, n, buffer, bytes, e));
        TRY(link_pass(c, COMM_CONTROL, from + 1, from, 1, buffer, 1, e));
        *seconds = fmin(*seconds, clock_seconds() - before);
    }
    return OK;
}

/* Of the way back half of a short message's there and back is taken off. */
static enum status measure(struct comm *c, int from, char *buffer, struct link *out, struct err *e)
{
    double none, one, all;

    TRY(time_pass(c, from, 1, buffer, 1, &none, e));
    TRY(time_pass(c, from, 1, buffer, HIDDEN_BYTES, &one, e));
    TRY(time_pass(c, from, LINK_MESSAGES, buffer, HIDDEN_BYTES, &all, e));
    out->byte = fmax(all - one, 0) / ((LINK_MESSAGES - 1) * (double)HIDDEN_BYTES);
    out->first = fmax(one - none / 2 - out->byte * HIDDEN_BYTES, 0);
    return OK;
}

static enum status try_rank(struct comm *c, const struct plan *p, int r, char *buffer,
                            struct link *link, struct err *e)
{
    if (p->rank[r].head)
        return r > 0 ? link_pass(c, COMM_NLL, r, 0, 2, buffer, NLL_BYTES, e) : OK;
    TRY(link_pass(c, COMM_HIDDEN, r, r + 1, LINK_MESSAGES, buffer, HIDDEN_BYTES, e));
    return c->rank == r || c->rank == r + 1 ? measure(c, r, buffer, &link[r], e) : OK;
}

enum status link_warm_up(struct comm *c, const struct plan *p, struct link *link, struct err *e)
{
    struct link mine;
    char *buffer;
    enum status st = OK;

    for (int r = 0; r < c->ranks; r++)
        link[r] = (struct link){0, 0};
    if (c->ranks == 1)
        return OK;
    buffer = calloc(LINK_MESSAGES, HIDDEN_BYTES);
    if (!buffer)
        return fail(e, ERR_FIT, "no memory to try the transport");
    for (int r = 0; st == OK && r < c->ranks; r++)
        st = try_rank(c, p, r, buffer, link, e);
    if (st != OK)
        return st; /* other messages may be under way in the buffer: the job ends as it is */
    free(buffer);
    mine = link[c->rank];
    return c->ops->gather(c, &mine, link, sizeof mine, e);
}

/* From the start of a microbatch's send until it is received. */
static double handing_over(const struct link *l, const struct plan_rank *r)
{
    return l->first + l->byte * (double)r->map.hidden_bytes;
}

/* What it holds the pipeline up for, of each microbatch: of the microbatches of a wave, many are
 * under way at a time, but their bytes follow each other. */
static double held_up(const struct link *l, const struct plan_rank *r)
{
    return fmax(l->byte * (double)r->map.hidden_bytes, handing_over(l, r) / r->wave);
}

/* The rank before the slowest link; -1: there is none. */
static int slowest(const struct link *link, const struct plan *p)
{
    int worst = -1;

    for (int r = 0; r < p->ranks; r++)
        if (!p->rank[r].head && (worst < 0 || held_up(&link[r], &p->rank[r]) >
                                                  held_up(&link[worst], &p->rank[worst])))
            worst = r;
    return worst;
}

void link_print(FILE *to, const struct link *link, const struct plan *p)
{
    int r = slowest(link, p);
    char bytes[SIZE_TEXT];

    if (r >= 0)
        fprintf(to, "slowest link: rank %d to %d, %.1f ms to hand over a microbatch (%s)\n", r, r + 1,
                1e3 * handing_over(&link[r], &p->rank[r]),
                size_format(p->rank[r].map.hidden_bytes, bytes));
}

void link_judge(const struct link *link, const struct plan *p, double compute, char *out,
                size_t size)
{
    int r = slowest(link, p), n;
    const struct plan_rank *k = r < 0 ? NULL : &p->rank[r];
    double left;

    out[0] = '\0';
    if (!k || !(held_up(&link[r], k) > compute * p->microbatch))
        return;
    n = snprintf(out, size, "rank %d to %d binds: %.1f ms to hand over a microbatch, %.1f ms to "
                            "compute one; ", r, r + 1, 1e3 * handing_over(&link[r], k),
                 1e3 * compute * p->microbatch);
    left = compute - link[r].byte * (double)k->map.hidden_bytes / p->microbatch;
    if (left > 0)
        snprintf(out + n, size - (size_t)n, "\"microbatch\": %.0f would hide it",
                 ceil(link[r].first / (k->wave * left)));
    else
        snprintf(out + n, size - (size_t)n, "its %.0f MB/s are too few for any microbatch",
                 1e-6 / link[r].byte);
}
