#include "blocks.h"

#include <string.h>

#include "block_pages.h"
#include "maps.h"
#include "sampling.h"
#include "side.h"

#define MALLOC 0 /* the domain of malloc and its family */

/* A page that begins with a block smaller than this will have many, and gets a whole line at once. */
#define SMALL 1024

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

/* The word with a larger bucket, or 0. */
static __attribute__((noinline)) uint64_t bucket_grown(uint64_t word) {
    unsigned kind = kind_of(word), larger_kind = kind + 1;
    uint64_t *from = entries_of(word), *to = bucket_new(larger_kind);
    if (!to) return 0;
    uint64_t larger = with_bucket(word, to, larger_kind);
    for (unsigned i = 0; i < capacity_of(kind); i++)
        if (from[i]) *bucket_room(larger, offset_of(from[i])) = from[i];
    memset(from, 0, capacity_of(kind) * sizeof *from);
    bucket_drop(from, kind);
    return larger;
}

static inline uint64_t bucket_remove(uint64_t word, uint64_t *slot) {
    *slot = 0;
    word -= ONE_BLOCK;
    if (tm_likely(count_of(word) || kind_of(word) <= KEPT_KIND)) return word;
    bucket_drop(entries_of(word), kind_of(word));
    __atomic_sub_fetch(&pages_used, 1, __ATOMIC_RELAXED);
    return 0;
}

/* ---- the directory ---- */

uint64_t *tm_page_root[1 << ROOT_BITS];
static tm_lock root_lock;

static uint64_t *leaf_new(uintptr_t index) {
    tm_lock_take(&root_lock);
    uint64_t *leaf = tm_page_root[index];
    if (!leaf) {
        leaf = os_map(sizeof(uint64_t) << LEAF_BITS);
        __atomic_store_n(&tm_page_root[index], leaf, __ATOMIC_RELEASE);
    }
    tm_lock_drop(&root_lock);
    return leaf;
}

static inline uint64_t *page_of(uintptr_t address, bool make) {
    uintptr_t index = address >> (PAGE_BITS + LEAF_BITS);
    if (tm_unlikely(index >> ROOT_BITS)) return NULL;
    uint64_t *leaf = __atomic_load_n(&tm_page_root[index], __ATOMIC_ACQUIRE);
    if (tm_unlikely(!leaf)) {
        if (!make || !(leaf = leaf_new(index))) return NULL;
    }
    return &leaf[(address >> PAGE_BITS) & ((1ul << LEAF_BITS) - 1)];
}

static uint64_t save(uint64_t word);
uint64_t tm_page_epoch;

