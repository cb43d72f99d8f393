#include "comm/nccl/links.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "comm/nccl/nccl.h"
#include "comm/poll.h"

/* Blocks of threads that a message takes from the computation, of 100 and more that a GPU has: 2
 * move 80 GB/s, and a hidden state has the time of a whole stage. Each costs about 10 MB. */
enum { CTAS_MAX = 4 };
static const double close_limit_s = 10;
/* How long a rank that NCCL misses another for leaves it to the other, or to the lifeline, to say
 * why: that is what ends the job, and this process. */
static const double cause_s = 2;

enum status links_cuda_status(cudaError_t code, const char *operation, struct err *e)
{
    if (code == cudaSuccess)
        return OK;
    return fail(e, code == cudaErrorMemoryAllocation ? ERR_FIT : ERR_UNAVAILABLE,
                "nccl: %s: %s (%s)", operation, cudaGetErrorString(code), cudaGetErrorName(code));
}

/* What the abort's own thread works on; the last of the two that use it frees it. */
struct abort_order {
    int (*abort)(struct nccl_comm *c);
    struct nccl_comm *comm[LINKS];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int users;
};

static void leave_order(struct abort_order *o)
{
    bool last;

    pthread_mutex_lock(&o->lock);
    last = --o->users == 0;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->lock);
    if (last)
        free(o);
}

static void *abort_all(void *argument)
{
    struct abort_order *o = argument;

    for (int i = 0; i < LINKS; i++)
        if (o->comm[i])
            o->abort(o->comm[i]);
    leave_order(o);
    return NULL;
}

/* NCCL's abort may wait for what never comes. Then its thread is left behind: the job ends. */
void links_abort(struct links *l)
{
    struct abort_order *o = calloc(1, sizeof *o);
    struct timespec limit;
    pthread_t thread;
    bool any = false;

    if (!o)
        return;
    *o = (struct abort_order){.abort = l->api.abort,
                              .lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .users = 2};
    for (int i = 0; i < LINKS; i++) {
        o->comm[i] = l->link[i].comm;
        any = any || o->comm[i];
        l->link[i].comm = NULL;
    }
    if (!any || pthread_create(&thread, NULL, abort_all, o) != 0) {
        free(o);
        return;
    }
    pthread_detach(thread);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += NCCL_ABORT_S;
    pthread_mutex_lock(&o->lock);
    while (o->users == 2 && pthread_cond_timedwait(&o->changed, &o->lock, &limit) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&o->lock);
    leave_order(o);
}

static enum status status_of(int result)
{
    switch (result) {
    case NCCL_REMOTE_ERROR:
    case NCCL_SYSTEM_ERROR:
        return ERR_INTERRUPTED;
    case NCCL_INTERNAL_ERROR:
    case NCCL_INVALID_ARGUMENT:
        return ERR_INTERNAL;
    default: /* CUDA, or a use that it does not take: two ranks on one GPU */
        return ERR_UNAVAILABLE;
    }
}

static enum status link_failed(struct links *l, const struct link *k, int result,
                               const char *operation, struct err *e)
{
    const char *detail = k->comm ? l->api.last_error(k->comm) : "";
    enum status st = fail(e, status_of(result), "%s rank %d: NCCL says: %s%s%s", operation, k->peer,
                          l->api.error_string(result), detail && *detail ? ": " : "",
                          detail ? detail : "");

    links_abort(l);
    for (struct poll p = poll_begin(cause_s); result == NCCL_REMOTE_ERROR && poll_again(&p);)
        ;
    return st;
}

/* Until the communicator has taken the call: only then is it on the stream. */
static enum status settle(struct links *l, struct link *k, int result, double limit_s,
                          const char *operation, struct err *e)
{
    struct poll p = poll_begin(limit_s);

    while (result == NCCL_IN_PROGRESS) {
        int answer = l->api.async_error(k->comm, &result);

        if (answer != NCCL_SUCCESS)
            result = answer;
        if (result == NCCL_IN_PROGRESS && !poll_again(&p)) {
            links_abort(l);
            return fail(e, ERR_INTERRUPTED, "%s rank %d: NCCL gives no answer within %g s",
                        operation, k->peer, limit_s);
        }
    }
    return result == NCCL_SUCCESS ? OK : link_failed(l, k, result, operation, e);
}

enum status links_send(struct links *l, struct link *to, const void *buf, size_t bytes,
                       cudaEvent_t event, struct err *e)
{
    int result = l->api.send(buf, bytes, NCCL_INT8, to->peer_here, to->comm, to->stream);

    TRY(settle(l, to, result, l->limit_s, "send to", e));
    return links_cuda_status(cudaEventRecord(event, to->stream), "event after a send", e);
}

