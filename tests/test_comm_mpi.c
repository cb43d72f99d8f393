// links: comm spec
// mpi: 1 2 3 4
// timeout: 60
// processors: 2
/* The MPI transport among 1 to 4 ranks: every message of a seeded pattern arrives whole and in the
 * order of its channel, in both directions at once, while the caller computes and makes no call;
 * collectives agree; the end is orderly. */
#include "comm/comm.h"
#include "spec/clock.h"
#include "tests/test.h"

#include <stdint.h>

enum { N_MESSAGES = 10, MAX_BYTES = 16 << 20 };
static const size_t sizes[N_MESSAGES] = {0,     1,         8,      4095,          4096,
                                         65537, 1u << 20, 262144, 16u << 20, 3};

struct exchange { /* one direction to and one from a neighbour */
    struct comm_ticket send[N_MESSAGES], recv[N_MESSAGES];
    uint8_t *out[N_MESSAGES], *in[N_MESSAGES];
};

/* The message of a failure, unlike EXPECT. */
#define EXPECT_OK(call)                                                                            \
    do {                                                                                           \
        if ((call) != OK) {                                                                        \
            printf("FAIL %s:%d: rank %d: %s\n", __FILE__, __LINE__, c->rank, e.msg);               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* What byte i of message k from `from` to `to` must be. */
static uint8_t pattern(int from, int to, int k, size_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)(from * 7919 + to * 104729 + k * 1299709);

    return (uint8_t)(x >> 13 ^ x >> 24);
}

static enum comm_channel channel(int k)
{
    return (enum comm_channel)(k % COMM_CHANNELS);
}

static void start_exchange(struct comm *c, struct exchange *x, int to, int from)
{
    struct err e;

    for (int k = 0; k < N_MESSAGES; k++) {
        x->out[k] = malloc(sizes[k] + 1);
        x->in[k] = calloc(1, sizes[k] + 1);
        EXPECT(x->out[k] && x->in[k]);
        for (size_t i = 0; i < sizes[k]; i++)
            x->out[k][i] = pattern(c->rank, to, k, i);
        x->in[k][sizes[k]] = 0xa5;
        EXPECT_OK(c->ops->send(c, to, channel(k), x->out[k], sizes[k], &x->send[k], &e));
        EXPECT_OK(c->ops->recv(c, from, channel(k), x->in[k], sizes[k], &x->recv[k], &e));
    }
}

static void end_exchange(struct comm *c, struct exchange *x, int from)
{
    struct err e;

    for (int k = N_MESSAGES - 1; k >= 0; k--) {
        EXPECT_OK(c->ops->wait(c, &x->recv[k], "receive", &e));
        EXPECT_OK(c->ops->wait(c, &x->send[k], "send", &e));
        for (size_t i = 0; i < sizes[k]; i++)
            EXPECT(x->in[k][i] == pattern(from, c->rank, k, i));
        EXPECT(x->in[k][sizes[k]] == 0xa5);
        free(x->out[k]);
        free(x->in[k]);
    }
}

/* Round the ring, both ways at once. With one rank, to and from itself. */
static void test_pattern(struct comm *c)
{
    int next = (c->rank + 1) % c->ranks, before = (c->rank + c->ranks - 1) % c->ranks;
    struct exchange up = {0}, down = {0};

    start_exchange(c, &up, next, before);
    /* With one or two ranks both directions are one pair: the k-th still meets the k-th. */
    if (c->ranks > 2)
        start_exchange(c, &down, before, next);
    end_exchange(c, &up, before);
    if (c->ranks > 2)
        end_exchange(c, &down, next);
}

/* A long transfer is done by the end of a computation that makes no call meanwhile. */
static void test_overlap(struct comm *c)
{
    int peer = c->rank ^ 1;
    uint8_t *out = malloc(MAX_BYTES), *in = malloc(MAX_BYTES);
    struct comm_ticket send = {0}, recv = {0};
    volatile double sum = 0;
    double until;
    bool sent = false, received = false;
    struct err e;

    if (peer < c->ranks) {
        EXPECT(out && in);
        memset(out, 1 + c->rank, MAX_BYTES);
        EXPECT_OK(c->ops->send(c, peer, COMM_HIDDEN, out, MAX_BYTES, &send, &e));
        EXPECT_OK(c->ops->recv(c, peer, COMM_HIDDEN, in, MAX_BYTES, &recv, &e));
        for (until = clock_seconds() + 2; clock_seconds() < until;)
            for (int i = 0; i < 100000; i++)
                sum = sum + 1e-3 * i;
        EXPECT(c->ops->test(c, &send, &sent, &e) == OK && sent);
        EXPECT(c->ops->test(c, &recv, &received, &e) == OK && received);
        EXPECT(in[0] == 1 + peer && in[MAX_BYTES - 1] == 1 + peer);
    }
    free(out);
    free(in);
}

static void test_collectives(struct comm *c)
{
    struct {
        int rank, local_rank;
        char host[64];
    } mine = {c->rank, c->local_rank, ""}, all[4];
    struct err e;

    snprintf(mine.host, sizeof mine.host, "%s", c->host);
    for (int root = 0; root < c->ranks; root++) {
        uint64_t word = c->rank == root ? 0x123456789abcdef0u + (uint64_t)root : 0;

        EXPECT_OK(c->ops->broadcast(c, root, &word, sizeof word, &e));
        EXPECT(word == 0x123456789abcdef0u + (uint64_t)root);
    }
    EXPECT_OK(c->ops->gather(c, &mine, all, sizeof mine, &e));
    for (int r = 0; r < c->ranks; r++)
        EXPECT(all[r].rank == r && strcmp(all[r].host, c->host) == 0 && all[r].local_rank == r);
    EXPECT(c->local_ranks == c->ranks);
}

int main(int argc, char **argv)
{
    struct comm *c;
    struct err e;

    if (!comm_launched())
        SKIP("not started by mpirun");
    if (comm_open_mpi(&argc, &argv, &c, &e) != OK) {
        printf("FAIL %s\n", e.msg);
        return 1;
    }
    c->stall_timeout = 40;
    EXPECT(argc < 2 || c->ranks == atoi(argv[1]));
    EXPECT(strstr(comm_mpi_version(), "MPI") && c->overhead_bytes > 0);
    test_collectives(c);
    test_pattern(c);
    test_overlap(c);
    comm_close(c);
    return 0;
}
