/* A check that ends the program with one line. */
#ifndef EXPECT_H
#define EXPECT_H

#include <stdio.h>
#include <stdlib.h>

#define EXPECT(condition, ...)                         \
    do {                                               \
        if (!(condition)) {                            \
            fprintf(stderr, __VA_ARGS__);              \
            fprintf(stderr, " (line %d)\n", __LINE__); \
            exit(1);                                   \
        }                                              \
    } while (0)

#endif
