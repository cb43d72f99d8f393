/* A cable between two hosts, for machines whose kernel has no netem: two TAP devices, and every
 * packet arrives so much later, at so many bits a second, in order; some never do.
 *
 *   wire TAP_A TAP_B DELAY_MS MBIT LOSS_PER_MILLION [BYTES_MAX]
 *
 * Longer packets than BYTES_MAX vanish, and nobody is told. From SIGUSR1 on nothing goes from A to B,
 * from SIGUSR2 on nothing from B to A. Says "ready" when both devices are there; runs until it is
 * killed. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_MAX = 10000, PACKETS = 1 << 12, BATCH = 64 };

/* What a switch holds back before it drops, in seconds. */
static const double backlog_s = 0.05;

struct packet {
    double due; /* monotonic seconds */
    int bytes;
    uint8_t data[PACKET_MAX];
};

struct direction {
    int from, to;
    double free_at; /* when the last byte so far has left */
    unsigned first, end;
    struct packet *ring; /* [PACKETS] */
};

struct wire {
    double delay, bytes_per_s;
    long loss; /* packets in a million */
    int bytes_max;
    struct direction way[2];
};

static volatile sig_atomic_t cut[2]; /* which way */

static void on_signal(int signal)
{
    cut[signal == SIGUSR2] = 1;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int open_tap(const char *name)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) != 0) {
        perror(name);
        exit(1);
    }
    return fd;
}

/* Takes in what has come, at the cable's rate. */
static void take(const struct wire *w, struct direction *d)
{
    bool is_cut = cut[d - w->way];

    for (int i = 0; i < BATCH && d->end - d->first < PACKETS; i++) {
        struct packet *p = &d->ring[d->end % PACKETS];
        double at = now();

        p->bytes = (int)read(d->from, p->data, sizeof p->data);
        if (p->bytes <= 0)
            return;
        if (is_cut || p->bytes > w->bytes_max || lrand48() % 1000000 < w->loss ||
            d->free_at - at > backlog_s)
            continue;
        d->free_at = (d->free_at > at ? d->free_at : at) + p->bytes / w->bytes_per_s;
        p->due = d->free_at + w->delay;
        d->end++;
    }
}

static void deliver(struct direction *d)
{
    for (; d->first != d->end && d->ring[d->first % PACKETS].due <= now(); d->first++) {
        const struct packet *p = &d->ring[d->first % PACKETS];

        if (write(d->to, p->data, (size_t)p->bytes) < 0)
            continue; /* as a full buffer of the host would lose it */
    }
}

static void carry(struct wire *w)
{
    struct pollfd p[2] = {{.fd = w->way[0].from, .events = POLLIN},
                          {.fd = w->way[1].from, .events = POLLIN}};
    double wait = 1;
    struct timespec nap;

    for (int i = 0; i < 2; i++) {
        const struct direction *d = &w->way[i];
        double left = d->first == d->end ? 1 : d->ring[d->first % PACKETS].due - now();

        wait = left < wait ? left : wait;
    }
    nap = (struct timespec){.tv_nsec = wait > 0 ? (long)(wait * 999999999) : 0};
    ppoll(p, 2, &nap, NULL);
    for (int i = 0; i < 2; i++) {
        take(w, &w->way[i]);
        deliver(&w->way[i]);
    }
}

int main(int argc, char **argv)
{
    struct wire w;
    int a, b;

    if (argc < 6 || argc > 7) {
        fprintf(stderr, "wire: want TAP_A TAP_B DELAY_MS MBIT LOSS_PER_MILLION [BYTES_MAX]\n");
        return 64;
    }
    a = open_tap(argv[1]);
    b = open_tap(argv[2]);
    w = (struct wire){.delay = 1e-3 * atof(argv[3]),
                      .bytes_per_s = 125000 * atof(argv[4]),
                      .loss = atol(argv[5]),
                      .bytes_max = argc > 6 ? atoi(argv[6]) : PACKET_MAX,
                      .way = {{.from = a, .to = b}, {.from = b, .to = a}}};
    for (int i = 0; i < 2; i++)
        if (!(w.way[i].ring = malloc(PACKETS * sizeof *w.way[i].ring)))
            return 71;
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, on_signal);
    printf("ready\n");
    fflush(stdout);
    for (;;)
        carry(&w);
}
