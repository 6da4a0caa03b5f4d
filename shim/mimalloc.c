/* The profiler that is hung into the program's mimalloc, its self-test, and what of it is exported. */
#include "mimalloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jsc.h"
#include "traces.h"
#include "unwind.h"

/*
 * include/mimalloc-profile.h, sample-profile.c: what mimalloc puts before a block that its profiler was told of. Two words
 * of it are ours: they say which tally the block is in, so that no table of blocks is needed.
 */
typedef struct tm_sample {
    size_t user_bytes;
    uint32_t tally; /* 0: not recorded */
    uint32_t place; /* where threads keep it */
    double blocks;  /* that it stands for */
} tm_sample;

#define USER_BYTES (sizeof(tm_sample) - sizeof(size_t))

typedef struct tm_header {
    uint64_t tag, check; /* a constant; the block's address ^ a key */
    tm_sample sample;
    uint64_t padding;
} tm_header;

_Static_assert(sizeof(tm_header) % 16 == 0, "the block follows at once");

#define HEADER_TAG 1

typedef struct tm_profiler {
    size_t state; /* generation << 1 | running: internal.h, mi_profiler_set_enabled() */
    size_t user_bytes;
    size_t first_rate;
    size_t (*on_alloc)(struct tm_profiler *, tm_sample *, void *block, size_t size, size_t rate, uint64_t since, const void *heap);
    void (*on_free)(struct tm_profiler *, tm_sample *, void *block, const void *heap);
    size_t (*on_realloc)(struct tm_profiler *, tm_sample *, void *block, size_t size, const void *heap);
} tm_profiler;

#define RUNNING 1u

volatile bool tm_mimalloc_ready;
static tm_mimalloc_layout layout __attribute__((aligned(64))); /* what each call reads lies in its first line */
static bool installed;
static uint64_t header_key; /* 0: no block was seen yet */
static uint64_t lost;

/* ---- where a block was asked for ---- */

#define LEVELS 6

/* The return addresses above the hook: mimalloc's own functions, then its caller. */
static void callers(const tm_thread *self, const uint64_t *fp, uintptr_t out[LEVELS]) {
    memset(out, 0, LEVELS * sizeof *out);
    for (int i = 0; i < LEVELS; i++) {
        if ((uintptr_t)fp < self->stack_low || (uintptr_t)fp > self->stack_high - 16 || (uintptr_t)fp & 7) return;
        out[i] = fp[1];
        if (fp[0] <= (uint64_t)(uintptr_t)fp) return;
        fp = (const uint64_t *)fp[0];
    }
}

/*
 * JavaScriptCore keeps cells in blocks of 16 KiB, aligned to that (heap/MarkedBlock.h). Aligned blocks are asked for with
 * room to be aligned in, and the hook is told of that size. They are not what the line asked for that happened to need
 * one: they go by a name of their own. They are told from other blocks of that size by where mimalloc was called.
 */
#define GARBAGE_BYTES 16384u
#define GARBAGE_REQUEST (2 * GARBAGE_BYTES - 1)

static struct {
    int level; /* of the return address that only aligned blocks have */
    uintptr_t caller;
    uint32_t generation, node;
} garbage;

static bool is_garbage(const tm_thread *self, const uint64_t *fp) {
    uintptr_t back[LEVELS];
    callers(self, fp, back);
    return back[garbage.level] == garbage.caller;
}

static uint32_t garbage_node(void) {
    if (garbage.generation != tm_traces_generation || !garbage.node) {
        static const char NAME[] = "<gc heap>";
        uint32_t name = tm_string(NAME, sizeof NAME - 1);
        garbage.node = name == UINT32_MAX ? tm_node(0, tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_MEMORY, 0, 0, 0))
                                          : tm_node(0, tm_frame(TM_FRAME_MEMORY, name, 0, 0, 0));
        garbage.generation = tm_traces_generation;
    }
    return garbage.node;
}

/* ---- the self-test ---- */

#define MOST_SEEN 64

