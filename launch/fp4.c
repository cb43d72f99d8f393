#include "launch/fp4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/job.h"

enum { WHY = 200 };

/* Why this rank does without; "": it need not. */
static enum status ask(const struct kernels *k, struct device *d, const struct work_shape *w,
                       uint64_t cap, const char *isa, char why[WHY], struct err *e)
{
    if (strcmp(isa, "auto") == 0)
        return k->try_fp4(d, w, cap, why, WHY, e);
    snprintf(why, WHY, "isa is \"%s\"", isa);
    return OK;
}

static enum status share(struct fp4 *out, struct comm *c, const char why[WHY], struct err *e)
{
    char (*all)[WHY] = calloc((size_t)c->ranks, sizeof *all);
    enum status st = OK;

    if (!all)
        return fail(e, ERR_FIT, "no memory for %d ranks", c->ranks);
    memcpy(all[0], why, WHY);
    if (c->ranks > 1)
        st = c->ops->gather(c, why, all, WHY, e);
    snprintf(out->note, sizeof out->note, "on");
    out->on = true;
    for (int i = c->ranks - 1; i >= 0; i--)
        if (*all[i]) {
            snprintf(out->note, sizeof out->note, "off: rank %d: %s", i, all[i]);
            out->on = false;
        }
    free(all);
    return st;
}

enum status fp4_agree(struct fp4 *out, struct comm *c, const struct kernels *k, struct device *d,
                      const struct work_shape *w, uint64_t cap, const char *isa, struct err *e)
{
    char why[WHY] = "";

    *out = (struct fp4){.on = false};
    if (w->arithmetic != W4A4_VLLM || !k->try_fp4)
        return OK;
    TRY(job_agree(c, ask(k, d, w, cap, isa, why, e), e));
    TRY(share(out, c, why, e));
    if (out->on)
        k->use_fp4(d);
    return OK;
}
