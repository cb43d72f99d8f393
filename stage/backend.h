/* backend.h - which backends this program was built with, and choosing one. */
#ifndef STAGE_BACKEND_H
#define STAGE_BACKEND_H

#include "kernels/kernels.h"
#include "spec/spec.h"

/* ERR_UNAVAILABLE when it is not built in. */
MUST_USE enum status backend_choose(enum backend_kind kind, const struct kernels **out,
                                    struct err *e);
/* "cpu (avx512, avx2, portable)" into out. */
void backend_variants(char *out, size_t size);

#endif
