#include "comm/lifeline.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "comm/lifeline_private.h"
#include "comm/thread.h"
#include "spec/clock.h"

static const double beat_s = 1, look_s = 0.25; /* a beat; a look whether there is news */
/* A loop that took so much longer than it should says that this process was stopped itself. */
static const double stopped_s = 3;
/* Rank 0 is lost: rank 1 speaks at once and has so long to end the job; each further rank speaks so
 * much later, if it is still there. */
static const double turn_s = 3.5, turns_max_s = 7;
/* How long rank 0 waits at the end for the others to close. */
static const double goodbye_s = 2;

struct packet lifeline_packet(const struct lifeline *l, enum packet_kind kind)
{
    struct comm *c = l->q.comm;
    struct packet p = {.kind = kind, .rank = c->rank};
    const char *doing = atomic_load(&c->doing), *device = atomic_load(&c->device);

    p.step = atomic_load(&c->step);
    snprintf(p.doing, sizeof p.doing, "%s", doing ? doing : "starting");
    snprintf(p.device, sizeof p.device, "%s", device ? device : "");
    return p;
}

static void clean_text(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = '?';
}

void lifeline_clean(struct packet *p)
{
    clean_text(p->doing, sizeof p->doing);
    clean_text(p->device, sizeof p->device);
    clean_text(p->text, sizeof p->text);
}

/* The lock is held. A peer whose buffers are full hears nothing: its own silence will end it. */
static int send_to(struct peer *peer, const struct packet *p)
{
    ssize_t n;

    if (peer->fd < 0 || peer->clogged)
        return 0;
    n = send(peer->fd, p, sizeof *p, MSG_NOSIGNAL | MSG_DONTWAIT);
    peer->clogged = n > 0 && n < (ssize_t)sizeof *p;
    return n < 0 && errno != EAGAIN && errno != EINTR ? errno : 0;
}

static void send_to_all(struct lifeline *l, const struct packet *p)
{
    for (int i = 0; i < l->n_peers; i++)
        send_to(&l->peer[i], p);
}

/* Tells who can be reached that the job ends, and nothing counts from here on: also a rank 0 that
 * was only stopped, and finds the others gone when it goes on. false: it was known already. */
static bool begin_end(struct lifeline *l, enum status code, const char *message)
{
    struct packet p = lifeline_packet(l, PACKET_END);
    bool first;

    p.code = (int32_t)code;
    snprintf(p.text, sizeof p.text, "%s", message);
    pthread_mutex_lock(&l->lock);
    first = !l->ended;
    l->ended = true;
    if (first)
        send_to_all(l, &p);
    pthread_mutex_unlock(&l->lock);
    return first;
}

/* Tells main, which ends the process. */
static __attribute__((format(printf, 3, 4))) void report_end(struct lifeline *l,
                                                             struct lifeline_end end,
                                                             const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(end.message, sizeof end.message, fmt, ap);
    va_end(ap);
    if (begin_end(l, end.code, end.message))
        l->q.on_end(l->q.context, &end);
}

/* A stopped process still acknowledges what is sent to it, by its kernel; an unreachable one does
 * not, even where its own words, said again and again, still come. */
static bool acknowledges(int fd, double within_s)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           info.tcpi_retransmits == 0 && info.tcpi_last_ack_recv < within_s * 1000;
}

/* Why a rank counts as lost. */
struct cause {
    bool cut_off; /* its host cannot be reached */
    char text[160];
};

static struct cause explain_silence(const struct lifeline *l, const struct peer *peer)
{
    struct cause c = {.cut_off = !acknowledges(peer->fd, l->q.silence / 2)};

    snprintf(c.text, sizeof c.text, "no word for %g s, its %s", l->q.silence,
             c.cut_off ? "host cannot be reached" : "process is stopped");
    return c;
}

static struct cause explain_error(int error)
{
    struct cause c = {.cut_off = error != 0 && error != ECONNRESET && error != EPIPE};

    if (c.cut_off)
        snprintf(c.text, sizeof c.text, "its host cannot be reached (%s)", strerror(error));
    else
        snprintf(c.text, sizeof c.text, "its process is gone");
    return c;
}

