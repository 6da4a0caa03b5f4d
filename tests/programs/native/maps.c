/* Maps memory in all ways there are, by numbers: which mapping, from which of its pages on, how many pages. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096l

static char *mapping[16];

static char *place(int32_t which, int32_t from) { return mapping[which] + from * PAGE; }
static int protection(int32_t accessible) { return accessible ? PROT_READ | PROT_WRITE : PROT_NONE; }

static int32_t keep(int32_t which, void *start) {
    if (start == MAP_FAILED) return -1;
    mapping[which] = start;
    return 0;
}

int32_t map_pages(int32_t which, int32_t pages, int32_t accessible) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (accessible ? 0 : MAP_NORESERVE);
    return keep(which, mmap(NULL, (size_t)(pages * PAGE), protection(accessible), flags, -1, 0));
}

int32_t map_over(int32_t which, int32_t from, int32_t pages, int32_t accessible) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    return mmap(place(which, from), (size_t)(pages * PAGE), protection(accessible), flags, -1, 0) == MAP_FAILED ? -1 : 0;
}

int32_t map_file_over(int32_t which, int32_t from, int32_t pages) {
    int file = memfd_create("maps", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, pages * PAGE)) return -1;
    void *start = mmap(place(which, from), (size_t)(pages * PAGE), PROT_READ, MAP_SHARED | MAP_FIXED, file, 0);
    close(file);
    return start == MAP_FAILED ? -1 : 0;
}

int32_t unmap_pages(int32_t which, int32_t from, int32_t pages) { return munmap(place(which, from), (size_t)(pages * PAGE)); }

/* The same with a length that ends within the last page. */
int32_t unmap_roughly(int32_t which, int32_t from, int32_t pages) { return munmap(place(which, from), (size_t)(pages * PAGE - 100)); }

int32_t protect_pages(int32_t which, int32_t from, int32_t pages, int32_t accessible) {
    return mprotect(place(which, from), (size_t)(pages * PAGE), protection(accessible));
}

/* Of pages that lie on no boundary. */
int32_t fail_to_unmap(int32_t which) { return munmap(mapping[which] + 1, PAGE) == -1 ? 0 : -1; }

int32_t remap_pages(int32_t which, int32_t pages, int32_t wanted) {
    return keep(which, mremap(mapping[which], (size_t)(pages * PAGE), (size_t)(wanted * PAGE), MREMAP_MAYMOVE));
}

/* Into another mapping, whose pages from there on are gone then. */
int32_t remap_into(int32_t which, int32_t pages, int32_t other, int32_t from) {
    size_t bytes = (size_t)(pages * PAGE);
    return mremap(mapping[which], bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place(other, from)) == MAP_FAILED ? -1 : 0;
}

int32_t discard_pages(int32_t which, int32_t from, int32_t pages) {
    return madvise(place(which, from), (size_t)(pages * PAGE), MADV_DONTNEED);
}

int32_t touch_pages(int32_t which, int32_t from, int32_t pages) {
    memset(place(which, from), 1, (size_t)(pages * PAGE));
    return 0;
}

static void *churn_alone(void *context) {
    uintptr_t random = (uintptr_t)context * 2654435761u + 1;
    for (int i = 0; i < 3000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t bytes = (1 + (random >> 60)) * (size_t)PAGE;
        char *start = mmap(NULL, bytes, i & 1 ? PROT_NONE : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED || mprotect(start, PAGE, PROT_READ | PROT_WRITE)) abort();
        *start = 1;
        start = mremap(start, PAGE, PAGE, 0);
        free(malloc(bytes));
        if (start == MAP_FAILED || munmap(start, bytes)) abort();
    }
    return NULL;
}

/* Threads that map and unmap at once, and leave nothing. */
int32_t churn(int32_t threads) {
    pthread_t all[64];
    for (int32_t i = 0; i < threads; i++)
        if (pthread_create(&all[i], NULL, churn_alone, (void *)(intptr_t)i)) abort();
    for (int32_t i = 0; i < threads; i++) pthread_join(all[i], NULL);
    return 0;
}
