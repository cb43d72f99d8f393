/* check_spec.h - --check: everything about a run that can be known before it is submitted. */
#ifndef LAUNCH_CHECK_SPEC_H
#define LAUNCH_CHECK_SPEC_H

#include "launch/options.h"

/* Spec, model files, tokenizer, windows, plan for --ranks, run folder, launcher: a line each on
 * stdout, "ok" or "problem", then the batch script that fits. Reads no weights, makes no file.
 * Returns the first problem. job_ranks: of this job, should it be one. */
MUST_USE enum status task_check(const struct options *o, int job_ranks, struct err *e);

#endif
