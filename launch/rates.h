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

/* Measures both within about two seconds, on a device of its own that is closed again: a linear layer
 * of middling shape, and reading the model's file. */
MUST_USE enum status rates_measure(const struct model *m, const struct kernels *k,
                                   const struct device_options *o, struct plan_rates *out,
                                   struct err *e);

#endif