static struct {
    uintptr_t thread; /* that is testing; 0: none */
    uint64_t size;
    uintptr_t block;
    uint32_t allocated, freed;
    uint32_t odd_headers; /* not as we think, or not all of the same key */
    uintptr_t plain[LEVELS]; /* callers for a block of GARBAGE_REQUEST bytes that is not aligned */
    struct {
        uintptr_t block, back[LEVELS];
        bool cells; /* it was the collector's when it was looked at; it may be gone by now */
    } seen[MOST_SEEN];
    int seen_count;
} test;

static __attribute__((noinline)) void observe(const void *block, uint64_t size, const uint64_t *fp) {
    if (test.thread != os_thread_pointer()) return;
    if (!fp) {
        test.freed += (uintptr_t)block == test.block;
        return;
    }
    const tm_header *header = (const tm_header *)block - 1;
    uint64_t key = header->check ^ (uint64_t)(uintptr_t)header;
    test.odd_headers += header->tag != HEADER_TAG || header->sample.user_bytes != USER_BYTES || (header_key && header_key != key);
    header_key = key;
    uintptr_t back[LEVELS];
    callers(tm_self, fp, back);
    if (size == test.size) {
        test.block = (uintptr_t)block;
        /* Blocks of the collector's can come at any time: the first that is looked out for is ours, or it is tried again. */
        if (size == GARBAGE_REQUEST && !test.allocated) memcpy(test.plain, back, sizeof back);
        test.allocated++;
    } else if (size == GARBAGE_REQUEST && test.seen_count < MOST_SEEN) {
        test.seen[test.seen_count].block = (uintptr_t)block;
        memcpy(test.seen[test.seen_count++].back, back, sizeof back);
    }
}

/* A block of cells begins with a pointer to what is kept of it elsewhere, and that points back. */
static bool holds_cells(uintptr_t block) {
    uint64_t start, handle[16];
    block = (block + GARBAGE_BYTES - 1) & ~(uintptr_t)(GARBAGE_BYTES - 1);
    if (!os_read(block, &start, sizeof start) || start & 7 || !os_read(start, handle, sizeof handle)) return false;
    for (int i = 0; i < 16; i++)
        if (handle[i] == block) return true;
    return false;
}

static int count_cells(void) {
    int count = 0;
    for (int i = 0; i < test.seen_count; i++) count += test.seen[i].cells |= holds_cells(test.seen[i].block);
    return count;
}

/* The first caller that blocks of cells have in common, and no other block of that size. */
static bool learn_garbage(void) {
    for (int level = 0; level < LEVELS; level++) {
        uintptr_t caller = 0;
        bool common = true;
        for (int i = 0; i < test.seen_count; i++) {
            if (!test.seen[i].cells) continue;
            common &= !caller || caller == test.seen[i].back[level];
            caller = test.seen[i].back[level];
        }
        if (!caller || !common) return false;
        if (!test.plain[level] || caller == test.plain[level]) continue;
        garbage.level = level;
        garbage.caller = caller;
        return true;
    }
    return false;
}

/* ---- sampling ---- */

static uint64_t sample_bytes = 1;        /* of the tracing that is on */
static uint64_t wanted_sample_bytes = 1; /* of the next */

static double uniform(void) { /* in (0, 1] */
    static __thread uint64_t state __attribute__((tls_model("initial-exec")));
    if (!state) state = tm_hash64(os_milliseconds() ^ (uint64_t)os_thread_id() << 32 ^ os_thread_pointer()) | 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)((state >> 11) + 1) * 0x1p-53;
}

/* -ln(x), 0 < x <= 1, to 1e-6: x = m 2^e, and the series of 2 atanh((m - 1) / (m + 1)). */
static double minus_ln(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    double e = (double)((int)(bits >> 52) - 1023), m;
    bits = (bits & 0xfffffffffffffull) | 0x3ffull << 52;
    memcpy(&m, &bits, sizeof m);
    double t = (m - 1) / (m + 1), t2 = t * t;
    return -(e * 0.6931471805599453 + 2 * t * (1 + t2 * (1.0 / 3 + t2 * (1.0 / 5 + t2 * (1.0 / 7 + t2 * (1.0 / 9))))));
}

