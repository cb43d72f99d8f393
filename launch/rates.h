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

/* Measures both within about two seconds, on devices of its own that are closed again: a whole layer
 * of `rank` at the shape of the plan's microbatches (or as much of it as the time allows), with zeros
 * for weights; reading layers as they will be read; and copies to the host. Never takes more than the
 * rank's cap; where windows are so long that not even one layer fits in that way, the request's rate stands. */
MUST_USE enum status rates_measure(const struct plan_request *q, const struct plan *p, int rank,
                                   const struct device_options *o,
                                   const struct file_reader_options *files,
                                   struct plan_rates *out, struct err *e);

#endif
