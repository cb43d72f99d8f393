/* lifeline_connect.c - the connections of the lifeline: rank 0 listens and says over MPI where, the
 * others try each of its addresses until one answers with this job's token. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "comm/lifeline_private.h"
#include "spec/clock.h"

enum { ADDRESSES = 32, BACKLOG = 1024 };

/* For one address; for the word of whoever connects to rank 0; for all of it. */
static const double try_s = 2, hello_s = 0.5, connect_s = 15;

struct address {
    uint8_t ipv6[16]; /* IPv4 as ::ffff:a.b.c.d */
    bool loopback;
};

struct invitation { /* rank 0 to all, over MPI */
    char token[33], host[64];
    int port; /* 0: rank 0 cannot listen */
    int n;
    struct address address[ADDRESSES];
};

/* Newer than the C library's headers (Linux 6.15); elsewhere setsockopt refuses it, and a cut of
 * some seconds may then count as a loss. */
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif

/* Keepalive after 2 s, each second; gives up when nothing is acknowledged for the limit. */
static void set_limits(int fd, double silence)
{
    int yes = 1, idle = 2, interval = 1, probes = (int)silence - idle, rto_ms = 1000;
    unsigned unacknowledged_ms = (unsigned)(silence * 1000);

    probes = probes > 1 ? probes : 1;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
    setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, &rto_ms, sizeof rto_ms);
}

static bool await(int fd, short what, double limit_s)
{
    struct pollfd p = {.fd = fd, .events = what};
    double end = clock_seconds() + limit_s, left;

    while ((left = end - clock_seconds()) > 0) {
        int n = poll(&p, 1, (int)(left * 1000) + 1);

        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
    return false;
}

/* One whole packet within the limit; the sockets do not block. */
static bool receive_packet(int fd, struct packet *p, double limit_s)
{
    double end = clock_seconds() + limit_s;
    size_t n = 0;

    while (n < sizeof *p && await(fd, POLLIN, end - clock_seconds())) {
        ssize_t got = recv(fd, (char *)p + n, sizeof *p - n, 0);

        if (got <= 0 && !(got < 0 && (errno == EAGAIN || errno == EINTR)))
            return false;
        n += got > 0 ? (size_t)got : 0;
    }
    lifeline_clean(p);
    return n == sizeof *p;
}

static bool send_packet(int fd, const struct packet *p)
{
    return send(fd, p, sizeof *p, MSG_NOSIGNAL) == (ssize_t)sizeof *p;
}

/* Every address of this host; loopback, too: ranks of the same host use it. Link-local ones mean
 * nothing without their interface. */
static int list_addresses(struct address *out)
{
    struct ifaddrs *all, *i;
    int n = 0;

    if (getifaddrs(&all) != 0)
        return 0;
    for (i = all; i && n < ADDRESSES; i = i->ifa_next) {
        struct address *a = &out[n];

        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP))
            continue;
        *a = (struct address){.loopback = i->ifa_flags & IFF_LOOPBACK};
        if (i->ifa_addr->sa_family == AF_INET) {
            a->ipv6[10] = a->ipv6[11] = 0xff;
            memcpy(a->ipv6 + 12, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, 4);
            n++;
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            struct in6_addr *v6 = &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr;

            memcpy(a->ipv6, v6, 16);
            n += !IN6_IS_ADDR_LINKLOCAL(v6);
        }
    }
    freeifaddrs(all);
    return n;
}

/* A socket for address `a` (NULL = any). IPv4 where the kernel has no IPv6. */
static int socket_for(const struct address *a, int port, struct sockaddr_storage *name,
                      socklen_t *size)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    bool v4 = a && memcmp(a->ipv6, mapped, sizeof mapped) == 0;
    int fd = v4 ? -1 : socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int no = 0;

    memset(name, 0, sizeof *name);
    if (fd >= 0) {
        struct sockaddr_in6 *s = (void *)name;

        s->sin6_family = AF_INET6;
        s->sin6_port = htons((uint16_t)port);
        if (a)
            memcpy(&s->sin6_addr, a->ipv6, 16);
        *size = sizeof *s;
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    } else if (v4 || !a) {
        struct sockaddr_in *s = (void *)name;

        s->sin_family = AF_INET;
        s->sin_port = htons((uint16_t)port);
        if (a)
            memcpy(&s->sin_addr, a->ipv6 + 12, 4);
        *size = sizeof *s;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    return fd;
}

/* Rank 0: a listening socket and its port; -1 and 0 when there can be none. */
static int listen_anywhere(int *port)
{
    struct sockaddr_storage name;
    socklen_t size;
    int fd = socket_for(NULL, 0, &name, &size);

    *port = 0;
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&name, size) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        close(fd);
        return -1;
    }
    /* The port stands at the same place in both kinds of name. */
    *port = ntohs(((struct sockaddr_in *)(void *)&name)->sin_port);
    return fd;
}

