/* folder_lock.h - one run at a time writes into an output folder.
 *
 * A lock of the kernel on the file "lock" in it, which is gone with the process that holds it, dead
 * or alive; the file's text names its owner. Where the file system has no such locks, the text alone
 * decides: an owner on this host that is no longer alive has left a stale one.
 *
 * Memory: folder_lock_take allocates; folder_lock_release frees (accepts NULL). The file stays:
 *         removing it would let two runs hold two locks. */
#ifndef LAUNCH_FOLDER_LOCK_H
#define LAUNCH_FOLDER_LOCK_H

#include "spec/err.h"

struct folder_lock;

/* Held by another run, also a third of a second later: ERR_OUTPUT, naming its host, process and job. */
MUST_USE enum status folder_lock_take(const char *dir, struct folder_lock **out, struct err *e);
/* Lets the owner go on (SIGCONT) if it runs on this host and was stopped. */
void folder_lock_wake_owner(const char *dir);
void folder_lock_release(struct folder_lock *l);

#endif
