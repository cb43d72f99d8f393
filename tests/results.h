/* results.h - reading what nvfp4_ppl measured (--json, --nll) and the reference values beside it.
 *
 * A file or key that is not there, or of the wrong type, fails the test with a line that names it.
 * Memory: array_close, cJSON_Delete and measurement_close free what was opened. */
#ifndef TESTS_RESULTS_H
#define TESTS_RESULTS_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "tests/run.h"

/* value[rows][cols] of a two-dimensional .npy file of float32 or float64. */
struct array {
    size_t rows, cols;
    double *value;
};

struct array *array_open(const char *path);
void array_close(struct array *a);

/* Over the elements that are not NaN in `a` (those are positions that were not scored). */
double array_mean(const struct array *a);
size_t array_scored(const struct array *a);
/* Largest |a - b|; NaN where one of them is NaN and the other is not. */
double array_distance(const struct array *a, const struct array *b);
/* Correlation of the deviations a - base and b - base. */
double array_correlation(const struct array *a, const struct array *b, const struct array *base);

cJSON *json_file(const char *path);
const cJSON *json_at(const cJSON *object, const char *key);
double json_number(const cJSON *object, const char *key);
const char *json_text(const cJSON *object, const char *key);
/* results[0] of what --json wrote. */
const cJSON *json_result(const cJSON *root);

/* Overwrites bytes of a tensor, `at` bytes from its start, in a safetensors file: to break a copy. */
void tensor_patch(const char *path, const char *tensor, size_t at, const void *bytes, size_t n);

/* One run with --json and --nll. Where it did not end with exit code 0 there is only `run`. */
struct measurement {
    struct run *run;
    cJSON *json;
    const cJSON *result; /* results[0] */
    struct array *nll;
};

/* `a` is the whole command line but for --json, --nll and --strict-memory, which measure() adds: more
 * memory than planned is a failure, but in sanitizer builds, whose own memory nobody planned. */
struct measurement measure(struct args *a, double limit_s);
/* The same; ends the test with what the program said when it did not end with exit code 0. */
struct measurement must_measure(struct args *a, double limit_s);
void measurement_close(struct measurement *m);

#endif
