/* wave_file.h - the hidden states of a rank's unfinished wave, in a file beside the journal: where the
 * next run goes on (design §8). "journal.wave-R" is rank R's.
 *
 * A new one is written beside the one before, synced, and put in its place: a crash leaves one of them
 * whole. The file is of one journal, and holds windows: who runs them next, with whatever waves and
 * microbatches, takes those that come first of the ones it has to run. It stays until the next wave
 * is kept, and rank 0 keeps the nll of the wave before first: what is in neither file is what was
 * computed since. wave_files_remove ends it.
 *
 * None of this ends a run. A file that is damaged, of another journal, or of no use is not used, and a
 * note says so; a wave that cannot be kept (a full disk) is a warning on stderr, and is tried again
 * later.
 *
 * Memory: wave_file_open allocates one piece; wave_file_close frees (accepts NULL).
 * Order:  wave_file_open; wave_file_go_on once it is planned; the store is the schedule's. */
#ifndef LAUNCH_WAVE_FILE_H
#define LAUNCH_WAVE_FILE_H

#include "stage/plan.h"
#include "stage/wave_store.h"

struct wave_file;

struct wave_file_request {
    const char *dir, *name;      /* the journal */
    const char *key;             /* SHA-256 of its identity */
    int rank;
    const struct windows *windows; /* those that are left; must outlive it */
    int64_t row;                 /* bytes of a token's hidden state */
};

MUST_USE enum status wave_file_open(const struct wave_file_request *q, struct wave_file **out,
                                    struct err *e);
void wave_file_close(struct wave_file *f);
/* Called each time before a wave is kept. */
void wave_file_before(struct wave_file *f, void (*before)(void *context), void *context);
/* If the file holds the beginning of what this rank has to run, the plan goes on from there. */
void wave_file_go_on(struct wave_file *f, struct plan *plan);
/* What came of it, for people; "" where there was no file. */
const char *wave_file_note(const struct wave_file *f);
const struct wave_store *wave_file_store(const struct wave_file *f);

/* Those of every rank, half-written ones too. */
void wave_files_remove(const char *dir, const char *name);

#endif
