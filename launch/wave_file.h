/* wave_file.h - the hidden states of unfinished waves, in files beside the journal: where the next run
 * goes on (design §8). "journal.wave-R-W" is of rank R's wave that begins with window W of the text.
 *
 * A new one of the same wave is written beside the one before, synced, and put in its place: a crash
 * leaves one of them whole. Files stay until all of their windows are in the journal, whatever stage has
 * them meanwhile: what is in neither is what was computed since. wave_files_remove ends them.
 *
 * A file is of one journal, and holds windows: who runs them next does so with whatever ranks, waves and
 * microbatches. What it has whole is offered to the plan, which takes for each microbatch the farthest
 * that a rank can begin with.
 *
 * None of this ends a run. A file that is damaged, of another journal, or of no use is not used, and a
 * note says so; a wave that cannot be kept (a full disk) is a warning on stderr, and is tried again
 * later.
 *
 * Memory: wave_file_open allocates one piece, wave_file_go_on as much again and a few bytes for each piece
 *         of a wave that it finds; wave_file_close frees (accepts NULL).
 * Order:  wave_file_open; wave_file_go_on once it is planned; the store is the schedule's. */
#ifndef LAUNCH_WAVE_FILE_H
#define LAUNCH_WAVE_FILE_H

#include <limits.h>

#include "comm/comm.h"
#include "stage/plan.h"
#include "stage/wave_store.h"

enum { WAVE_NOTE = NAME_MAX + 160 };

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
/* All ranks: the plan goes on from what is there. */
MUST_USE enum status wave_file_go_on(struct wave_file *f, struct plan *plan, struct comm *c,
                                     struct err *e);
/* What came of the i-th file that this rank has looked at, for people; false: there are no more. */
bool wave_file_note(const struct wave_file *f, int i, char text[WAVE_NOTE]);
const struct wave_store *wave_file_store(const struct wave_file *f);

/* Those of waves all of whose windows are `done` by now, of all ranks. */
void wave_files_remove_done(const char *dir, const char *name, const struct plan *plan,
                            const struct windows *windows,
                            bool (*done)(void *context, int64_t window), void *context);
/* All of them, half-written ones too. */
void wave_files_remove(const char *dir, const char *name);

#endif
