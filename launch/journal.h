/* journal.h - the file that a run's finished windows are kept in, so that a later run goes on from
 * there (design §8).
 *
 * It is made whole (written beside, synced, renamed) with the identity of its run, and only ever
 * appended to. A record counts once journal_sync has returned; a tail that a crash left is cut off
 * when the journal is opened next. What is not of this run is refused: another identity is
 * ERR_OUTPUT and names the first line that differs, damaged or impossible records are ERR_DATA.
 * A failed write or sync is final: nothing is written afterwards.
 *
 * One writer: rank 0, which holds the folder's lock (folder_lock.h).
 *
 * Memory: journal_open allocates; journal_close frees (accepts NULL). */
#ifndef LAUNCH_JOURNAL_H
#define LAUNCH_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"

struct journal;

/* What is restored from: called for each record while the journal is opened, nll[values]. An error
 * that it returns is the journal's. */
typedef enum status journal_restore(void *context, int64_t window, const double *nll,
                                    int64_t values, struct err *e);

struct journal_request {
    const char *dir, *name;
    const char *identity;  /* lines "name value\n" */
    int64_t windows;       /* of the run: no more records than that */
    int64_t values_max;    /* scored tokens of a window, at most */
    journal_restore *restore;
    void *context;
};

MUST_USE enum status journal_open(const struct journal_request *q, struct journal **out,
                                  struct err *e);
void journal_close(struct journal *j);
/* SHA-256 of its identity: what else is kept beside it carries that. */
const char *journal_key(const struct journal *j);
/* Bytes of a crash's tail that were cut off. */
int64_t journal_cut(const struct journal *j);

MUST_USE enum status journal_add(struct journal *j, int64_t window, const double *nll,
                                 int64_t values, struct err *e);
/* Returns once everything added is on the disk. */
MUST_USE enum status journal_sync(struct journal *j, struct err *e);

/* Puts the journal aside as NAME.1, or .2, ...: the next journal_open begins anew. OK also when
 * there is none. */
MUST_USE enum status journal_put_aside(const char *dir, const char *name, struct err *e);

#endif
