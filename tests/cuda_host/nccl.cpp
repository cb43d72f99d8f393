/* nccl.cpp - the twin of NCCL: communicators of two processes of one machine, over a socket.
 *
 * As strict as NCCL may be: a call is only on its stream once the program has asked for the outcome
 * and got one; a send is done when the receiver has all of it; a receive whose length differs from
 * the send's never is; a peer that dies is an error of the communicator, not of the stream, whose
 * work just stays.
 * One difference: a communicator carries messages in one direction only, which is all that the
 * program asks of one.
 * CUDA_HOST_NCCL_FAIL = n: the nth message fails with a system error; CUDA_HOST_NCCL_HANG = n: it and
 * its communicator give no answer any more; CUDA_HOST_NCCL_STUCK: nor does an abort. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <memory>

#include "comm/nccl/api.h"
#include "emulator.h"
#include "runtime.h"

namespace {

enum { VERSION = 22800, BUFFERS = 1 << 20 /* of device memory, for each communicator */ };

enum phase { LISTENING, CONNECTING, READY, BROKEN, SILENT, ABORTED };

} // namespace

/* Work on streams may outlive the communicator that the program knows: they share it. */
struct shared_comm {
    phase now = CONNECTING;
    int listener = -1, wire = -1;
    size_t buffers = 0;
    int result = NCCL_SUCCESS;
    sockaddr_un address;
    socklen_t address_bytes;

    ~shared_comm()
    {
        runtime::give_memory(buffers);
        if (listener >= 0)
            close(listener);
        if (wire >= 0)
            close(wire);
    }
};

struct nccl_comm {
    std::shared_ptr<shared_comm> shared;
    std::deque<std::function<void()>> asked; /* calls that are not on their stream yet */
    bool sends = false, receives = false;
};