/* Bytes to the next sample: at random, so that a program's own rhythm does not matter. */
static size_t next_distance(void) {
    if (sample_bytes == 1) return 1;
    double distance = minus_ln(uniform()) * (double)sample_bytes;
    return distance < 1 ? 1 : (size_t)distance;
}

/* ---- the hooks ---- */

/*
 * Small blocks are taken the short way, from the page that the theap has noted for their size, and the profiler is not
 * asked. With no page noted they come the long way, one by one. mimalloc notes a page again when it changes the list of
 * pages of a size: mostly for the block that this very event is about, with what the profiler adds to it.
 * On the thread whose theap it is, inside its call of malloc, after the block was found.
 */
#define LOOK_AT_ALL 32 /* every so many events */

static inline uintptr_t *theap_at(uintptr_t thread, int32_t tls) { return *(uintptr_t **)(thread + (uintptr_t)(intptr_t)tls); }

static void close_all(uintptr_t *theap) {
    for (int32_t i = 0; i < layout.direct_count; i++) theap[i] = layout.empty_page;
}

static inline void close_short_way(uintptr_t *theap, const void *heap, size_t size) {
    static __thread uint32_t events __attribute__((tls_model("initial-exec")));
    if ((uintptr_t)theap == layout.empty_theap || theap[layout.theap_heap / 8] != (uintptr_t)heap) return;
    size_t at = (size + sizeof(tm_header) + 7) / 8;
    bool open = at < (size_t)layout.direct_count && theap[at] != layout.empty_page;
    if (tm_unlikely(open || !(++events % LOOK_AT_ALL))) close_all(theap);
}

static inline void close_short_ways(const void *heap, size_t size) {
    uintptr_t thread = os_thread_pointer();
    uintptr_t *theap = theap_at(thread, layout.tls_default), *cached = theap_at(thread, layout.tls_cached);
    close_short_way(theap, heap, size);
    if (tm_unlikely(cached != theap)) close_short_way(cached, heap, size);
}

static inline int64_t bytes_of(double blocks, uint64_t size) { return blocks == 1 ? (int64_t)size : (int64_t)(blocks * (double)size); }

/* Is JavaScript looked for on this thread, and on its own stack? */
static inline bool is_walked(const tm_thread *self, const uint64_t *fp) {
    return tm_jsc_ready && self->vm && (uintptr_t)fp >= self->stack_low && (uintptr_t)fp < self->stack_high;
}

static inline void record(tm_thread *self, tm_sample *sample, size_t size, uint64_t since, const uint64_t *fp) {
    bool cells = tm_unlikely(size == GARBAGE_REQUEST) && is_garbage(self, fp);
    uint32_t node = cells ? garbage_node() : tm_likely(is_walked(self, fp)) ? tm_jsc_known(self, fp, tm_traceback_limit) : 0;
    if (tm_unlikely(!node)) node = tm_traceback(self, fp);
    uint64_t own_size = cells ? GARBAGE_BYTES : size;
    tm_tally_kept *kept = tm_tally_kept_of(self, node, own_size);
    if (tm_unlikely(!kept)) {
        __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
        return;
    }
    double blocks = sample_bytes == 1 || !size ? 1 : (double)since / (double)size;
    int64_t bytes = bytes_of(blocks, own_size);
    sample->tally = kept->tally;
    sample->place = tm_tally_place(node, own_size);
    sample->blocks = blocks;
    kept->blocks += bytes_of(blocks, TM_TALLY_ONE);
    tm_account_more(self, bytes);
    tm_count(node, (uint64_t)bytes);
}

