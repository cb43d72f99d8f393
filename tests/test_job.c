// links: launch stage comm loader spec
/* Proves the first words of a job (F21, F23) where one machine has no ranks that differ: another
 * version is refused, a clock that is far off gives a warning. */
#include "launch/job.h"
#include "tests/test.h"

/* A comm of two ranks, of which the other one's words are given. */
struct staged {
    struct comm base;
    size_t at; /* where in a rank's words the other one differs */
    const void *other;
    size_t bytes;
    double later; /* or: its clock */
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

static void test_staged(void)
{
    static const struct comm_ops ops = {.gather = staged_gather};
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
    static const struct comm_ops ops = {.gather = staged_gather};
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
    test_long_request();
    return 0;
}