enum status links_recv(struct links *l, struct link *from, void *buf, size_t bytes,
                       cudaEvent_t event, struct err *e)
{
    int result = l->api.recv(buf, bytes, NCCL_INT8, from->peer_here, from->comm, from->stream);

    TRY(settle(l, from, result, l->limit_s, "receive from", e));
    return links_cuda_status(cudaEventRecord(event, from->stream), "event after a receive", e);
}

enum status links_test(struct links *l, cudaEvent_t event, bool *done, struct err *e)
{
    cudaError_t code = cudaEventQuery(event);

    *done = code == cudaSuccess;
    if (*done)
        return OK;
    cudaGetLastError(); /* "not ready" is no failure of this thread's next launch */
    for (int i = 0; i < LINKS; i++) {
        struct link *k = &l->link[i];
        int result = NCCL_SUCCESS, answer = k->comm ? l->api.async_error(k->comm, &result) : 0;

        if (answer != NCCL_SUCCESS)
            result = answer;
        if (result != NCCL_SUCCESS && result != NCCL_IN_PROGRESS)
            return link_failed(l, k, result, i == LINK_AFTER ? "send to" : "receive from", e);
    }
    return code == cudaErrorNotReady ? OK : links_cuda_status(code, "event of a transfer", e);
}

static enum status link_init(struct links *l, struct link *k, bool lower, const struct nccl_id *id,
                             struct err *e)
{
    struct nccl_config config = {.size = sizeof config,
                                 .magic = (unsigned)NCCL_CONFIG_MAGIC,
                                 .version = NCCL_VERSION_MIN,
                                 .blocking = 0,
                                 .cga_cluster_size = NCCL_UNDEFINED,
                                 .min_ctas = NCCL_UNDEFINED,
                                 .max_ctas = CTAS_MAX,
                                 .split_share = NCCL_UNDEFINED,
                                 .unused = NCCL_UNDEFINED};
    int result;

    TRY(links_cuda_status(cudaStreamCreateWithFlags(&k->stream, cudaStreamNonBlocking),
                          "a stream for transfers", e));
    result = l->api.init(&k->comm, 2, *id, !lower, &config);
    return settle(l, k, result, l->limit_s, "connection to", e);
}

/* Of each communicator the lower rank makes the id; the job's last rank makes one in vain, so that
 * one gather is enough. */
static enum status share_ids(struct links *l, struct comm *inner, struct nccl_id *all,
                             struct err *e)
{
    struct nccl_id mine = {{0}};
    int result = l->api.get_id(&mine);

    if (result != NCCL_SUCCESS)
        return fail(e, status_of(result), "nccl: an id: %s", l->api.error_string(result));
    return inner->ops->gather(inner, &mine, all, sizeof mine, e);
}

enum status links_open(struct links *l, struct comm *inner, bool before, bool after, struct err *e)
{
    struct nccl_id *all = calloc((size_t)inner->ranks, sizeof *all);
    enum status st;

    CHECK(inner->ranks > 1); /* a communicator of one rank takes 512 MiB for nothing */
    if (!all)
        return fail(e, ERR_FIT, "nccl: no memory for the ids of %d ranks", inner->ranks);
    *l = (struct links){.limit_s = inner->stall_timeout};
    l->link[LINK_BEFORE] = (struct link){.peer = inner->rank - 1, .peer_here = 0};
    l->link[LINK_AFTER] = (struct link){.peer = inner->rank + 1, .peer_here = 1};
    st = nccl_load(&l->api, e);
    if (st == OK)
        st = share_ids(l, inner, all, e);
    /* First the pairs whose lower rank is even, then the others: each call needs its peer's. */
    for (int odd = 0; odd < 2 && st == OK; odd++) {
        bool is_lower = inner->rank % 2 == odd;

        if (is_lower ? after : before)
            st = link_init(l, &l->link[is_lower ? LINK_AFTER : LINK_BEFORE], is_lower,
                           &all[is_lower ? inner->rank : inner->rank - 1], e);
    }
    free(all);
    if (st != OK)
        links_close(l);
    return st;
}

/* An orderly end where NCCL answers in time. */
static void link_end(struct links *l, struct link *k)
{
    struct err ignored = {.code = OK};
    int result = l->api.finalize(k->comm);

    if (settle(l, k, result, close_limit_s, "end of the connection to", &ignored) == OK) {
        l->api.destroy(k->comm);
        k->comm = NULL;
    }
}

void links_close(struct links *l)
{
    for (int i = 0; i < LINKS; i++) {
        if (l->link[i].comm)
            link_end(l, &l->link[i]);
        if (l->link[i].stream)
            cudaStreamDestroy(l->link[i].stream);
    }
    nccl_unload(&l->api);
    *l = (struct links){0};
}