static void make_token(char token[33])
{
    uint8_t bytes[16];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        memset(bytes, (int)getpid(), sizeof bytes); /* it only has to tell jobs apart */
    for (int i = 0; i < 16; i++)
        snprintf(token + 2 * i, 3, "%02x", bytes[i]);
}

/* Rank 0: who has connected is asked for its rank and the token. */
static void take_caller(struct lifeline *l, int fd)
{
    struct packet p, welcome = lifeline_packet(l, PACKET_WELCOME);
    struct peer *peer;

    memcpy(welcome.text, l->token, sizeof l->token);
    if (!receive_packet(fd, &p, hello_s) || p.kind != PACKET_HELLO || p.rank <= 0 ||
        p.rank >= l->n_peers || strcmp(p.text, l->token) != 0 || !send_packet(fd, &welcome)) {
        close(fd);
        return;
    }
    peer = &l->peer[p.rank];
    if (peer->fd >= 0) /* it gave that try up */
        close(peer->fd);
    set_limits(fd, l->q.silence);
    peer->fd = fd;
    snprintf(peer->host, sizeof peer->host, "%s", p.doing);
}

static int connected_peers(const struct lifeline *l)
{
    int n = 0;

    for (int i = 0; i < l->n_peers; i++)
        n += l->peer[i].fd >= 0;
    return n;
}

static void take_callers(struct lifeline *l, int listener)
{
    double end = clock_seconds() + connect_s;

    while (listener >= 0 && connected_peers(l) < l->n_peers - 1 &&
           await(listener, POLLIN, end - clock_seconds())) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0)
            take_caller(l, fd);
    }
}

static bool is_welcome(struct lifeline *l, int fd)
{
    struct packet hello = lifeline_packet(l, PACKET_HELLO), p;

    memcpy(hello.text, l->token, sizeof l->token);
    snprintf(hello.doing, sizeof hello.doing, "%s", l->q.comm->host);
    return send_packet(fd, &hello) && receive_packet(fd, &p, try_s) && p.kind == PACKET_WELCOME &&
           strcmp(p.text, l->token) == 0;
}

/* A connection to rank 0 at that address, or -1. */
static int call(struct lifeline *l, const struct address *a, int port)
{
    struct sockaddr_storage name;
    socklen_t size;
    int fd = socket_for(a, port, &name, &size), error = 0;
    socklen_t error_size = sizeof error;

    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&name, size) != 0 && errno != EINPROGRESS)
        goto bad;
    if (!await(fd, POLLOUT, try_s) ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) != 0 || error != 0)
        goto bad;
    if (is_welcome(l, fd))
        return fd;
bad:
    close(fd);
    return -1;
}

/* Ranks of one host try loopback first and others last: what answers there has the token or not. */
static void call_rank_0(struct lifeline *l, const struct invitation *in)
{
    bool same_host = strcmp(in->host, l->q.comm->host) == 0;
    double end = clock_seconds() + connect_s;
    struct peer *root = &l->peer[0];

    snprintf(root->host, sizeof root->host, "%s", in->host);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < in->n && in->port > 0 && root->fd < 0; i++)
            if (in->address[i].loopback == (same_host == (pass == 0)) && clock_seconds() < end)
                root->fd = call(l, &in->address[i], in->port);
    if (root->fd >= 0)
        set_limits(root->fd, l->q.silence);
}

/* Everybody learns who is connected; rank 0 has the words for it. */
static enum status share_outcome(struct lifeline *l, struct err *e)
{
    struct outcome {
        bool connected;
        char host[64];
    } mine = {.connected = l->peer[0].fd >= 0}, *all;
    struct comm *c = l->q.comm;
    enum status st;

    all = calloc((size_t)c->ranks, sizeof *all);
    if (!all)
        return fail(e, ERR_FIT, "lifeline: no memory for %d ranks", c->ranks);
    snprintf(mine.host, sizeof mine.host, "%s", c->host);
    st = c->ops->gather(c, &mine, all, sizeof mine, e);
    for (int r = c->ranks - 1; st == OK && r > 0; r--)
        if (!all[r].connected)
            snprintf(l->warning, sizeof l->warning,
                     "no TCP connection from rank %d of %d (%s) to rank 0 (%s): if it is lost, that "
                     "is noticed only after the stall limit",
                     r, c->ranks, all[r].host, all[0].host);
    free(all);
    return st;
}

enum status lifeline_connect(struct lifeline *l, struct err *e)
{
    struct comm *c = l->q.comm;
    struct invitation in = {.port = 0};
    int listener = -1;
    enum status st;

    if (c->rank == 0) {
        make_token(in.token);
        snprintf(in.host, sizeof in.host, "%s", c->host);
        in.n = list_addresses(in.address);
        listener = listen_anywhere(&in.port);
    }
    st = c->ops->broadcast(c, 0, &in, sizeof in, e);
    memcpy(l->token, in.token, sizeof l->token);
    if (st == OK && c->rank == 0)
        take_callers(l, listener);
    else if (st == OK)
        call_rank_0(l, &in);
    if (listener >= 0)
        close(listener);
    return st == OK ? share_outcome(l, e) : st;
}
