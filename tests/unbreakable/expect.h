/* A check that ends the program with one line, at once: also in the child of a fork. */
#ifndef EXPECT_H
#define EXPECT_H

#include <stdio.h>
#include <unistd.h>

#define EXPECT(condition, ...)                         \
    do {                                               \
        if (!(condition)) {                            \
            fprintf(stderr, __VA_ARGS__);              \
            fprintf(stderr, " (line %d)\n", __LINE__); \
            _exit(1);                                  \
        }                                              \
    } while (0)

#endif
