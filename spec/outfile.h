/* outfile.h - an output file that is there as a whole or not at all.
 *
 * It is written beside its name (PATH.tmp), synced and renamed. A device or a pipe is written to as
 * it is.
 *
 * Memory: none; after outfile_open has succeeded, outfile_close frees o->f.
 * Errors: ERR_OUTPUT where it cannot be created, ERR_IO where it cannot be written. */
#ifndef SPEC_OUTFILE_H
#define SPEC_OUTFILE_H

#include <limits.h>
#include <stdio.h>

#include "spec/err.h"

struct outfile {
    const char *path;    /* the caller's: must outlive it */
    char name[PATH_MAX]; /* what is written to: path itself, or PATH.tmp */
    FILE *f;             /* for the caller to write to; errors of it show in outfile_close */
};

MUST_USE enum status outfile_open(const char *path, struct outfile *o, struct err *e);
MUST_USE enum status outfile_close(struct outfile *o, struct err *e);

/* Could it be created? What is there stays as it is. */
MUST_USE enum status outfile_try(const char *path, struct err *e);

#endif
