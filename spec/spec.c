#include "spec/spec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/parse.h"
#include "spec/sha256.h"

uint64_t spec_cap(const struct spec_caps *caps, int rank)
{
    return rank < caps->n_ranks ? caps->rank[rank] : 0;
}

static const struct setter *set_by(const struct setter *row, const char *name)
{
    const struct spec_key *k = key_find_full(name);

    CHECK(k != NULL);
    return &row[key_index(k)];
}

/* The last part of a path, without "/" or "/." behind it. */
static void last_part(const char *path, const char **part, size_t *n)
{
    size_t end = strlen(path), start;

    while (end > 1 && (path[end - 1] == '/' || (path[end - 1] == '.' && path[end - 2] == '/')))
        end--;
    for (start = end; start > 0 && path[start - 1] != '/'; start--)
        ;
    if (start == end) /* "/" itself */
        start = 0;
    *part = path + start;
    *n = end - start;
}

static void set_defaults(struct spec *s)
{
    s->data.text_column = "text";
    s->data.joiner = "\n\n";
    s->data.eval_len = 2048;
    s->isa = "auto";
    s->stall_timeout = 600;
}

static enum status finish_data(const struct reader *r, struct err *e)
{
    static const char *const source[] = {"data.text", "data.jsonl", "data.tokens", "data.dataset"};
    struct spec_data *d = &r->s->data;
    const struct setter *by;
    int given = 0;

    for (size_t i = 0; i < sizeof source / sizeof *source; i++)
        given += set_by(r->run, source[i])->layer > 0;
    if (!given)
        return json_fail(r->data_source->doc, json_root(r->data_source->doc), e,
                         "no text to score: want \"text\", \"jsonl\", \"tokens\" or \"dataset\"%s",
                         r->data_source == r->model_source ? " in \"data\"" : "");
    if (d->eval_stride == 0)
        d->eval_stride = d->eval_len;
    if (d->eval_stride > d->eval_len) {
        by = set_by(r->run, "data.eval_stride");
        return json_fail(by->source->doc, by->item, e,
                         "eval_stride: got %d, want 1 to %d (eval_len), or tokens are never read",
                         d->eval_stride, d->eval_len);
    }
    return OK;
}

/* The last part of model_dir on one line; with a number where an earlier model has the same. */
static enum status default_label(const struct reader *r, int i, struct err *e)
{
    enum { NUMBER = 16 };
    const char *part, *other;
    size_t n, other_n;
    int same = 1;
    char *label;

    last_part(r->s->model[i].model_dir, &part, &n);
    for (int before = 0; before < i; before++) {
        last_part(r->s->model[before].model_dir, &other, &other_n);
        same += other_n == n && memcmp(part, other, n) == 0;
    }
    label = spec_alloc(r->owner, n + NUMBER);
    if (!label)
        return fail(e, ERR_FIT, "out of memory for the spec");
    for (size_t c = 0; c < n; c++)
        label[c] = (unsigned char)part[c] < 0x20 || part[c] == 0x7f ? '?' : part[c];
    if (same > 1)
        snprintf(label + n, NUMBER, " (%d)", same);
    r->s->model[i].label = label;
    return OK;
}

static enum status finish_model(const struct reader *r, int i, struct err *e)
{
    struct spec_model *m = &r->s->model[i];

    if (!m->model_dir)
        return json_fail(r->model_source->doc, r->model_item[i], e,
                         "no \"model_dir\": want the model's folder");
    if (!m->tokenizer_dir)
        m->tokenizer_dir = m->model_dir;
    if (!m->label)
        TRY(default_label(r, i, e));
    /* Tables, and the files of --nll, tell models apart by label. */
    for (int before = 0; before < i; before++)
        if (strcmp(r->s->model[before].label, m->label) == 0)
            return json_fail(r->model_source->doc, r->model_item[i], e,
                             "label \"%.64s\" is another model's too, want each its own", m->label);
    return OK;
}