namespace {

void breaks(shared_comm &c, int result)
{
    c.now = BROKEN;
    c.result = result;
}

/* Moves up to `bytes`; how many it was. */
size_t move(shared_comm &c, bool out, void *p, size_t bytes)
{
    ssize_t n = out ? send(c.wire, p, bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
                    : recv(c.wire, p, bytes, MSG_DONTWAIT);

    if (n > 0)
        return (size_t)n;
    if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
        breaks(c, NCCL_REMOTE_ERROR);
    return 0;
}

/* A message on its way: the sender's count, the data, and a byte back when all is there. */
struct message {
    uint64_t count = 0;
    size_t counted = 0, moved = 0;
    char thanks = 1;
};

bool send_on(shared_comm &c, message &m, const char *from, size_t bytes)
{
    if (m.counted < sizeof m.count)
        m.counted += move(c, true, (char *)&m.count + m.counted, sizeof m.count - m.counted);
    if (m.counted == sizeof m.count && m.moved < bytes && c.now == READY)
        m.moved += move(c, true, (void *)(from + m.moved), bytes - m.moved);
    return m.moved == bytes && m.counted == sizeof m.count && c.now == READY &&
           move(c, false, &m.thanks, 1) == 1;
}

bool receive_on(shared_comm &c, message &m, char *to, size_t bytes)
{
    if (m.counted < sizeof m.count)
        m.counted += move(c, false, (char *)&m.count + m.counted, sizeof m.count - m.counted);
    if (m.counted < sizeof m.count || m.count != bytes || c.now != READY)
        return false;
    if (m.moved < bytes)
        m.moved += move(c, false, to + m.moved, bytes - m.moved);
    return m.moved == bytes && c.now == READY && move(c, true, &m.thanks, 1) == 1;
}

/* Is this the message that is to fail so? */
bool is_due(const char *fault, int &messages)
{
    return ++messages == (int)runtime::fault(fault);
}

int ask(nccl_comm *c, bool sends, char *buf, size_t bytes, int type, cudaStream_t s)
{
    static int messages, hangs;
    std::shared_ptr<shared_comm> shared = c->shared;

    (sends ? c->sends : c->receives) = true;
    if (c->sends && c->receives)
        emulator::fault("the twin of NCCL carries messages in one direction per communicator");
    if (type != NCCL_INT8 || !runtime::is_device(buf, bytes))
        return NCCL_INVALID_ARGUMENT;
    if (is_due("CUDA_HOST_NCCL_FAIL", messages))
        breaks(*shared, NCCL_SYSTEM_ERROR);
    if (is_due("CUDA_HOST_NCCL_HANG", hangs))
        shared->now = SILENT;
    c->asked.push_back([=]() {
        auto m = std::make_shared<message>();

        m->count = sends ? bytes : 0;
        runtime::enqueue(s, [=]() {
            bool done = shared->now == ABORTED;

            if (shared->now == READY)
                done = sends ? send_on(*shared, *m, buf, bytes)
                             : receive_on(*shared, *m, buf, bytes);
            if (!done)
                runtime::wait_outside();
            return done;
        });
    });
    return NCCL_IN_PROGRESS;
}

int get_version(int *version)
{
    *version = VERSION;
    return NCCL_SUCCESS;
}

int get_id(struct nccl_id *id)
{
    uint64_t number = 0;

    memset(id, 0, sizeof *id);
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return NCCL_SYSTEM_ERROR;
    snprintf(id->bytes, sizeof id->bytes, "nccl-twin-%016llx", (unsigned long long)number);
    return NCCL_SUCCESS;
}

/* The lower rank listens in the abstract namespace, which needs no folder and no cleaning up. */
int init(struct nccl_comm **out, int ranks, struct nccl_id id, int rank, struct nccl_config *config)
{
    if (ranks == 1)
        emulator::fault("a communicator of one rank");
    if (ranks != 2 || config->size < sizeof *config || config->blocking != 0 ||
        config->magic != (unsigned)NCCL_CONFIG_MAGIC || config->version < NCCL_VERSION_MIN)
        return NCCL_INVALID_ARGUMENT;
    *out = new nccl_comm;
    (*out)->shared = std::make_shared<shared_comm>();

    shared_comm &c = *(*out)->shared;

    if (!runtime::take_memory(BUFFERS))
        return NCCL_CUDA_ERROR;
    c.buffers = BUFFERS;

    int end = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    c.address = {};
    c.address.sun_family = AF_UNIX;
    snprintf(c.address.sun_path + 1, sizeof c.address.sun_path - 1, "%.60s", id.bytes);
    c.address_bytes =
        (socklen_t)(offsetof(sockaddr_un, sun_path) + 1 + strlen(c.address.sun_path + 1));
    if (rank == 1) {
        c.wire = end;
        return NCCL_IN_PROGRESS;
    }
    c.listener = end;
    c.now = LISTENING;
    if (bind(end, (const sockaddr *)&c.address, c.address_bytes) != 0 || listen(end, 1) != 0)
        return NCCL_SYSTEM_ERROR;
    return NCCL_IN_PROGRESS;
}

void connect_on(shared_comm &c)
{
    if (c.now == LISTENING) {
        c.wire = accept4(c.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (c.wire >= 0)
            c.now = READY;
    } else if (c.now == CONNECTING &&
               connect(c.wire, (const sockaddr *)&c.address, c.address_bytes) == 0) {
        c.now = READY;
    }
}

int async_error(struct nccl_comm *c, int *result)
{
    shared_comm &s = *c->shared;

    connect_on(s);
    *result = s.result;
    if (s.now == LISTENING || s.now == CONNECTING || s.now == SILENT)
        *result = NCCL_IN_PROGRESS;
    for (; s.now == READY && !c->asked.empty(); c->asked.pop_front())
        c->asked.front()();
    return NCCL_SUCCESS;
}

int finalize(struct nccl_comm *)
{
    return NCCL_SUCCESS;
}

int destroy(struct nccl_comm *c)
{
    delete c;
    return NCCL_SUCCESS;
}

int abort_comm(struct nccl_comm *c)
{
    while (runtime::fault("CUDA_HOST_NCCL_STUCK"))
        pause();
    c->shared->now = ABORTED;
    delete c;
    return NCCL_SUCCESS;
}

int send_message(const void *buf, size_t count, int type, int, struct nccl_comm *c, cudaStream_t s)
{
    return ask(c, true, (char *)buf, count, type, s);
}

int receive_message(void *buf, size_t count, int type, int, struct nccl_comm *c, cudaStream_t s)
{
    return ask(c, false, (char *)buf, count, type, s);
}

const char *error_string(int result)
{
    switch (result) {
    case NCCL_SUCCESS:
        return "no error";
    case NCCL_SYSTEM_ERROR:
        return "unhandled system error";
    case NCCL_REMOTE_ERROR:
        return "remote process exited or there was a network error";
    default:
        return "error of the twin";
    }
}

const char *last_error(struct nccl_comm *)
{
    return "";
}

} // namespace

enum status nccl_load(struct nccl_api *api, struct err *e)
{
    (void)e;
    *api = {NULL,     get_version, get_id,     init,         async_error,     finalize,
            destroy,  abort_comm,  send_message, receive_message, error_string, last_error};
    return OK;
}

void nccl_unload(struct nccl_api *api)
{
    *api = {};
}
