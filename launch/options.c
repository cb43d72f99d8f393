#include "launch/options.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "spec/nearest.h"
#include "stage/roofline.h"

enum option_form {
    FORM_VALUE, /* text into a field of struct options */
    FORM_FLAG,  /* bool */
    FORM_RANKS, /* int */
    FORM_BOS,
    FORM_SET, /* KEY=VALUE, any number of times */
    FORM_KEY, /* the key of the spec that has the option's name */
    FORM_OUT, /* key "out"; with --tokenize: the file of ids */
    FORM_TASK /* `task`; with a value (--tokenize): into the field too */
};

struct option {
    const char *name;
    char letter;       /* 0 = none */
    const char *value; /* what --help calls its value; NULL = it takes none */
    const char *help;
    enum option_form form;
    size_t field;
    enum options_task task;
};

#define FIELD(member) .field = offsetof(struct options, member)

static const struct option table[] = {
    {"data", 'd', "FILE", "what to score, in the two-file form", .form = FORM_VALUE,
     FIELD(spec.data_path)},
    {"model", 'm', "FILE", "a model or an array of them, in the two-file form", .form = FORM_VALUE,
     FIELD(spec.model_path)},
    {"set", 0, "KEY=VALUE", "overrides a key of the spec; may be given again", .form = FORM_SET},
    {"data-dir", 0, "DIR", "where wiki.test.raw is (else NVFP4_PPL_DATA)", .form = FORM_VALUE,
     FIELD(data_dir)},
    {"json", 0, "FILE", "writes the result, or the plan, as JSON; - is stdout", .form = FORM_VALUE,
     FIELD(json)},
    {"nll", 0, "FILE.npy", "writes the nll of every token: [windows, eval_len - 1]",
     .form = FORM_VALUE, FIELD(nll)},
    {"out", 0, "DIR", "folder of the run; with --tokenize: the .npy of ids", .form = FORM_OUT},
    {"restart", 0, NULL, "begins anew; the journal in the run's folder is put aside",
     .form = FORM_FLAG, FIELD(restart)},
    {"isa", 0, "NAME", "variant of the CPU backend", .form = FORM_KEY},
    {"threads", 0, "N", "threads of a CPU rank", .form = FORM_KEY},
    {"backend", 0, "NAME", "auto | cpu | cuda", .form = FORM_KEY},
    {"transport", 0, "NAME", "auto | nccl | mpi | loop", .form = FORM_KEY},
    {"microbatch", 0, "N", "windows in a microbatch", .form = FORM_KEY},
    {"strict-memory", 0, NULL, "a measured peak above the plan is a failure (exit 70)",
     .form = FORM_FLAG, FIELD(strict_memory)},
    {"quiet", 0, NULL, "no progress", .form = FORM_FLAG, FIELD(quiet)},
    {"plan", 0, NULL, "prints the plan and stops: no weights, no device, one process",
     .form = FORM_TASK, .task = TASK_PLAN},
    {"check", 0, NULL, "checks all that can be known before a run; prints the sbatch lines",
     .form = FORM_TASK, .task = TASK_CHECK},
    {"ranks", 0, "N", "plans, or checks, for so many ranks", .form = FORM_RANKS, FIELD(ranks)},
    {"roofline", 0, "DEVICE", "with --plan: the time it would take at best on such GPUs",
     .form = FORM_VALUE, FIELD(roofline)},
    {"tokenize", 0, "TOKENIZER", "writes the ids of a text; TOKENIZER: a folder or tokenizer.json",
     .form = FORM_TASK, FIELD(tokenizer), .task = TASK_TOKENIZE},
    {"bos", 0, "auto|none", "with --tokenize: as the tokenizer does, or never", .form = FORM_BOS,
     FIELD(bos)},
    {"help", 'h', NULL, "prints this", .form = FORM_TASK, .task = TASK_HELP},
    {"version", 0, NULL, "prints version, compiler, variants, MPI", .form = FORM_TASK,
     .task = TASK_VERSION},
};
enum { OPTIONS = sizeof table / sizeof *table };

/* What has been read so far. */
struct reader {
    int argc, at; /* argv[at] is next */
    char **argv;
    struct options *o;
    const char **set; /* o->spec.set while it grows: [argc] */
    bool seen[OPTIONS];
    const char *positional;
    const char *out; /* of --out: what it means depends on the task */
};

/* The row of "--name", "--name=value" or "-x"; *value: what stands behind '=', or NULL. */
static const struct option *find_option(const char *word, const char **value)
{
    const char *name = word + 2, *equals = strchr(word, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(word) - 2;

    *value = NULL;
    for (int i = 0; i < OPTIONS; i++) {
        if (word[1] != '-') {
            if (word[2] == 0 && table[i].letter == word[1])
                return &table[i];
        } else if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0) {
            *value = equals ? equals + 1 : NULL;
            return &table[i];
        }
    }
    return NULL;
}

