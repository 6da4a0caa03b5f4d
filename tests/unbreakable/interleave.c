#include "interleave.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "../../shim/sampling.h"
#include "../../shim/thread.h"

#define CALLER ((uintptr_t)__builtin_return_address(0))

/* ---- choices: a depth-first search through all of them, each execution from the start ---- */

enum { MOST_CHOICES = 100000 };
static struct {
    uint8_t taken, count;
} choices[MOST_CHOICES];
static int choice_count, choice_at;
static int budget;
static bool exploring;

int interleave_choose(int count) {
    if (count == 1 || !exploring) return 0;
    if (choice_at == choice_count) {
        if (choice_count == MOST_CHOICES) interleave_fail("too many choices in one execution");
        choices[choice_count].taken = 0;
        choices[choice_count++].count = (uint8_t)count;
    } else if (choices[choice_at].count != count) {
        interleave_fail("an execution is not repeated exactly: %d options, and %d before", count, choices[choice_at].count);
    }
    return choices[choice_at++].taken;
}

/* False: all have been tried. */
static bool next_choices(void) {
    while (choice_count && choices[choice_count - 1].taken + 1 == choices[choice_count - 1].count) choice_count--;
    if (choice_count) choices[choice_count - 1].taken++;
    return choice_count > 0;
}

/* ---- fibers ---- */

typedef struct vector {
    uint32_t at[MOST_FIBERS];
} vector;

enum { READY, BLOCKED, ENDED };
enum { MOST_DELAYED = 4, STACK = 256 * 1024 };

typedef struct delayed {
    uintptr_t address;
    uint64_t value;
    int bytes;
    vector clock;
} delayed;

static struct fiber {
    ucontext_t context;
    int state;
    bool times_out;         /* it would wake up by itself */
    uintptr_t failed_at;    /* its last operation, which compared */
    uint64_t failed_with;
    uintptr_t waits_on;     /* an address, whose value it has seen */
    uint64_t seen;
    int seen_bytes;
    delayed stores[MOST_DELAYED]; /* the oldest first */
    int store_count;
    uint64_t stores_made;
    vector clock, fence_acquire, fence_release;
    tm_thread *self;
    tm_sampler sampler;
    int32_t id;
} fibers[MOST_FIBERS];

static char stacks[MOST_FIBERS][STACK] __attribute__((aligned(4096)));
static int current, fiber_count, timeouts;
static void (*fiber_work)(int);
static uint64_t steps;

int interleave_self(void) { return current; }
uint64_t interleave_time(void) { return ++steps; }

static void join(vector *to, const vector *from) {
    for (int i = 0; i < MOST_FIBERS; i++)
        if (from->at[i] > to->at[i]) to->at[i] = from->at[i];
}

/* ---- what happened, to be told ---- */

enum { TOLD = 400 };
static struct {
    int fiber;
    const char *what;
    uintptr_t address, code;
    uint64_t value;
} told[TOLD];
static uint64_t told_count;

static void tell(const char *what, uintptr_t address, uint64_t value, uintptr_t code) {
    told[told_count % TOLD].fiber = current;
    told[told_count % TOLD].what = what;
    told[told_count % TOLD].address = address;
    told[told_count % TOLD].code = code;
    told[told_count++ % TOLD].value = value;
}

static const char *scenario_text = "";

void interleave_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", scenario_text);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nfiber, step, memory, value, code (addr2line -fie PROGRAM):\n");
    for (uint64_t i = told_count > TOLD ? told_count - TOLD : 0; i < told_count; i++)
        fprintf(stderr, "%d %-8s %#14lx %#14lx %#lx\n", told[i % TOLD].fiber, told[i % TOLD].what, told[i % TOLD].address,
                told[i % TOLD].value, told[i % TOLD].code);
    fflush(stderr);
    _exit(1);
}

/* ---- memory: an arena of our own, and a log of all that was written, so that an execution can be undone ---- */

