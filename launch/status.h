/* status.h - status.json in the run's folder: what the run is doing, or how it ended. Launchers
 * mask exit codes, so this file tells the truth.
 *
 * It is replaced as a whole (written beside, synced, renamed, folder synced): who reads it at any
 * time finds one state, complete. Once the run has ended nothing replaces it any more.
 *
 * Who is killed outright cannot write: "running" with an `updated` that is older than ten seconds is a
 * run that is gone. Where other ranks are left, one of them writes that (status_end_for).
 *
 * Memory:  status_open allocates; status_close frees (accepts NULL) and writes nothing.
 * Threads: any, at any time: writes are taken in turns. */
#ifndef LAUNCH_STATUS_H
#define LAUNCH_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "spec/err.h"

enum run_state { RUN_RUNNING, RUN_COMPLETE, RUN_PARTIAL, RUN_FAILED };

struct run_status {
    enum run_state state;
    const char *phase;  /* "plan", "load", "compute", "report", ... */
    const char *label;  /* of the model at work, or NULL */
    int model, models;  /* the how-many-th of how many; from 1 */
    int64_t windows_done, windows, tokens; /* of this model; tokens are the scored ones */
    double ppl;         /* so far; NaN = none yet */
    const char *reason; /* why it is partial or failed: the one line on stderr; else NULL */
    int exit_code;      /* once it has ended */
    bool resumable;     /* would a rerun continue? */
};

struct status_file;

MUST_USE enum status status_open(const char *dir, struct status_file **out, struct err *e);
/* Does nothing when `f` is NULL: a run without --out has no status.json. */
MUST_USE enum status status_write(struct status_file *f, const struct run_status *s,
                                  struct err *e);
void status_close(struct status_file *f);

/* Does the status.json in `dir` say "running"? */
bool status_is_running(const char *dir);
/* For a process that is gone: its status.json, if it says "running", becomes partial because of
 * `reason`; the rest stays. OK also when there is nothing to do. The caller holds the folder's lock,
 * so nobody else writes there. */
MUST_USE enum status status_end_for(const char *dir, const char *reason, int exit_code,
                                    struct err *e);

const char *run_state_name(enum run_state s); /* "running", "complete", "partial", "failed" */

#endif
