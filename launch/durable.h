/* durable.h - files that last: written whole beside their name, synced, and put in the place of what
 * was there, in a folder that is synced, too.
 *
 * Errors: ERR_IO naming path, call and cause.
 * Memory: none. */
#ifndef LAUNCH_DURABLE_H
#define LAUNCH_DURABLE_H

#include <limits.h>
#include <stddef.h>

#include "spec/err.h"

/* DIR/NAME and what ends it: ERR_OUTPUT where that is too long. */
MUST_USE enum status durable_path(const char *dir, const char *name, const char *end,
                                  char path[PATH_MAX], struct err *e);
/* All n bytes, at fd's end. */
MUST_USE enum status durable_write(int fd, const char *path, const void *bytes, size_t n,
                                   struct err *e);
/* fd, which `from` was written through, is synced and closed, closed in any case; `from` becomes `to`.
 * Both are in dir. */
MUST_USE enum status durable_replace(int fd, const char *dir, const char *from, const char *to,
                                     struct err *e);
/* A name in the folder lasts once the folder itself is synced. */
MUST_USE enum status durable_folder(const char *dir, struct err *e);

#endif
