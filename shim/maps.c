#include "maps.h"
#include "slots.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hooks.h"
#include "traces.h"
#include "unwind.h"

/* ---- the table: pieces of address space in order, none of which overlap ---- */

typedef struct piece {
    uintptr_t low, high;
    uint32_t node;   /* of what made it accessible; 0: nobody's, or not accessible */
    bool accessible; /* else a reservation */
    bool idle;       /* was given back whole */
} piece;

static piece *pieces;
static size_t count, capacity;
static uint64_t lost;

/*
 * Held over system calls that give address space back, so that nobody who is given it next comes by here first; never while
 * a traceback is taken. Only whoever has entered the tracer takes it.
 */
static tm_lock lock;

bool tm_maps_wanted;

/* Index of the first piece that ends behind the address. */
static size_t first_behind(uintptr_t address) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pieces[middle].high > address) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* Room for one more piece. */
static bool make_room(void) {
    if (count < capacity) return true;
    size_t wanted = capacity ? 2 * capacity : 1024;
    piece *more = os_map(wanted * sizeof *more);
    if (!more) return false;
    if (pieces) {
        memcpy(more, pieces, count * sizeof *more);
        os_unmap(pieces, capacity * sizeof *pieces);
    }
    pieces = more;
    capacity = wanted;
    return true;
}

static void move_behind(size_t from, size_t to) {
    memmove(pieces + to, pieces + from, (count - from) * sizeof *pieces);
    count += to - from;
}

static bool insert(size_t index, piece fresh) {
    if (!make_room()) return false;
    move_behind(index, index + 1);
    pieces[index] = fresh;
    return true;
}

/* What it counts for in the traced size. */
static int64_t shown(const piece *p) { return p->node && !p->idle ? (int64_t)(p->high - p->low) : 0; }

/* A piece ends at the address, if one was around it. Without memory for that it is forgotten, and counted as lost. */
static void split(tm_thread *self, uintptr_t address) {
    size_t i = first_behind(address);
    if (i == count || pieces[i].low >= address) return;
    piece right = pieces[i];
    right.low = address;
    if (insert(i + 1, right)) {
        pieces[i].high = address;
        return;
    }
    tm_account(self, -shown(&pieces[i]));
    lost++;
    move_behind(i + 1, i);
}

/* Forgets what is in [low, high), and nothing else. */
static void carve(tm_thread *self, uintptr_t low, uintptr_t high) {
    split(self, low);
    split(self, high);
    size_t from = first_behind(low), to = from;
    int64_t bytes = 0;
    for (; to < count && pieces[to].low < high; to++) bytes += shown(&pieces[to]);
    if (to == from) return;
    tm_account(self, -bytes);
    move_behind(to, from);
}

/* Reservations that lie side by side are one, so that what comes and goes leaves no crumbs. */
static void join_reservations(uintptr_t low, uintptr_t high) {
    size_t i = first_behind(low ? low - 1 : 0);
    while (i + 1 < count && pieces[i].low <= high) {
        piece *a = &pieces[i], *b = a + 1;
        if (a->accessible || b->accessible || a->high != b->low) {
            i++;
            continue;
        }
        a->high = b->high;
        move_behind(i + 2, i + 1);
    }
}

static void put(tm_thread *self, piece fresh) {
    carve(self, fresh.low, fresh.high);
    if (!insert(first_behind(fresh.low), fresh)) {
        lost++;
        return;
    }
    tm_account(self, shown(&fresh));
    if (!fresh.accessible) join_reservations(fresh.low, fresh.high);
}

static bool has_reservation(uintptr_t low, uintptr_t high) {
    for (size_t i = first_behind(low); i < count && pieces[i].low < high; i++)
        if (!pieces[i].accessible) return true;
    return false;
}

/* What is known in [low, high) can be accessed from now on, by the node's line where it could not before; or cannot. */
static void protect(tm_thread *self, uintptr_t low, uintptr_t high, bool accessible, uint32_t node) {
    uintptr_t ends[] = {low, high};
    for (int k = 0; k < 2; k++) {
        size_t i = first_behind(ends[k]);
        if (i < count && pieces[i].accessible != accessible) split(self, ends[k]);
    }
    for (size_t i = first_behind(low); i < count && pieces[i].low < high; i++) {
        piece *p = &pieces[i];
        if (p->accessible == accessible) continue;
        tm_account(self, -shown(p));
        p->accessible = accessible;
        p->idle = false;
        p->node = accessible ? node : 0;
        tm_account(self, shown(p));
    }
    if (!accessible) join_reservations(low, high);
}

