/*
 * The js-heap domain on V8: while its sampling heap profiler runs, V8 mallocs one small record for each object that it
 * samples, below the line of JavaScript that makes the object, and frees it when the object has died. The hooks see both.
 *
 * Which mallocs these are, and where a record has the object's size, is found at start from arrays of known sizes; nothing
 * of the engine is called, nothing of its memory written.
 */
#ifndef TM_JS_HEAP_H
#define TM_JS_HEAP_H

#include "thread.h"

#define TM_DOMAIN_JS_HEAP 1u

/* Sizes of mallocs to be looked at: from `first`, so many more. None: SIZE_MAX, 0. Read by every malloc. */
typedef struct tm_js_heap_sizes {
    size_t first, more;
} tm_js_heap_sizes;

extern tm_js_heap_sizes tm_js_heap_wanted;

static inline bool tm_js_heap_looks(size_t size) {
    size_t first = __atomic_load_n(&tm_js_heap_wanted.first, __ATOMIC_RELAXED);
    return size - first <= __atomic_load_n(&tm_js_heap_wanted.more, __ATOMIC_RELAXED);
}

/* Inside the tracer, for a malloc of a size that is looked at; `fp` is the hook's frame. True: it is no block of the program's. */
bool tm_js_heap_malloc(tm_thread *self, uintptr_t block, size_t size, const uint64_t *fp);
/* A block of TM_NODE_MARK is about to be freed. */
void tm_js_heap_free(tm_thread *self, uintptr_t block);

/* How many objects a sampled one of this many bytes stands for. */
double tm_js_heap_weight(uint64_t size);

/* With the gate closed: the calling thread's last record is taken in; or all are forgotten. */
void tm_js_heap_settle(tm_thread *self);
void tm_js_heap_clear(void);
/* No isolate is sampled any more. */
void tm_js_heap_stop(void);

/* Records that were not understood, or that a sampler other than ours made. */
uint64_t tm_js_heap_lost(void);

#endif
