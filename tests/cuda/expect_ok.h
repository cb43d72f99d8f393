/* expect_ok.h - calls that must succeed, in a test: what they said is printed. */
#ifndef TESTS_CUDA_EXPECT_OK_H
#define TESTS_CUDA_EXPECT_OK_H

#include "spec/err.h"
#include "tests/test.h"

static struct err err;

#define EXPECT_OK(call)                                                                            \
    do {                                                                                           \
        if ((call) != OK) {                                                                        \
            printf("FAIL %s:%d: %s: %s\n", __FILE__, __LINE__, #call, err.msg);                    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif
