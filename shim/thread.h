/* One record a thread, and the gate that holds every thread out of the tables while they are taken as a whole. */
#ifndef TM_THREAD_H
#define TM_THREAD_H

#include "arena.h"
#include "tracemalloc.h"

struct tm_v8_thread;
struct tm_tasks;

#define TM_FRAMES_A_THREAD (2u * 65536)

typedef struct tm_thread {
    /*
     * The first line is what every call reads and writes. This is not 0 while the thread is inside the tracer: stops re-entry,
     * and the gate waits for it. See TM_BUSY.
     */
    volatile uint32_t busy;
    uint32_t steady;      /* equals tm_steady: all that is allocated here has the traceback thread_node */
    uint32_t thread_node; /* traceback of blocks on this thread with no JavaScript; 0: not known yet */
    uint32_t generation;  /* of the tables that the cached indexes belong to */
    /* Bytes recorded less bytes forgotten since the last flush, and the highest that was before it last fell. */
    int64_t delta, high;
    struct tm_nursery *nursery; /* NULL: its blocks go to the table */
    uintptr_t stack_low, stack_high;
    uint32_t calls;
    uint16_t muted;       /* what the thread allocates now is the tracer's own: tracemalloc_mute() */
    bool ran_javascript;  /* JavaScript was on its stack before */
    int32_t id;           /* 0: the record is free */
    uint32_t until_nursery; /* blocks */
    uint32_t incarnation; /* counts the threads that the record was of: what others keep of the one before is void */
    uint32_t lost_nested;
    struct tm_v8_thread *v8; /* NULL until JavaScript runs here */
    struct tm_tasks *tasks;  /* NULL until it is at work on one */
    uintptr_t vm;            /* JavaScriptCore's, of this thread; 0: none is known */
    uint32_t *frames;        /* room for TM_FRAMES_A_THREAD, and the walk before; with a VM */
    char name[16];
} tm_thread;

/* Can a word be the address of a frame that lies above `below` on a stack, with so many bytes of it? It may be any number. */
static inline bool tm_frame_fits(uint64_t word, uint64_t below, uint64_t bytes, uint64_t stack_high) {
    return word > below && word <= stack_high - bytes && !(word & 7);
}

/* In a hook: a signal handler's calls are lost. Or in the tracer's own work, whose calls are nobody's. */
enum { TM_BUSY = 1, TM_HIDDEN = 2 };

/*
 * What a process has of its own. All is 0 in the child of a fork that no handler of ours was told of (the system call itself,
 * _Fork()): it is not traced, and waits for no lock of a thread that it does not have. What is read on every call is kept apart
 * from what is written often.
 */
enum { TM_GATE_OFF = 0, TM_GATE_OPEN = 1, TM_GATE_CLOSED = 2 };
typedef struct tm_process {
    volatile uint32_t gate;
    /*
     * The gate is open, and nothing is wanted but that every block is recorded: no sampling, no domain of the engine's, no count
     * of what was ever allocated, no fence. Cleared before the gate is closed.
     */
    volatile uint32_t plain;
    tm_lock control_lock __attribute__((aligned(64))); /* one control call at a time: the functions that runtimes call */
    tm_lock gate_lock, records_lock, plain_lock;
    bool known; /* tracing can be started */
} __attribute__((aligned(4096))) tm_process;
extern tm_process tm_here __attribute__((visibility("hidden")));

/* False: this is the child of such a fork, whose tables may be as another thread was about to leave them. */
bool tm_process_known(void);

extern bool tm_gate_fenced; /* threads fence for themselves: the kernel cannot do it for them */

enum { TM_SAMPLES = 1, TM_READS_ENGINE = 2, TM_COUNTS = 4 };
void tm_plain_unless(uint32_t wanted, bool on);
/* Changes when threads may not have one traceback for all any more. Never 0. */
extern uint32_t tm_steady __attribute__((visibility("hidden")));
void tm_steady_change(void);

extern __thread tm_thread *tm_self __attribute__((tls_model("initial-exec")));

tm_thread *tm_thread_attach(void);

/* Waits while the gate is closed. False: tracing is off. Called with busy set; returns with it set, or clear if false. */
bool tm_gate_wait(tm_thread *self);

/*
 * Enters the tracer. NULL: this call is not to be recorded (tracing is off, or the thread is inside already).
 * The store to busy and the load of the gate are ordered by the barrier that whoever closes the gate makes
 * all threads pass (membarrier), so that the common path has no fence.
 */
