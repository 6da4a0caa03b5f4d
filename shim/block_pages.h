/*
 * How the block table lies in memory, and its ways as they almost always go: the page is known, nobody has it locked, the
 * block is small, and there is room. All else is done by blocks.c.
 *
 * These ways are short for more than their own sake: a processor works ahead by a few hundred instructions, and the fewer of
 * them are ours, the more of the program's own waits for memory still happen side by side.
 */
#ifndef TM_BLOCK_PAGES_H
#define TM_BLOCK_PAGES_H

#include <emmintrin.h>

#include "blocks.h"
#include "nursery.h"
#include "sampling.h"

#define PAGE_BITS 12
#ifndef TM_ADDRESS_BITS /* tests have a smaller directory */
#define TM_ADDRESS_BITS 47
#define LEAF_BITS 18 /* pages a leaf: a leaf covers 1 GiB and takes 2 MiB of address space */
#endif
#define ROOT_BITS (TM_ADDRESS_BITS - PAGE_BITS - LEAF_BITS)

/* Buckets up to this kind stay with their page when it has no more blocks: it will most likely have some again. */
#define KEPT_KIND 2

/* ---- words of the directory: 0, or a bucket and what is known of it ---- */

#define LOCKED 1ull
#define EPOCH 2ull /* differs from `tm_page_epoch` while a snapshot is still to visit the page */
#define LINES 4ull /* there is a bucket, and of more than 2 entries */
#define BUCKET 0x00007ffffffffff0ull
#define SHIFT_SHIFT 47
#define COUNT_SHIFT 53
#define ONE_BLOCK (1ull << COUNT_SHIFT)

static inline unsigned count_of(uint64_t word) { return (unsigned)(word >> COUNT_SHIFT); }
static inline uint64_t *entries_of(uint64_t word) { return (uint64_t *)(word & BUCKET); }

/*
 * A bucket's entries stand in lines of 8, a cache line each, and a page's addresses are dealt out to the lines in order; in
 * its line a block takes any entry. A line that is full has the bucket replaced by a larger one: of 2 entries, then 8, then
 * twice as many each time. The largest has an entry for each address in the page that is a multiple of 8.
 *
 * So a block is found by comparing all of one line at once, and goes without another being moved: nothing that is decided
 * depends on what is in the line, and the processor need not wait for it.
 */
#define KINDS 8
#define OFFSET_BITS (PAGE_BITS - 3)
#define LINE 8
#define LINE_BYTES 64
static inline unsigned capacity_of(unsigned kind) { return kind ? LINE / 2u << kind : 2; }

/* What an address in the page is shifted by to give its line: shifts go by the low 6 bits of a number. */
static inline uint64_t line_shift_of(unsigned kind) { return kind ? OFFSET_BITS + 1 - kind : 0; }
static inline unsigned kind_of(uint64_t word) { return word & LINES ? OFFSET_BITS + 1 - ((word >> SHIFT_SHIFT) & 63) : 0; }
static inline uint64_t with_bucket(uint64_t word, const uint64_t *entries, unsigned kind) {
    word &= ~(BUCKET | LINES | 63ull << SHIFT_SHIFT);
    return word | (uint64_t)(uintptr_t)entries | line_shift_of(kind) << SHIFT_SHIFT | (kind ? LINES : 0);
}

/* ---- entries: 0, or tag (offset in the page, and a bit that is set), node, whether it is special, size ---- */

#define SIZE_BITS 26
#define SIZE_ELSEWHERE ((1ull << SIZE_BITS) - 1) /* too large: it stands in the side table */
#define SPECIAL (1ull << SIZE_BITS)              /* the size stands elsewhere, or the node is TM_NODE_MARK */
#define NODE_SHIFT (SIZE_BITS + 1)
#define NODE_BITS 27
#define TAG_SHIFT (NODE_SHIFT + NODE_BITS)

_Static_assert(TM_NODE_MARK < 1ull << NODE_BITS, "a node fits an entry");
_Static_assert(TAG_SHIFT + OFFSET_BITS + 1 == 64, "an entry is one word");

