/*
 * A native library that keeps memory, for the programs beside this folder. It is built twice (tests/tracer/): with
 * frame pointers and without, so that rbp means anything.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void **kept;
static size_t kept_count, kept_room;

static void keep(void *block) {
    if (kept_count == kept_room) kept = realloc(kept, (kept_room = kept_room * 2 + 1024) * sizeof *kept);
    if (!block || !kept) abort();
    kept[kept_count++] = block;
}

void keep_malloc(uint32_t size) { keep(malloc(size)); }

/* Blocks of every function of the family, all of one size; how many. */
uint32_t keep_family(uint32_t size) {
    void *aligned = NULL;
    keep(malloc(size));
    keep(calloc(1, size));
    keep(realloc(NULL, size));
    if (posix_memalign(&aligned, 64, size)) abort();
    keep(aligned);
    keep(aligned_alloc(64, size));
    char *text = malloc(size);
    if (!text) abort();
    memset(text, 'x', size - 1);
    text[size - 1] = 0;
    keep(text);
    keep(strdup(text));
    return 7;
}

void *take(uint32_t size) { return malloc(size); }
void *grow(void *block, uint32_t size) { return realloc(block, size); }
void give_back(void *block) { free(block); }

/* Without frame pointers all registers that a call preserves are in use at the bottom, rbp among them. */
__attribute__((noinline)) uint64_t keep_deep(uint32_t depth, uint32_t size, const uint64_t *values) {
    uint64_t a = values[0], b = values[1], c = values[2], d = values[3], e = values[4], f = values[5], g = values[6];
    uint64_t below = 0;
    if (depth) below = keep_deep(depth - 1, size, values);
    else keep(malloc(size));
    return below + (a ^ b * c ^ d * e ^ f * g) + (a + b + c + d + e + f + g) * below;
}

typedef void (*callback)(uint32_t number);

/* Memory of its own before, between and after the calls. */
void call_back(callback call, uint32_t times, uint32_t size) {
    keep(malloc(size));
    for (uint32_t i = 0; i < times; i++) {
        call(i);
        keep(malloc(size));
    }
}

void only_call_back(callback call, uint32_t number) { call(number); }

typedef int32_t (*compare)(const void *a, const void *b);

/* Back into JavaScript through libc, whose frames are its own. */
void sort_numbers(int32_t *numbers, uint32_t count, compare compare) { qsort(numbers, count, sizeof *numbers, compare); }
