#include "arena.h"

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
