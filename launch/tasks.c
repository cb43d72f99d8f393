#include "launch/tasks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "launch/plan_report.h"
#include "launch/rates.h"
#include "launch/roofline_report.h"
#include "launch/run.h"
#include "launch/version.h"
#include "loader/npy.h"
#include "loader/tokenizer.h"
#include "spec/outfile.h"
#include "spec/sha256.h"

int task_ranks(const struct options *o, const struct spec_model *m, int job_ranks)
{
    if (o->ranks > 0)
        return o->ranks;
    return job_ranks == 1 && m->caps.n_ranks > 1 ? m->caps.n_ranks : job_ranks;
}

static enum status write_plans(const char *path, cJSON *plans, struct err *e)
{
    char *text = cJSON_Print(plans);
    struct outfile out;
    enum status st = OK;

    if (!text)
        return fail(e, ERR_FIT, "no memory for the plan's JSON");
    if (strcmp(path, "-") == 0) {
        puts(text); /* main sees whether it could */
    } else {
        st = outfile_open(path, &out, e);
        if (st == OK) {
            fprintf(out.f, "%s\n", text);
            st = outfile_close(&out, e);
        }
    }
    cJSON_free(text);
    return st;
}

static void free_copy(struct spec *s)
{
    for (int i = 0; s && s->model && i < s->n_models; i++)
        free(s->model[i].caps.rank);
    free(s ? s->model : NULL);
    free(s);
}

/* The spec for such a device: where it says nothing, the cap of a rank is the device's memory, and
 * the plan reckons with the device's rates. free_copy frees it. */
static enum status copy_for_device(const struct spec *spec, const struct options *o, int job_ranks,
                                   struct spec **out, struct err *e)
{
    const struct roofline_device *d = roofline_device(o->roofline);
    struct plan_rates rates = rates_given(&spec->rates, roofline_rates(d));
    struct spec *copy = malloc(sizeof *copy);

    *out = copy;
    if (!copy)
        return fail(e, ERR_FIT, "no memory for the spec");
    *copy = *spec;
    copy->rates.compute = rates.flops;
    copy->rates.read = rates.read;
    copy->model = calloc((size_t)spec->n_models, sizeof *copy->model);
    if (!copy->model)
        return fail(e, ERR_FIT, "no memory for %d models", spec->n_models);
    for (int i = 0; i < spec->n_models; i++) {
        const struct spec_caps *caps = &spec->model[i].caps;
        int ranks = task_ranks(o, &spec->model[i], job_ranks);
        uint64_t *cap = calloc((size_t)ranks, sizeof *cap);

        copy->model[i] = spec->model[i];
        copy->model[i].caps.n_ranks = ranks;
        copy->model[i].caps.rank = cap;
        if (!cap)
            return fail(e, ERR_FIT, "no memory for the caps of %d ranks", ranks);
        for (int r = 0; r < ranks; r++)
            cap[r] = spec_cap(caps, r) ? spec_cap(caps, r) : (uint64_t)d->bytes;
    }
    return OK;
}

static void print_plan(const struct run *r, const struct plan_least *least,
                       const struct roofline *roofline)
{
    plan_print(stdout, r->plan, &r->request, r->timed);
    plan_print_caps(stdout, r->plan, least, r->timed);
    if (roofline)
        roofline_print(stdout, roofline, r->plan);
}

static enum status add_plan(const struct run *r, const struct plan_least *least,
                            const struct roofline *roofline, const char *label, cJSON *plans,
                            struct err *e)
{
    cJSON *json;

    TRY(plan_json(r->plan, &r->request, least, r->timed, &json, e));
    cJSON_AddStringToObject(json, "label", label);
    if (roofline)
        cJSON_AddItemToObject(json, "roofline", roofline_json(roofline));
    cJSON_AddItemToArray(plans, json);
    return OK;
}

/* Prints and writes what was asked for of a plan that is made. */
static enum status show_plan(const struct options *o, const struct run *r, const char *label,
                             cJSON *plans, struct err *e)
{
    struct plan_least *least = calloc((size_t)r->plan->ranks, sizeof *least);
    struct roofline *roofline = NULL;
    enum status st = least ? plan_smallest_caps(&r->request, least, e)
                           : fail(e, ERR_FIT, "no memory for %d ranks", r->plan->ranks);

    if (st == OK && o->roofline)
        st = roofline_make(&r->request, r->plan, roofline_device(o->roofline), &roofline, e);
    if (st == OK && !(o->json && strcmp(o->json, "-") == 0))
        print_plan(r, least, roofline);
    if (st == OK && o->json)
        st = add_plan(r, least, roofline, label, plans, e);
    roofline_free(roofline);
    free(least);
    return st;
}

