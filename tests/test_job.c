// links: launch stage comm loader spec
/* Proves the first words of a job (F9, F21, F23) where one machine has no ranks that differ: another
 * version is refused, a clock that is far off gives a warning, a network that loses long messages is
 * told from one that carries nothing. */
#include "launch/job.h"
#include "tests/test.h"

/* A comm of two ranks, of which the other one's words are given. */
struct staged {
    struct comm base;
    size_t at; /* where in a rank's words the other one differs */
    const void *other;
    size_t bytes;
    double later; /* or: its clock */
    size_t longest; /* message that comes through; 0 = any */
    char said[128]; /* the last value that was compared */
};

static enum status staged_gather(struct comm *c, const void *mine, void *all, size_t bytes,
                                 struct err *e)
{
    struct staged *s = (struct staged *)c;
    char *row = (char *)all + bytes;
    double at;

    (void)e;
    if (bytes == 64 + sizeof s->said)
        memcpy(s->said, (const char *)mine + 64, sizeof s->said);
    memcpy(all, mine, bytes);
    memcpy(row, mine, bytes);
    if (bytes == sizeof(double) + 64) { /* clocks */
        memcpy(&at, row, sizeof at);
        at += s->later;
        memcpy(row, &at, sizeof at);
    } else if (s->other) {
        memcpy(row + s->at, s->other, s->bytes);
    }
    return OK;
}

static enum status staged_send(struct comm *c, int peer, enum comm_channel ch, const void *buf,
                               size_t bytes, struct comm_ticket *t, struct err *e)
{
    (void)c, (void)peer, (void)ch, (void)buf, (void)bytes, (void)t, (void)e;
    return OK;
}

/* A ticket of a message that does not come is one of its own. */
static enum status staged_recv(struct comm *c, int peer, enum comm_channel ch, void *buf,
                               size_t bytes, struct comm_ticket *t, struct err *e)
{
    const struct staged *s = (const struct staged *)c;

    (void)peer, (void)ch, (void)buf, (void)e;
    t->slot = s->longest > 0 && bytes > s->longest;
    return OK;
}

static enum status staged_wait(struct comm *c, struct comm_ticket *t, const char *what,
                               struct err *e)
{
    (void)c, (void)what;
    return t->slot ? fail(e, ERR_INTERRUPTED, "nothing came") : OK;
}

static const struct comm_ops ops = {.gather = staged_gather,
                                    .send = staged_send,
                                    .recv = staged_recv,
                                    .wait = staged_wait};

static void test_long_messages(void)
{
    struct staged s = {.base = {.ops = &ops, .ranks = 2, .host = "h1"}, .longest = 8960};
    char warning[256];
    struct err e;

    EXPECT(job_meet(&s.base, "1.0.0", warning, &e) == ERR_INTERRUPTED);
    EXPECT(strstr(e.msg, "between rank 0 (h1) and rank 1 (h1), long ones do not") &&
           strstr(e.msg, "btl_tcp_if_include SUBNET") && strstr(e.msg, "nothing came"));
}

static void test_staged(void)
{
    struct staged s = {.base = {.ops = &ops, .ranks = 2, .host = "h1"}};
    char warning[256];
    struct err e;

    EXPECT(job_meet(&s.base, "1.0.0", warning, &e) == OK && !*warning);
    s.later = -7;
    EXPECT(job_meet(&s.base, "1.0.0", warning, &e) == OK);
    EXPECT_TEXT(warning, "the clock of rank 1 (h1) is 7 s behind that of rank 0 (h1)");
    s.later = 4;
    EXPECT(job_meet(&s.base, "1.0.0", warning, &e) == OK && !*warning);
    s.at = 64;
    s.other = "1.0.1";
    s.bytes = 6;
    EXPECT(job_meet(&s.base, "1.0.0", warning, &e) == ERR_SPEC);
    EXPECT_TEXT(e.msg, "program version: rank 1 of 2 (h1) has 1.0.1, rank 0 (h1) has 1.0.0 (install "
                       "one version on all hosts)");
}

/* Layers of so many stages that their list is cut: the last one counts as the first does. */
static void test_long_request(void)
{
    struct staged s = {.base = {.ops = &ops, .ranks = 2, .host = "h1"}};
    int by_hand[100];
    struct plan_request q = {.n_by_hand = 100, .by_hand = by_hand};
    char first[128];
    struct err e;

    for (int i = 0; i < 100; i++)
        by_hand[i] = 10 + i % 7;
    EXPECT(job_same_request(&s.base, &q, &e) == OK);
    memcpy(first, s.said, sizeof first);
    EXPECT(strstr(first, "layers 10,11,12") != NULL && strlen(first) < sizeof first);
    EXPECT(job_same_request(&s.base, &q, &e) == OK);
    EXPECT_TEXT(s.said, first);
    by_hand[99]++;
    EXPECT(job_same_request(&s.base, &q, &e) == OK);
    EXPECT(strcmp(s.said, first) != 0);
}

int main(void)
{
    test_staged();
    test_long_messages();
    test_long_request();
    return 0;
}