#define ARENA 0x200000000000ul
#define ARENA_BYTES (1ul << 30)
static uintptr_t arena_at = ARENA;
static uint8_t page_live[ARENA_BYTES >> 12];

/* What is a fiber's own: stacks, and thread-local variables, which are swapped when fibers are. */
static uintptr_t main_stack;
static bool is_own(uintptr_t address) {
    uintptr_t own = (uintptr_t)&tm_self;
    return (address >= (uintptr_t)stacks && address < (uintptr_t)(stacks + MOST_FIBERS)) || address - (own - 65536) < 2 * 65536 ||
           main_stack - address < 1 << 20;
}
static bool is_arena(uintptr_t address) { return address - ARENA < ARENA_BYTES; }

enum { MOST_LOG = 1 << 22 };
static struct written {
    uintptr_t address;
    uint64_t old;
} *log_of_writes;
static uint64_t log_count;

static void log_write(uintptr_t address, size_t bytes) {
    for (uintptr_t at = address & ~7ul; at < address + bytes; at += 8) {
        if (log_count == MOST_LOG) interleave_fail("too much is written in one execution");
        log_of_writes[log_count].address = at;
        memcpy(&log_of_writes[log_count++].old, (void *)at, 8);
    }
}

static void undo_all(void) {
    while (log_count) {
        log_count--;
        memcpy((void *)log_of_writes[log_count].address, &log_of_writes[log_count].old, 8);
    }
    memset(page_live, 0, (arena_at - ARENA) >> 12);
    arena_at = ARENA;
}

/* ---- who accessed what, and what orders it ---- */

enum { MOST_CELLS = 1 << 20 };
typedef struct cell {
    uintptr_t word; /* of 8 bytes */
    uint64_t execution;
    struct by {
        uint32_t clock[MOST_FIBERS];
        uint8_t bytes[MOST_FIBERS]; /* a mask */
        uint32_t code[MOST_FIBERS];
    } by[4]; /* kinds of access: bit 0 writes, bit 1 atomic */
    vector released; /* by atomic stores: of a cell of its own, see released_at() */
} cell;
static cell *cells;
static uint32_t *cells_used, cells_used_count;
static uint64_t execution = 1;

/* Words that more than one fiber accesses, and one writes: kept from execution to execution. */
typedef struct sharing {
    uintptr_t word;
    uint8_t readers, writers;
} sharing;
static sharing *sharings;
static bool sharing_grew;

static uint64_t place(uintptr_t word) { return (word >> 3) * 0x9E3779B97F4A7C15ull >> 44; }

static cell *cell_at(uintptr_t address) {
    uintptr_t word = address & ~7ul;
    for (uint64_t at = place(word);; at++) {
        cell *c = &cells[at & (MOST_CELLS - 1)];
        if (c->execution == execution && c->word == word) return c;
        if (c->execution == execution) continue;
        memset(c, 0, sizeof *c);
        c->word = word;
        c->execution = execution;
        cells_used[cells_used_count++] = (uint32_t)(c - cells);
        if (cells_used_count > MOST_CELLS / 2) interleave_fail("too much memory is touched");
        return c;
    }
}

/* Words can hold more than one atomic. */
static vector *released_at(uintptr_t address) { return &cell_at(address << 3 | 1ul << 62)->released; }

static bool is_shared(uintptr_t address, bool writes) {
    if (current == MAIN) return false;
    uintptr_t word = address & ~7ul;
    for (uint64_t at = place(word);; at++) {
        sharing *s = &sharings[at & (MOST_CELLS - 1)];
        if (s->word && s->word != word) continue;
        s->word = word;
        unsigned all = s->readers | s->writers;
        bool before = (all & (all - 1)) && s->writers;
        s->readers |= (uint8_t)(1 << current);
        if (writes) s->writers |= (uint8_t)(1 << current);
        all = s->readers | s->writers;
        bool now = (all & (all - 1)) && s->writers;
        if (now != before) sharing_grew = true;
        return now;
    }
}

static uint8_t mask_of(uintptr_t address, size_t bytes) { return (uint8_t)(((1u << bytes) - 1) << (address & 7)); }

