/*
 * malloc and its family. Preloaded, these definitions stand before libc's; hooked in at run time, slots of the
 * loaded objects are made to point here (slots.c). Either way: the real function does the work, then the block is
 * recorded; a block is forgotten before it is given back, while its address cannot yet be anyone else's.
 */
#include "hooks.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block_pages.h"
#include "js_heap.h"
#include "maps.h"
#include "sampling.h"
#include "slots.h"
#include "traces.h"
#include "unwind.h"

struct tm_next tm_next;

/* ---- the time before the next allocator is known ---- */

/* dlsym() may allocate: such blocks come from here, and are never given back. */
static char early[16384] __attribute__((aligned(16)));
static size_t early_used;
static uint32_t resolving; /* thread that is resolving */

static bool is_early(const void *block) { return (const char *)block >= early && (const char *)block < early + sizeof early; }

static void *early_alloc(size_t size, size_t alignment) {
    if (alignment < 16) alignment = 16;
    size_t at = (__atomic_fetch_add(&early_used, size + alignment, __ATOMIC_RELAXED) + alignment - 1) & ~(alignment - 1);
    if (size > sizeof early || at + size > sizeof early) {
        errno = ENOMEM;
        return NULL;
    }
    return early + at; /* zeroed, never used before */
}

bool tm_preloaded;