static size_t on_alloc(tm_profiler *profiler, tm_sample *sample, void *block, size_t size, size_t rate, uint64_t since,
                       const void *heap) {
    (void)profiler, (void)rate;
    const uint64_t *fp = __builtin_frame_address(0);
    sample->tally = 0;
    if (tm_unlikely(!tm_mimalloc_ready)) {
        observe(block, size, fp);
    } else {
        tm_thread *self = tm_enter();
        if (tm_likely(self != NULL)) {
            if (tm_likely(!self->muted)) record(self, sample, size, since, fp);
            tm_leave(self);
        }
    }
    if (tm_likely(sample_bytes == 1)) {
        close_short_ways(heap, size);
        return 1;
    }
    return next_distance();
}

static void on_free(tm_profiler *profiler, tm_sample *sample, void *block, const void *heap) {
    (void)profiler, (void)heap;
    if (tm_unlikely(!tm_mimalloc_ready)) observe(block, 0, NULL);
    if (!sample->tally) return;
    tm_thread *self = tm_enter();
    if (!self) return;
    double blocks = sample->blocks;
    uint64_t size;
    tm_tally_kept *kept = tm_tally_kept_at(self, sample->place, sample->tally);
    if (tm_likely(kept != NULL)) {
        kept->blocks -= bytes_of(blocks, TM_TALLY_ONE);
        tm_account_less(self, bytes_of(blocks, kept->size));
    } else if (tm_tally_count(sample->tally, -bytes_of(blocks, TM_TALLY_ONE), &size)) {
        tm_account_less(self, bytes_of(blocks, size));
    }
    tm_leave(self);
}

bool tm_mimalloc_find_block(uintptr_t address, uint64_t *size, uint32_t *node) {
    tm_header header;
    if (!tm_mimalloc_ready || !os_read(address - sizeof header, &header, sizeof header)) return false;
    if (header.tag != HEADER_TAG || (header.check ^ (address - sizeof header)) != header_key) return false;
    tm_thread *self = tm_enter();
    if (!self) return false;
    const tm_tally_row *row = tm_tally_at(header.sample.tally);
    if (row) {
        *size = row->size;
        *node = row->node;
    }
    tm_leave(self);
    return row != NULL;
}

uint64_t tm_mimalloc_lost(void) { return __atomic_load_n(&lost, __ATOMIC_RELAXED); }

static tm_profiler ours = {.user_bytes = USER_BYTES, .first_rate = 1, .on_alloc = on_alloc, .on_free = on_free};

/* ---- in and out ---- */

static tm_profiler **profiler_of(uintptr_t owner, int32_t field) { return (tm_profiler **)(owner + (uintptr_t)field); }

