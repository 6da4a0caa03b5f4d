/*
 * For each block of mimalloc's, its tally. A directory has a word for each 64 KiB of the address space, which belong to one
 * of mimalloc's pages as long as that is there; it points to a table of the blocks that begin there. Blocks of a page are
 * at least as far apart as the smallest is large, so that each has an entry of its own, found from its address alone, and
 * no lock is needed: a block is one thread's when it is taken, and one thread's when it is given back.
 */
#ifndef TM_MIMALLOC_BLOCKS_H
#define TM_MIMALLOC_BLOCKS_H

#include "thread.h"

#define TM_REGION_BITS 16
#define TM_LEAF_BITS 16 /* a leaf of the directory covers 4 GiB and takes 512 KiB of address space */
#define TM_ROOT_BITS (47 - TM_REGION_BITS - TM_LEAF_BITS)

/* Words of the directory: 0, or a table and, in the upper 16 bits, the shift from a block's place to its entry's. */
extern uint64_t *tm_mimalloc_root[1 << TM_ROOT_BITS];

/* The word of a region in which blocks are known; 0: there is none. */
static inline uint64_t tm_mimalloc_region(uintptr_t block) {
    uintptr_t index = block >> (TM_REGION_BITS + TM_LEAF_BITS);
    if (tm_unlikely(index >> TM_ROOT_BITS)) return 0;
    const uint64_t *leaf = __atomic_load_n(&tm_mimalloc_root[index], __ATOMIC_ACQUIRE);
    return tm_likely(leaf != NULL) ? __atomic_load_n(&leaf[(block >> TM_REGION_BITS) & ((1ul << TM_LEAF_BITS) - 1)], __ATOMIC_ACQUIRE) : 0;
}

/* Its tally; 0: it has none. May be read at any time: tables are emptied, and used again, but never unmapped. */
static inline uint32_t *tm_mimalloc_entry(uint64_t region, uintptr_t block) {
    return (uint32_t *)(region & 0x0000fffffffffff8ull) + ((block & ((1ul << TM_REGION_BITS) - 1)) >> (region >> 48));
}

/* A region's first block: `size` is what was asked for, and no two blocks of the page are nearer. 0: there is no memory. */
uint64_t tm_mimalloc_region_new(uintptr_t block, uint64_t size);

/* False: there is no memory. */
static inline bool tm_mimalloc_blocks_put(uintptr_t block, uint64_t size, uint32_t tally) {
    uint64_t region = tm_mimalloc_region(block);
    if (tm_unlikely(!region) && !(region = tm_mimalloc_region_new(block, size))) return false;
    __atomic_store_n(tm_mimalloc_entry(region, block), tally, __ATOMIC_RELAXED);
    return true;
}

static inline uint32_t tm_mimalloc_blocks_find(uintptr_t block) {
    uint64_t region = tm_mimalloc_region(block);
    return region ? __atomic_load_n(tm_mimalloc_entry(region, block), __ATOMIC_RELAXED) : 0;
}

/* Its tally, which is not kept any more. */
static inline uint32_t tm_mimalloc_blocks_take(uintptr_t block) {
    uint64_t region = tm_mimalloc_region(block);
    uint32_t *entry = region ? tm_mimalloc_entry(region, block) : NULL, tally = entry ? __atomic_load_n(entry, __ATOMIC_RELAXED) : 0;
    if (tally) __atomic_store_n(entry, 0, __ATOMIC_RELAXED);
    return tally;
}

/* No block lives in [low, high), of which one page was made, or will be. Each tally that one still has is passed on. */
void tm_mimalloc_blocks_forget(uintptr_t low, uintptr_t high, void (*each)(uint32_t tally, void *context), void *context);

/* With the gate closed. */
void tm_mimalloc_blocks_each(void (*each)(uint32_t tally, void *context), void *context);
void tm_mimalloc_blocks_clear(void);
size_t tm_mimalloc_blocks_bytes(void);

#endif
