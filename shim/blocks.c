#include "blocks.h"

#include <string.h>

#include "maps.h"
#include "sampling.h"
#include "side.h"

#define PAGE_BITS 12
#ifndef TM_ADDRESS_BITS /* tests have a smaller directory */
#define TM_ADDRESS_BITS 47
#define LEAF_BITS 18 /* pages a leaf: a leaf covers 1 GiB and takes 2 MiB of address space */
#endif
#define ROOT_BITS (TM_ADDRESS_BITS - PAGE_BITS - LEAF_BITS)

#define MALLOC 0 /* the domain of malloc and its family */

/* ---- words of the directory: 0, or a bucket and what is known of it ---- */

#define LOCKED 1ull
#define EPOCH 2ull /* differs from `epoch` while a snapshot is still to visit the page */
#define BUCKET 0x00007ffffffffff0ull
#define KIND_SHIFT 47
#define COUNT_SHIFT 51
#define ONE_BLOCK (1ull << COUNT_SHIFT)

static inline unsigned kind_of(uint64_t word) { return (unsigned)(word >> KIND_SHIFT) & 15; }
static inline unsigned count_of(uint64_t word) { return (unsigned)(word >> COUNT_SHIFT); }
static inline uint64_t *entries_of(uint64_t word) { return (uint64_t *)(word & BUCKET); }

/*
 * A bucket of a kind has 2 << kind entries; the largest has one for each address in the page that is a multiple of 8. It
 * is replaced by a larger one when only an eighth is empty: of 2, then 8, then twice as many each time.
 */
#define KINDS 9
#define OFFSET_BITS (PAGE_BITS - 3)
static inline unsigned capacity_of(unsigned kind) { return 2u << kind; }
static inline unsigned most_in(unsigned kind) { return kind == KINDS - 1 ? capacity_of(kind) : capacity_of(kind) - (capacity_of(kind) >> 3); }

/* Buckets up to this kind stay with their page when it has no more blocks: it will most likely have some again. */
#define KEPT_KIND 3

/* ---- entries: 0, or node, offset in the page, size ---- */

#define SIZE_BITS 28
#define SIZE_ELSEWHERE ((1ull << SIZE_BITS) - 1) /* too large: it stands in the side table */
#define NODE_SHIFT (SIZE_BITS + OFFSET_BITS)

_Static_assert(TM_NODE_MARK < 1ull << (64 - NODE_SHIFT), "a node fits an entry");

static inline uint64_t entry_with(uint32_t node, unsigned offset, uint64_t size) {
    return (uint64_t)node << NODE_SHIFT | (uint64_t)offset << SIZE_BITS | size;
}
static inline unsigned offset_of(uint64_t entry) { return (unsigned)(entry >> SIZE_BITS) & ((1u << OFFSET_BITS) - 1); }
static inline uint64_t size_of(uint64_t entry) { return entry & SIZE_ELSEWHERE; }
static inline uint32_t node_of(uint64_t entry) { return (uint32_t)(entry >> NODE_SHIFT); }
/* Is it a block with all that is known of it? */
static inline bool is_block(uint64_t entry) { return entry && size_of(entry) != SIZE_ELSEWHERE && node_of(entry) != TM_NODE_MARK; }

/* Blocks of a page are at multiples of 8; the side table takes any address. */
static inline bool fits_a_page(uintptr_t address) { return !(address & 7) && !(address >> TM_ADDRESS_BITS); }
static inline unsigned offset_in_page(uintptr_t address) { return (unsigned)(address >> 3) & ((1u << OFFSET_BITS) - 1); }

static inline unsigned place_of(unsigned offset, unsigned kind) { return offset >> (OFFSET_BITS - 1 - kind); }

static uint64_t lost;
static void note_lost(void) { __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED); }

/* ---- memory of buckets ---- */

typedef struct free_bucket {
    struct free_bucket *next;
} free_bucket;

static free_bucket *free_buckets[KINDS];
static tm_lock bucket_lock;

typedef struct slab {
    struct slab *next;
    uint64_t unused[7]; /* buckets begin at a cache line, or share one */
} slab;

static slab *slabs;
static char *slab_at, *slab_end;
static size_t bytes_used, pages_used;
#define SLAB_BYTES (2ul << 20)