/* What lies in [low, high) as a whole has no memory any more; of what does in part, all is said to be there as before. */
static void give_back(tm_thread *self, uintptr_t low, uintptr_t high) {
    for (size_t i = first_behind(low); i < count && pieces[i].high <= high; i++) {
        piece *p = &pieces[i];
        if (p->low < low || !p->accessible) continue;
        tm_account(self, -shown(p));
        p->idle = true;
    }
}

/* ---- with the gate closed ---- */

static void forget_all(void) {
    if (pieces) os_unmap(pieces, capacity * sizeof *pieces);
    pieces = NULL;
    count = capacity = 0;
    lost = 0;
}

static void note_mapping(const os_mapping *mapping, void *context) {
    (void)context;
    if (mapping->file || mapping->special) return;
    bool accessible = mapping->readable || mapping->writable || mapping->executable;
    if (!insert(count, (piece){mapping->low, mapping->high, 0, accessible, false})) lost++;
}

void tm_maps_start(bool wanted) {
    forget_all();
    if (wanted) os_each_mapping(note_mapping, NULL);
    tm_maps_wanted = wanted;
}

void tm_maps_clear(void) {
    for (size_t i = 0; i < count; i++) pieces[i].node = 0;
    lost = 0;
}

static uint64_t size_of(const piece *p) { return p->idle ? os_bytes_in_memory(p->low, p->high) : p->high - p->low; }

void tm_maps_each(void (*each)(uint32_t, uint64_t, uint32_t, void *), void *context) {
    for (size_t i = 0; i < count; i++) {
        uint64_t size = pieces[i].node ? size_of(&pieces[i]) : 0;
        if (size) each(TM_DOMAIN_MMAP, size, pieces[i].node, context);
    }
}

bool tm_map_find(uintptr_t address, uint64_t *size, uint32_t *node) {
    tm_thread *self = tm_enter();
    if (!self) return false;
    tm_lock_take(&lock);
    size_t i = first_behind(address);
    bool found = i < count && pieces[i].low == address && pieces[i].node;
    if (found) {
        *size = size_of(&pieces[i]);
        *node = pieces[i].node;
    }
    tm_lock_drop(&lock);
    tm_leave(self);
    return found;
}

size_t tm_maps_bytes(void) { return capacity * sizeof *pieces; }
uint64_t tm_maps_lost(void) { return lost; }

/* ---- the hooks ---- */

struct tm_next_map tm_next_map;

/* dlsym() says void *, C says that this is no function. */
#define LOOK_UP(name)                                                               \
    do {                                                                            \
        void *symbol = next ? dlsym(RTLD_NEXT, #name) : tm_slots_definition(#name); \
        memcpy(&tm_next_map.name, &symbol, sizeof symbol);                          \
    } while (0);

void tm_maps_resolve(bool next) {
    TM_MAP_HOOKS(LOOK_UP)
}

/* Where the C library's function is not known yet: the system call that it stands for. */
#define CALL(name, number, ...) \
    (tm_likely(tm_next_map.name != NULL) ? tm_next_map.name(__VA_ARGS__) : (__typeof__(tm_next_map.name(__VA_ARGS__)))syscall(number, __VA_ARGS__))

#define FRAME ((const uint64_t *)__builtin_frame_address(0))
#define PAGE 4096ul

static uintptr_t end_of(const void *start, size_t bytes) { return (uintptr_t)start + ((bytes + PAGE - 1) & ~(PAGE - 1)); }
static bool is_accessible(int protection) { return protection & (PROT_READ | PROT_WRITE | PROT_EXEC); }

static tm_thread *enter(void) { return tm_likely(!__atomic_load_n(&tm_maps_wanted, __ATOMIC_RELAXED)) ? NULL : tm_enter(); }

static void leave(tm_thread *self) {
    tm_lock_drop(&lock);
    tm_leave(self);
}

/* What the tracer itself makes an engine map is nobody's. */
static uint32_t node_of(tm_thread *self, const uint64_t *fp) { return self->muted ? 0 : tm_traceback(self, fp); }

static void record(void *start, size_t bytes, int protection, int flags, const uint64_t *fp) {
    tm_thread *self = start == MAP_FAILED ? NULL : enter();
    if (!self) return;
    bool anonymous = flags & MAP_ANONYMOUS, accessible = is_accessible(protection);
    uint32_t node = anonymous && accessible ? node_of(self, fp) : 0;
    tm_lock_take(&lock);
    if (anonymous) put(self, (piece){(uintptr_t)start, end_of(start, bytes), node, accessible, false});
    else carve(self, (uintptr_t)start, end_of(start, bytes));
    leave(self);
}

void *tm_hook_mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    void *start = CALL(mmap, SYS_mmap, address, bytes, protection, flags, file, offset);
    record(start, bytes, protection, flags, FRAME);
    return start;
}

