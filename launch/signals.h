/* signals.h - a polite end: TERM, INT, HUP and USR1 reach one thread, which tells main once.
 *
 * The callback runs in that thread, so it may lock, allocate and write; it is expected to end the
 * process (partial result, exit 75) within half a second. A further signal ends the process at once
 * with 75; what comes within a quarter of a second of the first is the launcher's copy of it, and
 * is not taken for one. A signal that was ignored when the program started (nohup) stays ignored.
 * PIPE and XFSZ are ignored: writes then fail with an error that has a name.
 *
 * Memory: signals_stop frees (accepts NULL); the signals stay blocked. While the callback runs it
 *         waits, so the process ends there.
 * Order:  signals_start before any other thread is made (they inherit that the signals are
 *         blocked), so before MPI. One at a time. */
#ifndef LAUNCH_SIGNALS_H
#define LAUNCH_SIGNALS_H

#include "spec/err.h"

struct signals;

/* `name`: "SIGTERM". */
MUST_USE enum status signals_start(void (*on_signal)(const char *name, void *context),
                                   void *context, struct signals **out, struct err *e);
/* From now on the end of the parent process counts as a signal, too, "the end of its launcher": the
 * launcher's library ends a process without a word when the launcher was killed. */
void signals_watch_parent(struct signals *s);
/* Kills the parent where it is Open MPI's launcher or its daemon, which waits for a quarter of an hour
 * for a host that cannot be reached. */
void signals_end_launcher(const struct signals *s);
void signals_stop(struct signals *s);

#endif
