/* test.h - all the test harness there is. A test is a program: exit 0 means pass, 1 fail,
 * 77 skipped (the reason on stdout). */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKIP(...)                                                                                  \
    do {                                                                                           \
        printf("SKIP: " __VA_ARGS__);                                                              \
        printf("\n");                                                                              \
        exit(77);                                                                                  \
    } while (0)

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("FAIL %s:%d: %s\n", __FILE__, __LINE__, #cond);                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Written as !(error <= tol): a NaN on either side must fail. */
#define EXPECT_NEAR(got, want, tol)                                                                \
    do {                                                                                           \
        double g_ = (got), w_ = (want), t_ = (tol);                                                \
        if (!(fabs(g_ - w_) <= t_)) {                                                              \
            printf("FAIL %s:%d: %s = %.9g, want %.9g +- %g\n", __FILE__, __LINE__, #got, g_, w_,   \
                   t_);                                                                            \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define EXPECT_TEXT(got, want)                                                                     \
    do {                                                                                           \
        const char *g_ = (got), *w_ = (want);                                                      \
        if (!g_ || strcmp(g_, w_) != 0) {                                                          \
            printf("FAIL %s:%d: %s is \"%s\", want \"%s\"\n", __FILE__, __LINE__, #got,            \
                   g_ ? g_ : "(null)", w_);                                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Golden data that the tree does not carry. */
static inline const char *golden_dir(void)
{
    const char *dir = getenv("NVFP4_PPL_GOLDEN");

    return dir && *dir ? dir : GOLDEN_DEFAULT;
}

#endif
