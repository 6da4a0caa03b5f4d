#include "mimalloc_blocks.h"

#include <string.h>

#define LEAST_SHIFT 3 /* of the distance of two blocks */

uint64_t *tm_mimalloc_root[1 << TM_ROOT_BITS];
static tm_lock tables_lock;
static size_t bytes_used;

static inline unsigned shift_of(uint64_t word) { return (unsigned)(word >> 48); }
static inline uint32_t *table_of(uint64_t word) { return (uint32_t *)(word & 0x0000fffffffffff8ull); }
static inline size_t entries_with(unsigned shift) { return 1ul << (TM_REGION_BITS - shift); }

/* ---- memory of tables ---- */

typedef struct free_table {
    struct free_table *next;
} free_table;

#define SLAB_BYTES (1ul << 20)

typedef struct slab {
    struct slab *next;
    uint64_t unused[7];
} slab;

static free_table *free_tables[TM_REGION_BITS + 1];
static slab *slabs, *empty_slabs;
static char *slab_at, *slab_end;

static size_t table_bytes(unsigned shift) {
    size_t bytes = entries_with(shift) * sizeof(uint32_t);
    return bytes < sizeof(free_table) ? sizeof(free_table) : bytes;
}

/* All 0. With the lock. */
static uint32_t *table_new(unsigned shift) {
    size_t bytes = table_bytes(shift);
    free_table *table = free_tables[shift];
    if (table) {
        free_tables[shift] = table->next;
        table->next = NULL;
        return (uint32_t *)table;
    }
    if (slab_at + bytes > slab_end) {
        slab *fresh = empty_slabs;
        if (fresh) empty_slabs = fresh->next;
        else fresh = os_map(SLAB_BYTES);
        if (!fresh) return NULL;
        fresh->next = slabs;
        slabs = fresh;
        slab_at = (char *)(fresh + 1);
        slab_end = (char *)fresh + SLAB_BYTES;
    }
    table = (free_table *)slab_at;
    slab_at += bytes;
    bytes_used += bytes;
    return (uint32_t *)table;
}

static uint64_t *word_of(uintptr_t block) {
    uint64_t *leaf = tm_mimalloc_root[block >> (TM_REGION_BITS + TM_LEAF_BITS)];
    return leaf ? &leaf[(block >> TM_REGION_BITS) & ((1ul << TM_LEAF_BITS) - 1)] : NULL;
}

uint64_t tm_mimalloc_region_new(uintptr_t block, uint64_t size) {
    uintptr_t index = block >> (TM_REGION_BITS + TM_LEAF_BITS);
    unsigned shift = size >> LEAST_SHIFT ? 63 - (unsigned)__builtin_clzll(size) : LEAST_SHIFT;
    if (shift > TM_REGION_BITS) shift = TM_REGION_BITS;
    if (index >> TM_ROOT_BITS) return 0;
    tm_lock_take(&tables_lock);
    if (!tm_mimalloc_root[index]) __atomic_store_n(&tm_mimalloc_root[index], os_map(sizeof(uint64_t) << TM_LEAF_BITS), __ATOMIC_RELEASE);
    uint64_t *region = word_of(block), word = region ? *region : 0;
    if (region && !word) {
        uint32_t *table = table_new(shift);
        if (table) word = (uint64_t)(uintptr_t)table | (uint64_t)shift << 48;
        __atomic_store_n(region, word, __ATOMIC_RELEASE);
    }
    tm_lock_drop(&tables_lock);
    return word;
}

void tm_mimalloc_blocks_forget(uintptr_t low, uintptr_t high, void (*each)(uint32_t, void *), void *context) {
    for (uintptr_t at = low; at < high; at = ((at >> TM_REGION_BITS) + 1) << TM_REGION_BITS) {
        if (!tm_mimalloc_region(at)) continue;
        uint64_t *region = word_of(at);
        tm_lock_take(&tables_lock);
        uint64_t word = *region;
        __atomic_store_n(region, 0, __ATOMIC_RELEASE);
        if (word) {
            uint32_t *table = table_of(word);
            for (size_t i = 0; i < entries_with(shift_of(word)); i++) {
                if (!table[i]) continue;
                each(table[i], context);
                table[i] = 0;
            }
            free_table *freed = (free_table *)table;
            freed->next = free_tables[shift_of(word)];
            free_tables[shift_of(word)] = freed;
        }
        tm_lock_drop(&tables_lock);
    }
}

void tm_mimalloc_blocks_each(void (*each)(uint32_t, void *), void *context) {
    for (uintptr_t i = 0; i < 1ul << TM_ROOT_BITS; i++)
        for (uintptr_t k = 0; tm_mimalloc_root[i] && k < 1ul << TM_LEAF_BITS; k++) {
            uint64_t word = tm_mimalloc_root[i][k];
            const uint32_t *table = table_of(word);
            for (size_t entry = 0; word && entry < entries_with(shift_of(word)); entry++)
                if (table[entry]) each(table[entry], context);
        }
}

void tm_mimalloc_blocks_clear(void) {
    for (uintptr_t i = 0; i < 1ul << TM_ROOT_BITS; i++)
        if (tm_mimalloc_root[i]) os_discard(tm_mimalloc_root[i], sizeof(uint64_t) << TM_LEAF_BITS);
    /* Emptied slabs are used from the first again; whoever still looks at a table of one sees nothing. */
    while (slabs) {
        slab *next = slabs->next;
        os_discard(slabs, SLAB_BYTES);
        slabs->next = empty_slabs;
        empty_slabs = slabs;
        slabs = next;
    }
    slab_at = slab_end = NULL;
    memset(free_tables, 0, sizeof free_tables);
    bytes_used = 0;
}

size_t tm_mimalloc_blocks_bytes(void) { return bytes_used; }
