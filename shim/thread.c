#include "thread.h"

#include <pthread.h>
#include <string.h>

#include "nursery.h"

#define MOST_THREADS 16384
#define RECORDS_A_MAP 64

tm_process tm_here;
bool tm_gate_fenced;
uint32_t tm_steady = 1;
__thread tm_thread *tm_self __attribute__((tls_model("initial-exec")));

static tm_thread *records[MOST_THREADS];
static uint32_t record_count; /* published with release: records below it are there */
static uint32_t scan_above = RECORDS_A_MAP;
static uint64_t lost_threads;

bool tm_process_known(void) {
    static bool begun;
    if (!begun) {
        os_wipe_on_fork(&tm_here, sizeof tm_here);
        begun = tm_here.known = true;
    }
    return tm_here.known;
}

/* ---- records ---- */

/* Threads come at any time, also while the gate is closed. */
static uint32_t records_now(void) { return __atomic_load_n(&record_count, __ATOMIC_ACQUIRE); }

static tm_thread *fresh_record(void) {
    static tm_thread *spare;
    static uint32_t spare_count;
    if (record_count == MOST_THREADS) return NULL;
    if (!spare_count) {
        /* 128 bytes apart, so that no two threads share a line (nor the pair that is fetched with it). */
        spare = os_map(RECORDS_A_MAP * 128);
        if (!spare) return NULL;
        spare_count = RECORDS_A_MAP;
    }
    tm_thread *record = (tm_thread *)((char *)spare + 128 * (RECORDS_A_MAP - spare_count));
    spare_count--;
    records[record_count] = record;
    __atomic_store_n(&record_count, record_count + 1, __ATOMIC_RELEASE);
    return record;
}

_Static_assert(sizeof(tm_thread) <= 128, "a thread's record takes two cache lines");

/* A record whose thread is gone; there is no hook at a thread's end that could not come before its last free(). */
static tm_thread *find_free(int32_t id) {
    tm_thread *found = NULL;
    bool look_for_dead = record_count >= scan_above;
    uint32_t free_count = 0;
    for (uint32_t i = 0; i < record_count; i++) {
        tm_thread *record = records[i];
        /* The caller has no record: one with its number belonged to a thread that is gone. */
        if (record->id == id || (record->id && look_for_dead && !os_thread_alive(record->id))) {
            (void)__atomic_load_n(&record->busy, __ATOMIC_ACQUIRE); /* all that it wrote before it left the tracer */
            __atomic_store_n(&record->busy, 0, __ATOMIC_RELAXED);
            record->id = 0;
        }
        if (record->id) continue;
        free_count++;
        if (!found) found = record;
    }
    if (look_for_dead && free_count < record_count / 4) scan_above = record_count * 2;
    return found;
}

tm_thread *tm_thread_attach(void) {
    int32_t id = os_thread_id();
    uintptr_t low, high;
    os_stack_bounds(&low, &high);
    tm_lock_take(&tm_here.records_lock);
    tm_thread *record = find_free(id);
    if (!record) record = fresh_record();
    if (record) {
        record->id = id;
        __atomic_store_n(&record->busy, 0, __ATOMIC_RELAXED);
        record->steady = 0;
        record->calls = 0;
        if (!record->nursery) record->until_nursery = TM_NURSERY_AFTER;
        record->thread_node = 0;
        record->muted = 0;
        record->ran_javascript = false;
        record->vm = 0;
        record->stack_low = low;
        record->stack_high = high;
        record->incarnation++;
        os_thread_name(record->name);
        tm_self = record;
    } else {
        lost_threads++;
    }
    tm_lock_drop(&tm_here.records_lock);
    return record;
}

uint64_t tm_lost_threads(void) { return lost_threads; }

uint64_t tm_lost_nested(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0, count = records_now(); i < count; i++)
        sum += __atomic_load_n(&records[i]->lost_nested, __ATOMIC_RELAXED);
    return sum;
}

tm_thread *tm_hide_begin(void) {
    tm_thread *self = tm_self ? tm_self : tm_thread_attach();
    if (!self || self->busy) return NULL;
    __atomic_store_n(&self->busy, TM_HIDDEN, __ATOMIC_RELAXED);
    return self;
}

void tm_hide_end(tm_thread *self) {
    if (self) tm_leave(self);
}

/* ---- the gate ---- */

static uint32_t not_plain;

/* With plain_lock, the innermost. */
static void set_gate(uint32_t gate) {
    if (gate != TM_GATE_OPEN) __atomic_store_n(&tm_here.plain, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&tm_here.gate, gate, __ATOMIC_SEQ_CST);
    if (gate == TM_GATE_OPEN) __atomic_store_n(&tm_here.plain, !not_plain && !tm_gate_fenced, __ATOMIC_SEQ_CST);
}

void tm_plain_unless(uint32_t wanted, bool on) {
    tm_lock_take(&tm_here.plain_lock);
    not_plain = on ? not_plain | wanted : not_plain & ~wanted;
    set_gate(tm_here.gate);
    tm_lock_drop(&tm_here.plain_lock);
}

void tm_steady_change(void) {
    if (!__atomic_add_fetch(&tm_steady, 1, __ATOMIC_RELAXED)) __atomic_add_fetch(&tm_steady, 1, __ATOMIC_RELAXED);
}

