/* Comes and goes, and allocates while it does. */
#include <stdlib.h>

static void *volatile kept;

__attribute__((constructor)) static void come(void) { kept = malloc(2003); }
__attribute__((destructor)) static void go(void) { free(kept); }

void *library_block(size_t size) {
    void *volatile block = malloc(size);
    return block;
}
