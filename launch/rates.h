/* rates.h - how fast this rank computes and reads: what the plan of a streaming rank weighs.
 *
 * They decide how many layers stay resident and how large waves are, never the result. */
#ifndef LAUNCH_RATES_H
#define LAUNCH_RATES_H

#include "kernels/kernels.h"
#include "loader/model.h"
#include "spec/spec.h"
#include "stage/plan.h"

/* For a plan made without measuring: only a quotient matters, and with no layer streamed not even
 * that. */
struct plan_rates rates_nominal(void);
/* `other`, but what the spec gives. */
struct plan_rates rates_given(const struct spec_rates *spec, struct plan_rates other);

/* What is measured on a GPU is measured in the one arena that the rank will have. Before: plans as if
 * reading took all the time, which uses as much of the caps as any rates make use of; takes that arena;
 * cap[ranks]: what the plan by measured rates is to be made with. On a CPU nothing is taken. */
MUST_USE enum status rates_reserve(const struct plan_request *q, int rank, struct device *d,
                                   struct plan_cap *cap, struct err *e);
/* Measures within about two seconds, in the arena of the device: a whole layer of `rank` at the shape
 * of the plan's microbatches (or as much of it as the time allows), with zeros for weights; reading
 * layers as they will be read; and copies to the host. Never takes more than the rank's cap: where one layer
 * at windows of that length, or one matrix, does not fit, the request's rates stand. */
MUST_USE enum status rates_measure(const struct plan_request *q, const struct plan *p, int rank,
                                   struct device *d, const struct file_reader_options *files,
                                   struct plan_rates *out, struct err *e);
/* After: the plan was made with the caps reserved; its ranks have those of q, and arenas as large as
 * reserved, the rest of which counts as scratch. */
void rates_settle(const struct plan_request *q, const struct plan_cap *reserved, struct plan *p);

#endif
