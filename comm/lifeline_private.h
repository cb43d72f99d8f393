/* lifeline_private.h - what the two halves of the lifeline share: lifeline_connect.c, which makes
 * the connections, and lifeline.c, which watches them. */
#ifndef COMM_LIFELINE_PRIVATE_H
#define COMM_LIFELINE_PRIVATE_H

#include <poll.h>
#include <pthread.h>

#include "comm/lifeline.h"

enum packet_kind {
    PACKET_HELLO = 0x6c696665, /* a rank to rank 0: text is the token, `doing` its host */
    PACKET_WELCOME,            /* and back */
    PACKET_BEAT,               /* once a second: what the sender does */
    PACKET_FAIL,               /* a rank to rank 0: it fails with `code` and `text` */
    PACKET_END,                /* the job ends with `code`; the sender has spoken */
    PACKET_BYE                 /* the sender is done, in order */
};

/* All that travels; whole ones only. Ranks of a job have one byte order. */
struct packet {
    uint32_t kind;
    int32_t rank, code, unused;
    int64_t step;
    char doing[64];
    char device[COMM_DEVICE]; /* of a beat: what the sender computes on; "" = its host, or not known */
    char text[1024];
};

struct peer {
    int fd;       /* -1: not watched */
    bool left;    /* said goodbye */
    bool clogged; /* a packet went out in part: nothing more can be sent */
    double heard; /* when, monotonic seconds */
    char host[64], doing[64], device[COMM_DEVICE];
    int64_t step;
    struct packet in; /* what has come of the next packet */
    size_t n_in;
};

struct lifeline {
    struct lifeline_request q;
    int n_peers; /* rank 0: ranks (its own is not used); else 1, which is rank 0 */
    struct peer *peer;
    struct pollfd *polled; /* [n_peers + 1] */
    char token[33]; /* of this job: so that nobody else's connection is taken for a rank's */
    char warning[256];
    pthread_t thread;
    int wake; /* eventfd: lifeline_close wants the thread to end */

    pthread_mutex_t lock; /* sends, and: */
    bool ended;           /* an end was announced or noticed */
    bool waiting;         /* rank 0 is lost, and it is not this rank's turn to say so */
};

struct packet lifeline_packet(const struct lifeline *l, enum packet_kind kind);
/* Whatever came: its texts end, and are of one line. */
void lifeline_clean(struct packet *p);
/* Fills peer[].fd and host, and the warning. */
enum status lifeline_connect(struct lifeline *l, struct err *e);

#endif
