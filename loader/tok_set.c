#include "loader/tok_set.h"

#include <stdlib.h>

void tok_set_free(struct tok_set *s)
{
    free(s->range);
    *s = (struct tok_set){0};
}

enum status tok_set_add(struct tok_set *s, uint32_t lo, uint32_t hi, struct err *e)
{
    if (s->n == s->cap)
        TRY(tok_grow(&s->range, &s->cap, s->n + 1, sizeof *s->range, e));
    s->range[s->n++] = (struct unicode_range){lo, hi};
    return OK;
}

enum status tok_set_add_mask(struct tok_set *s, uint32_t mask, struct err *e)
{
    for (uint32_t lo = 0, hi; unicode_next_run(mask, &lo, &hi); lo = hi + 1)
        TRY(tok_set_add(s, lo, hi, e));
    return OK;
}

enum status tok_set_add_all(struct tok_set *s, const struct unicode_range *range, size_t n,
                            struct err *e)
{
    for (size_t i = 0; i < n; i++)
        TRY(tok_set_add(s, range[i].lo, range[i].hi, e));
    return OK;
}

static int by_start(const void *a, const void *b)
{
    const struct unicode_range *x = a, *y = b;

    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

void tok_set_tidy(struct tok_set *s)
{
    size_t n = 0;

    if (s->n)
        qsort(s->range, s->n, sizeof *s->range, by_start);
    for (size_t i = 0; i < s->n; i++) {
        const struct unicode_range r = s->range[i];

        if (n == 0 || r.lo > s->range[n - 1].hi + 1)
            s->range[n++] = r;
        else if (r.hi > s->range[n - 1].hi)
            s->range[n - 1].hi = r.hi;
    }
    s->n = n;
}

enum status tok_set_add_rest(struct tok_set *to, struct tok_set *s, struct err *e)
{
    uint32_t gap = 0;

    tok_set_tidy(s);
    for (size_t i = 0; i < s->n; i++) {
        if (gap < s->range[i].lo)
            TRY(tok_set_add(to, gap, s->range[i].lo - 1, e));
        gap = s->range[i].hi + 1;
    }
    return gap < UNICODE_END ? tok_set_add(to, gap, UNICODE_END - 1, e) : OK;
}

enum status tok_set_keep(struct tok_set *s, struct tok_set *other, struct err *e)
{
    struct tok_set out = {0}; /* what either of the two lacks */
    enum status status = tok_set_add_rest(&out, s, e);

    if (status == OK)
        status = tok_set_add_rest(&out, other, e);
    s->n = 0;
    if (status == OK)
        status = tok_set_add_rest(s, &out, e);
    tok_set_free(&out);
    return status;
}
