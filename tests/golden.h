/* golden.h - whole-model nll against values that other programs gave (README.md of the data folder).
 *
 * golden_check goes over every ROOT/values/MODEL.CASE.json: runs ROOT/models/MODEL on ROOT/text/TEXT
 * in each arithmetic and dtype that has a reference, prints a line per comparison, and returns the
 * number of comparisons that failed. A model that cannot be run, a variant it does not know, a model
 * without values and a folder without any of them are failures too. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

int golden_check(const char *root);
/* The same with --backend cuda, of the first `windows` windows: mean nll within 1e-5 in float32, but for
 * three named values where a code flips, and 3e-3 in 16-bit dtypes. 0 = all windows; then float32 with
 * 4-bit inputs has golden_check's bounds. arithmetic NULL = all. */
int golden_check_gpu(const char *root, int windows, const char *arithmetic);

#endif
