#include "blocks.h"

#include <string.h>

#define PAGE_BITS 12
#define LEAF_BITS 18 /* pages a leaf: a leaf covers 1 GiB and takes 2 MiB of address space */
#define ROOT_BITS (47 - PAGE_BITS - LEAF_BITS)
#define LOCKED 1ull

typedef struct entry {
    uint32_t node; /* 0: empty */
    uint32_t size; /* SIZE_ELSEWHERE: too large, it stands in the side table */
} entry;

#define SIZE_ELSEWHERE UINT32_MAX

/* Offsets within the page count in 16 bytes, which every allocation of 16 bytes or more is aligned to. */
typedef struct bucket {
    uint8_t count, kind;
    uint8_t offset[6]; /* more in larger buckets; the entries follow */
} bucket;

/* Bucket kinds: how many blocks fit, and where the entries begin. The last is indexed by offset instead. */
static const struct {
    uint16_t capacity, entries, bytes;
} KIND[] = {
    {2, 8, 24}, {6, 8, 56}, {14, 16, 128}, {30, 32, 272}, {62, 64, 560}, {126, 128, 1136}, {256, 8, 2056},
};
#define KINDS 7
#define DENSE 6

static uint64_t *root[1 << ROOT_BITS];
static tm_lock root_lock;
static size_t bytes_used;
static uint64_t lost;

static inline entry *entries_of(bucket *b) { return (entry *)((char *)b + KIND[b->kind].entries); }

/* ---- buckets ---- */

typedef struct free_bucket {
    struct free_bucket *next;
} free_bucket;

static free_bucket *free_buckets[KINDS];
static tm_lock bucket_lock;

typedef struct slab {
    struct slab *next;
    size_t bytes;
} slab;

static slab *slabs;
static char *slab_at, *slab_end;
#define SLAB_BYTES (1ul << 20)

static bucket *bucket_new(unsigned kind) {
    tm_lock_take(&bucket_lock);
    bucket *b = (bucket *)free_buckets[kind];
    if (b) {
        free_buckets[kind] = free_buckets[kind]->next;
    } else {
        size_t bytes = KIND[kind].bytes;
        if ((size_t)(slab_end - slab_at) < bytes) {
            slab *fresh = os_map(SLAB_BYTES);
            if (fresh) {
                fresh->next = slabs;
                fresh->bytes = SLAB_BYTES;
                slabs = fresh;
                slab_at = (char *)(fresh + 1);
                slab_end = (char *)fresh + SLAB_BYTES;
            }
        }
        if ((size_t)(slab_end - slab_at) >= bytes) {
            b = (bucket *)slab_at;
            slab_at += bytes;
            bytes_used += bytes;
        }
    }
    tm_lock_drop(&bucket_lock);
    if (!b) return NULL;
    b->count = 0;
    b->kind = (uint8_t)kind;
    if (kind == DENSE) memset(entries_of(b), 0, 256 * sizeof(entry));
    return b;
}

static void bucket_drop(bucket *b) {
    tm_lock_take(&bucket_lock);
    free_bucket *freed = (free_bucket *)b;
    unsigned kind = b->kind;
    freed->next = free_buckets[kind];
    free_buckets[kind] = freed;
    tm_lock_drop(&bucket_lock);
}

