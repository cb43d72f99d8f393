/* roofline_report.h - how long a plan would take on another device, as a table and as JSON.
 *
 * Memory: none but the JSON, which is the caller's. */
#ifndef LAUNCH_ROOFLINE_REPORT_H
#define LAUNCH_ROOFLINE_REPORT_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "stage/roofline.h"

/* Each step of each rank, then the run. */
void roofline_print(FILE *to, const struct roofline *r, const struct plan *p);

/* The same; cJSON_Delete frees it. NULL: no memory. */
cJSON *roofline_json(const struct roofline *r);

#endif
