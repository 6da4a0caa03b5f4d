/* A native library that tells the tracer of its memory, and also runs where there is none. */
#include <stddef.h>
#include <stdint.h>

__attribute__((weak)) int tracemalloc_track(unsigned domain, uintptr_t address, size_t size);
__attribute__((weak)) int tracemalloc_untrack(unsigned domain, uintptr_t address);

static char pool[1 << 16];

/* The result of track, or 1 where there is no tracer. */
int pool_take(int index, int size) {
    return tracemalloc_track ? tracemalloc_track(77, (uintptr_t)(pool + index), (size_t)size) : 1;
}

int pool_give(int index) { return tracemalloc_untrack ? tracemalloc_untrack(77, (uintptr_t)(pool + index)) : 1; }
