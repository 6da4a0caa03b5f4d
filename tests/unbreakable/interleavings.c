/*
 * Scenarios for interleave.c: a few threads call malloc and free, which are the shim's hooks over an allocator of ours, and
 * what runtimes call. In every execution there must be an order of the calls, each somewhere between its beginning and its
 * end, in which a table that does one thing after the other would give the same results: each snapshot shows exactly the
 * blocks of one moment, and who allocated them.
 *
 *   interleavings SCENARIO [BOUND [MOST [FAULT]]]      SCENARIO is its number; prints `N executions, all there are`
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../shim/blocks.h"
#include "../../shim/hooks.h"
#include "../../shim/traces.h"
#include "interleave.h"

/*
 * A call a letter, and a slot for a block where there is one (blocks of one letter are in one page, those of capitals in
 * another):
 *   mA malloc   LA the same, too large for an entry   HA so large that its size is flushed   rA realloc   fA free
 *   S snapshot  M memory   C clear   X stop   G start   N intern a traceback   F fork: from here on parent or child
 */
typedef struct scenario {
    const char *name, *first, *fibers[MOST_FIBERS - 1], *last;
} scenario;

static const scenario scenarios[] = {
    {"blocks of one page", "G ma", {"mb mc fa", "md fb"}, "S M"},
    {"snapshots while blocks come and go", "G ma mB", {"mc fa", "S"}, "S M"},
    {"snapshots while blocks come and go in two pages", "G ma mB", {"mC fa", "S", "fB"}, "S M"},
    {"clear", "G ma", {"mb fa", "C S"}, "S M"},
    {"stop and start", "G ma", {"mb fa", "X G S"}, "S M"},
    {"a start that others have begun to wait for", "", {"ma fa", "G M", "mB"}, "S M"},
    {"control calls of three threads", "G ma", {"C M", "S", "mb"}, "S M"},
    {"blocks beside the page", "G La", {"Lb fa", "mc S"}, "S M"},
    {"realloc", "G ma mb", {"ra", "rb", "S"}, "S M"},
    {"a thread's sum", "G", {"Ha fa", "Hb M"}, "S M"},
    {"tracebacks", "G", {"N ma", "N S", "N"}, "N S"},
    {"two snapshots", "G ma", {"S", "S", "fa mb"}, "S M"},
    {"fork while blocks come and go", "G ma", {"F mb S", "mC fa"}, "S M"},
    {"fork while a snapshot is taken", "G ma mB", {"F mc S M", "S"}, "S M"},
    {"fork while it is stopped and started", "G ma", {"F mc S M", "X G"}, "S M"},
    {"fork while it is cleared", "G ma", {"F mc S M", "C mb"}, "S M"},
    {"blocks that are freed at once, beside others of their line", "G ma", {"mb mc fc", "md fa", "S"}, "S M"},
    {"blocks at the same place in two pages", "G ma mA", {"mb mB fb", "S"}, "S M"},
    {"clear beside threads that are steady", "G", {"ma mb mc", "C md S"}, "S M"},
    {"stop and start beside threads that are steady", "G", {"ma mb mc", "X G md"}, "S M"},
    {"fork beside threads that are steady", "G", {"ma mb mc", "F md S"}, "S M"},
    {"blocks that make room in a nursery, freed by another thread", "G ma", {"mb mc md me", "fd fe"}, "S M"},
    {"the same while a snapshot is taken", "G ma", {"mb mc md me", "fd", "S"}, "S M"},
    {"the same, and its address is used again", "G ma", {"mb mc md me", "fd mf ff"}, "S M"},
    {"the same, and both threads have a nursery", "G", {"mb mc md me", "mf mg mh fd mi fe"}, "S M"},
    {"realloc of what is in another's nursery", "G ma", {"mb mc md me", "rd re"}, "S M"},
    {"clear beside nurseries", "G ma", {"mb mc md me", "fd C mf"}, "S M"},
    {"fork beside nurseries", "G ma", {"mb mc md me", "F fd S mf"}, "S M"},
    {"two forks", "G ma", {"F mc", "F md S", "mB"}, "S M"},
};
enum { SCENARIOS = sizeof scenarios / sizeof *scenarios };
static const scenario *now;