static void check_cell(cell *c, uint8_t mask, bool writes, bool atomic, uintptr_t code) {
    struct fiber *self = &fibers[current];
    for (int kind = 0; kind < 4; kind++) {
        const struct by *by = &c->by[kind];
        if ((!writes && !(kind & 1)) || (atomic && kind & 2)) continue;
        for (int i = 0; i < MOST_FIBERS; i++)
            if (i != current && by->bytes[i] & mask && by->clock[i] > self->clock.at[i])
                interleave_fail("nothing orders two accesses to %#lx: fiber %d %s it at %#x, fiber %d %s it at %#lx", c->word, i,
                                kind & 1 ? "wrote" : "read", by->code[i], current, writes ? "writes" : "reads", code);
    }
    struct by *by = &c->by[writes + 2 * atomic];
    if (by->clock[current] != self->clock.at[current]) by->bytes[current] = 0;
    by->clock[current] = self->clock.at[current];
    by->bytes[current] |= mask;
    by->code[current] = (uint32_t)code; /* the program lies below 4 GiB */
}

static void check_live(uintptr_t address, uintptr_t code) {
    if (is_arena(address) && !page_live[(address - ARENA) >> 12])
        interleave_fail("memory that was given back is accessed: %#lx at %#lx", address, code);
}

static void commit(int fiber, int count);
static void wake_up(void);

static void touch(uintptr_t address, size_t bytes, bool writes, bool atomic, uintptr_t code) {
    if (!exploring || is_own(address)) return;
    check_live(address, code);
    for (int i = 0; !atomic && i < fibers[current].store_count; i++)
        if (fibers[current].stores[i].address == address) commit(current, i + 1), i = -1;
    for (uintptr_t at = address; at < address + bytes;) {
        size_t here = 8 - (at & 7) < address + bytes - at ? 8 - (at & 7) : address + bytes - at;
        check_cell(cell_at(at), mask_of(at, here), writes, atomic, code);
        at += here;
    }
    if (writes) log_write(address, bytes);
}

/* Given back, or made to read as zero by the system: as if all that was touched there were written. */
static void discard(uintptr_t start, size_t bytes, bool atomic, uintptr_t code) {
    for (uint32_t i = 0, count = cells_used_count; i < count; i++) {
        cell *c = &cells[cells_used[i]];
        if (c->word - start < bytes) check_cell(c, 255, true, atomic, code);
    }
    for (uint64_t i = 0; i < log_count; i++)
        if (log_of_writes[i].address - start < bytes) memset((void *)log_of_writes[i].address, 0, 8);
    wake_up();
}

/* ---- scheduling ---- */

static uint64_t load_raw(uintptr_t address, int bytes) {
    uint64_t value = 0;
    memcpy(&value, (void *)address, (size_t)bytes);
    return value;
}

/* A store that others see from now on. */
static void store_raw(uintptr_t address, uint64_t value, int bytes) {
    log_write(address, (size_t)bytes);
    bool changes = load_raw(address, bytes) != value;
    memcpy((void *)address, &value, (size_t)bytes);
    if (!changes) return;
    timeouts = 0;
    wake_up();
}

/* Who has waited for what is different now. */
static void wake_up(void) {
    for (int i = 0; i < MOST_FIBERS; i++) {
        struct fiber *f = &fibers[i];
        if (f->state == BLOCKED && f->waits_on && load_raw(f->waits_on, f->seen_bytes) != f->seen) f->state = READY;
    }
}

static void commit(int fiber, int count) {
    struct fiber *f = &fibers[fiber];
    for (int i = 0; i < count; i++) {
        delayed *d = &f->stores[i];
        *released_at(d->address) = d->clock;
        store_raw(d->address, d->value, d->bytes);
    }
    f->store_count -= count;
    memmove(f->stores, f->stores + count, (size_t)f->store_count * sizeof *f->stores);
}

