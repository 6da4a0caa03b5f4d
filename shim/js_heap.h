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

/* Offsets are in bytes: of a record (*), of a profiler (+). */
#define TM_JS_HEAP_LAYOUT(FIELD)                                                           \
    FIELD(bytes)          /* of a record */                                                \
    FIELD(size)           /* * u64, bytes of the object */                                 \
    FIELD(profiler)       /* * whose it is */                                              \
    FIELD(id)             /* * its number, from 1 */                                       \
    FIELD(handle)         /* * leads to where the object's address is; 0: not known */     \
    FIELD(profiler_bytes) /* of a profiler */                                              \
    FIELD(interval)       /* + until confirmed: bits of the words that may be it */        \
    FIELD(last_id)        /* + the same */                                                 \
    FIELD(handles)        /* bits of the words of a record that may be the handle */       \
    FIELD(objects)        /* that were searched for among the handles */

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

/*
 * What the table has for the size of an object: that in the low bits, and above them how much more it was when it was
 * sampled, by which it is known how many objects it stands for.
 */
#define TM_JS_HEAP_SIZE_BITS 40
#define TM_JS_HEAP_SIZE(sizes) ((sizes) & ((1ull << TM_JS_HEAP_SIZE_BITS) - 1))
double tm_js_heap_weight(uint64_t sizes);

/* With the gate closed: all threads' last records are taken in; or, with the blocks, all are forgotten. */
void tm_js_heap_settle(void);
void tm_js_heap_clear(void);
/* From now on blocks of malloc are not recorded, whether an isolate is sampled or not. */
void tm_js_heap_alone(void);
/* No isolate is sampled any more. */
void tm_js_heap_stop(void);

/*
 * For Node-API, whose values are places where the engine keeps the address of an object, as its global handles are: a
 * collection updates both. While the thread's mallocs are watched, finds out what of a record leads to the object; and the
 * record of an object of the calling thread's heap, 0: there is none.
 */
void tm_js_heap_learn_handle(uintptr_t slot);
uintptr_t tm_js_heap_record_of(uintptr_t slot);
/*
 * In the same way, what types of objects can be smaller than was allocated: big integers, here one of so many digits, and
 * the tables of maps.
 */
void tm_js_heap_learn_integer(uintptr_t slot, uint32_t digits);
void tm_js_heap_learn_map(uintptr_t slot);

/*
 * While the thread verifies: which of its records is that of the object, among those made since the last call. TM_ERROR_STATE,
 * or TM_ERROR_CALIBRATION: there is none, or several.
 */
int32_t tm_js_heap_verify_object(uintptr_t slot);

/* Records that were not understood, or that a sampler other than ours made. */
uint64_t tm_js_heap_lost(void);

#endif
