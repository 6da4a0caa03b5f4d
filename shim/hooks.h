/* The functions that are intercepted, as one list: HOOK(name). */
#ifndef TM_HOOKS_H
#define TM_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

#define TM_HOOKS(HOOK)   \
    HOOK(malloc)         \
    HOOK(calloc)         \
    HOOK(realloc)        \
    HOOK(reallocarray)   \
    HOOK(free)           \
    HOOK(posix_memalign) \
    HOOK(aligned_alloc)  \
    HOOK(memalign)       \
    HOOK(valloc)         \
    HOOK(pvalloc)

/* Linked into a program that calls the hooks by their names, for tests with an allocator that must stay in front. */
#ifndef TM_LINKED
#define TM_LINKED 0
#endif

void *tm_hook_malloc(size_t size);
void *tm_hook_calloc(size_t count, size_t size);
void *tm_hook_realloc(void *block, size_t size);
void *tm_hook_reallocarray(void *block, size_t count, size_t size);
void tm_hook_free(void *block);
int tm_hook_posix_memalign(void **out, size_t alignment, size_t size);
void *tm_hook_aligned_alloc(size_t alignment, size_t size);
void *tm_hook_memalign(size_t alignment, size_t size);
void *tm_hook_valloc(size_t size);
void *tm_hook_pvalloc(size_t size);
size_t tm_hook_malloc_usable_size(void *block);

/* What stands behind the hooks: the next allocator in line. */
struct tm_next {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*reallocarray)(void *, size_t, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
    size_t (*malloc_usable_size)(void *);
};

extern struct tm_next tm_next;
extern bool tm_preloaded; /* the program's own calls come here without more ado */

/* Finds the next allocator. May be called from the dynamic loader's first malloc on. */
void tm_hooks_resolve(void);

#endif