interleave_handover interleave_give(void) {
    struct fiber *self = &fibers[current];
    interleave_handover given = {.fiber = current, .stores = self->stores_made};
    memcpy(given.clock, self->clock.at, sizeof given.clock);
    self->clock.at[current]++;
    return given;
}

void interleave_receive(const interleave_handover *given) {
    struct fiber *giver = &fibers[given->fiber];
    uint64_t committed = giver->stores_made - (uint64_t)giver->store_count;
    if (given->fiber != current && given->stores > committed) commit(given->fiber, (int)(given->stores - committed));
    vector clock;
    memcpy(clock.at, given->clock, sizeof clock.at);
    join(&fibers[current].clock, &clock);
}

static void switch_to(int next) {
    int before = current;
    if (next == before) return;
    fibers[before].self = tm_self;
    fibers[before].sampler = tm_own_sampler;
    current = next;
    tm_self = fibers[next].self;
    tm_own_sampler = fibers[next].sampler;
    swapcontext(&fibers[before].context, &fibers[next].context);
}

/* Which of the fibers goes on. The current one does, unless it cannot, or what is left of the bound is spent on it. */
static void schedule(void) {
    if (current == MAIN) return;
    for (;;) {
        int options[MOST_FIBERS], count = 0;
        bool forced = fibers[current].state == READY;
        if (forced) options[count++] = current;
        if (!forced || budget > 0)
            for (int i = 1; i <= fiber_count; i++)
                if (i != current && fibers[i].state == READY) options[count++] = i;
        if (count) {
            int next = options[interleave_choose(count)];
            if (next != current) {
                if (forced) budget--;
                /* What it has stored is seen now, or not yet. */
                if (fibers[current].store_count && interleave_choose(2)) commit(current, fibers[current].store_count);
                tell("switch", (uintptr_t)next, 0, 0);
            }
            return switch_to(next);
        }
        bool all_ended = true, committed = false;
        for (int i = 1; i <= fiber_count; i++) {
            all_ended &= fibers[i].state == ENDED;
            if (fibers[i].store_count) commit(i, fibers[i].store_count), committed = true;
        }
        if (all_ended) return switch_to(MAIN);
        if (committed) continue;
        for (int i = 1; i <= fiber_count; i++)
            if (fibers[i].state == BLOCKED && fibers[i].times_out) fibers[i].state = READY, committed = true;
        if (!committed || timeouts++ > 20) interleave_fail("deadlock: nobody can go on (%d %d %d)", fibers[1].state, fibers[2].state, fibers[3].state);
    }
}

static void block(uintptr_t address, uint64_t seen, int bytes, bool times_out) {
    struct fiber *self = &fibers[current];
    commit(current, self->store_count);
    if (load_raw(address, bytes) != seen) return;
    if (current == MAIN || !exploring) {
        if (!times_out) interleave_fail("deadlock: one thread waits for itself at %#lx", address);
        return;
    }
    tell("waits", address, seen, 0);
    self->waits_on = address;
    self->seen = seen;
    self->seen_bytes = bytes;
    self->times_out = times_out;
    self->state = BLOCKED;
    schedule();
    self->waits_on = 0;
}

static void fiber_begin(void) {
    fiber_work(current);
    commit(current, fibers[current].store_count);
    fibers[current].state = ENDED;
    schedule();
}

void interleave_fibers(int count, void (*work)(int)) {
    fiber_work = work;
    fiber_count = count;
    commit(MAIN, fibers[MAIN].store_count);
    for (int i = 1; i <= count; i++) {
        struct fiber *f = &fibers[i];
        f->state = READY;
        f->clock = fibers[MAIN].clock;
        f->clock.at[i]++;
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = stacks[i];
        f->context.uc_stack.ss_size = STACK;
        f->context.uc_link = NULL;
        makecontext(&f->context, fiber_begin, 0);
    }
    fibers[MAIN].clock.at[MAIN]++;
    switch_to(1 + interleave_choose(count));
    for (int i = 1; i <= count; i++) join(&fibers[MAIN].clock, &fibers[i].clock);
}

