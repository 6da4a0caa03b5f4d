#include "arena.h"

void *tm_arena_reserve(size_t bytes, size_t *got) {
    /* Address space that is limited is the program's first of all. */
    size_t least = bytes >> 10, most = os_address_space_left() / 32;
    while (bytes > most) bytes >>= 1;
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
