/* memory.h - what memory this process has taken, and what it can still take. */
#ifndef LAUNCH_MEMORY_H
#define LAUNCH_MEMORY_H

#include <stdint.h>

/* Host memory that a further process could take (MemAvailable), shared among `ranks` of this host. */
uint64_t memory_free(int ranks);

/* What this process can take at most, beyond what it has: the least of its cgroup's limit (shared
 * among `ranks`) and of its ulimit -v and -d, less address space for `threads` more threads.
 * UINT64_MAX: there is no limit. */
uint64_t memory_limit(int ranks, int threads);

/* Bytes of files that the system can keep in its page cache, three quarters of what is left when each
 * of `ranks` processes has taken `planned` more: less than a model has, and its files had better
 * not be kept at all. */
uint64_t memory_for_files(int ranks, uint64_t planned);

/* The resident set of this process, and its peak since the last reset (0 where unknown). */
uint64_t memory_resident(void);
uint64_t memory_peak(void);
void memory_reset_peak(void);

#endif