static inline tm_thread *tm_enter(void) {
    if (tm_likely(__atomic_load_n(&tm_here.gate, __ATOMIC_RELAXED) == TM_GATE_OFF)) return NULL;
    tm_thread *self = tm_self;
    if (tm_unlikely(!self)) {
        self = tm_thread_attach();
        if (!self) return NULL;
    }
    if (tm_unlikely(self->busy)) {
        if (self->busy == TM_BUSY) __atomic_store_n(&self->lost_nested, self->lost_nested + 1, __ATOMIC_RELAXED);
        return NULL;
    }
    __atomic_store_n(&self->busy, TM_BUSY, __ATOMIC_RELAXED);
    if (tm_unlikely(__atomic_load_n(&tm_gate_fenced, __ATOMIC_RELAXED))) __atomic_thread_fence(__ATOMIC_SEQ_CST);
    else __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (tm_unlikely(__atomic_load_n(&tm_here.gate, __ATOMIC_ACQUIRE) != TM_GATE_OPEN) && !tm_gate_wait(self)) return NULL;
    return self;
}

static inline void tm_leave(tm_thread *self) {
    __atomic_store_n(&self->busy, 0, __ATOMIC_RELEASE);
}

/* tm_enter() where tm_here.plain is true; NULL: it is not, or there is more to it. */
static inline __attribute__((always_inline)) tm_thread *tm_enter_plain(void) {
    tm_thread *self = tm_self;
    if (tm_unlikely(!self || self->busy)) return NULL;
    __atomic_store_n(&self->busy, TM_BUSY, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (tm_likely(__atomic_load_n(&tm_here.plain, __ATOMIC_ACQUIRE))) return self;
    tm_leave(self);
    return NULL;
}

/* Keeps the calling thread's own allocations out of the traces; to be paired. */
tm_thread *tm_hide_begin(void);
void tm_hide_end(tm_thread *self);

/*
 * Closes the gate and waits until no other thread is inside; then opens it, or turns it off. Not between
 * tm_hide_begin() and tm_hide_end(): whoever holds the gate would wait for that thread to leave. Closing says whether
 * tracing was on.
 */
bool tm_gate_close(void);
void tm_gate_open(bool tracing);
/* The same, but the calling thread is hidden from then on, without a moment in between; to be ended by tm_hide_end(). */
tm_thread *tm_gate_open_hidden(bool tracing);

/* Only with the gate closed. */
void tm_each_thread(void (*each)(tm_thread *thread, void *context), void *context);

/* ---- bytes traced ---- */

/*
 * Deltas are flushed in steps, so that threads do not share a cache line. The current size is always exact. So is the peak
 * while one thread allocates at a time; while several do, it is off by at most twice this for each of them: at a thread's
 * flush, the others' deltas are those of now and not of when its own was the highest.
 */
#define TM_FLUSH_BYTES (256 * 1024)

void tm_flush(tm_thread *self);

/* Others add the deltas up. The highest is seen to when it is about to fall. */
static inline void tm_account_more(tm_thread *self, int64_t bytes) {
    int64_t delta = self->delta + bytes;
    __atomic_store_n(&self->delta, delta, __ATOMIC_RELAXED);
    if (tm_unlikely(delta > TM_FLUSH_BYTES)) tm_flush(self);
}

static inline void tm_account_less(tm_thread *self, int64_t bytes) {
    int64_t before = self->delta, delta = before - bytes;
    if (before > self->high) self->high = before;
    __atomic_store_n(&self->delta, delta, __ATOMIC_RELAXED);
    if (tm_unlikely(delta < -TM_FLUSH_BYTES)) tm_flush(self);
}

static inline void tm_account(tm_thread *self, int64_t bytes) {
    if (bytes >= 0) tm_account_more(self, bytes);
    else tm_account_less(self, -bytes);
}

/* The size now, while threads go on. */
int64_t tm_traced_roughly(void);
/* With the gate closed. */
void tm_traced_memory(uint64_t *current, uint64_t *peak);
void tm_traced_reset(bool everything);

uint64_t tm_lost_nested(void);
uint64_t tm_lost_threads(void);

/* Fork handlers: the gate is closed around a fork, and the child keeps only the thread that forked. */
void tm_thread_install_fork_handlers(void);

#endif