void interleave_alone(void) {
    for (int i = 1; i <= fiber_count; i++) {
        if (fibers[i].store_count) commit(i, fibers[i].store_count);
        join(&fibers[current].clock, &fibers[i].clock);
        if (i != current) fibers[i].state = ENDED;
    }
    fibers[current].id += 100;
}

/* ---- atomic operations ---- */

static bool acquires(int order) { return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST; }
static bool releases(int order) { return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST; }

static void remember_seen(uintptr_t address, uint64_t value, int bytes) {
    struct fiber *self = &fibers[current];
    self->waits_on = address;
    self->seen = value;
    self->seen_bytes = bytes;
}

/* Before an operation that others can see: who does it first? */
static void point(uintptr_t address, bool writes) {
    if (exploring && !is_own(address) && is_shared(address, writes)) schedule();
}

static void order_load(uintptr_t address, int order) {
    struct fiber *self = &fibers[current];
    if (fault_no_order) return;
    if (acquires(order)) join(&self->clock, released_at(address));
    else join(&self->fence_acquire, released_at(address));
}

static uint64_t atomic_load(uintptr_t address, int bytes, int order, uintptr_t code) {
    if (!exploring || is_own(address)) return load_raw(address, bytes);
    point(address, false);
    for (int i = fibers[current].store_count; i-- > 0;)
        if (fibers[current].stores[i].address == address) return fibers[current].stores[i].value;
    touch(address, (size_t)bytes, false, true, code);
    order_load(address, order);
    uint64_t value = load_raw(address, bytes);
    remember_seen(address, value, bytes);
    tell("load", address, value, code);
    return value;
}

static void atomic_store(uintptr_t address, uint64_t value, int bytes, int order, uintptr_t code) {
    if (!exploring || is_own(address)) {
        memcpy((void *)address, &value, (size_t)bytes);
        return;
    }
    struct fiber *self = &fibers[current];
    point(address, true);
    touch(address, (size_t)bytes, true, true, code);
    bool release = releases(order) && !fault_no_order;
    vector clock = release ? self->clock : self->fence_release;
    delayed d = {address, value, bytes, clock};
    if (releases(order)) self->clock.at[current]++;
    bool can_wait = order != __ATOMIC_SEQ_CST && current != MAIN && budget > 0 && self->store_count < MOST_DELAYED && is_shared(address, true);
    bool waits = (can_wait && interleave_choose(2)) || (self->store_count && order != __ATOMIC_SEQ_CST && self->store_count < MOST_DELAYED);
    tell(waits ? "store…" : "store", address, value, code);
    if (waits && !self->store_count) budget--;
    if (!waits) commit(current, self->store_count);
    self->stores[self->store_count++] = d;
    self->stores_made++;
    if (!waits) commit(current, 1);
}

enum { EXCHANGE, ADD, SUB, AND, OR, XOR, COMPARE };

/* Returns the old value. */
static uint64_t atomic_change(uintptr_t address, int what, uint64_t operand, uint64_t expected, int bytes, int order, uintptr_t code) {
    struct fiber *self = &fibers[current];
    bool real = exploring && !is_own(address);
    if (real) {
        point(address, true);
        commit(current, self->store_count);
    }
    uint64_t old = load_raw(address, bytes), value = old;
    switch (what) {
    case EXCHANGE: value = operand; break;
    case ADD: value += operand; break;
    case SUB: value -= operand; break;
    case AND: value &= operand; break;
    case OR: value |= operand; break;
    case XOR: value ^= operand; break;
    case COMPARE: value = old == expected || fault_open_locks ? operand : old; break;
    }
    if (!real) {
        memcpy((void *)address, &value, (size_t)bytes);
        return old;
    }
    tell(what == EXCHANGE ? "exchange" : what == COMPARE ? "compare" : "change", address, value, code);
    bool fails = (what == EXCHANGE && old == operand) || (what == COMPARE && value == old && old != expected);
    touch(address, (size_t)bytes, !fails, true, code);
    order_load(address, order);
    if (fails) {
        if (what == EXCHANGE && fault_open_locks) return 0;
        /* Who compares again, and sees what was there before, sees it until it changes. */
        bool again = what == EXCHANGE || (self->failed_at == address && self->failed_with == old);
        self->failed_at = address;
        self->failed_with = old;
        remember_seen(address, old, bytes);
        if (again) block(address, old, bytes, false);
        return old;
    }
    self->failed_at = 0;
    if (!fault_no_order) {
        if (releases(order)) join(released_at(address), &self->clock);
        else join(released_at(address), &self->fence_release); /* and goes on with what it was released by */
    }
    store_raw(address, value, bytes);
    if (releases(order)) self->clock.at[current]++;
    return what == COMPARE && fault_open_locks ? expected : old;
}