static enum status unknown_option(const char *word, struct err *e)
{
    const char *best = NULL;
    int least = INT_MAX;
    char name[64];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    word = name + strspn(name, "-");
    for (int i = 0; i < OPTIONS; i++) {
        int distance = word_distance(word, table[i].name);

        if (distance < least) {
            least = distance;
            best = table[i].name;
        }
    }
    if (least > (int)strlen(word)) /* more than half of it would have to change */
        return fail(e, ERR_USAGE, "command line: unknown option %s (--help lists them)", name);
    return fail(e, ERR_USAGE, "command line: unknown option %s: the nearest known one is --%s",
                name, best);
}

/* "NAME=VALUE" in memory of its own: an override of the spec. */
static enum status add_key(struct reader *r, const char *name, const char *value, struct err *e)
{
    size_t bytes = strlen(name) + strlen(value) + 2;
    char *text = malloc(bytes);

    if (!text)
        return fail(e, ERR_FIT, "out of memory for the command line");
    snprintf(text, bytes, "%s=%s", name, value);
    r->o->owned[r->o->n_owned++] = text;
    r->set[r->o->spec.n_set++] = text;
    return OK;
}

static enum status read_ranks(const char *value, int *ranks, struct err *e)
{
    char *end;
    long n = strtol(value, &end, 10);

    if (end == value || *end || n < 1 || n > SPEC_RANKS_MAX)
        return fail(e, ERR_USAGE, "command line: --ranks: got %.64s, want 1 to %d", value,
                    SPEC_RANKS_MAX);
    *ranks = (int)n;
    return OK;
}

static enum status take_option(struct reader *r, const struct option *option, const char *value,
                               struct err *e)
{
    void *field = (char *)r->o + option->field;

    switch (option->form) {
    case FORM_VALUE:
        *(const char **)field = value;
        return OK;
    case FORM_FLAG:
        *(bool *)field = true;
        return OK;
    case FORM_RANKS:
        return read_ranks(value, field, e);
    case FORM_BOS:
        if (strcmp(value, "auto") != 0 && strcmp(value, "none") != 0)
            return fail(e, ERR_USAGE, "command line: --bos: got %.64s, want auto or none", value);
        r->o->bos = strcmp(value, "none") == 0 ? BOS_NONE : BOS_AUTO;
        return OK;
    case FORM_SET:
        r->set[r->o->spec.n_set++] = value;
        return OK;
    case FORM_KEY:
        return add_key(r, option->name, value, e);
    case FORM_OUT:
        r->out = value;
        return OK;
    case FORM_TASK:
        if (r->o->task != TASK_RUN && option->task != TASK_HELP && option->task != TASK_VERSION)
            return fail(e, ERR_USAGE,
                        "command line: got two of --plan, --check and --tokenize, want one");
        r->o->task = option->task;
        if (value)
            *(const char **)field = value;
        return OK;
    }
    CHECK(!"an option's form");
    return ERR_INTERNAL;
}

/* argv[at] is an option: finds its value and takes both. */
static enum status read_option(struct reader *r, struct err *e)
{
    const char *word = r->argv[r->at++], *value;
    const struct option *option = find_option(word, &value);

    if (!option)
        return unknown_option(word, e);
    if (!option->value && value)
        return fail(e, ERR_USAGE, "command line: --%s: got a value, want none", option->name);
    if (option->value && !value) {
        const char *next = r->at < r->argc ? r->argv[r->at] : NULL;

        if (!next || (next[0] == '-' && next[1])) /* "-" alone is stdin or stdout */
            return fail(e, ERR_USAGE, "command line: --%s: got no value, want --%s %s",
                        option->name, option->name, option->value);
        value = next;
        r->at++;
    }
    if (r->seen[option - table] && option->form != FORM_SET)
        return fail(e, ERR_USAGE, "command line: --%s: given twice, want it once", option->name);
    r->seen[option - table] = true;
    return take_option(r, option, value, e);
}

static enum status read_positional(struct reader *r, struct err *e)
{
    const char *word = r->argv[r->at++];

    if (r->positional)
        return fail(e, ERR_USAGE, "command line: got %.200s and %.200s, want one file",
                    r->positional, word);
    r->positional = word;
    return OK;
}

static enum status read_words(struct reader *r, struct err *e)
{
    bool options_end = false;

    while (r->at < r->argc && r->o->task != TASK_HELP && r->o->task != TASK_VERSION) {
        const char *word = r->argv[r->at];

        if (!options_end && strcmp(word, "--") == 0) {
            options_end = true;
            r->at++;
        } else if (!options_end && word[0] == '-' && word[1]) {
            TRY(read_option(r, e));
        } else {
            TRY(read_positional(r, e));
        }
    }
    return OK;
}

static bool was_given(const struct reader *r, const char *name)
{
    for (int i = 0; i < OPTIONS; i++)
        if (strcmp(table[i].name, name) == 0)
            return r->seen[i];
    CHECK(!"the name of an option");
    return false;
}

static enum status check_roofline(const struct options *o, struct err *e)
{
    char known[256];