/* dlsym() says void *, C says that this is no function. */
#define LOOK_UP(name)                                                               \
    do {                                                                            \
        void *symbol = next ? dlsym(RTLD_NEXT, #name) : tm_slots_definition(#name); \
        memcpy(&tm_next.name, &symbol, sizeof symbol);                              \
    } while (0);

void tm_hooks_resolve(void) {
    static uint32_t done;
    if (__atomic_load_n(&done, __ATOMIC_ACQUIRE)) return;
    uint32_t me = (uint32_t)os_thread_id(), nobody = 0;
    while (!__atomic_compare_exchange_n(&resolving, &nobody, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        if (nobody == me) return;
        nobody = 0;
        os_yield();
    }
    if (!done) {
        void *(*ours)(size_t) = tm_hook_malloc;
        void *theirs = tm_slots_definition("malloc");
        tm_preloaded = TM_LINKED || !memcmp(&ours, &theirs, sizeof theirs);
        bool next = tm_preloaded && !TM_LINKED;
        TM_HOOKS(LOOK_UP)
        LOOK_UP(malloc_usable_size)
        tm_maps_resolve(next);
        __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&resolving, 0, __ATOMIC_RELEASE);
}

/* The next allocator's function, or NULL while this very thread is looking for it. */
#define NEXT(name) (tm_likely(tm_next.name != NULL) ? tm_next.name : (tm_hooks_resolve(), tm_next.name))

/* ---- recording ---- */

#define FRAME ((const uint64_t *)__builtin_frame_address(0))

/* The program sees the errno that the real function left. */
static __attribute__((noinline)) void record_slowly(void *block, size_t size, const uint64_t *fp) {
    bool chosen = true;
    if (tm_unlikely(tm_sampling())) {
        chosen = __atomic_load_n(&tm_here.gate, __ATOMIC_RELAXED) != TM_GATE_OFF && tm_sampled(size);
        if (tm_likely(!chosen && !tm_js_heap_looks(size))) return;
    }
    tm_thread *self = tm_enter();
    if (!self) return;
    if (tm_unlikely(tm_js_heap_looks(size)) && tm_js_heap_malloc(self, (uintptr_t)block, size, fp)) return tm_leave(self);
    if (tm_likely(chosen && !self->muted)) {
        uint32_t node = tm_traceback(self, fp);
        tm_block_put(self, (uintptr_t)block, size, node);
        tm_count(node, size);
    }
    tm_leave(self);
}

static inline __attribute__((always_inline)) void record(void *block, size_t size, const uint64_t *fp) {
    if (tm_unlikely(!block)) return;
    if (tm_unlikely(!__atomic_load_n(&tm_here.plain, __ATOMIC_RELAXED))) {
        bool over = tm_sampling() ? !tm_js_heap_looks(size) && tm_passed_over(size)
                                  : __atomic_load_n(&tm_here.gate, __ATOMIC_RELAXED) == TM_GATE_OFF;
        return tm_likely(over) ? (void)0 : record_slowly(block, size, fp);
    }
    tm_thread *self = tm_enter_plain();
    if (tm_unlikely(!self)) return record_slowly(block, size, fp);
    uint32_t node = 0;
    if (tm_likely(self->steady == __atomic_load_n(&tm_steady, __ATOMIC_RELAXED))) node = self->thread_node;
    else if (tm_likely(!self->muted)) node = tm_traceback(self, fp);
    if (tm_likely(node)) tm_block_put_young(self, (uintptr_t)block, size, node);
    tm_leave(self);
}

static bool forget(void *block, uint64_t *size, uint32_t *node) {
    if (!tm_block_possible((uintptr_t)block)) return false;
    tm_thread *self = tm_enter();
    if (!self) return false;
    bool known = tm_block_take(self, (uintptr_t)block, size, node);
    if (known && tm_unlikely(*node == TM_NODE_MARK)) tm_js_heap_free(self, (uintptr_t)block);
    tm_leave(self);
    return known;
}

static void restore(void *block, uint64_t size, uint32_t node) {
    tm_thread *self = tm_enter();
    if (!self) return;
    tm_block_put(self, (uintptr_t)block, size, node);
    tm_leave(self);
}

#define HOOK __attribute__((hot))

HOOK void *tm_hook_malloc(size_t size) {
    void *(*next)(size_t) = NEXT(malloc);
    if (tm_unlikely(!next)) return early_alloc(size, 16);
    void *block = next(size);
    record(block, size, FRAME);
    return block;
}

HOOK void *tm_hook_calloc(size_t count, size_t size) {
    void *(*next)(size_t, size_t) = NEXT(calloc);
    if (tm_unlikely(!next)) {
        size_t bytes;
        return __builtin_mul_overflow(count, size, &bytes) ? NULL : early_alloc(bytes, 16);
    }
    void *block = next(count, size);
    record(block, count * size, FRAME); /* it did not overflow, or there is no block */
    return block;
}

static __attribute__((noinline)) void free_slowly(void *block) {
    uint64_t size;
    uint32_t node;
    forget(block, &size, &node);
    if (tm_unlikely(is_early(block))) return;
    void (*next)(void *) = NEXT(free);
    if (tm_likely(next != NULL)) next(block);
}

HOOK void tm_hook_free(void *block) {
    if (!block) return;
    if (tm_likely(__atomic_load_n(&tm_here.plain, __ATOMIC_RELAXED))) {
        tm_thread *self = tm_enter_plain();
        if (tm_likely(self != NULL)) {
            bool taken = tm_block_take_fast(self, (uintptr_t)block);
            tm_leave(self);
            if (tm_likely(taken)) return tm_next.free(block);
        }
    } else if (tm_likely(!tm_block_possible((uintptr_t)block) && !is_early(block) && tm_next.free)) {
        return tm_next.free(block);
    }
    free_slowly(block);
}

static inline __attribute__((always_inline)) void *reallocate(void *block, size_t size, const uint64_t *fp) {
    void *(*next)(void *, size_t) = NEXT(realloc);
    if (tm_unlikely(!next || is_early(block))) {
        void *moved = next ? tm_next.malloc(size) : early_alloc(size, 16);
        if (!moved) return NULL;
        size_t most = is_early(block) ? (size_t)(early + sizeof early - (char *)block) : 0;
        memcpy(moved, block, size < most ? size : most);
        if (next) record(moved, size, fp);
        return moved;
    }
    uint64_t old_size = 0;
    uint32_t old_node = 0;
    bool known = block && forget(block, &old_size, &old_node);
    void *moved = next(block, size);
    if (moved && known && tm_self && tm_self->muted) restore(moved, size, old_node); /* the program's, though the tracer made it grow */
    else if (moved) record(moved, size, fp);
    else if (known && size) restore(block, old_size, old_node); /* it failed: the block is as it was. Of size 0 it was freed. */
    return moved;
}

HOOK void *tm_hook_realloc(void *block, size_t size) { return reallocate(block, size, FRAME); }

HOOK void *tm_hook_reallocarray(void *block, size_t count, size_t size) {
    size_t bytes;
    if (tm_unlikely(__builtin_mul_overflow(count, size, &bytes))) {
        errno = ENOMEM;
        return NULL;
    }
    return reallocate(block, bytes, FRAME);
}

HOOK int tm_hook_posix_memalign(void **out, size_t alignment, size_t size) {
    int (*next)(void **, size_t, size_t) = NEXT(posix_memalign);
    if (tm_unlikely(!next)) return (*out = early_alloc(size, alignment)) ? 0 : ENOMEM;
    int result = next(out, alignment, size);
    if (result == 0) record(*out, size, FRAME);
    return result;
}

HOOK void *tm_hook_aligned_alloc(size_t alignment, size_t size) {
    void *(*next)(size_t, size_t) = NEXT(aligned_alloc);
    if (tm_unlikely(!next)) return early_alloc(size, alignment);
    void *block = next(alignment, size);
    record(block, size, FRAME);
    return block;
}

HOOK void *tm_hook_memalign(size_t alignment, size_t size) {
    void *(*next)(size_t, size_t) = NEXT(memalign);
    if (tm_unlikely(!next)) return early_alloc(size, alignment);
    void *block = next(alignment, size);
    record(block, size, FRAME);
    return block;
}

HOOK void *tm_hook_valloc(size_t size) {
    void *(*next)(size_t) = NEXT(valloc);
    if (tm_unlikely(!next)) return early_alloc(size, 4096);
    void *block = next(size);
    record(block, size, FRAME);
    return block;
}

HOOK void *tm_hook_pvalloc(size_t size) {
    void *(*next)(size_t) = NEXT(pvalloc);
    if (tm_unlikely(!next)) return early_alloc((size + 4095) & ~4095ul, 4096);
    void *block = next(size);
    record(block, size, FRAME);
    return block;
}

HOOK size_t tm_hook_malloc_usable_size(void *block) {
    if (tm_unlikely(is_early(block))) return (size_t)(early + sizeof early - (char *)block);
    size_t (*next)(void *) = NEXT(malloc_usable_size);
    return tm_likely(next != NULL) ? next(block) : 0;
}

/* The names that programs call. */
#if !TM_LINKED
#define EXPORT(name) TM_EXPORT extern __typeof__(tm_hook_##name) name __attribute__((alias("tm_hook_" #name)));
TM_HOOKS(EXPORT)
EXPORT(malloc_usable_size)
#endif