/* Eight offsets at a time: a zero byte of the difference is a match; the lowest found is exact. */
static inline int bucket_find(const bucket *b, uint8_t offset) {
    uint64_t pattern = 0x0101010101010101ull * offset;
    for (int i = 0; i < b->count; i += 8) {
        uint64_t word;
        memcpy(&word, b->offset + i, 8);
        word ^= pattern;
        uint64_t zeros = (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;
        if (zeros) {
            int at = i + (__builtin_ctzll(zeros) >> 3);
            return at < b->count ? at : -1;
        }
    }
    return -1;
}

static bucket *bucket_grown(bucket *b) {
    bucket *larger = bucket_new(b->kind + 1u);
    if (!larger) return NULL;
    entry *from = entries_of(b), *to = entries_of(larger);
    if (larger->kind == DENSE) {
        for (int i = 0; i < b->count; i++) to[b->offset[i]] = from[i];
    } else {
        memcpy(larger->offset, b->offset, b->count);
        memcpy(to, from, b->count * sizeof(entry));
    }
    larger->count = b->count;
    bucket_drop(b);
    return larger;
}

/* Entry of a block in the page's bucket, made if `make`; *page is replaced when the bucket is. */
static entry *bucket_slot(uint64_t *page, uint8_t offset, bool make) {
    bucket *b = (bucket *)*page;
    if (!b) {
        if (!make || !(b = bucket_new(0))) return NULL;
        *page = (uint64_t)b;
    }
    if (b->kind == DENSE) {
        entry *slot = &entries_of(b)[offset];
        if (slot->node) return slot;
        if (!make) return NULL;
        b->count++; /* wraps at 256, and only says "none" falsely then: see bucket_remove() */
        return slot;
    }
    int at = bucket_find(b, offset);
    if (at < 0) {
        if (!make) return NULL;
        if (b->count == KIND[b->kind].capacity) {
            bucket *larger = bucket_grown(b);
            if (!larger) return NULL;
            *page = (uint64_t)larger;
            return bucket_slot(page, offset, true);
        }
        at = b->count++;
        b->offset[at] = offset;
        entries_of(b)[at].node = 0;
    }
    return &entries_of(b)[at];
}

static void bucket_remove(uint64_t *page, entry *slot) {
    bucket *b = (bucket *)*page;
    slot->node = 0;
    b->count--;
    if (b->kind == DENSE) {
        if (b->count) return;
        for (int i = 0; i < 256; i++)
            if (entries_of(b)[i].node) return;
    } else {
        entry *last = &entries_of(b)[b->count];
        b->offset[slot - entries_of(b)] = b->offset[b->count];
        *slot = *last;
        if (b->count) return;
    }
    /* Small buckets stay with their page: it will most likely be used again. */
    if (b->kind <= 1) return;
    bucket_drop(b);
    *page = 0;
}

/* ---- the directory ---- */

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

static inline uint64_t page_lock(uint64_t *page) {
    for (unsigned spins = 1;; spins++) {
        uint64_t word = __atomic_load_n(page, __ATOMIC_RELAXED) & ~LOCKED;
        if (tm_likely(__atomic_compare_exchange_n(page, &word, word | LOCKED, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
            return word;
        if (spins & 63) __builtin_ia32_pause();
        else os_yield();
    }
}

static inline void page_unlock(uint64_t *page, uint64_t word) { __atomic_store_n(page, word, __ATOMIC_RELEASE); }

/* ---- the side table: what does not fit an entry, and other domains. One lock; such blocks are rare. ---- */

typedef struct side_block {
    uintptr_t address;
    uint64_t size;
    uint32_t node; /* 0: never used, or removed */
    uint32_t domain;
    bool used; /* ends no search, though it may have been removed */
} side_block;

static side_block *side;
static size_t side_capacity, side_used, side_live;
static tm_lock side_lock;

static size_t side_index(uint32_t domain, uintptr_t address) {
    return tm_hash64(address + (uint64_t)domain * 0xC2B2AE3D27D4EB4Full) >> 20;
}

static bool side_grow(void) {
    size_t capacity = 256;
    while (capacity < side_live * 4) capacity *= 2;
    side_block *fresh = os_map(capacity * sizeof *fresh);
    if (!fresh) return false;
    for (size_t i = 0; i < side_capacity; i++) {
        if (!side[i].node) continue;
        size_t at = side_index(side[i].domain, side[i].address) & (capacity - 1);
        while (fresh[at].used) at = (at + 1) & (capacity - 1);
        fresh[at] = side[i];
    }
    if (side) os_unmap(side, side_capacity * sizeof *side);
    side = fresh;
    side_capacity = capacity;
    side_used = side_live;
    return true;
}

static side_block *side_find(uint32_t domain, uintptr_t address) {
    if (!side_capacity) return NULL;
    size_t at = side_index(domain, address) & (side_capacity - 1);
    for (; side[at].used; at = (at + 1) & (side_capacity - 1))
        if (side[at].node && side[at].address == address && side[at].domain == domain) return &side[at];
    return NULL;
}

/* Returns the size that was there before, or UINT64_MAX when the block could not be kept. */
static uint64_t side_put(uint32_t domain, uintptr_t address, uint64_t size, uint32_t node) {
    uint64_t before = 0;
    tm_lock_take(&side_lock);
    side_block *block = side_find(domain, address);
    if (block) {
        before = block->size;
    } else if (side_used * 2 < side_capacity || side_grow()) {
        size_t at = side_index(domain, address) & (side_capacity - 1);
        while (side[at].used) at = (at + 1) & (side_capacity - 1);
        block = &side[at];
        *block = (side_block){.address = address, .domain = domain, .used = true};
        side_used++;
        side_live++;
    }
    if (block) {
        block->size = size;
        block->node = node;
    }
    tm_lock_drop(&side_lock);
    return block ? before : UINT64_MAX;
}

static bool side_look(uint32_t domain, uintptr_t address, uint64_t *size, uint32_t *node, bool take) {
    tm_lock_take(&side_lock);
    side_block *block = side_find(domain, address);
    if (block) {
        *size = block->size;
        *node = block->node;
        if (take) {
            block->node = 0;
            side_live--;
        }
    }
    tm_lock_drop(&side_lock);
    return block != NULL;
}

#define MALLOC 0 /* the domain of malloc and its family */

static bool side_take(uintptr_t address, uint64_t *size, uint32_t *node) {
    return side_look(MALLOC, address, size, node, true);
}

bool tm_tracked_put(tm_thread *self, uint32_t domain, uintptr_t address, uint64_t size, uint32_t node) {
    uint64_t before = side_put(domain, address, size, node);
    if (before == UINT64_MAX) return false;
    tm_account(self, (int64_t)(size - before));
    return true;
}

bool tm_tracked_take(tm_thread *self, uint32_t domain, uintptr_t address) {
    uint64_t size;
    uint32_t node;
    if (!side_look(domain, address, &size, &node, true)) return false;
    tm_account(self, -(int64_t)size);
    return true;
}

bool tm_tracked_find(uint32_t domain, uintptr_t address, uint64_t *size, uint32_t *node) {
    return side_look(domain, address, size, node, false);
}

/* ---- the table ---- */

static inline bool fits_a_page(uintptr_t address) { return !(address & 15) && !(address >> 47); }

static void note_lost(void) { __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED); }

void tm_block_put(tm_thread *self, uintptr_t address, uint64_t size, uint32_t node) {
    uint64_t before = 0, unused;
    uint32_t unused_node;
    bool aside = size >= SIZE_ELSEWHERE || !fits_a_page(address);
    if (tm_unlikely(aside)) {
        before = side_put(MALLOC, address, size, node);
        if (before == UINT64_MAX) {
            note_lost();
            return;
        }
    }
    if (fits_a_page(address)) {
        uint64_t *page = page_of(address, true);
        if (tm_unlikely(!page)) {
            if (aside && side_take(address, &unused, &unused_node)) tm_account(self, -(int64_t)before);
            note_lost();
            return;
        }
        uint64_t word = page_lock(page);
        entry *slot = bucket_slot(&word, (uint8_t)(address >> 4), true);
        bool replaced_aside = false;
        if (tm_likely(slot != NULL)) {
            if (tm_unlikely(slot->node != 0)) {
                if (slot->size == SIZE_ELSEWHERE) replaced_aside = !aside;
                else before = slot->size;
            }
            slot->node = node;
            slot->size = aside ? SIZE_ELSEWHERE : (uint32_t)size;
        }
        page_unlock(page, word);
        if (tm_unlikely(!slot)) {
            if (aside && side_take(address, &unused, &unused_node)) tm_account(self, -(int64_t)before);
            note_lost();
            return;
        }
        if (tm_unlikely(replaced_aside)) side_take(address, &before, &unused_node);
    }
    tm_account(self, (int64_t)(size - before));
}

bool tm_block_take(tm_thread *self, uintptr_t address, uint64_t *size, uint32_t *node) {
    if (fits_a_page(address)) {
        uint64_t *page = page_of(address, false);
        if (!page || !(__atomic_load_n(page, __ATOMIC_RELAXED) & ~LOCKED)) return false;
        uint64_t word = page_lock(page);
        entry *slot = word ? bucket_slot(&word, (uint8_t)(address >> 4), false) : NULL;
        if (slot) {
            *size = slot->size;
            *node = slot->node;
            bucket_remove(&word, slot);
        }
        page_unlock(page, word);
        if (!slot) return false;
        if (tm_unlikely(*size == SIZE_ELSEWHERE) && !side_take(address, size, node)) return false;
    } else if (!side_take(address, size, node)) {
        return false;
    }
    tm_account(self, -(int64_t)*size);
    return true;
}

bool tm_block_find(uintptr_t address, uint64_t *size, uint32_t *node) {
    if (!fits_a_page(address)) return side_look(MALLOC, address, size, node, false);
    uint64_t *page = page_of(address, false);
    if (!page) return false;
    uint64_t word = page_lock(page);
    const entry *slot = word ? bucket_slot(&word, (uint8_t)(address >> 4), false) : NULL;
    if (slot) {
        *size = slot->size;
        *node = slot->node;
    }
    page_unlock(page, word);
    if (!slot) return false;
    return *size != SIZE_ELSEWHERE || side_look(MALLOC, address, size, node, false);
}

static void each_bucket(void (*visit)(uint64_t *page, uintptr_t address, void *context), void *context) {
    for (uintptr_t i = 0; i < (1ul << ROOT_BITS); i++) {
        uint64_t *leaf = root[i];
        if (!leaf) continue;
        for (uintptr_t j = 0; j < (1ul << LEAF_BITS); j++)
            if (leaf[j]) visit(&leaf[j], (i << LEAF_BITS | j) << PAGE_BITS, context);
    }
}

struct visit {
    tm_block_visitor *each;
    void *context;
};

static void visit_bucket(uint64_t *page, uintptr_t address, void *context) {
    const struct visit *visit = context;
    bucket *b = (bucket *)*page;
    entry *entries = entries_of(b);
    int slots = b->kind == DENSE ? 256 : b->count;
    for (int i = 0; i < slots; i++) {
        if (!entries[i].node || entries[i].node == TM_NODE_MARK || entries[i].size == SIZE_ELSEWHERE) continue;
        uintptr_t offset = b->kind == DENSE ? (uintptr_t)i : b->offset[i];
        visit->each(MALLOC, address + (offset << 4), entries[i].size, entries[i].node, visit->context);
    }
}

void tm_blocks_each(tm_block_visitor *each, void *context) {
    struct visit visit = {each, context};
    each_bucket(visit_bucket, &visit);
    for (size_t i = 0; i < side_capacity; i++)
        if (side[i].node) each(side[i].domain, side[i].address, side[i].size, side[i].node, context);
}

static void count_one(uint32_t domain, uintptr_t address, uint64_t size, uint32_t node, void *context) {
    (void)domain, (void)address, (void)size, (void)node;
    ++*(uint64_t *)context;
}

uint64_t tm_blocks_count(void) {
    uint64_t count = 0;
    tm_blocks_each(count_one, &count);
    return count;
}

static void forget_bucket(uint64_t *page, uintptr_t address, void *context) {
    (void)address, (void)context;
    *page = 0;
}

void tm_blocks_clear(void) {
    each_bucket(forget_bucket, NULL);
    while (slabs) {
        slab *next = slabs->next;
        os_unmap(slabs, slabs->bytes);
        slabs = next;
    }
    slab_at = slab_end = NULL;
    memset(free_buckets, 0, sizeof free_buckets);
    if (side) os_unmap(side, side_capacity * sizeof *side);
    side = NULL;
    side_capacity = side_used = side_live = 0;
    bytes_used = 0;
    lost = 0;
}

size_t tm_blocks_bytes(void) { return bytes_used + side_capacity * sizeof *side; }
uint64_t tm_blocks_lost(void) { return lost; }
