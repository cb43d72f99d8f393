/* plan.h - who computes which layers, and every byte it takes, before a byte is loaded (design §6).
 *
 * plan_make is a pure function of the request: no device, no weights, the same answer everywhere.
 * It splits the layers into contiguous ranges that minimise the slowest stage under the caps (then
 * even out the rest), picks the microbatch, decides which layers are resident and which are streamed,
 * and lays out each rank's arena. When nothing fits it is ERR_FIT with advice that was computed by
 * planning again: the cap that would do, the eval_len that would fit.
 *
 * Replicas (design §7): R pipelines of S stages over different windows, ranks = R x S. Rank r is
 * stage r mod S of replica r / S, so a pipeline is a row of neighbours; microbatch k belongs to
 * replica k mod R. All replicas are alike: stage s of each holds the same layers, under the least
 * cap among them. S is asked for, or the fewest stages with which every layer is resident, else the
 * fewest with which no rank waits for layers, else those that take the least time.
 *
 * Streaming (design §7): a rank whose layers exceed its cap runs layer-major. For a wave of
 * microbatches, layer i runs over all of them while layer i+1 is read into the other of two layer
 * slots. A rank whose layers are all resident is the same with a wave of one and no slots. Between
 * layers the hidden states of a wave lie in the arena; where larger waves take less time, some of its
 * microbatches are parked in host memory, within the budget of their host, and pass through a buffer
 * of the arena for each layer. On a GPU they pass through two in turns: while one is computed, the one
 * before goes back to the host and the next comes.
 *
 * Keeping (wave_store.h): where a wave takes a streaming rank longer than its share of PLAN_LOSS, the
 * hidden states are kept on the disk every so many layers: as seldom as loses no more than that, or,
 * where it takes long, as makes computing PLAN_KEEP_SHARE times as long as writing, at the rate of
 * reading. Each of S stages has PLAN_LOSS / S: what a wave has been through since it was kept last may
 * be the end of one stage, stages that keep nothing, and the beginning of another one.
 *
 * Going on: what an earlier run kept is offered to plan_go_on. Those microbatches begin at the layer that
 * they were kept before, on the rank that has it; earlier stages leave them out. A rank's own order of
 * what it has to do is that of the text, whatever is left out.
 *
 * Memory: plan_make allocates, plan_go_on too; plan_free frees (accepts NULL). */
#ifndef STAGE_PLAN_H
#define STAGE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "loader/model.h"
#include "spec/spec.h"

enum {
    PLAN_SLOTS = 2,              /* layer slots of a streaming rank: one computed, one read */
    PLAN_LOSS = 600,             /* seconds of a wave that may be lost where they can be kept */
    PLAN_KEEP_SHARE = 20,
    /* Where the arena is host memory: */
    PLAN_OVERHEAD = 640 << 10,    /* what the process itself grows by: stacks, library buffers */
    PLAN_OVERHEAD_PEER = 128 << 10 /* the same for the transport, per neighbour */
};

/* What a rank may use. */
struct plan_cap {
    uint64_t bytes;
    bool given;   /* by the spec; else it is what the device has free */
    bool limited; /* cut to what the process may take: a ulimit, its cgroup */
    uint64_t park; /* beside it, host memory that hidden states may be parked in: this rank's share of
                      its host's budget */
    uint64_t overhead; /* of it, what a GPU's context and libraries take: the same of every rank */
};

/* How fast a rank computes and reads; only their quotient decides anything. */
struct plan_rates {
    double flops; /* per second */
    double read;  /* file bytes per second */
    double park;  /* bytes per second between arena and host; 0 = at once */
};

struct plan_request {
    const struct model *model;
    const struct kernels *kernels;
    enum dtype dtype;
    enum arithmetic arithmetic;
    int threads;     /* per rank */
    int64_t windows; /* to score */
    int len_max;     /* tokens of the longest window; len_max - 1 of them are computed */
    int eval_len;    /* what the spec calls it, for advice (len_max, or one less) */
    int microbatch;  /* windows; 0 = choose */
    enum stream_kind stream;
    bool keeps; /* is there a folder that hidden states may be kept in? */
    struct plan_rates rates;
    int ranks;
    int stages;                 /* of a pipeline; 0 = choose; ranks must be a multiple */
    const struct plan_cap *cap; /* [ranks] */
    int n_by_hand;              /* 0, or the stages of a pipeline */
    const int *by_hand;         /* layers of each stage */
};

/* Offsets in the arena of a rank; a buffer that a rank does not need has size 0. */
struct plan_map {
    uint64_t embed, head, norm;
    uint64_t layers;           /* resident layers, one after another */
    uint64_t slot[PLAN_SLOTS]; /* streamed layers take turns */
    uint64_t cos, sin;         /* f32 [len][D/2] each */
    uint64_t hidden, hidden_bytes; /* n_hidden buffers of hidden_bytes: dtype [T][H] each */
    uint64_t normed;           /* dtype [T][max(H, q_dim)]: norm output, attention output */
    uint64_t wide;             /* dtype: q, k, v; then gate, up */
    uint64_t ids, start;       /* int32 [T], int32 [windows + 1] */
    uint64_t row, target, nll; /* int32 [T], int32 [T], double [T]: the head's rows */
    uint64_t flags;            /* int32 [layers + 1]: non-finite hidden states */
    uint64_t scratch, scratch_bytes;
    uint64_t bytes; /* of the arena */
};