static inline unsigned tag_with(unsigned offset) { return 1u << OFFSET_BITS | offset; }
static inline uint64_t entry_with(uint32_t node, unsigned offset, uint64_t size) {
    uint64_t special = size == SIZE_ELSEWHERE || node == TM_NODE_MARK ? SPECIAL : 0;
    return (uint64_t)tag_with(offset) << TAG_SHIFT | (uint64_t)node << NODE_SHIFT | special | size;
}
static inline unsigned offset_of(uint64_t entry) { return (unsigned)(entry >> TAG_SHIFT) & ((1u << OFFSET_BITS) - 1); }
static inline uint64_t size_of(uint64_t entry) { return entry & SIZE_ELSEWHERE; }
static inline uint32_t node_of(uint64_t entry) { return (uint32_t)(entry >> NODE_SHIFT) & ((1u << NODE_BITS) - 1); }
/* Is it a block with all that is known of it? */
static inline bool is_block(uint64_t entry) { return entry && !(entry & SPECIAL); }

/* Blocks of a page are at multiples of 8; the side table takes any address. */
static inline bool fits_a_page(uintptr_t address) { return !(address & (7 | ~0ull << TM_ADDRESS_BITS)); }
static inline unsigned offset_in_page(uintptr_t address) { return (unsigned)(address >> 3) & ((1u << OFFSET_BITS) - 1); }

/* ---- entries of a bucket ---- */

/* The line that an address belongs to. */
static inline uint64_t *line_of_lines(uint64_t word, uint64_t offset) {
    return (uint64_t *)((word & BUCKET) + (offset >> (word >> SHIFT_SHIFT & 63)) * LINE_BYTES);
}
static inline uint64_t *line_at(uint64_t word, unsigned offset) { return word & LINES ? line_of_lines(word, offset) : entries_of(word); }

/* Of the entries of a line, in two halves. */
typedef struct line_tags {
    __m128i of_4[2];
} line_tags;

static inline __m128i tags_of_4(__m128i low, __m128i high) {
    __m128i words = _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(low), _mm_castsi128_ps(high), _MM_SHUFFLE(3, 1, 3, 1)));
    return _mm_srli_epi32(words, TAG_SHIFT - 32);
}

static inline line_tags tags_of_line(const uint64_t *line) {
    const __m128i *pairs = (const __m128i *)line;
    return (line_tags){{tags_of_4(pairs[0], pairs[1]), tags_of_4(pairs[2], pairs[3])}};
}

static inline line_tags tags_of(uint64_t word, const uint64_t *line) {
    if (word & LINES) return tags_of_line(line);
    const __m128i *pair = (const __m128i *)line, none = _mm_set1_epi32(-1);
    return (line_tags){{_mm_unpacklo_epi64(tags_of_4(*pair, *pair), none), none}};
}

/* Bits 2i and 2i + 1 are set for each entry i of a line that has the tag. 0 is an empty one's. */
static inline unsigned entries_with(line_tags tags, unsigned tag) {
    __m128i wanted = _mm_set1_epi32((int)tag);
    __m128i low = _mm_cmpeq_epi32(tags.of_4[0], wanted), high = _mm_cmpeq_epi32(tags.of_4[1], wanted);
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi32(low, high));
}

/* The first of these entries. */
static inline uint64_t *first_of(uint64_t *line, unsigned entries) { return line + (__builtin_ctz(entries) >> 1); }

/* The entry with the offset; NULL: it is not there. */
static inline uint64_t *bucket_find(uint64_t word, unsigned offset) {
    uint64_t *line = line_at(word, offset);
    unsigned found = entries_with(tags_of(word, line), tag_with(offset));
    return tm_likely(found) ? first_of(line, found) : NULL;
}

/* An empty entry for the offset, which is not there; NULL: its line is full. */
static inline uint64_t *bucket_room(uint64_t word, unsigned offset) {
    uint64_t *line = line_at(word, offset);
    unsigned empty = entries_with(tags_of(word, line), 0);
    return tm_likely(empty) ? first_of(line, empty) : NULL;
}

/* Hidden, the hooks reach them without looking up where they are. */
extern uint64_t *tm_page_root[1 << ROOT_BITS] __attribute__((visibility("hidden")));
/* Changes with the gate closed. */
extern uint64_t tm_page_epoch __attribute__((visibility("hidden")));

/* The word of the page of an address of which fits_a_page() is true; NULL: there is none yet. */
static inline uint64_t *page_known(uintptr_t address) {
    uint64_t *leaf = __atomic_load_n(&tm_page_root[address >> (PAGE_BITS + LEAF_BITS)], __ATOMIC_ACQUIRE);
    return tm_likely(leaf != NULL) ? &leaf[(address >> PAGE_BITS) & ((1ul << LEAF_BITS) - 1)] : NULL;
}

/* False: no block is known in the page of the address, nor can be. At any time, by any thread. */
static inline bool tm_block_possible(uintptr_t address) {
    if (tm_unlikely(!fits_a_page(address) || tm_nurseries_in_use())) return true;
    const uint64_t *page = page_known(address);
    return page && count_of(__atomic_load_n(page, __ATOMIC_RELAXED));
}

