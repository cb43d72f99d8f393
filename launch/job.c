#include "launch/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "launch/link.h"
#include "spec/sha256.h"

/* What each rank tells the others about a step. */
struct outcome {
    int code;
    char host[64];
    char msg[sizeof((struct err *)0)->msg];
};

enum status job_agree(struct comm *c, enum status mine, struct err *e)
{
    struct outcome own = {.code = mine}, *all;
    enum status st;

    if (c->ranks == 1)
        return mine;
    snprintf(own.host, sizeof own.host, "%s", c->host);
    if (mine != OK)
        memcpy(own.msg, e->msg, sizeof own.msg);
    all = calloc((size_t)c->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "no memory for the outcomes of %d ranks", c->ranks);
    st = c->ops->gather(c, &own, all, sizeof own, e);
    for (int r = 0; st == OK && r < c->ranks; r++)
        if (all[r].code != OK)
            st = fail(e, all[r].code, "rank %d of %d (%s): %s", r, c->ranks, all[r].host,
                      all[r].msg);
    free(all);
    return st;
}

/* What one rank has; a longer text is cut, and told apart by its hash. */
struct claim {
    char host[64], value[128];
};

static void claim_value(struct claim *c, const char *value)
{
    char hex[SHA256_HEX];

    if (snprintf(c->value, sizeof c->value, "%s", value) < (int)sizeof c->value)
        return;
    sha256_of(value, strlen(value), hex);
    snprintf(c->value, sizeof c->value, "%.80s... (SHA-256 %.16s)", value, hex);
}

enum status job_same(struct comm *c, const char *what, const char *value, const char *hint,
                     struct err *e)
{
    struct claim mine = {.value = ""}, *all;
    enum status st;

    if (c->ranks == 1)
        return OK;
    snprintf(mine.host, sizeof mine.host, "%s", c->host);
    claim_value(&mine, value);
    all = calloc((size_t)c->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "no memory to compare %d ranks", c->ranks);
    st = c->ops->gather(c, &mine, all, sizeof mine, e);
    for (int r = 1; st == OK && r < c->ranks; r++)
        if (strcmp(all[r].value, all[0].value) != 0)
            st = fail(e, ERR_SPEC, "%s: rank %d of %d (%s) has %s, rank 0 (%s) has %s (%s)", what,
                      r, c->ranks, all[r].host, all[r].value, all[0].host, all[0].value, hint);
    free(all);
    return st;
}

static double date_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What ranks tell each other first. */
struct greeting {
    double at; /* their clock */
    char host[64];
};

/* The clock that differs most from rank 0's. */
static void check_clocks(const struct greeting *all, int ranks, char warning[256])
{
    static const double tolerated_s = 5;
    int worst = 0;

    for (int r = 1; r < ranks; r++)
        if (fabs(all[r].at - all[0].at) > fabs(all[worst].at - all[0].at))
            worst = r;
    if (!(fabs(all[worst].at - all[0].at) <= tolerated_s))
        snprintf(warning, 256, "the clock of rank %d (%s) is %.0f s %s that of rank 0 (%s)", worst,
                 all[worst].host, fabs(all[worst].at - all[0].at),
                 all[worst].at > all[0].at ? "ahead of" : "behind", all[0].host);
}

/* A network that takes less than its hosts believe loses packets that are full, and nobody is told.
 * Each rank answers rank 0, which so notices both ways. */
static enum status try_full_packets(struct comm *c, const struct greeting *all, struct err *e)
{
    enum { FULL = 16 << 10 }; /* more than a jumbo frame */
    static char buffer[FULL]; /* after a failure messages may be under way in it */
    enum status st = OK;

    for (int r = 1; st == OK && r < c->ranks; r++) {
        st = link_pass(c, COMM_CONTROL, 0, r, 1, buffer, FULL, e);
        if (st == OK)
            st = link_pass(c, COMM_CONTROL, r, 0, 1, buffer, FULL, e);
        if (st != OK)
            fail_in(e, "short messages pass between rank 0 (%s) and rank %d (%s), long ones do not "
                       "(does their network take less than their MTU? try mpirun --mca "
                       "btl_tcp_if_include SUBNET)", all[0].host, r, all[r].host);
    }
    return st;
}

enum status job_meet(struct comm *c, const char *version, char warning[256], struct err *e)
{
    struct greeting mine = {.at = date_seconds()}, *all;
    enum status st;

    warning[0] = '\0';
    if (c->ranks == 1)
        return OK;
    all = calloc((size_t)c->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "no memory to meet %d ranks", c->ranks);
    snprintf(mine.host, sizeof mine.host, "%s", c->host);
    st = c->ops->gather(c, &mine, all, sizeof mine, e);
    if (st == OK) {
        check_clocks(all, c->ranks, warning);
        st = try_full_packets(c, all, e);
    }
    free(all);
    return st == OK ? job_same(c, "program version", version, "install one version on all hosts", e)
                    : st;
}

enum status job_same_request(struct comm *c, const struct plan_request *q, struct err *e)
{
    static const char *const streams[] = {"auto", "never", "always"};
    char *value = NULL;
    size_t bytes;
    FILE *f = open_memstream(&value, &bytes);
    enum status st;

