/* file.h - a whole file in memory, with a limit; and bytes from anywhere in one.
 *
 * Memory: file_read_whole allocates *text with malloc for the caller. */
#ifndef SPEC_FILE_H
#define SPEC_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "spec/err.h"

/* Reads the file (also a pipe) to its end and puts a 0 byte behind it, which `bytes` does not
 * count. Missing or unreadable: ERR_NO_INPUT; more than max_bytes: `too_big`. */
MUST_USE enum status file_read_whole(const char *path, size_t max_bytes, enum status too_big,
                                     char **text, size_t *bytes, struct err *e);

/* Reads until all is there; returns how many bytes came. *error: errno, 0 = the file ends. */
size_t file_pread(int fd, void *to, size_t bytes, uint64_t at, int *error);

#endif