/* ---- what was called, and what it gave ---- */

typedef struct shown {
    uint64_t size;
    int by;
} shown;

enum { MOST_CALLS = 24, MOST_SHOWN = 12 };
static struct call {
    char what; /* m, f, S, M, C, X, G; realloc is f and m */
    int by;
    uint64_t begin, end; /* 0: it did not come back */
    uint64_t address, size;
    bool tracing; /* what it says */
    int count;
    shown shown[MOST_SHOWN];
} calls[MOST_CALLS];
static int call_count;

static struct call *begin(char what) {
    if (call_count == MOST_CALLS) interleave_fail("too many calls");
    struct call *c = &calls[call_count++];
    memset(c, 0, sizeof *c);
    c->what = what;
    c->by = interleave_self();
    c->begin = interleave_time();
    return c;
}

static void end(struct call *c) { c->end = interleave_time(); }

/* ---- the allocator: addresses alone, the one freed last is given first ---- */

enum { MOST_FREE = 16, SLOTS = 128 };
static uint64_t freed[2][MOST_FREE], fresh[2], slots[SLOTS], next_size;
static interleave_handover freed_by[2][MOST_FREE], filled_by[SLOTS];
static int freed_count[2];
static char page_wanted[MOST_FIBERS];

static void *next_malloc(size_t size) {
    (void)size;
    int page = page_wanted[interleave_self()];
    if (!freed_count[page]) return (void *)(uintptr_t)(fresh[page] += 16);
    int last = --freed_count[page];
    interleave_receive(&freed_by[page][last]);
    return (void *)(uintptr_t)freed[page][last];
}

static void next_free(void *block) {
    int page = (uintptr_t)block >= 0x8000;
    freed_by[page][freed_count[page]] = interleave_give();
    freed[page][freed_count[page]++] = (uintptr_t)block;
}

/* It always moves. */
static void *next_realloc(void *block, size_t size) {
    void *moved = next_malloc(size);
    next_free(block);
    return moved;
}

static void reset(void) {
    memset(slots, 0, sizeof slots);
    memset(freed_count, 0, sizeof freed_count);
    fresh[0] = 0x1000;
    fresh[1] = 0x9000;
    next_size = 100;
    call_count = 0;
}

/* ---- calls ---- */

static uint64_t unique_size(char how) {
    return ++next_size + (how == 'L' ? 1ull << 30 : how == 'H' ? 1 << 20 : 0);
}

static void take_snapshot(void) {
    struct call *c = begin('S');
    const tm_image *image = tracemalloc_snapshot();
    c->tracing = image != NULL;
    const char *base = (const char *)image;
    for (uint64_t i = 0; image && i < image->row_count; i++) {
        const double *sizes = (const double *)(base + image->row_size), *counts = (const double *)(base + image->row_blocks);
        const uint32_t *nodes = (const uint32_t *)(base + image->row_node), *frames = (const uint32_t *)(base + image->node_frame);
        const uint32_t *kinds = (const uint32_t *)(base + image->frame_kind), *owners = (const uint32_t *)(base + image->frame_owner);
        const uint32_t *ends = (const uint32_t *)(base + image->string_ends);
        uint32_t frame = nodes[i] < image->node_count ? frames[nodes[i]] : UINT32_MAX;
        if (frame >= image->frame_count || kinds[frame] != TM_FRAME_THREAD || owners[frame] >= image->string_count)
            interleave_fail("a row's traceback is torn: node %u, frame %u", nodes[i], frame);
        uint32_t start = owners[frame] ? ends[owners[frame] - 1] : 0;
        int by = -1;
        sscanf(base + image->string_bytes + start, "fiber %d", &by);
        if (counts[i] != 1) interleave_fail("%g blocks of size %g", counts[i], sizes[i]);
        c->shown[c->count++] = (shown){(uint64_t)sizes[i], by};
    }
    tracemalloc_release(image);
    end(c);
}

