/* run.h - starting the built nvfp4_ppl (or another program) from a test and reading what it said.
 *
 * A mistake in the test itself (no memory, no such program) ends it with exit 1 and a line on stdout.
 *
 *     struct args a = args_ppl(2);                     mpirun -np 2 .../nvfp4_ppl
 *     args_add(&a, "--set"); args_add(&a, "data.eval_len=%d", 64);
 *     struct run *r = run_program(&a, 60);             owns a's words from now on
 *     EXPECT(r->code == 0);
 *     run_close(r);
 *
 * Memory: struct args owns its words until run_start takes them; run_close frees a run. */
#ifndef TESTS_RUN_H
#define TESTS_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { ARGS_MAX = 96 };

struct args {
    int n;
    char *word[ARGS_MAX + 1]; /* NULL after the last */
};

/* Nothing; the binary alone for np = 1, else through mpirun with np ranks on this host. */
struct args args_none(void);
struct args args_ppl(int np);
void args_add_ppl(struct args *a, int np);
/* A tool that is built beside it. */
struct args args_tool(const char *name);
void args_add(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The program with more at the end of its name: the last word so far. */
void args_add_suffix(struct args *a, const char *suffix);

struct run {
    pid_t pid;
    int code; /* exit code; 128 + signal when a signal ended it; -1 when it was killed for its limit */
    double seconds;
    char *out, *err;              /* what it wrote, with a final 0 */
    size_t out_bytes, err_bytes;
    int out_file, err_file;       /* private */
    double started;               /* private */
    struct args args;
};

/* Starts a program, waits for it for at most limit_s seconds, then kills it. */
struct run *run_program(struct args *a, double limit_s);
/* The same in steps. run_wait fills code, seconds, out and err. */
struct run *run_start(struct args *a);
void run_wait(struct run *r, double limit_s);
/* Waits until its stderr holds `text`; false when it ended or limit_s passed before. */
bool run_said(struct run *r, const char *text, double limit_s);
/* The process of a rank that mpirun has started; 0: it is not there. */
pid_t run_rank(const struct run *r, int rank);
void run_close(struct run *r);

/* Prints the command line and both outputs: what a failing test shows. */
void run_print(const struct run *r);

/* A folder of its own for this test, removed with all it holds at exit. */
const char *scratch_folder(void);
/* FOLDER/NAME in the scratch folder, formatted; lives until exit. */
const char *scratch_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whole files. file_read returns NULL when there is none; the caller frees. */
char *file_read(const char *path, size_t *bytes);
void file_write(const char *path, const void *data, size_t bytes);
void file_printf(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool file_exists(const char *path);
/* Copies the plain files of a folder into a new folder. */
void folder_copy(const char *from, const char *to);

#endif
