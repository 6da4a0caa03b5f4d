/*
 * The domain of mappings: anonymous memory that is mapped and may be accessed, by the line that made it so.
 *
 * Engines reserve address space without any access, gigabytes of it, and open parts of it when they are needed. A reservation
 * is not memory: it is kept here so that what is opened in it is known, and does not count. What was opened and given back
 * whole (madvise) is idle: V8 does so at once with the 512 MiB that its code may fill, and touches pages later without a
 * call. Of such pieces counts what is in memory. Mappings of the tracer and of the C library itself (stacks of threads, the
 * pages behind malloc) do not come by here.
 */
#ifndef TM_MAPS_H
#define TM_MAPS_H

#include <sys/types.h>

#include "thread.h"

#define TM_DOMAIN_MMAP 3u

/* As TM_HOOKS: only where the domain is wanted are slots made to point to them. */
#define TM_MAP_HOOKS(HOOK) \
    HOOK(mmap)             \
    HOOK(mmap64)           \
    HOOK(munmap)           \
    HOOK(mremap)           \
    HOOK(mprotect)         \
    HOOK(pkey_mprotect)    \
    HOOK(madvise)

void *tm_hook_mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset);
void *tm_hook_mmap64(void *address, size_t bytes, int protection, int flags, int file, off_t offset);
int tm_hook_munmap(void *address, size_t bytes);
void *tm_hook_mremap(void *address, size_t bytes, size_t wanted, int flags, ...);
int tm_hook_mprotect(void *address, size_t bytes, int protection);
int tm_hook_pkey_mprotect(void *address, size_t bytes, int protection, int key);
int tm_hook_madvise(void *address, size_t bytes, int advice);

struct tm_next_map {
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    void *(*mmap64)(void *, size_t, int, int, int, off_t);
    int (*munmap)(void *, size_t);
    void *(*mremap)(void *, size_t, size_t, int, ...);
    int (*mprotect)(void *, size_t, int);
    int (*pkey_mprotect)(void *, size_t, int, int);
    int (*madvise)(void *, size_t, int);
};

/* What stands behind the hooks: the next definitions, where the shim is preloaded. */
extern struct tm_next_map tm_next_map;
void tm_maps_resolve(bool next);

/* Read by every hook. */
extern bool tm_maps_wanted;

/* With the gate closed: the domain is traced from now on, or is not. What is mapped now is known, and is nobody's. */
void tm_maps_start(bool wanted);
/* With the gate closed: what is mapped is nobody's. */
void tm_maps_clear(void);
/* With the gate closed. Of idle pieces, as many bytes as are in memory. */
void tm_maps_each(void (*each)(uint32_t domain, uint64_t size, uint32_t node, void *context), void *context);
/* The mapping that begins at the address. */
bool tm_map_find(uintptr_t address, uint64_t *size, uint32_t *node);
size_t tm_maps_bytes(void);
uint64_t tm_maps_lost(void);

#endif