static void fill(char slot, uint64_t address) {
    slots[(int)slot] = address;
    filled_by[(int)slot] = interleave_give();
}

static uint64_t empty(char slot) {
    uint64_t address = slots[(int)slot];
    if (address) interleave_receive(&filled_by[(int)slot]);
    slots[(int)slot] = 0;
    return address;
}

static void allocate(char how, char slot) {
    page_wanted[interleave_self()] = slot < 'a';
    struct call *c = begin('m');
    c->size = unique_size(how);
    fill(slot, c->address = (uintptr_t)tm_hook_malloc(c->size));
    end(c);
}

static void release(char slot) {
    uint64_t address = empty(slot);
    if (!address) return; /* it is not there yet */
    struct call *c = begin('f');
    c->address = address;
    tm_hook_free((void *)(uintptr_t)address);
    end(c);
}

static void reallocate(char slot) {
    uint64_t address = empty(slot);
    if (!address) return;
    page_wanted[interleave_self()] = slot < 'a';
    struct call *taken = begin('f'), *made_by = begin('m');
    taken->address = address;
    made_by->size = unique_size('m');
    made_by->address = (uintptr_t)tm_hook_realloc((void *)(uintptr_t)address, made_by->size);
    fill(slot, made_by->address);
    end(taken);
    made_by->end = taken->end;
}

/* What it allocated is to be found under the same number by all. */
static void intern(void) {
    static uint32_t found;
    tm_thread *self = tm_hide_begin();
    uint32_t node = tm_node(tm_node(0, tm_frame(TM_FRAME_SCRIPT, 7, 1, 2, 0)), tm_frame(TM_FRAME_SCRIPT, 7, 3, 4, 0));
    tm_hide_end(self);
    if (call_count && calls[0].begin && calls[0].size == 0) calls[0].size = node; /* the start's, which has no size */
    found = (uint32_t)calls[0].size;
    if (node != found) interleave_fail("one traceback has two numbers, %u and %u", found, node);
}

static bool in_child;

static void do_fork(void) {
    if (!interleave_before_fork) return;
    interleave_before_fork();
    if (interleave_choose(2)) {
        in_child = true;
        interleave_alone();
        interleave_in_child();
    } else {
        interleave_after_fork();
    }
}

static void memory(void) {
    uint64_t out[4];
    struct call *c = begin('M');
    tracemalloc_memory(out);
    c->size = out[0];
    c->tracing = out[3] > 0;
    end(c);
}

static void do_call(const char *text) {
    struct call *c;
    switch (text[0]) {
    case 'm':
    case 'L':
    case 'H': return allocate(text[0], text[1]);
    case 'f': return release(text[1]);
    case 'r': return reallocate(text[1]);
    case 'S': return take_snapshot();
    case 'M': return memory();
    case 'N': return intern();
    case 'F': return do_fork();
    case 'C': c = begin('C'), tracemalloc_clear(), end(c); return;
    case 'X': c = begin('X'), tracemalloc_stop(), end(c); return;
    case 'G':
        c = begin('G');
        if (tracemalloc_start(1, 0) != TM_OK) interleave_fail("it does not start");
        end(c);
        return;
    }
    interleave_fail("what is %s?", text);
}

static void do_calls(const char *text) {
    for (; *text; text++)
        if (*text != ' ') do_call(text), text += strchr("mLHfr", *text) != NULL;
}

static void fiber(int number) { do_calls(now->fibers[number - 1]); }

/* ---- is there an order? ---- */

typedef struct block {
    uint64_t address, size;
    int by;
} block;

typedef struct state {
    bool tracing;
    int count;
    block blocks[MOST_SHOWN];
} state;

static void forget(state *s, uint64_t address) {
    for (int i = 0; i < s->count; i++)
        if (s->blocks[i].address == address) s->blocks[i--] = s->blocks[--s->count];
}

