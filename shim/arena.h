/* The tracer's own memory, which is never malloc's, and what its tables share. */
#ifndef TM_ARENA_H
#define TM_ARENA_H

#include "platform.h"

#define tm_likely(x) __builtin_expect(!!(x), 1)
#define tm_unlikely(x) __builtin_expect(!!(x), 0)

/*
 * As much of `bytes` as can be had, or as is fair where the process's address space is limited, halving down to a 1/1024 of it; *got says how much. For tables that
 * grow in place: address space is taken at once, memory only when touched.
 */
void *tm_arena_reserve(size_t bytes, size_t *got);

/*
 * A lock for the tracer's own short critical sections; never held while calling out. Whoever holds one takes only those that
 * stand behind it here, and of one line only one:
 *
 *   control_lock (thread.h)                     one control call at a time
 *   gate_lock (thread.h)                        the gate is closed; whoever takes it is in no hook
 *   a page's lock (block_pages.h), sites_lock (jsc_sites.c), samplers_lock (js_heap.c), records_lock (thread.h)
 *   bucket_lock, root_lock, saved_lock (blocks.c), the side table's lock (side.c), traces_lock (traces.c), plain_lock (thread.h)
 *
 * The last two lines are held inside hooks, too, where nobody waits for the gate; so they are free whenever it is closed.
 */
typedef uint32_t tm_lock;

static inline void tm_lock_take(tm_lock *lock) {
    for (unsigned spins = 0; tm_unlikely(__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE)); spins++) {
        if (spins & 63) __builtin_ia32_pause();
        else os_yield();
    }
}

static inline void tm_lock_drop(tm_lock *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }

static inline uint64_t tm_hash64(uint64_t a) {
    a ^= a >> 32;
    a *= 0x9E3779B97F4A7C15ull;
    a ^= a >> 29;
    return a * 0xD6E8FEB86659FD93ull;
}

#endif
