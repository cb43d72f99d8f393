/* tasks.h - what the program does besides scoring: plans and ids. One process each. */
#ifndef LAUNCH_TASKS_H
#define LAUNCH_TASKS_H

#include "launch/options.h"

/* As many ranks as asked for, or as the job has, or as have caps. */
int task_ranks(const struct options *o, const struct spec_model *m, int job_ranks);
/* --plan: the plan of every model, as tables on stdout and as JSON where asked for. job_ranks: how
 * many ranks this job has; the plan is made by one of them. */
MUST_USE enum status task_plan(const struct options *o, const struct spec *spec, int job_ranks,
                               struct err *e);
/* --tokenize: ids of a file or of stdin to a .npy; prints their count and SHA-256. */
MUST_USE enum status task_tokenize(const struct options *o, struct err *e);

#endif
