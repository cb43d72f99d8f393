/* options.h - the command line, by one table that parser and --help share.
 *
 * An option that says what a key of the spec says (--threads, --isa, --out, ...) becomes an
 * override of that key, as if by --set: the spec alone is asked afterwards.
 *
 * Memory: options_read allocates o->spec.set and its new strings; options_close frees them. All
 *         other strings point into argv. */
#ifndef LAUNCH_OPTIONS_H
#define LAUNCH_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "spec/spec.h"

enum options_task { TASK_RUN, TASK_PLAN, TASK_CHECK, TASK_TOKENIZE, TASK_HELP, TASK_VERSION };

struct options {
    enum options_task task;

    /* TASK_RUN, TASK_PLAN, TASK_CHECK */
    struct spec_source spec;
    const char *data_dir; /* of "wiki2"; NULL = NVFP4_PPL_DATA */
    const char *json;     /* result or plan as JSON; "-" = stdout */
    const char *nll;      /* .npy */
    int ranks;            /* of --plan and --check; 0 = those of the job */
    const char *roofline; /* of --plan: a name of roofline_devices; NULL = none */
    bool strict_memory;   /* a peak above the plan is a failure */
    bool restart;         /* put the journal aside, begin anew */
    bool quiet;           /* no progress */

    /* TASK_TOKENIZE */
    const char *tokenizer; /* tokenizer.json or its folder */
    const char *text;      /* "-" = stdin */
    const char *ids;       /* .npy to write */
    enum bos_kind bos;     /* BOS_AUTO or BOS_NONE */

    char **owned; /* [n_owned]: strings behind spec.set that are not in argv */
    int n_owned;
};

/* Mistakes are ERR_USAGE; after one, *o is empty. --help and --version end the reading. */
MUST_USE enum status options_read(int argc, char **argv, struct options *o, struct err *e);
void options_close(struct options *o);

/* Usage, options, the keys of the spec, exit codes. */
void options_print_help(FILE *to);

#endif
