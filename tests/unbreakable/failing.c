/*
 * Allocations that fail. Prints what each call gave, which is to be the same traced and untraced. Traced (preloaded, or with
 * the shim's path to have it hooked in), it also sees to the sums.
 *
 *   failing [SHIM]
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "../../shim/tracemalloc.h"
#include "expect.h"

static __typeof__(&tracemalloc_memory) memory;
static __typeof__(&tracemalloc_start) start;
static __typeof__(&tracemalloc_snapshot) snapshot;

static uint64_t current(void) {
    uint64_t out[4] = {0};
    if (memory) memory(out);
    return out[0];
}

#define CALL(call)                                                     \
    do {                                                               \
        errno = 77;                                                    \
        uintptr_t given = (uintptr_t)(call);                           \
        int error = errno;                                             \
        printf("%s: %s, errno %d\n", #call, given ? "not 0" : "0", error); \
    } while (0)

enum { KEPT = 1000 };
static volatile size_t most = (size_t)PTRDIFF_MAX - 4096, all = SIZE_MAX, half = (size_t)1 << 40, odd = 24, much = 64 << 20;
static unsigned char *kept;
static void *untouched = &untouched;

static void fail_all(void) {
    CALL(malloc(most));
    CALL(malloc(all));
    CALL(calloc(half, half));
    CALL(calloc(1, most));
    CALL(realloc(NULL, most));
    CALL(realloc(kept, most));
    CALL(reallocarray(kept, half, half));
    CALL(reallocarray(kept, 1, most));
    CALL(posix_memalign(&untouched, 64, most));
    CALL(posix_memalign(&untouched, odd, 100));
    CALL(aligned_alloc(64, most));
    CALL(memalign(64, most));
    CALL(valloc(most));
    CALL(pvalloc(all));
}

static void fail_for_want_of_memory(void) {
    char text[64] = "";
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file && fgets(text, sizeof text, file), "no statm");
    fclose(file);
    struct rlimit limit = {strtoul(text, NULL, 10) * 4096 + much / 4, RLIM_INFINITY};
    EXPECT(!setrlimit(RLIMIT_AS, &limit), "no limit");
    CALL(malloc(much));
    CALL(calloc(2, much));
    CALL(realloc(kept, much));
    CALL(posix_memalign(&untouched, 4096, much));
    CALL(aligned_alloc(4096, much));
    limit.rlim_cur = RLIM_INFINITY;
    EXPECT(!setrlimit(RLIMIT_AS, &limit), "the limit stays");
}

static void *look_up(void *library, const char *name) {
    void *symbol = dlsym(library, name);
    EXPECT(symbol, "no %s", name);
    return symbol;
}

int main(int count, char **arguments) {
    static char buffer[8192];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : RTLD_DEFAULT;
    EXPECT(count == 1 || library, "%s", dlerror());
    if (count > 1 || dlsym(RTLD_DEFAULT, "tracemalloc_memory")) {
        *(void **)&memory = look_up(library, "tracemalloc_memory");
        *(void **)&start = look_up(library, "tracemalloc_start");
        *(void **)&snapshot = look_up(library, "tracemalloc_snapshot");
        EXPECT(start(1, 0) == TM_OK, "start");
    }
    uint64_t before = current();
    kept = malloc(KEPT);
    memset(kept, 5, KEPT);
    fail_all();
    fail_for_want_of_memory();
    for (int i = 0; i < KEPT; i++) EXPECT(kept[i] == 5, "a block that could not grow has changed");
    EXPECT(untouched == &untouched, "a result was written where there is none");
    if (memory) {
        uint64_t now = current();
        EXPECT(now - before == KEPT, "%ld bytes are traced, and not %d", (long)(now - before), KEPT);
        const tm_image *image = snapshot();
        const uint64_t *counters = (const uint64_t *)((const char *)image + image->counters);
        EXPECT(counters[TM_COUNT_LOST_MEMORY] == 0, "blocks that do not exist are said to be lost");
    }
    free(kept);
    EXPECT(current() == before, "something is left");
    return 0;
}
