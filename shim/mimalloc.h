/*
 * Tracing a mimalloc that is part of the program itself (Bun's), whose functions no symbol names: through the profiler
 * hooks that mimalloc 3.5 has compiled in. Where they are is found at run time (mimalloc_find.c), the rest is mimalloc.c.
 *
 * mimalloc's words: a heap belongs to a subprocess (of which there is one); each thread has a theap of its own for each
 * heap; pages hold blocks of one size. A theap asks its heap for a profiler now and then, a new heap its subprocess.
 */
#ifndef TM_MIMALLOC_H
#define TM_MIMALLOC_H

#include "platform.h"

/* Offsets are bytes. FIELD(name): what the report says, and what verification checks one by one. */
#define TM_MIMALLOC_LAYOUT(FIELD) \
    FIELD(tls_default)            /* word of a thread's storage with its theap, from the thread pointer */ \
    FIELD(tls_cached)             /* word with the theap that was used last */ \
    FIELD(direct_count)           /* a theap begins with so many pointers to pages, by size in words: the short way */ \
    FIELD(theap_heap)             /* pointer to the heap */ \
    FIELD(theap_limit)            /* -1: the theap is to look at its heap's profiler; else a constant */ \
    FIELD(heap_subprocess)        /* pointer to the subprocess */ \
    FIELD(heap_theaps)            /* one theap of the heap, of any thread */ \
    FIELD(heap_next)              /* heaps of one list */ \
    FIELD(heap_previous)          \
    FIELD(heap_profiler)          /* tm_profiler *, written to by us */ \
    FIELD(subprocess_profiler)    /* the same, for heaps to come */

typedef struct tm_mimalloc_layout {
#define FIELD(name) int32_t name;
    TM_MIMALLOC_LAYOUT(FIELD)
#undef FIELD
    uintptr_t empty_theap, empty_page; /* what stands for none */
    uintptr_t subprocess;
    uintptr_t update_site, heap_site; /* code that the offsets were read from */
} tm_mimalloc_layout;

/*
 * Finds all of it, or says what is missing. Reads only; nothing is trusted that two things do not say.
 */
bool tm_mimalloc_find(tm_mimalloc_layout *layout, const char **failure);
/* Holds all that it says? To be asked before anything is written by it. */
bool tm_mimalloc_verify(const tm_mimalloc_layout *layout, const char **failure);
/* Every heap there is, once or more often. */
void tm_mimalloc_each_heap(const tm_mimalloc_layout *layout, void (*each)(uintptr_t heap, void *context), void *context);

extern volatile bool tm_mimalloc_ready; /* found, tested, accepted */

/* Begins to trace the allocator's blocks, those of threads that start later too. With the control lock held. */
void tm_mimalloc_install(void);
void tm_mimalloc_remove(void);

/* The block that begins at an address, if it is one of those that are traced. */
bool tm_mimalloc_find_block(uintptr_t address, uint64_t *size, uint32_t *node);
uint64_t tm_mimalloc_lost(void); /* blocks, for want of memory */

#endif