static void lose(struct lifeline *l, const struct peer *peer, struct cause cause)
{
    struct comm *c = l->q.comm;
    struct lifeline_end end = {
        .code = ERR_INTERRUPTED, .speak = true, .cut_off = cause.cut_off};
    int rank = (int)(peer - l->peer);
    char step[32] = "";

    if (c->rank > 0) { /* rank 0 is lost: each in its turn */
        double wait = turn_s * (c->rank - 1);

        pthread_mutex_lock(&l->lock);
        l->waiting = true;
        pthread_mutex_unlock(&l->lock);
        poll(NULL, 0, (int)(1000 * (wait < turns_max_s ? wait : turns_max_s)));
    }
    if (peer->step > 0)
        snprintf(step, sizeof step, " %lld", (long long)peer->step);
    report_end(l, end, "rank %d of %d (%s%s%s): lost: %s, while %s%s", rank, c->ranks, peer->host,
               *peer->device ? ", " : "", peer->device, cause.text, peer->doing, step);
}

static void take_packet(struct lifeline *l, struct peer *peer)
{
    struct packet *p = &peer->in;

    lifeline_clean(p);
    peer->heard = clock_seconds();
    switch (p->kind) {
    case PACKET_BEAT:
        memcpy(peer->doing, p->doing, sizeof peer->doing);
        memcpy(peer->device, p->device, sizeof peer->device);
        peer->step = p->step;
        break;
    case PACKET_BYE:
        peer->left = true;
        break;
    case PACKET_FAIL:
        report_end(l, (struct lifeline_end){.code = (enum status)p->code, .speak = true},
                   "rank %d of %d (%s): %s", (int)(peer - l->peer), l->q.comm->ranks, peer->host,
                   p->text);
        break;
    case PACKET_END:
        report_end(l, (struct lifeline_end){.code = (enum status)p->code}, "%s", p->text);
        break;
    default: /* of no version that this rank knows */
        break;
    }
}