static inline void prefetch_slot(uint64_t word, unsigned offset) {
    __builtin_prefetch(line_at(word, offset), 1);
}

static inline void page_unlock(uint64_t *page, uint64_t word) { __atomic_store_n(page, word, __ATOMIC_RELEASE); }

/*
 * Takes the lock of the page of the address, if that is as ordinary as can be: unlocked, with a bucket of lines, and nothing in
 * it that a snapshot still needs. NULL: it is not, or it was changed just now.
 */
static inline __attribute__((always_inline)) uint64_t *page_lock_fast(uintptr_t address, uint64_t *word, uint64_t **line) {
    if (tm_unlikely(!fits_a_page(address))) return NULL;
    uint64_t *page = page_known(address);
    if (tm_unlikely(!page)) return NULL;
    uint64_t unlocked = __atomic_load_n(page, __ATOMIC_RELAXED);
    if (tm_unlikely((unlocked & (LOCKED | EPOCH | LINES)) != (tm_page_epoch | LINES))) return NULL;
    *line = line_of_lines(unlocked, offset_in_page(address));
    __builtin_prefetch(*line, 1);
    *word = unlocked;
    bool mine = __atomic_compare_exchange_n(page, &unlocked, unlocked | LOCKED, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    return tm_likely(mine) ? page : NULL;
}

/* tm_block_put() or, of a block in a place, tm_block_settle(), where every block is recorded; the node is not TM_NODE_MARK. */
static inline __attribute__((always_inline)) void tm_block_put_fast(tm_thread *self, uintptr_t address, uint64_t size, uint32_t node,
                                                                    tm_place *from) {
    uint64_t word, *line, *page;
    if (tm_likely(size < SIZE_ELSEWHERE && (page = page_lock_fast(address, &word, &line)))) {
        if (from && tm_unlikely(!tm_place_has(from, address))) return page_unlock(page, word);
        line_tags tags = tags_of_line(line);
        unsigned tag = tag_with(offset_in_page(address)), empty = entries_with(tags, 0);
        if (tm_likely(empty && !entries_with(tags, tag))) {
            *first_of(line, empty) = (uint64_t)tag << TAG_SHIFT | (uint64_t)node << NODE_SHIFT | size;
            if (from) tm_place_empty(from);
            page_unlock(page, word + ONE_BLOCK);
            if (!from) tm_account_more(self, (int64_t)size);
            return;
        }
        page_unlock(page, word);
    }
    if (from) tm_block_settle(self, from, address, size, node);
    else tm_block_put(self, address, size, node);
}

/* The same, or into the thread's nursery. */
static inline __attribute__((always_inline)) void tm_block_put_young(tm_thread *self, uintptr_t address, uint64_t size, uint32_t node) {
    if (tm_likely(self->nursery && size < SIZE_ELSEWHERE && fits_a_page(address))) {
        tm_place *place = tm_place_in(self->nursery, address);
        bool empty = !__atomic_load_n(&place->address, __ATOMIC_ACQUIRE);
        if (tm_likely(empty || tm_nursery_make_room(self, place, address))) return tm_place_fill(self, place, address, size, node);
    } else if (tm_unlikely(!--self->until_nursery)) {
        tm_nursery_open(self);
    }
    tm_block_put_fast(self, address, size, node, NULL);
}

/* tm_block_take() of a block with nothing special, where every block is recorded. False: it remains to be done. */
static inline __attribute__((always_inline)) bool tm_block_take_fast(tm_thread *self, uintptr_t address) {
    tm_place *place = tm_place_of(self, address);
    if (tm_likely(place != NULL)) return tm_place_clear(self, place), true;
    uint64_t word, *line, *page = page_lock_fast(address, &word, &line);
    if (tm_unlikely(!page)) return false;
    unsigned found = entries_with(tags_of_line(line), tag_with(offset_in_page(address)));
    if (tm_likely(found)) {
        uint64_t *slot = first_of(line, found), entry = *slot;
        /* The last block of a large bucket? */
        bool last = (word >> SHIFT_SHIFT) - (ONE_BLOCK >> SHIFT_SHIFT) < line_shift_of(KEPT_KIND);
        if (tm_likely(!(entry & SPECIAL) && !last)) {
            *slot = 0;
            page_unlock(page, word - ONE_BLOCK);
            tm_account_less(self, (int64_t)size_of(entry));
            return true;
        }
    }
    page_unlock(page, word);
    return false;
}

#endif