/* The word, to be given back by page_unlock(). What a snapshot still needs of the page is saved. */
static inline uint64_t page_lock(uint64_t *page, unsigned offset) {
    for (unsigned spins = 1;; spins++) {
        uint64_t word = __atomic_load_n(page, __ATOMIC_RELAXED) & ~LOCKED;
        /* The entry is fetched while the lock is waited for, which nothing behind it can overtake. */
        prefetch_slot(word, offset);
        if (tm_likely(__atomic_compare_exchange_n(page, &word, word | LOCKED, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
            return tm_likely((word & EPOCH) == tm_page_epoch) ? word : save(word);
        if (spins & 63) __builtin_ia32_pause();
        else os_yield();
    }
}

/* ---- the table ---- */

/* What a block counts as among the bytes traced. */
static inline int64_t traced_bytes(uint64_t size) {
    return (int64_t)(tm_likely(!tm_sample_bytes) ? size : (uint64_t)((double)size * tm_sample_weight(size)));
}

typedef enum page_result { PAGE_PUT, PAGE_TAKEN, PAGE_FULL } page_result;

/*
 * Puts an entry into a page; *old is the one that was there, or 0. `from`: the block's place in a nursery, or NULL. PAGE_TAKEN:
 * another thread has taken it from there; PAGE_FULL: there was no memory, and it is nowhere any more.
 */
static inline page_result page_put(uint64_t *page, uintptr_t address, uint64_t fresh, uint64_t *old, tm_place *from) {
    unsigned offset = offset_in_page(address);
    uint64_t word = page_lock(page, offset), *slot = NULL;
    if (from && !tm_place_has(from, address)) {
        page_unlock(page, word);
        return PAGE_TAKEN;
    }
    if (tm_unlikely(!entries_of(word))) {
        unsigned kind = size_of(fresh) < SMALL;
        uint64_t *entries = bucket_new(kind);
        if (entries) {
            word = with_bucket(tm_page_epoch, entries, kind);
            __atomic_add_fetch(&pages_used, 1, __ATOMIC_RELAXED);
        }
    }
    if (tm_likely(entries_of(word) != NULL)) {
        slot = bucket_find(word, offset);
        if (tm_likely(!slot)) {
            while (tm_unlikely(!(slot = bucket_room(word, offset)))) {
                uint64_t larger = bucket_grown(word);
                if (!larger) break;
                word = larger;
            }
            if (tm_likely(slot != NULL)) word += ONE_BLOCK;
        } else {
            *old = *slot;
        }
        if (tm_likely(slot != NULL)) *slot = fresh;
    }
    if (from) tm_place_empty(from);
    page_unlock(page, word);
    return slot ? PAGE_PUT : PAGE_FULL;
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
        if (!page || page_put(page, address, entry_with(node, offset, SIZE_ELSEWHERE), &old, NULL) != PAGE_PUT) {
            tm_side_take(MALLOC, address, &size, &node);
            tm_account(self, -traced_bytes(before));
            note_lost();
            return;
        }
        if (old && size_of(old) != SIZE_ELSEWHERE) before = size_of(old);
    }
    tm_account(self, traced_bytes(size) - traced_bytes(before));
}

/* A block that fits an entry; by how much what is traced grows. */
static int64_t put(tm_place *from, uintptr_t address, uint64_t size, uint32_t node) {
    uint64_t *page = page_of(address, true), old = 0, before = 0;
    page_result result = PAGE_FULL;
    if (tm_likely(page != NULL)) result = page_put(page, address, entry_with(node, offset_in_page(address), size), &old, from);
    else if (from) tm_place_empty(from); /* nobody takes it: there is no page to hold */
    if (tm_unlikely(result == PAGE_FULL)) note_lost();
    if (tm_unlikely(old)) {
        uint32_t old_node;
        before = size_of(old);
        if (before == SIZE_ELSEWHERE && !tm_side_take(MALLOC, address, &before, &old_node)) before = 0;
    }
    bool was_known = from && result != PAGE_TAKEN, is_known = result == PAGE_PUT;
    return (is_known - was_known) * traced_bytes(size) - traced_bytes(before);
}

void tm_block_put(tm_thread *self, uintptr_t address, uint64_t size, uint32_t node) {
    if (tm_unlikely(size >= SIZE_ELSEWHERE || !fits_a_page(address))) put_aside(self, address, size, node);
    else tm_account(self, put(NULL, address, size, node));
}

void tm_block_settle(tm_thread *self, tm_place *from, uintptr_t address, uint64_t size, uint32_t node) {
    tm_account(self, put(from, address, size, node));
}

/* Nor is anybody about to put one there. */
static inline bool has_no_blocks(const uint64_t *page) {
    uint64_t word = page ? __atomic_load_n(page, __ATOMIC_ACQUIRE) : 0;
    return !(word & LOCKED) && !count_of(word);
}

/* Of a block that is in no nursery of the thread's own; to `take` it is to forget it. */
static bool look_up(uintptr_t address, bool take, uint64_t *size, uint32_t *node) {
    if (tm_unlikely(!fits_a_page(address))) return (take ? tm_side_take : tm_side_find)(MALLOC, address, size, node);
    bool young = tm_nurseries_in_use();
    uint64_t *page = page_of(address, false);
    if (has_no_blocks(page)) {
        /* What went to the table meanwhile is there now. Only what a nursery has is worth a page to be held. */
        young = young && tm_nurseries_find(address, false, size, node);
        page = page_of(address, young);
        if (!page || (!young && has_no_blocks(page))) return false;
    }
    unsigned offset = offset_in_page(address);
    uint64_t word = page_lock(page, offset), *slot = entries_of(word) ? bucket_find(word, offset) : NULL;
    uint64_t entry = slot ? *slot : 0;
    if (tm_unlikely(!entry)) young = young && tm_nurseries_find(address, take, size, node);
    else if (take) word = bucket_remove(word, slot);
    page_unlock(page, word);
    if (tm_unlikely(!entry)) return young;
    *size = size_of(entry);
    *node = node_of(entry);
    return tm_likely(*size != SIZE_ELSEWHERE) || (take ? tm_side_take : tm_side_find)(MALLOC, address, size, node);
}

bool tm_block_take(tm_thread *self, uintptr_t address, uint64_t *size, uint32_t *node) {
    tm_place *place = tm_place_of(self, address);
    if (place) {
        uint64_t block = __atomic_load_n(&place->block, __ATOMIC_RELAXED);
        *size = tm_place_size(block);
        *node = tm_place_node(block);
        tm_place_clear(self, place);
        return true;
    }
    if (!look_up(address, true, size, node)) return false;
    tm_account(self, -traced_bytes(*size));
    return true;
}

bool tm_block_find(uintptr_t address, uint64_t *size, uint32_t *node) { return look_up(address, false, size, node); }

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
    tm_nurseries_empty();
    size_t capacity;
    const tm_side_block *side = tm_side_rows(&capacity);
    for (size_t i = 0; i < capacity; i++)
        if (side[i].node) save_block(side[i].domain, side[i].size, side[i].node);
    tm_maps_each(save_map, NULL);
    tm_page_epoch ^= EPOCH;
    return !saving_failed;
}

/* Visits what a page held when the table was frozen, unless somebody saved it. */
static void visit_page(uint64_t *page, tm_block_visitor *each, void *context) {
    uint64_t copy[1 << OFFSET_BITS], word;
    for (unsigned spins = 1;; spins++) {
        word = __atomic_load_n(page, __ATOMIC_RELAXED) & ~LOCKED;
        if (!entries_of(word) || (word & EPOCH) == tm_page_epoch) return;
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
        uint64_t *leaf = __atomic_load_n(&tm_page_root[i], __ATOMIC_ACQUIRE);
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
    tm_nurseries_empty();
    for (uintptr_t i = 0; i < 1ul << ROOT_BITS; i++)
        for (uintptr_t j = 0; tm_page_root[i] && j < 1ul << LEAF_BITS; j++) {
            uint64_t word = tm_page_root[i][j];
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
    tm_nurseries_clear();
    for (uintptr_t i = 0; i < 1ul << ROOT_BITS; i++)
        if (tm_page_root[i]) os_discard(tm_page_root[i], sizeof(uint64_t) << LEAF_BITS);
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

size_t tm_blocks_bytes(void) { return bytes_used + pages_used * sizeof(uint64_t) + tm_side_bytes() + tm_nurseries_bytes(); }
uint64_t tm_blocks_lost(void) { return lost; }
