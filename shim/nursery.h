/*
 * Where a thread keeps the blocks that it has just allocated. Most of them it frees in a moment, and then they need neither a
 * locked instruction nor a line of the block table, where a block goes when another needs its place.
 *
 * A block's place follows from its address. Only the thread whose nursery it is fills a place; so it may do so with plain
 * stores, and may empty one so when it frees the block, which nobody else can be doing. It moves a block to the table while it
 * holds the block's page there; and another thread that frees the block holds that, too, while it looks in the table and then
 * in all nurseries. So a block is always in one of them.
 *
 * Used where every block is recorded (tm_here.plain), and for those alone whose size and node fit a word.
 */
#ifndef TM_NURSERY_H
#define TM_NURSERY_H

#include "thread.h"

#ifndef TM_NURSERY_BITS /* tests have less room, and sooner */
#define TM_NURSERY_BITS 6
#define TM_NURSERY_AFTER 256 /* blocks that go to the table before a thread has one */
#endif

typedef struct tm_place {
    uint64_t address; /* 0: it is empty */
    uint64_t block;   /* node << 32 | size */
} tm_place;

typedef struct tm_nursery {
    tm_place places[1 << TM_NURSERY_BITS];
    tm_thread *owner; /* of this record, whatever thread has it */
    int32_t credit;   /* it grows when the nursery has saved work, and falls when it has made some */
} tm_nursery;

static inline tm_place *tm_place_in(tm_nursery *nursery, uintptr_t address) {
    return &nursery->places[(address >> 4 ^ address >> (4 + TM_NURSERY_BITS)) & ((1u << TM_NURSERY_BITS) - 1)];
}

static inline bool tm_place_has(const tm_place *place, uintptr_t address) {
    return __atomic_load_n(&place->address, __ATOMIC_ACQUIRE) == address;
}
static inline void tm_place_empty(tm_place *place) { __atomic_store_n(&place->address, 0, __ATOMIC_RELEASE); }

static inline uint64_t tm_place_size(uint64_t block) { return (uint32_t)block; }
static inline uint32_t tm_place_node(uint64_t block) { return (uint32_t)(block >> 32); }

/* How many there are with an owner that uses it. With none, no block is in one. */
extern uint32_t tm_nurseries_open __attribute__((visibility("hidden")));
static inline bool tm_nurseries_in_use(void) { return __atomic_load_n(&tm_nurseries_open, __ATOMIC_ACQUIRE); }

/* The calling thread's own place that has the block; NULL: none has. */
static inline tm_place *tm_place_of(const tm_thread *self, uintptr_t address) {
    if (tm_unlikely(!self->nursery)) return NULL;
    tm_place *place = tm_place_in(self->nursery, address);
    return tm_place_has(place, address) ? place : NULL;
}

/* Into an empty place of the calling thread's own. */
static inline void tm_place_fill(tm_thread *self, tm_place *place, uintptr_t address, uint64_t size, uint32_t node) {
    __atomic_store_n(&place->block, (uint64_t)node << 32 | size, __ATOMIC_RELAXED);
    __atomic_store_n(&place->address, address, __ATOMIC_RELEASE);
    tm_account_more(self, (int64_t)size);
}

/* The thread itself frees the block in a place of its own. */
static inline void tm_place_clear(tm_thread *self, tm_place *place) {
    uint64_t block = __atomic_load_n(&place->block, __ATOMIC_RELAXED);
    tm_place_empty(place);
    tm_nursery *nursery = self->nursery;
    __atomic_store_n(&nursery->credit, __atomic_load_n(&nursery->credit, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    tm_account_less(self, (int64_t)tm_place_size(block));
}

/* The calling thread is to have one, if there is one to be had. */
void tm_nursery_open(tm_thread *self);
/* Empties a place of the calling thread's own for a block. False: too many blocks stay, and it has no nursery any more. */
bool tm_nursery_make_room(tm_thread *self, tm_place *place, uintptr_t address);

/* Looks in all nurseries. To `take` the block, which empties its place, the page of the address must be held. */
bool tm_nurseries_find(uintptr_t address, bool take, uint64_t *size, uint32_t *node);

/* With the gate closed: all blocks go to the table, or are forgotten. Nobody has one until some time later. */
void tm_nurseries_empty(void);
void tm_nurseries_clear(void);

size_t tm_nurseries_bytes(void);

#endif