struct plan_rank {
    int replica, stage;
    int64_t microbatches, windows; /* of its replica */
    int first, last; /* layers [first, last) */
    int streamed;    /* how many of them are streamed: see plan_streams */
    int wave;        /* microbatches that a layer runs over before the next layer; 1 = resident */
    bool embed, head;
    int parked;      /* of them, those that lie on the host between layers: the last ones */
    int passing;     /* buffers that these pass through; with two, copies run beside computing */
    int n_hidden;    /* hidden-state buffers in the arena: those of the wave that stay there, those
                        that the others pass through, one being received, one being sent */
    struct plan_cap cap;
    /* The printed items; their sum is `total`, which is never more than cap.bytes. */
    uint64_t weights, activations, scratch, scoring, comm, overhead, total;
    uint64_t parked_bytes;   /* of host memory, never more than cap.park; not in `total` */
    int keep;                /* a wave's hidden states are kept after so many layers each; 0 = never */
    uint64_t keep_bytes;     /* of a wave's, in the run's folder */
    int64_t keep_files;      /* waves of it there at a time, at most */
    uint64_t owned;          /* file bytes of its tensors */
    uint64_t streamed_bytes; /* file bytes read again for every wave */
    double flops;            /* of a whole run */
    double seconds, stall;   /* predicted: at work and keeping, and of that waiting for layers */
    struct plan_map map;
};

/* Microbatches [from, to) of a replica, kept as `layer` is to find them: the rank that begins with them
 * has that layer and the one before. Plain bytes: it travels. */
struct plan_kept {
    int replica, layer;
    int64_t from, to;
};

struct plan {
    int ranks, stages, replicas; /* ranks = stages x replicas */
    int microbatch, tokens; /* windows, and tokens computed, of a full microbatch */
    int64_t microbatches;   /* of all replicas */
    struct plan_rank *rank; /* [ranks] */
    double flops;           /* all ranks */
    double balance;         /* mean rank / slowest rank, 1 = perfectly even */
    double seconds;         /* predicted from the rates, until the last stage has finished */
    struct plan_kept *kept; /* [n_kept] what is gone on from: by replica, then microbatch */
    int n_kept;
};

MUST_USE enum status plan_make(const struct plan_request *q, struct plan **out, struct err *e);
void plan_free(struct plan *p);
/* Goes on from what is offered, once; the same offers on every rank, each for a layer that a stage may
 * begin with. Of several for a microbatch the farthest on is taken; what is not worth the layers that
 * would be read for it alone is left. */
MUST_USE enum status plan_go_on(struct plan *p, const struct plan_kept *offer, int n, struct err *e);
/* The stage that may begin with what was kept before `layer`; -1 = none. */
int plan_stage_of(const struct plan *p, int64_t layer);
/* The number among all of a replica's k-th microbatch. */
static inline int64_t plan_in_text(const struct plan *p, int replica, int64_t k)
{
    return k * p->replicas + replica;
}

/* How many microbatches a rank has to do; the i-th of them, counted among all of its replica. */
int64_t plan_to_do(const struct plan *p, int rank);
int64_t plan_microbatch(const struct plan *p, int rank, int64_t i);
/* The first one from the i-th on that was not kept for it, but comes from the embedding or the rank
 * before; as many as it has to do: none does. */
int64_t plan_next_arrival(const struct plan *p, int rank, int64_t i);

/* The [from, to)-th microbatches that a rank has to do, through its layers from `begin` on: where that is
 * not its first one, from what was kept. */
struct plan_wave {
    int64_t from, to;
    int begin;
};
/* The next wave of a rank, after {0} its first one; false: there is none. */
bool plan_next_wave(const struct plan *p, int rank, struct plan_wave *w);
/* Predicted seconds of a wave of a rank that has microbatches. */
double plan_wave_seconds(const struct plan_rank *r);
/* Predicted seconds, at most, in which a rank hears nothing of the others though all is well: a stage that
 * streams sends nothing for almost a wave, nor does it receive while it goes on from what was kept. */
double plan_longest_wait(const struct plan *p);
/* Does any rank stream layers? */
bool plan_has_streams(const struct plan *p);

/* The least cap of a rank, the others as they are; 0 where none would do. */
struct plan_least {
    uint64_t runs, without_stall; /* with which plan_make still plans; and no rank waits for layers */
};
/* least[ranks]. Plans some hundred times: a third of a second for 88 layers that are streamed. */
MUST_USE enum status plan_smallest_caps(const struct plan_request *q, struct plan_least *least,
                                        struct err *e);

/* What a rank with layers and the head asks of the operations, a window at a time. */
struct work_shape plan_work_shape(const struct plan_request *q);
/* FLOPs of one token in a window of `len` tokens; attention at the mean context. */
double plan_layer_flops(const struct model *m, const struct layer *l, int len);

/* Is layer `i` of the rank (first <= i < last) streamed? Streamed layers are spread evenly among the
 * resident ones, so that the reader is never far behind nor ahead. */
static inline bool plan_streams(const struct plan_rank *r, int i)
{
    int64_t n = r->last - r->first, k = r->streamed, at = i - r->first;

    return (at + 1) * k / n > at * k / n;
}

#endif
