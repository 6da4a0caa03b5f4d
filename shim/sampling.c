#include "sampling.h"

#include <math.h>

uint64_t tm_sample_bytes;
__thread tm_sampler tm_own_sampler __attribute__((tls_model("initial-exec")));

/* Marsaglia's xorshift; threads begin at numbers of their own, the same in every run. */
static uint64_t next_random(tm_sampler *own) {
    static uint64_t threads;
    if (!own->random) own->random = tm_hash64(__atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED));
    own->random ^= own->random << 13;
    own->random ^= own->random >> 7;
    return own->random ^= own->random << 17;
}

static int64_t distance(tm_sampler *own) {
    double uniform = ((double)(next_random(own) >> 11) + 0.5) * 0x1p-53;
    return (int64_t)(-log(uniform) * (double)own->interval);
}

bool tm_sample_next(int64_t bytes) {
    tm_sampler *own = &tm_own_sampler;
    uint64_t interval = tm_sample_interval();
    if (!interval) return true; /* it was changed just now */
    if (own->interval != interval) {
        own->interval = interval;
        own->left = distance(own);
    }
    own->left -= bytes;
    if (own->left >= 0) return false;
    own->left = distance(own);
    return true;
}

double tm_sample_weight(uint64_t size) {
    return tm_sample_bytes ? -1.0 / expm1(-(double)(size ? size : 1) / (double)tm_sample_bytes) : 1.0;
}