static void exchange(uintptr_t owner, int32_t field, tm_profiler *from, tm_profiler *to) {
    __atomic_compare_exchange_n(profiler_of(owner, field), &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void hang_in(uintptr_t heap, void *context) {
    (void)context;
    exchange(heap, layout.heap_profiler, NULL, &ours);
}

static void take_out(uintptr_t heap, void *context) {
    (void)context;
    exchange(heap, layout.heap_profiler, &ours, NULL);
}

static void install(uint64_t bytes) {
    if (installed) return;
    installed = true;
    lost = 0;
    sample_bytes = bytes;
    ours.first_rate = next_distance();
    /* Theaps that sampled before begin anew with a new generation. */
    __atomic_store_n(&ours.state, ((ours.state >> 1) + 1) << 1 | RUNNING, __ATOMIC_RELEASE);
    exchange(layout.subprocess, layout.subprocess_profiler, NULL, &ours);
    tm_mimalloc_each_heap(&layout, hang_in, NULL);
    /* This thread begins at once, the others within a thousand of their calls. */
    uintptr_t *theap = theap_at(os_thread_pointer(), layout.tls_default);
    if ((uintptr_t)theap == layout.empty_theap) return;
    if (bytes == 1) close_all(theap);
    __atomic_store_n((int64_t *)((uintptr_t)theap + (uintptr_t)layout.theap_limit), -1, __ATOMIC_RELEASE);
}

static void remove_profiler(void) {
    if (!installed) return;
    installed = false;
    __atomic_store_n(&ours.state, ours.state & ~(size_t)RUNNING, __ATOMIC_RELEASE);
    exchange(layout.subprocess, layout.subprocess_profiler, &ours, NULL);
    tm_mimalloc_each_heap(&layout, take_out, NULL);
}

void tm_mimalloc_install(void) {
    if (tm_mimalloc_ready) install(__atomic_load_n(&wanted_sample_bytes, __ATOMIC_RELAXED));
}

void tm_mimalloc_remove(void) {
    if (tm_mimalloc_ready) remove_profiler();
}

/* ---- what is exported ---- */

static char report[2048];
static int report_length;

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int room = (int)sizeof report - report_length;
    int written = vsnprintf(report + report_length, (size_t)room, format, arguments);
    va_end(arguments);
    if (written > 0) report_length += written < room ? written : room - 1;
}

static bool testing; /* between begin and end */
static bool refused; /* for good, and the report says why: threads that start later must read the same */

/* Whoever hides waits for nobody: a thread that closes the gate waits for those who hide. */
int32_t tracemalloc_mimalloc_begin(void) {
    int32_t result = TM_ERROR_STATE;
    tm_lock_take(&tm_here.control_lock);
    tm_thread *self = tm_hide_begin();
    if (refused) {
        result = TM_ERROR_CALIBRATION;
    } else if (self && !tm_mimalloc_ready && !testing) {
        const char *failure = NULL;
        report_length = 0;
        report[0] = 0;
        bool found = tm_mimalloc_find(&layout, &failure);
        if (!found) say("failed %s\n", failure);
#define SAY(name) say("%s %d\n", #name, layout.name);
        if (found) {
            TM_MIMALLOC_LAYOUT(SAY)
            testing = true;
            test.thread = os_thread_pointer();
            install(1);
        }
#undef SAY
        refused = !found;
        result = found ? TM_OK : TM_ERROR_CALIBRATION;
    }
    tm_hide_end(self);
    tm_lock_drop(&tm_here.control_lock);
    return result;
}

void tracemalloc_mimalloc_expect(uint64_t size) {
    test.size = size;
    test.block = 0;
    test.allocated = test.freed = 0;
}

void tracemalloc_mimalloc_seen(uint64_t out[3]) {
    out[0] = test.block;
    out[1] = test.allocated;
    out[2] = test.freed;
}

void tracemalloc_mimalloc_garbage(uint64_t out[2]) {
    tm_thread *self = tm_hide_begin();
    out[0] = GARBAGE_REQUEST;
    out[1] = (uint64_t)count_cells();
    tm_hide_end(self);
}

void tracemalloc_mimalloc_sample(uint64_t bytes) {
    __atomic_store_n(&wanted_sample_bytes, bytes ? bytes : 1, __ATOMIC_RELAXED);
}

int32_t tracemalloc_mimalloc_end(int32_t accept) {
    tm_lock_take(&tm_here.control_lock);
    int32_t result = testing ? TM_OK : TM_ERROR_STATE;
    if (testing) {
        testing = false;
        tm_thread *self = tm_hide_begin();
        remove_profiler();
        if (accept && test.odd_headers) {
            say("failed the header of a block\n");
            result = TM_ERROR_CALIBRATION;
        } else if (accept && !learn_garbage()) {
            say("failed the blocks of the garbage-collected heap\n");
            result = TM_ERROR_CALIBRATION;
        } else if (accept) {
            say("gc_caller %d\n", garbage.level);
        } else {
            say("failed the test of its blocks\n");
        }
        test.thread = 0;
        tm_mimalloc_ready = accept && result == TM_OK;
        refused = !tm_mimalloc_ready;
        if (tm_here.gate != TM_GATE_OFF) tm_mimalloc_install();
        tm_hide_end(self);
    }
    tm_lock_drop(&tm_here.control_lock);
    return result;
}

int32_t tracemalloc_mimalloc_report(char *out, int32_t size) {
    tm_lock_take(&tm_here.control_lock);
    int32_t length = report_length < size ? report_length : size - 1;
    memcpy(out, report, (size_t)length);
    tm_lock_drop(&tm_here.control_lock);
    out[length] = 0;
    return length;
}
