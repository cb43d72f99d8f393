/* ways.h - the same small evaluation carried out in different ways, in a folder, and compared: what
 * the tests of journals and faults share. A mistake ends the test with what the program said. */
#ifndef TESTS_WAYS_H
#define TESTS_WAYS_H

#include "tests/results.h"

enum { WAY_LIMIT_S = 150 }; /* more than the two minutes that ranks wait for one that never comes */

/* A float32 run of llama-nvfp4, windows of 100 tokens. Only rows is part of the result. */
struct way {
    int np, microbatch, rows;
    int stages;         /* 0 = one pipeline of all ranks */
    const char *dtype;  /* NULL = float32 */
    const char *spec;   /* further members of the spec, a comma after each, or NULL */
    const char *extra;  /* a further word of the command line, or NULL */
    const char *fault;  /* NVFP4_PPL_FAULT (tests/faults/fault.c), or NULL */
    const char *shell;  /* how sh starts it, "exec \"$@\" >/dev/full"; NULL = as it is */
};

/* Starts it with --out `out`, a scratch_path. */
struct run *way_start(const char *out, const struct way *w);
/* Runs it, at most WAY_LIMIT_S. */
struct run *way_run(const char *out, const struct way *w);
/* Runs it and expects this exit code. */
struct run *way_expect(const char *out, const struct way *w, int code);
/* Processes of this test's runs that are left. */
int way_processes(void);
/* Was the fault of the last run met? */
bool way_fault_met(void);
/* Seconds since then, or since it was met last. */
double way_fault_age(void);
/* Lines of stderr that are the program's word about a failure. */
int way_lines(const struct run *r);

/* A file in the folder of a run. */
const char *way_file(const char *out, const char *name);
bool same_file(const char *a, const char *b);
/* Files of kept waves in it, half-written ones too. */
int way_waves(const char *out);
/* Differences of the finished run in `out` from that in `want`: 0 when the nll file and every number
 * are the same, bit for bit; else it says on stdout what is not. */
int way_differs(const char *want, const char *out);
/* Of its numbers alone: where it could not write its nll file. */
int way_numbers_differ(const char *want, const char *out);
/* A number of a rank of the finished run in `out`. */
double way_rank_number(const char *out, int rank, const char *key);
/* Windows that the finished run in `out` had from its journal. */
int way_restored(const char *out);
/* Of status.json; -1 where it is not there. */
int way_status_windows(const char *out);

#endif