/* Its entries are all 0. */
static uint64_t *bucket_new(unsigned kind) {
    size_t bytes = capacity_of(kind) * sizeof(uint64_t);
    tm_lock_take(&bucket_lock);
    free_bucket *b = free_buckets[kind];
    if (b) {
        free_buckets[kind] = b->next;
    } else {
        /* A bucket of less than a line must not lie in two. */
        size_t align = bytes < 64 ? bytes : 64;
        slab_at += -(uintptr_t)slab_at & (align - 1);
        if (slab_at + bytes > slab_end) {
            slab *fresh = slabs ? os_map_large(SLAB_BYTES) : os_map(SLAB_BYTES); /* the first is all that most programs need */
            if (fresh) {
                fresh->next = slabs;
                slabs = fresh;
                slab_at = (char *)(fresh + 1);
                slab_end = (char *)fresh + SLAB_BYTES;
            }
        }
        if (slab_at + bytes <= slab_end) {
            b = (free_bucket *)slab_at;
            slab_at += bytes;
            bytes_used += bytes;
        }
    }
    tm_lock_drop(&bucket_lock);
    if (b) b->next = NULL; /* the rest is 0 already: buckets are given back empty */
    return (uint64_t *)b;
}

/* Of an empty bucket. */
static void bucket_drop(uint64_t *entries, unsigned kind) {
    tm_lock_take(&bucket_lock);
    free_bucket *freed = (free_bucket *)entries;
    freed->next = free_buckets[kind];
    free_buckets[kind] = freed;
    tm_lock_drop(&bucket_lock);
}

/* ---- entries of a bucket ---- */

/* The entry with the offset, or the empty one where it would be; NULL: it is not there, and the bucket is full. */
static inline uint64_t *bucket_slot(uint64_t word, unsigned offset) {
    uint64_t *entries = entries_of(word);
    unsigned mask = capacity_of(kind_of(word)) - 1, at = place_of(offset, kind_of(word));
    for (unsigned left = mask + 1; left > 0; left--, at = (at + 1) & mask)
        if (!entries[at] || offset_of(entries[at]) == offset) return &entries[at];
    return NULL;
}

/* The word with a larger bucket, or 0. */
static __attribute__((noinline)) uint64_t bucket_grown(uint64_t word) {
    unsigned kind = kind_of(word), larger_kind = kind ? kind + 1 : 2;
    uint64_t *from = entries_of(word), *to = bucket_new(larger_kind);
    if (!to) return 0;
    uint64_t larger = (word & ~(BUCKET | 15ull << KIND_SHIFT)) | (uint64_t)(uintptr_t)to | (uint64_t)larger_kind << KIND_SHIFT;
    for (unsigned i = 0; i < capacity_of(kind); i++)
        if (from[i]) *bucket_slot(larger, offset_of(from[i])) = from[i];
    memset(from, 0, capacity_of(kind) * sizeof *from);
    bucket_drop(from, kind);
    return larger;
}

/* Empties an entry, and moves up those behind it that would not be found any more. */
static inline uint64_t bucket_remove(uint64_t word, uint64_t *slot) {
    uint64_t *entries = entries_of(word);
    unsigned kind = kind_of(word), mask = capacity_of(kind) - 1, hole = (unsigned)(slot - entries);
    for (unsigned at = (hole + 1) & mask, left = mask; left > 0 && entries[at]; left--, at = (at + 1) & mask) {
        unsigned from_home = (at - place_of(offset_of(entries[at]), kind)) & mask;
        if (from_home < ((at - hole) & mask)) continue;
        entries[hole] = entries[at];
        hole = at;
    }
    entries[hole] = 0;
    word -= ONE_BLOCK;
    if (count_of(word) || kind <= KEPT_KIND) return word;
    bucket_drop(entries, kind);
    __atomic_sub_fetch(&pages_used, 1, __ATOMIC_RELAXED);
    return 0;
}

/* ---- the directory ---- */

static uint64_t *root[1 << ROOT_BITS];
static tm_lock root_lock;

static uint64_t *leaf_new(uintptr_t index) {
    tm_lock_take(&root_lock);
    uint64_t *leaf = root[index];
    if (!leaf) {
        leaf = os_map(sizeof(uint64_t) << LEAF_BITS);
        __atomic_store_n(&root[index], leaf, __ATOMIC_RELEASE);
    }
    tm_lock_drop(&root_lock);
    return leaf;
}