/* All that has come in; a broken connection is a loss. */
static void receive_from(struct lifeline *l, struct peer *peer)
{
    ssize_t n;

    while ((n = recv(peer->fd, (char *)&peer->in + peer->n_in, sizeof peer->in - peer->n_in,
                     MSG_DONTWAIT)) > 0) {
        peer->n_in += (size_t)n;
        if (peer->n_in == sizeof peer->in) {
            take_packet(l, peer);
            peer->n_in = 0;
        }
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (!peer->left)
        lose(l, peer, explain_error(n == 0 ? 0 : errno));
    close(peer->fd);
    peer->fd = -1;
}

static void beat(struct lifeline *l)
{
    struct packet p = lifeline_packet(l, PACKET_BEAT);

    pthread_mutex_lock(&l->lock);
    send_to_all(l, &p); /* a failure shows when receiving */
    pthread_mutex_unlock(&l->lock);
}

static void check_silence(struct lifeline *l)
{
    for (int i = 0; i < l->n_peers; i++) {
        struct peer *peer = &l->peer[i];

        if (peer->fd < 0 || peer->left || clock_seconds() - peer->heard <= l->q.silence)
            continue;
        lose(l, peer, explain_silence(l, peer));
        peer->left = true; /* should the end be known already */
    }
}

/* Waits for words until `until`; false when the lifeline is being closed. */
static bool await_words(struct lifeline *l, double until)
{
    struct pollfd *p = l->polled;
    double left = until - clock_seconds();
    int n;

    for (int i = 0; i < l->n_peers; i++)
        p[i] = (struct pollfd){.fd = l->peer[i].fd, .events = POLLIN};
    p[l->n_peers] = (struct pollfd){.fd = l->wake, .events = POLLIN};
    n = poll(p, (nfds_t)l->n_peers + 1, left > 0 ? (int)(1000 * left) + 1 : 0);
    if (n > 0 && p[l->n_peers].revents)
        return false;
    for (int i = 0; n > 0 && i < l->n_peers; i++)
        if (l->peer[i].fd >= 0 && p[i].revents)
            receive_from(l, &l->peer[i]);
    return true;
}

static void forgive_silence(struct lifeline *l)
{
    for (int i = 0; i < l->n_peers; i++)
        l->peer[i].heard = clock_seconds();
}

/* Rank 0 closes last: a connection closed with unread words in it would take its goodbye along. */
static void await_goodbyes(struct lifeline *l)
{
    double end = clock_seconds() + goodbye_s;
    uint64_t woken;
    int here;

    if (l->q.comm->rank != 0 || read(l->wake, &woken, sizeof woken) < 0)
        return;
    do {
        here = 0;
        for (int i = 0; i < l->n_peers; i++)
            here += l->peer[i].fd >= 0;
    } while (here > 0 && clock_seconds() < end && await_words(l, end));
}

static void *watch(void *arg)
{
    struct lifeline *l = arg;
    const char *told = NULL, *told_device = NULL, *doing, *device;
    double due = clock_seconds(), look = due;

    prctl(PR_SET_NAME, "lifeline");
    forgive_silence(l);
    do {
        if (clock_seconds() - look > stopped_s)
            forgive_silence(l);
        doing = atomic_load(&l->q.comm->doing);
        device = atomic_load(&l->q.comm->device);
        if (clock_seconds() >= due || doing != told || device != told_device) {
            beat(l);
            told = doing;
            told_device = device;
            due = clock_seconds() + beat_s;
        }
        check_silence(l);
        look = clock_seconds() + look_s;
    } while (await_words(l, look));
    await_goodbyes(l);
    return NULL;
}

static void lifeline_free(struct lifeline *l)
{
    for (int i = 0; i < l->n_peers; i++)
        if (l->peer[i].fd >= 0)
            close(l->peer[i].fd);
    if (l->wake >= 0)
        close(l->wake);
    pthread_mutex_destroy(&l->lock);
    free(l->polled);
    free(l->peer);
    free(l);
}

enum status lifeline_open(const struct lifeline_request *q, struct err *e)
{
    struct lifeline *l;
    enum status st = OK;
    int code, peers;

    if (q->comm->ranks == 1)
        return OK;
    l = calloc(1, sizeof *l);
    if (!l)
        return fail(e, ERR_FIT, "lifeline: out of memory");
    l->q = *q;
    pthread_mutex_init(&l->lock, NULL);
    l->wake = eventfd(0, EFD_CLOEXEC);
    peers = q->comm->rank == 0 ? q->comm->ranks : 1;
    l->peer = calloc((size_t)peers, sizeof *l->peer);
    l->polled = calloc((size_t)peers + 1, sizeof *l->polled);
    if (!l->peer || !l->polled || l->wake < 0) {
        st = fail(e, ERR_FIT, "lifeline: %s", strerror(errno));
        goto bad;
    }
    l->n_peers = peers;
    for (int i = 0; i < peers; i++) {
        l->peer[i].fd = -1;
        strcpy(l->peer[i].doing, "starting");
    }
    st = lifeline_connect(l, e);
    if (st != OK)
        goto bad;
    code = comm_thread_start(&l->thread, watch, l);
    if (code != 0) {
        st = fail(e, ERR_FIT, "lifeline: thread: %s", strerror(code));
        goto bad;
    }
    q->comm->lifeline = l;
    return OK;
bad:
    lifeline_free(l);
    return st;
}

const char *lifeline_warning(const struct lifeline *l)
{
    return l ? l->warning : "";
}

bool lifeline_tell(struct lifeline *l, enum status code, const char *message)
{
    struct packet p;
    bool told;

    if (!l || l->q.comm->rank == 0)
        return false;
    p = lifeline_packet(l, PACKET_FAIL);
    p.code = (int32_t)code;
    snprintf(p.text, sizeof p.text, "%s", message);
    pthread_mutex_lock(&l->lock);
    /* An end that is known already has its own message. */
    told = l->ended || l->waiting ||
           (l->peer[0].fd >= 0 && !l->peer[0].left && send_to(&l->peer[0], &p) == 0);
    l->ended = l->ended || !l->waiting; /* whose turn comes must still be able to speak */
    pthread_mutex_unlock(&l->lock);
    return told;
}

void lifeline_announce(struct lifeline *l, enum status code)
{
    char message[64];

    if (!l)
        return;
    snprintf(message, sizeof message, "rank %d ended the job", l->q.comm->rank);
    begin_end(l, code, message);
}

void lifeline_close(struct lifeline *l)
{
    struct packet bye;
    uint64_t one = 1;

    if (!l)
        return;
    bye = lifeline_packet(l, PACKET_BYE);
    pthread_mutex_lock(&l->lock);
    l->ended = true;
    send_to_all(l, &bye);
    pthread_mutex_unlock(&l->lock);
    CHECK(write(l->wake, &one, sizeof one) == (ssize_t)sizeof one);
    pthread_join(l->thread, NULL);
    l->q.comm->lifeline = NULL;
    lifeline_free(l);
}