    CHECK((unsigned)q->stream < sizeof streams / sizeof *streams);
    if (!f)
        return fail(e, ERR_FIT, "no memory to compare %d ranks", c->ranks);
    fprintf(f, "microbatch %d, stages %d, stream %s, rates %.6g and %.6g, layers ", q->microbatch,
            q->stages, streams[q->stream], q->rates.flops, q->rates.read);
    for (int i = 0; i < q->n_by_hand; i++)
        fprintf(f, "%s%d", i ? "," : "", q->by_hand[i]);
    if (q->n_by_hand == 0)
        fprintf(f, "by the plan");
    st = fclose(f) == 0 ? job_same(c, "how to run", value, "give all ranks the same spec and --set", e)
                        : fail(e, ERR_FIT, "no memory to compare %d ranks", c->ranks);
    free(value);
    return st;
}

/* Large arrays travel in pieces, so that one stall limit is enough for each. */
enum status job_share_bytes(struct comm *c, void *data, size_t bytes, struct err *e)
{
    enum { PIECE = 16 << 20 };

    if (c->ranks == 1)
        return OK;

    for (size_t at = 0; at < bytes; at += PIECE)
        TRY(c->ops->broadcast(c, 0, (char *)data + at, bytes - at < PIECE ? bytes - at : PIECE, e));
    return OK;
}

enum status job_share_corpus(struct comm *c, struct corpus **corpus, struct err *e)
{
    struct corpus head = {0}, *mine = *corpus;

    if (c->ranks == 1)
        return OK;
    if (c->rank == 0)
        head = *mine;
    TRY(c->ops->broadcast(c, 0, &head, sizeof head, e));
    if (c->rank != 0) {
        mine = malloc(sizeof *mine);
        if (!mine)
            return fail(e, ERR_FIT, "no memory for the ids");
        *mine = head;
        mine->ids = malloc((size_t)head.n * sizeof *mine->ids + 1);
        mine->doc = malloc(((size_t)head.n_docs + 1) * sizeof *mine->doc);
        if (!mine->ids || !mine->doc) {
            corpus_free(mine);
            return fail(e, ERR_FIT, "no memory for %lld ids", (long long)head.n);
        }
        *corpus = mine;
    }
    TRY(job_share_bytes(c, mine->ids, (size_t)head.n * sizeof *mine->ids, e));
    return job_share_bytes(c, mine->doc, ((size_t)head.n_docs + 1) * sizeof *mine->doc, e);
}

enum status job_share_kept(struct comm *c, const struct plan_kept *mine, int n,
                           struct plan_kept **all, int *n_all, struct err *e)
{
    int *count = calloc((size_t)c->ranks, sizeof *count), most = 0; /* gather takes as many of each */
    struct plan_kept *row, *rows;
    enum status st;

    *all = NULL;
    *n_all = 0;
    if (!count)
        return fail(e, ERR_FIT, "no memory for %d ranks", c->ranks);
    st = c->ops->gather(c, &n, count, sizeof n, e);
    for (int r = 0; st == OK && r < c->ranks; r++)
        most = count[r] > most ? count[r] : most;
    if (st != OK || most == 0) {
        free(count);
        return st;
    }
    row = calloc((size_t)most, sizeof *row);
    rows = calloc((size_t)c->ranks * (size_t)most, sizeof *rows);
    if (!row || !rows) {
        st = fail(e, ERR_FIT, "no memory for %d pieces of waves", most);
    } else {
        for (int i = 0; i < n; i++)
            row[i] = mine[i];
        st = c->ops->gather(c, row, rows, (size_t)most * sizeof *row, e);
    }
    for (int r = 0; st == OK && r < c->ranks; r++) /* they close ranks */
        for (int i = 0; i < count[r]; i++)
            rows[(*n_all)++] = rows[r * most + i];
    free(count);
    free(row);
    if (st == OK)
        *all = rows;
    else
        free(rows);
    return st;
}

struct plan_cap job_cap(const struct spec_caps *caps, int rank, int local_ranks,
                        struct plan_cap mine, bool arena_is_host)
{
    uint64_t given = spec_cap(caps, rank);

    mine.park = caps->host / (uint64_t)local_ranks;
    if (given > 0) {
        mine.bytes = given;
        mine.given = true;
    } else if (arena_is_host) { /* both come from what is free */
        mine.park = mine.park < mine.bytes ? mine.park : mine.bytes;
        mine.bytes -= mine.park;
    }
    return mine;
}

enum status job_share_caps(struct comm *c, const struct spec_caps *caps, struct plan_cap mine,
                           uint64_t limit, bool arena_is_host, struct plan_cap *cap,
                           struct err *e)
{
    mine = job_cap(caps, c->rank, c->local_ranks, mine, arena_is_host);
    if (mine.bytes > limit) {
        mine.bytes = limit;
        mine.limited = true;
    }
    if (mine.park > limit - mine.bytes)
        mine.park = limit - mine.bytes;
    if (c->ranks == 1) {
        cap[0] = mine;
        return OK;
    }
    return c->ops->gather(c, &mine, cap, sizeof mine, e);
}
