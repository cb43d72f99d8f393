/* cpu.c - the CPU backend as a table of operations: opening, memory, choice of the variant. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/cpu/cpu.h"

enum { THREADS_MAX = 4096, HUGE_PAGE = 2 << 20 };

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t scratch_bytes(const struct work_shape *w)
{
    CHECK(w->threads > 0 && w->tokens > 0);
    return max_size(attention_scratch_bytes(w),
                    max_size(linear_scratch_bytes(w), head_scratch_bytes(w)));
}

static void variants(char *out, size_t size)
{
    size_t n = 0;

    for (const struct isa *i = cpu_isas; i->name && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "", i->name);
}

static bool present(void)
{
    return true;
}

static enum status unknown_isa(const char *name, struct err *e)
{
    char names[128];

    variants(names, sizeof names);
    return fail(e, ERR_SPEC, "isa: got \"%s\", want one of auto, %s", name, names);
}

/* The first usable one, but vdpbf16ps only where it applies and pays. */
static const struct isa *best_isa(enum dtype t)
{
    for (const struct isa *i = cpu_isas; i->name; i++)
        if (i->usable() && (!i->dot || (t == DTYPE_BF16 && isa_dot_is_faster(i))))
            return i;
    CHECK(!"a variant that is always usable");
    return NULL;
}

static enum status choose_isa(const char *name, enum dtype t, const struct isa **out, struct err *e)
{
    if (strcmp(name, "auto") == 0) {
        *out = best_isa(t);
        return OK;
    }
    for (const struct isa *i = cpu_isas; i->name; i++) {
        if (strcmp(name, i->name) != 0)
            continue;
        if (!i->usable())
            return fail(e, ERR_UNAVAILABLE,
                        "isa: %s is not available on this processor (try \"auto\")", name);
        *out = i->dot && t != DTYPE_BF16 ? i + 1 : i; /* vdpbf16ps is for bfloat16: do without */
        return OK;
    }
    return unknown_isa(name, e);
}

static enum status open_cpu(const struct device_options *o, struct device **out, struct err *e)
{
    char brand[CPU_BRAND];
    const struct isa *isa = NULL;
    struct device *d;

    if (o->threads < 0 || o->threads > THREADS_MAX)
        return fail(e, ERR_SPEC, "threads: got %d, want 0 to %d", o->threads, THREADS_MAX);
    TRY(choose_isa(o->isa ? o->isa : "auto", o->dtype, &isa, e));
    d = calloc(1, sizeof *d);
    if (!d)
        return fail(e, ERR_FIT, "cpu: out of memory");
    d->dtype = o->dtype;
    d->arithmetic = o->arithmetic;
    d->threads = o->threads ? o->threads : omp_get_num_procs(); /* those of the affinity mask */
    d->isa = isa;
    snprintf(d->description, sizeof d->description, "%s, %d thread%s, %s", isa->name, d->threads,
             d->threads == 1 ? "" : "s", cpu_brand(brand));
    *out = d;
    return OK;
}

static void close_cpu(struct device *d)
{
    if (!d)
        return;
    if (d->mapped)
        munmap(d->mapped, d->mapped_bytes);
    free(d);
}

static const char *describe(const struct device *d)
{
    return d->description;
}

static const char *isa_name(const struct device *d)
{
    return d->isa->name;
}

/* All variants but those with a dot product of pairs are one chain of fused multiply-adds. */
static const char *sums_name(const struct device *d)
{
    return d->isa->dot ? d->isa->name : "fma";
}

static int thread_count(const struct device *d)
{
    return d->threads;
}

/* The base lies on a huge page, so that huge pages cover all of it but the end; address space before
 * the base is never touched and costs nothing. */
static enum status arena(struct device *d, size_t bytes, void **base, struct err *e)
{
    size_t mapped = bytes + HUGE_PAGE;
    void *p;

    if (d->mapped)
        munmap(d->mapped, d->mapped_bytes);
    d->mapped = NULL;
    if (mapped < bytes)
        return fail(e, ERR_FIT, "cpu: an arena of %zu bytes is more than there are addresses", bytes);
    p = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
             0);
    if (p == MAP_FAILED)
        return fail(e, ERR_FIT, "cpu: cannot map an arena of %zu bytes (lower the cap)", bytes);
    d->mapped = p;
    d->mapped_bytes = mapped;
    *base = (void *)(((uintptr_t)p + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    madvise(*base, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* only advice: may fail */
    return OK;
}

static void use_scratch(struct device *d, void *scratch, size_t bytes)
{
    CHECK((uintptr_t)scratch % CPU_ALIGN == 0);
    d->scratch = scratch;
    d->scratch_bytes = bytes;
}

static enum status copy(struct device *d, void *to, const void *from, size_t bytes, struct err *e)
{
    (void)d;
    (void)e;
    memcpy(to, from, bytes);
    return OK;
}

static enum status copy_beside(struct device *d, enum copy_queue q, void *to, const void *from,
                               size_t bytes, struct err *e)
{
    (void)q;
    return copy(d, to, from, bytes, e);
}

static enum status copy_wait(struct device *d, enum copy_queue q, struct err *e)
{
    (void)d;
    (void)q;
    (void)e;
    return OK;
}

static enum status sync_cpu(struct device *d, struct err *e)
{
    (void)d;
    (void)e;
    return OK;
}

/* The kernel's own pages: the process grows by what is asked for, and shrinks again. */
static enum status pin(struct device *d, size_t bytes, void **host, struct err *e)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)d;
    if (p == MAP_FAILED)
        return fail(e, ERR_FIT, "cpu: no memory for %zu bytes beside the arena", bytes);
    *host = p;
    return OK;
}

static void unpin(struct device *d, void *host, size_t bytes)
{
    (void)d;
    if (host)
        munmap(host, bytes);
}

const struct kernels kernels_cpu = {
    .name = "cpu",
    .arena_is_host = true,
    .tokens_wanted = 2048,
    .variants = variants,
    .present = present,
    .scratch_bytes = scratch_bytes,
    .open = open_cpu,
    .close = close_cpu,
    .describe = describe,
    .isa = isa_name,
    .sums = sums_name,
    .threads = thread_count,
    .arena = arena,
    .use_scratch = use_scratch,
    .upload = copy,
    .download = copy,
    .sync = sync_cpu,
    .copy = copy_beside,
    .copy_wait = copy_wait,
    .pin = pin,
    .unpin = unpin,
    .embed = embed_cpu,
    .rms_norm = rms_norm_cpu,
    .linear = linear_cpu,
    .rope = rope_cpu,
    .attention = attention_cpu,
    .swiglu = swiglu_cpu,
    .add = add_cpu,
    .head_nll = head_nll_cpu,
    .nonfinite = nonfinite_cpu,
};
