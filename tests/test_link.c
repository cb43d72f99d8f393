// links: launch stage comm loader spec
/* What a link between ranks is said to do: which is the slowest, whether it binds, and which
 * microbatch would hide it, by figures that anybody can check in the head. */
#include "launch/link.h"
#include "tests/test.h"

enum { BYTES = 1 << 20 };

/* Two stages, four windows in a microbatch of a MiB. */
static struct plan_rank two[2] = {
    {.wave = 1, .embed = true, .map = {.hidden_bytes = BYTES}},
    {.wave = 1, .head = true, .map = {.hidden_bytes = BYTES}},
};
static const struct plan plan = {.ranks = 2, .stages = 2, .replicas = 1, .microbatch = 4, .rank = two};

static void expect_judged(struct link first, double compute, int wave, const char *want)
{
    const struct link link[2] = {first, {0, 0}};
    char text[256];

    two[0].wave = wave;
    link_judge(link, &plan, compute, text, sizeof text);
    EXPECT_TEXT(text, want);
}

static void test_judge(void)
{
    const double ms = 1e-3, byte = 8 * ms / BYTES; /* 8 ms for a microbatch */

    /* 40 + 8 ms to hand over: 4 windows of 13 ms hide it, of 5 ms do not. A window's bytes take
     * 2 ms, so 3 ms of each are left for the 40. */
    expect_judged((struct link){40 * ms, byte}, 13 * ms, 1, "");
    expect_judged((struct link){40 * ms, byte}, 5 * ms, 1,
                  "rank 0 to 1 binds: 48.0 ms to hand over a microbatch, 20.0 ms to compute one; "
                  "\"microbatch\": 14 would hide it");
    /* Many under way at a time: only the bytes count. */
    expect_judged((struct link){40 * ms, byte}, 5 * ms, 10, "");
    expect_judged((struct link){40 * ms, byte}, 1 * ms, 10,
                  "rank 0 to 1 binds: 48.0 ms to hand over a microbatch, 4.0 ms to compute one; its "
                  "131 MB/s are too few for any microbatch");
}

static void expect_printed(const struct plan *p, const char *want)
{
    const struct link link[2] = {{0.02, 5e-9}, {0, 0}};
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);

    EXPECT(f);
    link_print(f, link, p);
    EXPECT(fclose(f) == 0);
    EXPECT_TEXT(text, want);
    free(text);
}

static void test_print(void)
{
    struct plan_rank alone = {.wave = 1, .embed = true, .head = true};
    const struct plan one = {.ranks = 1, .stages = 1, .replicas = 1, .microbatch = 4, .rank = &alone};

    expect_printed(&plan, "slowest link: rank 0 to 1, 25.2 ms to hand over a microbatch (1.000 MiB)\n");
    expect_printed(&one, "");
}

int main(void)
{
    test_judge();
    test_print();
    return 0;
}