static inline uint64_t *page_of(uintptr_t address, bool make) {
    uintptr_t index = address >> (PAGE_BITS + LEAF_BITS);
    if (tm_unlikely(index >> ROOT_BITS)) return NULL;
    uint64_t *leaf = __atomic_load_n(&root[index], __ATOMIC_ACQUIRE);
    if (tm_unlikely(!leaf)) {
        if (!make || !(leaf = leaf_new(index))) return NULL;
    }
    return &leaf[(address >> PAGE_BITS) & ((1ul << LEAF_BITS) - 1)];
}

static inline void prefetch_slot(uint64_t word, unsigned offset) {
    __builtin_prefetch(entries_of(word) + place_of(offset, kind_of(word)), 1);
}

static uint64_t save(uint64_t word);
static uint64_t epoch; /* changes with the gate closed */

/* The word, to be given back by page_unlock(). What a snapshot still needs of the page is saved. */
static inline uint64_t page_lock(uint64_t *page, unsigned offset) {
    for (unsigned spins = 1;; spins++) {
        uint64_t word = __atomic_load_n(page, __ATOMIC_RELAXED) & ~LOCKED;
        /* The entry is fetched while the lock is waited for, which nothing behind it can overtake. */
        prefetch_slot(word, offset);
        if (tm_likely(__atomic_compare_exchange_n(page, &word, word | LOCKED, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
            return tm_likely((word & EPOCH) == epoch) ? word : save(word);
        if (spins & 63) __builtin_ia32_pause();
        else os_yield();
    }
}

static inline void page_unlock(uint64_t *page, uint64_t word) { __atomic_store_n(page, word, __ATOMIC_RELEASE); }

/* ---- the table ---- */

/* What a block counts as among the bytes traced. */
static inline int64_t traced_bytes(uint64_t size) {
    return (int64_t)(tm_likely(!tm_sample_bytes) ? size : (uint64_t)((double)size * tm_sample_weight(size)));
}

bool tm_block_possible(uintptr_t address) {
    if (tm_unlikely(!fits_a_page(address))) return true;
    const uint64_t *page = page_of(address, false);
    return page && count_of(__atomic_load_n(page, __ATOMIC_RELAXED));
}

void tm_block_prefetch(uintptr_t address) {
    if (tm_unlikely(!fits_a_page(address))) return;
    const uint64_t *page = page_of(address, false);
    if (tm_likely(page != NULL)) prefetch_slot(__atomic_load_n(page, __ATOMIC_RELAXED), offset_in_page(address));
}

/* Puts an entry into a page; *old is the one that was there, or 0. False: no memory. */
static inline bool page_put(uint64_t *page, unsigned offset, uint64_t fresh, uint64_t *old) {
    uint64_t word = page_lock(page, offset), *slot = NULL;
    if (tm_unlikely(!entries_of(word))) {
        word = epoch | (uint64_t)(uintptr_t)bucket_new(0);
        __atomic_add_fetch(&pages_used, entries_of(word) != NULL, __ATOMIC_RELAXED);
    }
    if (tm_likely(entries_of(word) != NULL)) {
        slot = bucket_slot(word, offset);
        if (tm_unlikely(!slot || (!*slot && count_of(word) == most_in(kind_of(word))))) {
            uint64_t larger = bucket_grown(word);
            if (larger) {
                word = larger;
                slot = bucket_slot(word, offset);
            }
        }
    }
    if (tm_likely(slot != NULL)) {
        *old = *slot;
        if (tm_likely(!*slot)) word += ONE_BLOCK;
        *slot = fresh;
    }
    page_unlock(page, word);
    return slot != NULL;
}

/* What does not fit an entry; its size stands in the side table, and where that can be, an entry in its page says so. */
static __attribute__((noinline)) void put_aside(tm_thread *self, uintptr_t address, uint64_t size, uint32_t node) {
    uint64_t before = tm_side_put(MALLOC, address, size, node), old = 0;
    if (before == TM_SIDE_FAILED) {
        note_lost();
        return;
    }
    if (fits_a_page(address)) {
        unsigned offset = offset_in_page(address);
        uint64_t *page = page_of(address, true);
        if (!page || !page_put(page, offset, entry_with(node, offset, SIZE_ELSEWHERE), &old)) {
            tm_side_take(MALLOC, address, &size, &node);
            tm_account(self, -traced_bytes(before));
            note_lost();
            return;
        }
        if (old && size_of(old) != SIZE_ELSEWHERE) before = size_of(old);
    }
    tm_account(self, traced_bytes(size) - traced_bytes(before));
}

void tm_block_put(tm_thread *self, uintptr_t address, uint64_t size, uint32_t node) {
    if (tm_unlikely(size >= SIZE_ELSEWHERE || !fits_a_page(address))) {
        put_aside(self, address, size, node);
        return;
    }
    unsigned offset = offset_in_page(address);
    uint64_t *page = page_of(address, true), old = 0, before = 0;
    if (tm_unlikely(!page || !page_put(page, offset, entry_with(node, offset, size), &old))) {
        note_lost();
        return;
    }
    if (tm_unlikely(old)) {
        uint32_t old_node;
        before = size_of(old);
        if (before == SIZE_ELSEWHERE && !tm_side_take(MALLOC, address, &before, &old_node)) before = 0;
    }
    tm_account(self, traced_bytes(size) - traced_bytes(before));
}

bool tm_block_take(tm_thread *self, uintptr_t address, uint64_t *size, uint32_t *node) {
    if (tm_likely(fits_a_page(address))) {
        uint64_t *page = page_of(address, false);
        if (!page || !count_of(__atomic_load_n(page, __ATOMIC_RELAXED))) return false;
        unsigned offset = offset_in_page(address);
        uint64_t word = page_lock(page, offset), *slot = entries_of(word) ? bucket_slot(word, offset) : NULL;
        uint64_t entry = slot ? *slot : 0;
        if (tm_likely(entry)) word = bucket_remove(word, slot);
        page_unlock(page, word);
        if (!entry) return false;
        *size = size_of(entry);
        *node = node_of(entry);
        if (tm_unlikely(*size == SIZE_ELSEWHERE) && !tm_side_take(MALLOC, address, size, node)) return false;
    } else if (!tm_side_take(MALLOC, address, size, node)) {
        return false;
    }
    tm_account(self, -traced_bytes(*size));
    return true;
}

bool tm_block_find(uintptr_t address, uint64_t *size, uint32_t *node) {
    if (!fits_a_page(address)) return tm_side_find(MALLOC, address, size, node);
    uint64_t *page = page_of(address, false);
    if (!page) return false;
    unsigned offset = offset_in_page(address);
    uint64_t word = page_lock(page, offset);
    const uint64_t *slot = entries_of(word) ? bucket_slot(word, offset) : NULL;
    uint64_t entry = slot ? *slot : 0;
    page_unlock(page, word);
    *size = size_of(entry);
    *node = node_of(entry);
    return entry && (*size != SIZE_ELSEWHERE || tm_side_find(MALLOC, address, size, node));
}

/* ---- all blocks at one moment ---- */

/* What others saved of pages that they were about to change, and the side table. */
typedef struct saved {
    struct saved *next;
    size_t bytes, count;
    struct block {
        uint64_t size;
        uint32_t node, domain;
    } block[];
} saved;

static saved *all_saved;
static tm_lock saved_lock;
static bool saving_failed;

#define SAVED_BYTES (1ul << 20)

/* With the lock, or alone. */
static void save_block(uint32_t domain, uint64_t size, uint32_t node) {
    saved *to = all_saved;
    if (!to || sizeof *to + (to->count + 1) * sizeof(struct block) > to->bytes) {
        to = os_map(SAVED_BYTES);
        if (!to) {
            saving_failed = true;
            return;
        }
        to->next = all_saved;
        to->bytes = SAVED_BYTES;
        all_saved = to;
    }
    to->block[to->count++] = (struct block){size, node, domain};
}

/* Saves what is in a page whose lock is held; the word says then that it was visited. */
static __attribute__((noinline)) uint64_t save(uint64_t word) {
    uint64_t *entries = entries_of(word);
    if (count_of(word)) {
        tm_lock_take(&saved_lock);
        for (unsigned i = 0; i < capacity_of(kind_of(word)); i++)
            if (is_block(entries[i])) save_block(MALLOC, size_of(entries[i]), node_of(entries[i]));
        tm_lock_drop(&saved_lock);
    }
    return word ^ EPOCH;
}

static void save_map(uint32_t domain, uint64_t size, uint32_t node, void *context) {
    (void)context;
    save_block(domain, size, node);
}

bool tm_blocks_freeze(void) {
    saving_failed = false;
    size_t capacity;
    const tm_side_block *side = tm_side_rows(&capacity);
    for (size_t i = 0; i < capacity; i++)
        if (side[i].node) save_block(side[i].domain, side[i].size, side[i].node);
    tm_maps_each(save_map, NULL);
    epoch ^= EPOCH;
    return !saving_failed;
}

/* Visits what a page held when the table was frozen, unless somebody saved it. */
static void visit_page(uint64_t *page, tm_block_visitor *each, void *context) {
    uint64_t copy[1 << OFFSET_BITS], word;
    for (unsigned spins = 1;; spins++) {
        word = __atomic_load_n(page, __ATOMIC_RELAXED) & ~LOCKED;
        if (!word || (word & EPOCH) == epoch) return;
        if (__atomic_compare_exchange_n(page, &word, word | LOCKED, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) break;
        if (!(spins & 63)) os_yield();
    }
    unsigned capacity = count_of(word) ? capacity_of(kind_of(word)) : 0;
    memcpy(copy, entries_of(word), capacity * sizeof *copy);
    page_unlock(page, word ^ EPOCH);
    for (unsigned i = 0; i < capacity; i++)
        if (is_block(copy[i])) each(MALLOC, size_of(copy[i]), node_of(copy[i]), context);
}

bool tm_blocks_each_frozen(tm_block_visitor *each, void *context) {
    for (uintptr_t i = 0; i < 1ul << ROOT_BITS; i++) {
        uint64_t *leaf = __atomic_load_n(&root[i], __ATOMIC_ACQUIRE);
        for (uintptr_t j = 0; leaf && j < 1ul << LEAF_BITS; j++)
            if (__atomic_load_n(&leaf[j], __ATOMIC_RELAXED)) visit_page(&leaf[j], each, context);
    }
    tm_lock_take(&saved_lock); /* whoever saved the last page is done */
    saved *list = all_saved;
    all_saved = NULL;
    tm_lock_drop(&saved_lock);
    while (list) {
        for (size_t i = 0; i < list->count; i++) each(list->block[i].domain, list->block[i].size, list->block[i].node, context);
        saved *next = list->next;
        os_unmap(list, list->bytes);
        list = next;
    }
    return !saving_failed;
}

/* ---- with the gate closed ---- */

void tm_blocks_each(tm_block_visitor *each, void *context) {
    for (uintptr_t i = 0; i < 1ul << ROOT_BITS; i++)
        for (uintptr_t j = 0; root[i] && j < 1ul << LEAF_BITS; j++) {
            uint64_t word = root[i][j];
            const uint64_t *entries = entries_of(word);
            for (unsigned k = 0; count_of(word) && k < capacity_of(kind_of(word)); k++)
                if (is_block(entries[k])) each(MALLOC, size_of(entries[k]), node_of(entries[k]), context);
        }
    size_t capacity;
    const tm_side_block *side = tm_side_rows(&capacity);
    for (size_t i = 0; i < capacity; i++)
        if (side[i].node) each(side[i].domain, side[i].size, side[i].node, context);
    tm_maps_each(each, context);
}

static void count_one(uint32_t domain, uint64_t size, uint32_t node, void *context) {
    (void)domain, (void)size, (void)node;
    ++*(uint64_t *)context;
}

uint64_t tm_blocks_count(void) {
    uint64_t count = 0;
    tm_blocks_each(count_one, &count);
    return count;
}

void tm_blocks_clear(void) {
    for (uintptr_t i = 0; i < 1ul << ROOT_BITS; i++)
        if (root[i]) os_discard(root[i], sizeof(uint64_t) << LEAF_BITS);
    while (slabs) {
        slab *next = slabs->next;
        os_unmap(slabs, SLAB_BYTES);
        slabs = next;
    }
    slab_at = slab_end = NULL;
    memset(free_buckets, 0, sizeof free_buckets);
    tm_side_clear();
    bytes_used = pages_used = 0;
    lost = 0;
}

size_t tm_blocks_bytes(void) { return bytes_used + pages_used * sizeof(uint64_t) + tm_side_bytes(); }
uint64_t tm_blocks_lost(void) { return lost; }