static void fence(int fiber) {
    struct fiber *f = &fibers[fiber];
    commit(fiber, f->store_count);
    join(&f->clock, &f->fence_acquire);
    f->fence_release = f->clock;
    f->clock.at[fiber]++;
}

#define ADDRESS(a) ((uintptr_t)(a))
#define ATOMICS(bits)                                                                                                                    \
    typedef uint##bits##_t a##bits;                                                                                                      \
    a##bits __tsan_atomic##bits##_load(const volatile a##bits *a, int o) { return (a##bits)atomic_load(ADDRESS(a), bits / 8, o, CALLER); } \
    void __tsan_atomic##bits##_store(volatile a##bits *a, a##bits v, int o) { atomic_store(ADDRESS(a), v, bits / 8, o, CALLER); }         \
    CHANGE(bits, exchange, EXCHANGE)                                                                                                     \
    CHANGE(bits, fetch_add, ADD)                                                                                                         \
    CHANGE(bits, fetch_sub, SUB)                                                                                                         \
    CHANGE(bits, fetch_and, AND)                                                                                                         \
    CHANGE(bits, fetch_or, OR)                                                                                                           \
    CHANGE(bits, fetch_xor, XOR)                                                                                                         \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile a##bits *a, a##bits *e, a##bits v, int o, int f) {                        \
        (void)f;                                                                                                                         \
        a##bits old = (a##bits)atomic_change(ADDRESS(a), COMPARE, v, *e, bits / 8, o, CALLER);                                            \
        if (old == *e) return 1;                                                                                                         \
        *e = old;                                                                                                                        \
        return 0;                                                                                                                        \
    }                                                                                                                                    \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile a##bits *a, a##bits *e, a##bits v, int o, int f) {                          \
        (void)f;                                                                                                                         \
        a##bits old = (a##bits)atomic_change(ADDRESS(a), COMPARE, v, *e, bits / 8, o, CALLER);                                            \
        if (old == *e) return 1;                                                                                                         \
        *e = old;                                                                                                                        \
        return 0;                                                                                                                        \
    }                                                                                                                                    \
    a##bits __tsan_atomic##bits##_compare_exchange_val(volatile a##bits *a, a##bits e, a##bits v, int o, int f) {                        \
        (void)f;                                                                                                                         \
        return (a##bits)atomic_change(ADDRESS(a), COMPARE, v, e, bits / 8, o, CALLER);                                                    \
    }
#define CHANGE(bits, name, what)                                                           \
    a##bits __tsan_atomic##bits##_##name(volatile a##bits *a, a##bits v, int o) {          \
        return (a##bits)atomic_change(ADDRESS(a), what, v, 0, bits / 8, o, CALLER);         \
    }
ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

void __tsan_atomic_thread_fence(int order) {
    if (exploring && order == __ATOMIC_SEQ_CST) fence(current);
    else if (exploring) join(&fibers[current].clock, &fibers[current].fence_acquire), fibers[current].fence_release = fibers[current].clock;
}
void __tsan_atomic_signal_fence(int order) { (void)order; }

