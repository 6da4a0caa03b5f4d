#include "nursery.h"

#include <string.h>

#include "block_pages.h"

#define MOST_NURSERIES 32 /* whoever frees a block that the table does not have looks through all */

#define NURSERY_AGAIN (64u * TM_NURSERY_AFTER) /* blocks until a nursery that did not pay is tried again */

#define CREDIT_FIRST 128
#define CREDIT_MOST 1024

static tm_nursery *nurseries[MOST_NURSERIES];
static uint32_t nursery_count; /* published with release */
static tm_lock nurseries_lock;

uint32_t tm_nurseries_open;

static tm_nursery *nursery_of(tm_thread *self) {
    tm_nursery *nursery = NULL;
    tm_lock_take(&nurseries_lock);
    for (uint32_t i = 0; i < nursery_count && !nursery; i++)
        if (nurseries[i]->owner == self) nursery = nurseries[i];
    if (!nursery && nursery_count < MOST_NURSERIES && (nursery = os_map(sizeof *nursery))) {
        nursery->owner = self;
        nurseries[nursery_count] = nursery;
        __atomic_store_n(&nursery_count, nursery_count + 1, __ATOMIC_RELEASE);
    }
    tm_lock_drop(&nurseries_lock);
    return nursery;
}

void tm_nursery_open(tm_thread *self) {
    tm_nursery *nursery = nursery_of(self);
    if (!nursery) return;
    __atomic_store_n(&nursery->credit, CREDIT_FIRST, __ATOMIC_RELAXED);
    __atomic_add_fetch(&tm_nurseries_open, 1, __ATOMIC_RELAXED);
    self->nursery = nursery;
}

/* By its thread, or with the gate closed. */
static void close_empty(tm_nursery *nursery, uint32_t again) {
    tm_thread *owner = nursery->owner;
    if (!owner->nursery) return;
    owner->nursery = NULL;
    owner->until_nursery = again;
    __atomic_sub_fetch(&tm_nurseries_open, 1, __ATOMIC_RELEASE);
}

/* By the thread whose place it is, or with the gate closed. `missed`: a block there was freed, which the tracer did not see. */
static void move_to_table(tm_thread *owner, tm_place *place, uintptr_t missed) {
    uint64_t address = __atomic_load_n(&place->address, __ATOMIC_ACQUIRE), block = __atomic_load_n(&place->block, __ATOMIC_RELAXED);
    if (!address) return; /* another thread has just freed it */
    if (tm_likely(address != missed)) return tm_block_put_fast(owner, address, tm_place_size(block), tm_place_node(block), place);
    tm_place_empty(place);
    tm_account_less(owner, (int64_t)tm_place_size(block));
}

static void move_all(tm_nursery *nursery) {
    for (uint32_t i = 0; i < 1u << TM_NURSERY_BITS; i++) move_to_table(nursery->owner, &nursery->places[i], 0);
}

bool tm_nursery_make_room(tm_thread *self, tm_place *place, uintptr_t address) {
    tm_nursery *nursery = self->nursery;
    int32_t credit = __atomic_load_n(&nursery->credit, __ATOMIC_RELAXED);
    if (tm_unlikely(credit < 0)) {
        move_all(nursery);
        close_empty(nursery, NURSERY_AGAIN);
        return false;
    }
    __atomic_store_n(&nursery->credit, (credit < CREDIT_MOST ? credit : CREDIT_MOST) - 1, __ATOMIC_RELAXED);
    move_to_table(self, place, address);
    return true;
}

/* ---- those of all threads ---- */

static uint32_t nurseries_now(void) { return __atomic_load_n(&nursery_count, __ATOMIC_ACQUIRE); }

bool tm_nurseries_find(uintptr_t address, bool take, uint64_t *size, uint32_t *node) {
    for (uint32_t i = 0, count = nurseries_now(); i < count; i++) {
        tm_place *place = tm_place_in(nurseries[i], address);
        if (tm_likely(!tm_place_has(place, address))) continue;
        uint64_t block = __atomic_load_n(&place->block, __ATOMIC_ACQUIRE);
        if (!tm_place_has(place, address)) return false; /* its thread has freed it meanwhile, for which it needs no lock */
        *size = tm_place_size(block);
        *node = tm_place_node(block);
        if (!take) return true;
        tm_place_empty(place);
        /* A block that goes through other hands costs more here than in the table. */
        __atomic_sub_fetch(&nurseries[i]->credit, 1, __ATOMIC_RELAXED);
        return true;
    }
    return false;
}

void tm_nurseries_empty(void) {
    for (uint32_t i = 0, count = nurseries_now(); i < count; i++) {
        move_all(nurseries[i]);
        close_empty(nurseries[i], TM_NURSERY_AFTER);
    }
}

void tm_nurseries_clear(void) {
    for (uint32_t i = 0, count = nurseries_now(); i < count; i++) {
        memset(nurseries[i]->places, 0, sizeof nurseries[i]->places);
        close_empty(nurseries[i], TM_NURSERY_AFTER);
    }
}

size_t tm_nurseries_bytes(void) { return nurseries_now() * sizeof(tm_nursery); }