static enum status plan_model(const struct options *o, const struct spec *spec, int i,
                              int job_ranks, struct comm *comm, cJSON *plans, struct err *e)
{
    bool quiet = o->json && strcmp(o->json, "-") == 0;
    struct run *r = NULL;
    enum status st = run_open(spec, i, comm, o->data_dir, &r, e);

    if (st == OK)
        st = run_plan_only(r, task_ranks(o, &spec->model[i], job_ranks), e);
    if (st == OK && spec->n_models > 1 && !quiet)
        printf("%s%s\n", i ? "\n" : "", spec->model[i].label);
    if (st == OK)
        st = show_plan(o, r, spec->model[i].label, plans, e);
    run_close(r);
    if (st != OK && spec->n_models > 1)
        fail_in(e, "%s", spec->model[i].label);
    return st;
}

enum status task_plan(const struct options *o, const struct spec *spec, int job_ranks,
                      struct err *e)
{
    cJSON *root = cJSON_CreateObject(), *plans;
    struct spec *there = NULL; /* on another device */
    struct comm *alone = NULL;
    enum status st = comm_open_loop(&alone, e);

    cJSON_AddStringToObject(root, "schema", NVFP4_PPL_SCHEMA);
    cJSON_AddStringToObject(root, "version", version_name());
    plans = cJSON_AddArrayToObject(root, "plans");
    if (st == OK && o->roofline)
        st = copy_for_device(spec, o, job_ranks, &there, e);
    for (int i = 0; st == OK && i < spec->n_models; i++)
        st = plan_model(o, there ? there : spec, i, job_ranks, alone, plans, e);
    if (st == OK && o->json)
        st = write_plans(o->json, root, e);
    cJSON_Delete(root);
    comm_close(alone);
    free_copy(there);
    return st;
}

enum { TEXT_BYTES_MAX = 1 << 30 };

/* All of a stream, at most TEXT_BYTES_MAX; *text is malloced. */
static enum status read_stream(FILE *f, const char *name, char **text, size_t *bytes, struct err *e)
{
    size_t room = 0;

    *text = NULL;
    *bytes = 0;
    do {
        char *more;

        room = room ? 2 * room : 1 << 16;
        more = room <= TEXT_BYTES_MAX ? realloc(*text, room) : NULL;
        if (!more)
            return fail(e, room > TEXT_BYTES_MAX ? ERR_DATA : ERR_FIT,
                        "%s: the text does not fit %zu bytes", name, room / 2);
        *text = more;
        *bytes += fread(*text + *bytes, 1, room - *bytes, f);
    } while (*bytes == room);
    return ferror(f) ? fail(e, ERR_IO, "%s: %s", name, strerror(errno)) : OK;
}

static enum status read_text(const char *path, char **text, size_t *bytes, struct err *e)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    enum status st;

    if (!f)
        return fail(e, ERR_NO_INPUT, "%s: %s", path, strerror(errno));
    st = read_stream(f, is_stdin ? "standard input" : path, text, bytes, e);
    if (!is_stdin)
        fclose(f);
    return st;
}

enum status task_tokenize(const struct options *o, struct err *e)
{
    struct tokenizer *t = NULL;
    char *text = NULL, hex[SHA256_HEX];
    int32_t *ids = NULL;
    size_t bytes = 0, n = 0;
    enum status st = o->ids ? outfile_try(o->ids, e) : OK;

    if (st == OK)
        st = tokenizer_open(o->tokenizer, &t, e);
    if (st == OK)
        st = read_text(o->text, &text, &bytes, e);
    if (st == OK) {
        st = tokenizer_encode(t, text, bytes, o->bos == BOS_AUTO, &ids, &n, e);
        if (st != OK)
            fail_in(e, "%s", strcmp(o->text, "-") == 0 ? "standard input" : o->text);
    }
    if (st == OK && o->ids)
        st = npy_write_ids(o->ids, ids, (int64_t)n, e);
    if (st == OK) {
        sha256_of(ids, n * sizeof *ids, hex);
        printf("%zu ids, SHA-256 %s\n", n, hex);
    }
    free(ids);
    free(text);
    tokenizer_close(t);
    return st;
}