    if (!o->roofline)
        return OK;
    if (o->task != TASK_PLAN)
        return fail(e, ERR_USAGE, "command line: --roofline: want --plan beside it");
    roofline_devices(known, sizeof known);
    if (!roofline_device(o->roofline))
        return fail(e, ERR_USAGE, "command line: --roofline: got %.64s, want one of %s", o->roofline,
                    known);
    return OK;
}

/* Gives words their place once the task is known. */
static enum status finish(struct reader *r, struct err *e)
{
    struct options *o = r->o;

    if (o->task == TASK_HELP || o->task == TASK_VERSION)
        return OK;
    if (o->task == TASK_TOKENIZE) {
        o->text = r->positional;
        o->ids = r->out;
        if (!o->text || !o->ids)
            return fail(e, ERR_USAGE,
                        "command line: --tokenize: got no %s, want --tokenize TOKENIZER --out "
                        "IDS.npy FILE (or -)",
                        o->text ? "--out" : "text");
    } else {
        o->spec.spec_path = r->positional;
        if (was_given(r, "bos"))
            return fail(e, ERR_USAGE,
                        "command line: --bos: want --tokenize beside it (for a run: --set "
                        "data.bos=none)");
        if (r->out)
            TRY(add_key(r, "out", r->out, e));
    }
    if (o->restart && (o->task != TASK_RUN))
        return fail(e, ERR_USAGE,
                    "command line: --restart: want a run, not --plan, --check or --tokenize");
    if (o->ranks && o->task != TASK_PLAN && o->task != TASK_CHECK)
        return fail(e, ERR_USAGE,
                    "command line: --ranks: want --plan or --check beside it (a run has the ranks "
                    "that mpirun starts)");
    return check_roofline(o, e);
}

enum status options_read(int argc, char **argv, struct options *o, struct err *e)
{
    struct reader r = {.argc = argc, .at = 1, .argv = argv, .o = o};
    enum status code;

    *o = (struct options){0};
    r.set = calloc((size_t)argc + 1, sizeof *r.set);
    o->spec.set = r.set;
    o->owned = calloc((size_t)argc + 1, sizeof *o->owned);
    if (!r.set || !o->owned)
        code = fail(e, ERR_FIT, "out of memory for the command line");
    else
        code = read_words(&r, e);
    if (code == OK)
        code = finish(&r, e);
    if (code != OK)
        options_close(o);
    return code;
}

void options_close(struct options *o)
{
    for (int i = 0; i < o->n_owned; i++)
        free(o->owned[i]);
    free(o->owned);
    free((void *)o->spec.set);
    *o = (struct options){0};
}

static void print_options(FILE *to)
{
    fprintf(to, "\nOptions (--name VALUE or --name=VALUE):\n");
    for (int i = 0; i < OPTIONS; i++) {
        char left[64], letter[8] = "    ";

        if (table[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", table[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, table[i].name, table[i].value ? " " : "",
                 table[i].value ? table[i].value : "");
        fprintf(to, "  %-28s %s\n", left, table[i].help);
    }
}

static void print_keys(FILE *to)
{
    int n;
    const struct spec_key *key = spec_keys(&n);

    fprintf(to, "\nKeys of the spec, as --set takes them [default]:\n");
    for (int i = 0; i < n; i++) {
        fprintf(to, "  %-17s %-8s %s", key[i].name, key[i].type, key[i].help);
        fprintf(to, strcmp(key[i].standard, "none") == 0 ? "\n" : " [%s]\n", key[i].standard);
    }
}

void options_print_help(FILE *to)
{
    char devices[256];

    fprintf(to, "nvfp4_ppl: the exact perplexity of NVFP4 language models\n"
                "\n"
                "  [mpirun -np N] nvfp4_ppl SPEC.json [OPTION...]\n"
                "  [mpirun -np N] nvfp4_ppl -d DATA.json -m MODEL.json [OPTION...]\n"
                "  nvfp4_ppl SPEC.json --plan [--ranks N] [--roofline DEVICE]\n"
                "  nvfp4_ppl SPEC.json --check [--ranks N]\n"
                "  nvfp4_ppl --tokenize TOKENIZER --out IDS.npy FILE\n");
    print_options(to);
    roofline_devices(devices, sizeof devices);
    fprintf(to, "  devices of --roofline:\n    %s\n", devices);
    print_keys(to);
    fprintf(to,
            "\n"
            "In the one-file form data.* stands in an object \"data\"; in a -d file without "
            "\"data.\".\n"
            "Several models: \"models\": [{...}, {...}], and models.0.KEY with --set; one cap:\n"
            "max_memory.0=38GiB. Paths are relative to the file they stand in.\n"
            "\n"
            "Exit codes: 0 complete, 64 usage, 65 bad model or data, 66 input missing, 69 no such\n"
            "device, 70 a bug or a failed self-check, 71 does not fit, 73 output cannot be made,\n"
            "74 read or write error, 75 interrupted, 76 not finite, 78 bad spec.\n");
}
