#include "arena.h"

static size_t mapped;

void *tm_arena_map(size_t bytes) {
    void *start = os_map(bytes);
    if (start) __atomic_add_fetch(&mapped, bytes, __ATOMIC_RELAXED);
    return start;
}

void tm_arena_unmap(void *start, size_t bytes) {
    os_unmap(start, bytes);
    __atomic_sub_fetch(&mapped, bytes, __ATOMIC_RELAXED);
}

void *tm_arena_reserve(size_t bytes, size_t *got) {
    size_t least = bytes >> 10;
    for (; bytes >= least && bytes >= 4096; bytes >>= 1) {
        void *start = os_map(bytes);
        if (start) {
            *got = bytes;
            return start;
        }
    }
    *got = 0;
    return NULL;
}

size_t tm_arena_bytes(void) { return __atomic_load_n(&mapped, __ATOMIC_RELAXED); }