/* False: this cannot be what it gave. */
static bool apply(state *s, const struct call *c) {
    uint64_t bytes = 0;
    switch (c->what) {
    case 'm':
        if (!s->tracing) return true;
        forget(s, c->address); /* its end was not traced, or is not seen yet */
        s->blocks[s->count++] = (block){c->address, c->size, c->by};
        return true;
    case 'f': forget(s, c->address); return true;
    case 'C': s->count = 0; return true;
    case 'X': s->count = 0, s->tracing = false; return true;
    case 'G': s->tracing = true; return true;
    case 'M':
        for (int i = 0; i < s->count; i++) bytes += s->blocks[i].size;
        return c->tracing == s->tracing && c->size == bytes;
    case 'S':
        if (c->tracing != s->tracing) return false;
        if (c->count != s->count) return false;
        for (int i = 0; i < c->count; i++) {
            bool found = false;
            for (int j = 0; j < s->count; j++) found |= s->blocks[j].size == c->shown[i].size && s->blocks[j].by == c->shown[i].by;
            if (!found) return false;
        }
        return true;
    }
    return false;
}

static bool is_order(uint32_t done, const state *s) {
    bool all = true;
    uint64_t first_end = UINT64_MAX;
    for (int i = 0; i < call_count; i++) {
        if (done & 1u << i) continue;
        all &= !calls[i].end; /* what did not come back may have had no effect */
        if (calls[i].end && calls[i].end < first_end) first_end = calls[i].end;
    }
    if (all) return true;
    for (int i = 0; i < call_count; i++) {
        if (done & 1u << i || calls[i].begin > first_end) continue;
        /* A realloc's free comes first. */
        if (i && calls[i].what == 'm' && calls[i - 1].what == 'f' && calls[i - 1].by == calls[i].by && calls[i - 1].end == calls[i].end &&
            !(done & 1u << (i - 1)))
            continue;
        state next = *s;
        if (apply(&next, &calls[i]) && is_order(done | 1u << i, &next)) return true;
    }
    return false;
}

static void check_order(void) {
    if (is_order(0, &(state){0})) return;
    fprintf(stderr, "%s:\n", now->name);
    for (int i = 0; i < call_count; i++) {
        const struct call *c = &calls[i];
        fprintf(stderr, "%c by %d from %lu to %lu: address %#lx, size %lu%s, shows", c->what, c->by, c->begin, c->end, c->address, c->size,
                c->tracing ? ", tracing" : "");
        for (int j = 0; j < c->count; j++) fprintf(stderr, " %lu by %d", c->shown[j].size, c->shown[j].by);
        fprintf(stderr, "\n");
    }
    interleave_fail("no order of the calls explains what they gave");
}

static void run(void) {
    in_child = false;
    do_calls(now->first);
    int count = 0;
    while (count < MOST_FIBERS - 1 && now->fibers[count]) count++;
    interleave_fibers(count, fiber);
    if (!in_child) do_calls(now->last);
    check_order();
    if (!in_child) tracemalloc_stop();
}

int main(int count, char **arguments) {
    if (count < 2) return fprintf(stderr, "usage: interleavings SCENARIO [BOUND [MOST [FAULT]]]\n"), 2;
    size_t number = strtoul(arguments[1], NULL, 10);
    if (number >= SCENARIOS) return 4; /* there are no more */
    now = &scenarios[number];
    interleave_options options = {.bound = count > 2 ? atoi(arguments[2]) : 2, .most = count > 3 ? strtoul(arguments[3], NULL, 10) : UINT64_MAX};
    options.run = run;
    options.reset = reset;
    options.name = now->name;
    if (count > 4) {
        fault_no_barrier = !strcmp(arguments[4], "barrier");
        fault_no_order = !strcmp(arguments[4], "order");
        fault_open_locks = !strcmp(arguments[4], "locks");
    }
    tm_hooks_resolve();
    tm_next.malloc = next_malloc;
    tm_next.free = next_free;
    tm_next.realloc = next_realloc;
    bool all;
    uint64_t executions = interleave_explore(&options, &all);
    printf("%s: %lu executions%s\n", now->name, executions, all ? ", all there are" : "");
    return 0;
}
