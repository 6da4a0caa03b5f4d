/*
 * Sampling by bytes: of the bytes that are asked for, points are chosen whose distances are exponentially distributed, and
 * a block is recorded if such a point falls into it. A block of s bytes is met with probability 1 - exp(-s / interval);
 * one that was met stands for 1 / that many blocks of its size, so that sums are unbiased.
 */
#ifndef TM_SAMPLING_H
#define TM_SAMPLING_H

#include "arena.h"

/* Bytes between two points, on average; 0: every block is recorded. Changes only while nothing is traced. */
extern uint64_t tm_sample_bytes;

static inline uint64_t tm_sample_interval(void) { return __atomic_load_n(&tm_sample_bytes, __ATOMIC_RELAXED); }
static inline bool tm_sampling(void) { return tm_sample_interval() != 0; }

/* The calling thread's way to its next point. */
typedef struct tm_sampler {
    int64_t left;
    uint64_t interval; /* that it was drawn for */
    uint64_t random;
} tm_sampler;

extern __thread tm_sampler tm_own_sampler __attribute__((tls_model("initial-exec")));

bool tm_sample_next(int64_t bytes);

/* Is there no point in the next so many bytes? Then they are gone. */
static inline bool tm_passed_over(uint64_t size) {
    int64_t bytes = size ? (int64_t)size : 1;
    tm_sampler *own = &tm_own_sampler;
    if (tm_unlikely(own->interval != tm_sample_interval() || own->left < bytes)) return false;
    own->left -= bytes;
    return true;
}

/* Where blocks are sampled: is one of this size to be recorded? */
static inline bool tm_sampled(uint64_t size) {
    return !tm_likely(tm_passed_over(size)) && tm_sample_next(size ? (int64_t)size : 1);
}

/* How many blocks one that was recorded stands for; 1 where all are. */
double tm_sample_weight(uint64_t size);

#endif
