/* wave_found.h - inside wave_file.h: what earlier runs kept of waves, found in the folder of the run.
 *
 * A file is looked at by one rank of those that have the layer it ends before: of the replica that its
 * name would belong to, so that ranks that are as they were look at their own. One whose head cannot be
 * read is its name's. All of it is read, and what is whole and still to be done is offered to the plan,
 * by microbatch; a file with nothing that is to be done is removed.
 *
 * Memory: wave_found_open allocates; wave_found_close frees (accepts NULL). Files that are offered stay
 *         open, so they may be replaced. `q` and `plan` must outlive it.
 * Order:  wave_found_open; plan_go_on with the offers of all ranks; wave_found_note, wave_found_read. */
#ifndef LAUNCH_WAVE_FOUND_H
#define LAUNCH_WAVE_FOUND_H

#include "launch/wave_file.h"

struct wave_found;

MUST_USE enum status wave_found_open(const struct wave_file_request *q, const struct plan *plan,
                                     struct wave_found **out, struct err *e);
void wave_found_close(struct wave_found *f);
const struct plan_kept *wave_found_offers(const struct wave_found *f, int *n);
/* As wave_file_note says. */
bool wave_found_note(const struct wave_found *f, int i, char text[WAVE_NOTE]);
/* As struct wave_store says, of what the plan goes on from. */
MUST_USE enum status wave_found_read(struct wave_found *f, int layer, int64_t window, uint64_t at,
                                     void *bytes, size_t n, struct err *e);

#endif