void *tm_hook_mmap64(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    void *start = CALL(mmap64, SYS_mmap, address, bytes, protection, flags, file, offset);
    record(start, bytes, protection, flags, FRAME);
    return start;
}

int tm_hook_munmap(void *address, size_t bytes) {
    tm_thread *self = enter();
    if (self) tm_lock_take(&lock);
    int result = CALL(munmap, SYS_munmap, address, bytes);
    if (self) {
        if (result == 0) carve(self, (uintptr_t)address, end_of(address, bytes));
        leave(self);
    }
    return result;
}

/* As with realloc, the line that was last to ask for it has all of it. */
void *tm_hook_mremap(void *address, size_t bytes, size_t wanted, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    void *place = flags & MREMAP_FIXED ? va_arg(arguments, void *) : NULL;
    va_end(arguments);
    tm_thread *self = enter();
    uint32_t node = self ? node_of(self, FRAME) : 0;
    if (self) tm_lock_take(&lock);
    void *start = CALL(mremap, SYS_mremap, address, bytes, wanted, flags, place);
    if (self) {
        size_t i = first_behind((uintptr_t)address);
        bool known = i < count && pieces[i].low <= (uintptr_t)address;
        if (start != MAP_FAILED) {
            bool accessible = known && pieces[i].accessible;
            /* With an old size of 0, or when told so, the old place stays mapped. */
            if (bytes && !(flags & MREMAP_DONTUNMAP)) carve(self, (uintptr_t)address, end_of(address, bytes));
            if (known) put(self, (piece){(uintptr_t)start, end_of(start, wanted), accessible ? node : 0, accessible, false});
            else carve(self, (uintptr_t)start, end_of(start, wanted));
        }
        leave(self);
    }
    return start;
}

/* Enters with the lock, and with the node if what is in the range is to be opened. NULL: it is not recorded. */
static tm_thread *enter_to_protect(void *address, size_t bytes, int protection, const uint64_t *fp, uint32_t *node) {
    tm_thread *self = enter();
    if (!self) return NULL;
    tm_lock_take(&lock);
    if (is_accessible(protection) && has_reservation((uintptr_t)address, end_of(address, bytes))) {
        tm_lock_drop(&lock);
        *node = node_of(self, fp);
        tm_lock_take(&lock);
    }
    return self;
}

static void leave_protected(tm_thread *self, void *address, size_t bytes, int protection, uint32_t node, int result) {
    if (!self) return;
    if (result == 0) protect(self, (uintptr_t)address, end_of(address, bytes), is_accessible(protection), node);
    leave(self);
}

int tm_hook_mprotect(void *address, size_t bytes, int protection) {
    uint32_t node = 0;
    tm_thread *self = enter_to_protect(address, bytes, protection, FRAME, &node);
    int result = CALL(mprotect, SYS_mprotect, address, bytes, protection);
    leave_protected(self, address, bytes, protection, node, result);
    return result;
}

int tm_hook_pkey_mprotect(void *address, size_t bytes, int protection, int key) {
    uint32_t node = 0;
    tm_thread *self = enter_to_protect(address, bytes, protection, FRAME, &node);
    int result = CALL(pkey_mprotect, SYS_pkey_mprotect, address, bytes, protection, key);
    leave_protected(self, address, bytes, protection, node, result);
    return result;
}

int tm_hook_madvise(void *address, size_t bytes, int advice) {
    bool gives_back = advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE;
    tm_thread *self = gives_back ? enter() : NULL;
    if (self) tm_lock_take(&lock);
    int result = CALL(madvise, SYS_madvise, address, bytes, advice);
    if (self) {
        if (result == 0) give_back(self, (uintptr_t)address, end_of(address, bytes));
        leave(self);
    }
    return result;
}

/* The names that programs call: see hooks.c. */
#if !TM_LINKED
#define EXPORT(name) TM_EXPORT extern __typeof__(tm_hook_##name) name __attribute__((alias("tm_hook_" #name)));
TM_MAP_HOOKS(EXPORT)
#endif
