/* plan_report.h - the plan as people draw it by hand, and as JSON.
 *
 * Memory: none but the JSON, which is the caller's. */
#ifndef LAUNCH_PLAN_REPORT_H
#define LAUNCH_PLAN_REPORT_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "stage/plan.h"

/* A table: a line a rank and their sum. `timed`: the request's rates are real, so predicted times
 * are shown. */
void plan_print(FILE *to, const struct plan *p, const struct plan_request *q, bool timed);

/* A line a rank: the smallest cap that would still run, and (`timed`) the smallest with which no rank
 * waits for layers. least[ranks]: of plan_smallest_caps. */
void plan_print_caps(FILE *to, const struct plan *p, const struct plan_least *least, bool timed);

/* Both as JSON; cJSON_Delete frees it. */
MUST_USE enum status plan_json(const struct plan *p, const struct plan_request *q,
                               const struct plan_least *least, bool timed, cJSON **out,
                               struct err *e);

#endif