#define PLAIN(bytes)                                                                                   \
    void __tsan_read##bytes(void *a) { touch(ADDRESS(a), bytes, false, false, CALLER); }              \
    void __tsan_write##bytes(void *a) { touch(ADDRESS(a), bytes, true, false, CALLER); }              \
    void __tsan_unaligned_read##bytes(void *a) { touch(ADDRESS(a), bytes, false, false, CALLER); }    \
    void __tsan_unaligned_write##bytes(void *a) { touch(ADDRESS(a), bytes, true, false, CALLER); }    \
    void __tsan_volatile_read##bytes(void *a) { volatile_access(ADDRESS(a), bytes, false, CALLER); }   \
    void __tsan_volatile_write##bytes(void *a) { volatile_access(ADDRESS(a), bytes, true, CALLER); }
static void volatile_access(uintptr_t address, size_t bytes, bool writes, uintptr_t code) {
    point(address, writes);
    if (exploring) commit(current, fibers[current].store_count); /* the access itself is not ours */
    touch(address, bytes, writes, true, code);
    if (exploring) tell(writes ? "vol.set" : "vol.get", address, load_raw(address, (int)bytes), code);
}
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void __tsan_read_range(void *a, unsigned long bytes) { touch(ADDRESS(a), bytes, false, false, CALLER); }
void __tsan_write_range(void *a, unsigned long bytes) { touch(ADDRESS(a), bytes, true, false, CALLER); }
void __tsan_func_entry(void *pc) { (void)pc; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}

/* The C library's, which are not instrumented. */
void *interleave_memcpy(void *to, const void *from, size_t bytes) {
    touch(ADDRESS(from), bytes, false, false, CALLER);
    touch(ADDRESS(to), bytes, true, false, CALLER);
    return memcpy(to, from, bytes);
}
void *interleave_memset(void *to, int value, size_t bytes) {
    touch(ADDRESS(to), bytes, true, false, CALLER);
    return memset(to, value, bytes);
}

/* ---- the platform ---- */

bool fault_no_barrier, fault_no_order, fault_open_locks;

static void *map(size_t bytes, size_t alignment) {
    uintptr_t start = (arena_at + alignment - 1) & ~(alignment - 1);
    bytes = (bytes + 4095) & ~4095ul;
    if (start + bytes + 4096 > ARENA + ARENA_BYTES) interleave_fail("the arena is too small");
    memset(page_live + ((start - ARENA) >> 12), 1, bytes >> 12);
    arena_at = start + bytes + 4096;
    return (void *)start;
}

void *os_map(size_t bytes) { return map(bytes, 4096); }
void *os_map_large(size_t bytes) { return map(bytes, bytes); }
void os_unmap(void *start, size_t bytes) {
    if (exploring) discard(ADDRESS(start), bytes, false, CALLER);
    memset(page_live + ((ADDRESS(start) - ARENA) >> 12), 0, (bytes + 4095) >> 12);
}
void os_discard(void *start, size_t bytes) {
    if (exploring) discard(ADDRESS(start), bytes, true, CALLER);
}
size_t os_mapped(void) { return 0; }
size_t os_address_space_left(void) { return 64ul << 20; } /* tables of 2 MiB */
bool os_read(uintptr_t from, void *to, size_t bytes) { return (void)from, (void)to, (void)bytes, false; }
const char *os_missing(bool mappings) { return (void)mappings, NULL; }
int32_t os_thread_id(void) { return fibers[current].id; }
bool os_thread_alive(int32_t id) {
    for (int i = 0; i < MOST_FIBERS; i++)
        if (fibers[i].id == id) return fibers[i].state != ENDED || i == MAIN;
    return false;
}
void os_thread_name(char out[16]) { memset(out, 0, 16), snprintf(out, 16, "fiber %d", current); }
void os_stack_bounds(uintptr_t *low, uintptr_t *high) { *low = 0, *high = UINTPTR_MAX; }
bool os_barrier_all(void) {
    tell("barrier", 0, 0, CALLER);
    if (fault_no_barrier) return true;
    for (int i = 0; i < MOST_FIBERS; i++) fence(i);
    for (int i = 0; i < MOST_FIBERS; i++) join(&fibers[current].clock, &fibers[i].fence_release);
    for (int i = 0; i < MOST_FIBERS; i++) join(&fibers[i].clock, &fibers[current].fence_release);
    return true;
}
void os_yield(void) {
    struct fiber *self = &fibers[current];
    if (self->waits_on && exploring) block(self->waits_on, self->seen, self->seen_bytes, false);
}
void os_wait(const volatile uint32_t *word, uint32_t value, uint64_t milliseconds) {
    (void)milliseconds;
    if (exploring) block(ADDRESS(word), value, 4, true);
}
void os_wake_all(const volatile uint32_t *word) { (void)word; }
uint64_t os_milliseconds(void) { return 1000; }
bool os_each_mapping(void (*each)(const os_mapping *, void *), void *context) { return (void)each, (void)context, false; }
size_t os_static_tls_bytes(void) { return 0; }
void os_forked(void) {}
bool os_wipe_on_fork(void *start, size_t bytes) { return (void)start, (void)bytes, false; }
int os_set_aside(int file) { return file; }