/* Lines of "name length:value": no value can be mistaken for the start of another line. */
static void add_text(struct sha256 *h, const char *name, const char *value, size_t n)
{
    char head[64];

    sha256_add(h, head, (size_t)snprintf(head, sizeof head, "%s %zu:", name, n));
    sha256_add(h, value, n);
    sha256_add(h, "\n", 1);
}

static void add_number(struct sha256 *h, const char *name, int64_t value)
{
    char text[32];

    add_text(h, name, text, (size_t)snprintf(text, sizeof text, "%" PRId64, value));
}

static void add_last_part(struct sha256 *h, const char *name, const char *path)
{
    const char *part;
    size_t n;

    last_part(path, &part, &n);
    add_text(h, name, part, n);
}

static void hash_spec(struct spec *s)
{
    const struct spec_data *d = &s->data;
    struct sha256 *h = sha256_begin();

    add_number(h, "nvfp4_ppl spec", 1);
    add_number(h, "kind", d->kind);
    add_last_part(h, "path", d->path ? d->path : "wiki2");
    add_text(h, "text_column", d->text_column, strlen(d->text_column));
    add_text(h, "joiner", d->joiner, strlen(d->joiner));
    add_number(h, "eval_len", d->eval_len);
    add_number(h, "eval_stride", d->eval_stride);
    add_number(h, "max_rows", d->max_rows);
    add_number(h, "score", d->score);
    add_number(h, "bos", d->bos);
    add_number(h, "softmax", d->softmax);
    add_number(h, "models", s->n_models);
    for (int i = 0; i < s->n_models; i++) {
        const struct spec_model *m = &s->model[i];

        add_last_part(h, "model", m->model_dir);
        add_last_part(h, "tokenizer", m->tokenizer_dir);
        add_number(h, "dtype", m->dtype);
        add_number(h, "arithmetic", m->arithmetic);
    }
    sha256_end(h, s->sha256);
}

static enum status check_source(const struct spec_source *from, struct err *e)
{
    if (from->spec_path && (from->data_path || from->model_path))
        return fail(e, ERR_USAGE,
                    "command line: got a spec and -d or -m, want one spec, or -d DATA -m MODEL");
    if (!from->spec_path && (!from->data_path || !from->model_path))
        return fail(e, ERR_USAGE, "command line: got %s, want a spec file, or -d DATA -m MODEL",
                    from->data_path    ? "-d without -m"
                    : from->model_path ? "-m without -d"
                                       : "no spec");
    return OK;
}

static enum status read_into(struct spec_owner *o, const struct spec_source *from, struct err *e)
{
    struct reader r = {.owner = o, .s = &o->spec};
    enum status code;

    r.source = spec_alloc(o, (2 + (size_t)from->n_set) * sizeof *r.source);
    if (!r.source)
        return fail(e, ERR_FIT, "out of memory for the spec");
    set_defaults(r.s);
    code = spec_parse(&r, from, e);
    if (code == OK)
        code = finish_data(&r, e);
    for (int i = 0; code == OK && i < r.s->n_models; i++)
        code = finish_model(&r, i, e);
    if (code == OK)
        hash_spec(r.s);
    for (int i = 0; i < r.n_sources; i++)
        json_close(r.source[i].doc);
    return code;
}

enum status spec_read(const struct spec_source *from, struct spec **out, struct err *e)
{
    struct spec_owner *o;
    enum status code;
    int n;

    spec_keys(&n);
    CHECK(n <= SPEC_KEYS_MAX);
    *out = NULL;
    TRY(check_source(from, e));
    o = calloc(1, sizeof *o);
    if (!o)
        return fail(e, ERR_FIT, "out of memory for the spec");
    code = read_into(o, from, e);
    if (code != OK) {
        spec_free(&o->spec);
        return code;
    }
    *out = &o->spec;
    return OK;
}

void spec_free(struct spec *s)
{
    struct spec_owner *o = (struct spec_owner *)s;
    struct block *b, *next;

    if (!o)
        return;
    for (b = o->blocks; b; b = next) {
        next = b->next;
        free(b);
    }
    free(o);
}
