// links: comm spec
// timeout: 20
/* The transport of one process: the k-th send meets the k-th receive of its channel whichever comes
 * first, channels do not mix, other lengths are an error, an unmet wait ends at once. */
#include "comm/comm.h"
#include "tests/test.h"

static void test_order(struct comm *c)
{
    enum { N = 20 };
    struct comm_ticket sends[N] = {{0}}, recvs[N] = {{0}};
    int out[N], in[N] = {0};
    struct err e;

    /* On two channels: sends 0-9 start, then receives 10-19 to meet them; then receives 0-9, and
     * sends 10-19 to meet those. */
    for (int i = 0; i < N; i++)
        out[i] = 1000 + i;
    for (int step = 0; step < 2; step++)
        for (int i = 0; i < N; i++) {
            bool send = (i < N / 2) == (step == 0);
            enum comm_channel ch = i % 2 ? COMM_NLL : COMM_HIDDEN;

            if (send)
                EXPECT(c->ops->send(c, 0, ch, &out[i], sizeof out[i], &sends[i], &e) == OK);
            else
                EXPECT(c->ops->recv(c, 0, ch, &in[i], sizeof in[i], &recvs[i], &e) == OK);
        }
    for (int i = N - 1; i >= 0; i--) { /* waited for in any order */
        EXPECT(c->ops->wait(c, &sends[i], "send", &e) == OK && sends[i].slot == 0);
        EXPECT(c->ops->wait(c, &recvs[i], "receive", &e) == OK && recvs[i].slot == 0);
    }
    for (int i = 0; i < N; i++)
        EXPECT(in[i] == out[(i + N / 2) % N]);
}

static void test_sizes(struct comm *c)
{
    struct comm_ticket a = {0}, b = {0}, none = {0};
    bool done = false;
    char out[8] = "1234567", in[8] = "";
    struct err e;

    EXPECT(c->ops->send(c, 0, COMM_NLL, NULL, 0, &a, &e) == OK);
    EXPECT(c->ops->recv(c, 0, COMM_NLL, NULL, 0, &b, &e) == OK);
    EXPECT(c->ops->test(c, &a, &done, &e) == OK && done && a.slot == 0);
    EXPECT(c->ops->wait(c, &b, "nothing", &e) == OK);

    EXPECT(c->ops->send(c, 0, COMM_HIDDEN, out, 8, &a, &e) == OK);
    EXPECT(c->ops->test(c, &a, &done, &e) == OK && !done && a.slot != 0);
    EXPECT(c->ops->recv(c, 0, COMM_HIDDEN, in, 4, &b, &e) == OK);
    EXPECT(c->ops->wait(c, &b, "microbatch 3", &e) == ERR_INTERRUPTED);
    EXPECT_TEXT(e.msg, "microbatch 3: rank 0 sent 8 bytes, rank 0 wants 4");
    EXPECT(c->ops->test(c, &a, &done, &e) == ERR_INTERRUPTED);
    EXPECT_TEXT(e.msg, "hidden states: rank 0 sent 8 bytes, rank 0 wants 4");
    EXPECT(in[0] == '\0'); /* nothing of it arrived */

    EXPECT(c->ops->wait(c, &none, "none", &e) == OK);
    EXPECT(c->ops->test(c, &none, &done, &e) == OK && done);
}

static void test_unmet(struct comm *c)
{
    struct comm_ticket t = {0}, many[COMM_TICKETS] = {{0}};
    char byte = 0;
    struct err e;
    int n = 0;

    EXPECT(c->ops->recv(c, 0, COMM_CONTROL, &byte, 1, &t, &e) == OK);
    EXPECT(c->ops->wait(c, &t, "control", &e) == ERR_INTERRUPTED);
    EXPECT_TEXT(e.msg, "control: rank 0 receives from itself, but never started the other side");
    while (n < COMM_TICKETS && c->ops->recv(c, 0, COMM_NLL, &byte, 1, &many[n], &e) == OK)
        n++;
    EXPECT(n == COMM_TICKETS - 1 && e.code == ERR_INTERNAL); /* one was taken above */
}

int main(void)
{
    struct comm *c;
    struct err e;
    int mine = 7, all = 0;

    EXPECT(comm_open_loop(&c, &e) == OK);
    EXPECT(c->rank == 0 && c->ranks == 1 && c->local_rank == 0 && c->local_ranks == 1);
    EXPECT(strlen(c->host) > 0);
    EXPECT(c->ops->broadcast(c, 0, &mine, sizeof mine, &e) == OK && mine == 7);
    EXPECT(c->ops->gather(c, &mine, &all, sizeof mine, &e) == OK && all == 7);
    test_order(c);
    test_sizes(c);
    test_unmet(c);
    comm_close(c);
    comm_close(NULL);
    return 0;
}