bool tm_gate_wait(tm_thread *self) {
    for (;;) {
        uint32_t gate = __atomic_load_n(&tm_here.gate, __ATOMIC_ACQUIRE);
        if (gate == TM_GATE_OPEN) return true;
        tm_leave(self);
        if (gate == TM_GATE_OFF) return false;
        os_wait(&tm_here.gate, TM_GATE_CLOSED, 50);
        __atomic_store_n(&self->busy, TM_BUSY, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

bool tm_gate_close(void) {
    if (!tm_self) tm_thread_attach();
    tm_lock_take(&tm_here.gate_lock);
    /* What this thread allocates while the gate is closed must not wait for the gate. */
    if (tm_self) tm_self->busy = TM_HIDDEN;
    tm_lock_take(&tm_here.plain_lock);
    uint32_t before = tm_here.gate;
    set_gate(TM_GATE_CLOSED);
    tm_lock_drop(&tm_here.plain_lock);
    /* While tracing is off nobody is inside, and whoever saw it on has passed the barrier that turned it off. */
    if (before != TM_GATE_OFF && !os_barrier_all() && !tm_gate_fenced) {
        /* From now on every thread fences for itself; those inside without a fence are out within a moment. */
        __atomic_store_n(&tm_gate_fenced, true, __ATOMIC_SEQ_CST);
        for (int i = 0; i < 1000; i++) os_yield();
    }
    for (uint32_t i = 0; i < records_now(); i++) {
        tm_thread *record = records[i];
        if (record == tm_self) continue;
        for (unsigned turns = 0; __atomic_load_n(&record->busy, __ATOMIC_ACQUIRE); turns++) {
            /* A thread can have left the tracer for good only by a jump out of a signal handler, or by dying. */
            if (turns % 256 == 255 && (!record->id || !os_thread_alive(record->id))) break;
            os_yield();
        }
    }
    return before == TM_GATE_OPEN;
}

tm_thread *tm_gate_open_hidden(bool tracing) {
    tm_lock_take(&tm_here.plain_lock);
    set_gate(tracing ? TM_GATE_OPEN : TM_GATE_OFF);
    tm_lock_drop(&tm_here.plain_lock);
    os_wake_all(&tm_here.gate);
    tm_lock_drop(&tm_here.gate_lock);
    return tm_self;
}

void tm_gate_open(bool tracing) {
    if (tm_self) tm_leave(tm_self);
    tm_gate_open_hidden(tracing);
}

void tm_each_thread(void (*each)(tm_thread *, void *), void *context) {
    for (uint32_t i = 0, count = records_now(); i < count; i++) each(records[i], context);
}

/* ---- bytes traced ---- */

static int64_t flushed __attribute__((aligned(64)));
static int64_t highest;

static int64_t others(const tm_thread *self) {
    int64_t sum = 0;
    for (uint32_t i = 0, count = records_now(); i < count; i++)
        if (records[i] != self) sum += __atomic_load_n(&records[i]->delta, __ATOMIC_RELAXED);
    return sum;
}

void tm_flush(tm_thread *self) {
    int64_t delta = self->delta, high = delta > self->high ? delta : self->high;
    int64_t before = __atomic_fetch_add(&flushed, delta, __ATOMIC_RELAXED);
    __atomic_store_n(&self->delta, 0, __ATOMIC_RELAXED);
    self->high = 0;
    int64_t peak = before + others(self) + high, seen = __atomic_load_n(&highest, __ATOMIC_RELAXED);
    while (peak > seen && !__atomic_compare_exchange_n(&highest, &seen, peak, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

void tm_traced_memory(uint64_t *current, uint64_t *peak) {
    int64_t sum = flushed + others(NULL), top = highest;
    for (uint32_t i = 0, count = records_now(); i < count; i++) {
        int64_t high = sum - records[i]->delta + records[i]->high;
        if (high > top) top = high;
    }
    if (sum > top) top = sum;
    highest = top; /* what was shown once is not taken back */
    *current = (uint64_t)sum;
    *peak = (uint64_t)top;
}

int64_t tm_traced_roughly(void) { return __atomic_load_n(&flushed, __ATOMIC_RELAXED) + others(NULL); }

void tm_traced_reset(bool everything) {
    int64_t sum = everything ? 0 : flushed + others(NULL);
    for (uint32_t i = 0, count = records_now(); i < count; i++) records[i]->delta = records[i]->high = 0;
    flushed = highest = sum;
}

/* ---- fork ---- */

static bool tracing_before_fork;

/* Whoever looks whether tracing is on must not see the gate of a fork. */
static void before_fork(void) {
    tm_lock_take(&tm_here.control_lock);
    tracing_before_fork = tm_gate_close();
}

static void after_fork(void) {
    tm_gate_open(tracing_before_fork);
    tm_lock_drop(&tm_here.control_lock);
}

static void after_fork_in_child(void) {
    os_forked();
    /* Nobody is inside the tables, but a thread that is gone may have been on its way there. */
    tm_here.records_lock = tm_here.plain_lock = 0;
    tm_here.known = true;
    for (uint32_t i = 0; i < record_count; i++) {
        if (records[i] == tm_self) {
            records[i]->id = os_thread_id();
        } else {
            records[i]->id = 0;
            records[i]->busy = 0;
        }
    }
    after_fork();
}

void tm_thread_install_fork_handlers(void) {
    static bool installed;
    if (installed) return;
    installed = true;
    tm_thread *self = tm_hide_begin();
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
    tm_hide_end(self);
}