/* What none of the scenarios comes to: code is not patched here, and no mappings are traced. */
size_t os_bytes_in_memory(uintptr_t low, uintptr_t high) { return (void)low, (void)high, 0; }
bool os_barrier_code(void) { return false; }
bool os_code_open(uintptr_t start, size_t bytes) { return (void)start, (void)bytes, false; }
bool os_code_close(uintptr_t start, size_t bytes) { return (void)start, (void)bytes, false; }
void *os_map_near(uintptr_t low, uintptr_t high, size_t bytes) { return (void)low, (void)high, (void)bytes, NULL; }
size_t os_initial_arguments(char *out, size_t size) { return (void)out, (void)size, 0; }
size_t os_initial_environment(char *out, size_t size) { return (void)out, (void)size, 0; }

void (*interleave_before_fork)(void), (*interleave_after_fork)(void), (*interleave_in_child)(void);
int interleave_atfork(void (*before)(void), void (*after)(void), void (*child)(void)) {
    interleave_before_fork = before;
    interleave_after_fork = after;
    interleave_in_child = child;
    return 0;
}

/* ---- all executions ---- */

static void *reserve(size_t bytes) {
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) exit(3);
    return start;
}

static void execute(const interleave_options *options) {
    memset(fibers, 0, sizeof fibers);
    for (int i = 0; i < MOST_FIBERS; i++) {
        fibers[i].state = i == MAIN ? READY : ENDED;
        fibers[i].id = 1000 + i;
        fibers[i].clock.at[i] = 1;
    }
    current = MAIN;
    fiber_count = 0;
    tm_self = NULL;
    memset(&tm_own_sampler, 0, sizeof tm_own_sampler);
    budget = options->bound;
    choice_at = 0;
    told_count = steps = 0;
    timeouts = 0;
    cells_used_count = 0;
    execution++;
    options->reset();
    exploring = true;
    options->run();
    exploring = false;
    undo_all();
}

uint64_t interleave_explore(const interleave_options *options, bool *all) {
    if (!cells) {
        main_stack = (uintptr_t)__builtin_frame_address(0) + 4096;
        cells = reserve(MOST_CELLS * sizeof *cells);
        cells_used = reserve(MOST_CELLS * sizeof *cells_used);
        sharings = reserve(MOST_CELLS * sizeof *sharings);
        log_of_writes = reserve(MOST_LOG * sizeof *log_of_writes);
        void *arena = mmap((void *)ARENA, ARENA_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (arena != (void *)ARENA) exit(3);
    }
    memset(sharings, 0, MOST_CELLS * sizeof *sharings);
    uint64_t count = 0;
    scenario_text = options->name;
    choice_count = 0;
    for (;;) {
        sharing_grew = false;
        execute(options);
        count++;
        /* More than was known is shared: choices that were not seen as such come before. */
        if (sharing_grew) choice_count = 0;
        else if (!next_choices()) return *all = true, count;
        if (count >= options->most) return *all = false, count;
    }
}
