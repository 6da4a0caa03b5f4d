/*
 * Interned strings, scripts, frames, and the prefix tree of tracebacks. All of it is append-only while
 * tracing: an index, once given out, keeps its meaning until tm_traces_clear().
 */
#ifndef TM_TRACES_H
#define TM_TRACES_H

#include "arena.h"
#include "thread.h"
#include "tracemalloc.h"

/* Raw frames as the walker hands them about: the frame's index, and this bit for frames of the runtime itself. */
#define TM_FRAME_INTERNAL 0x80000000u
#define TM_FRAME_INDEX 0x7fffffffu

bool tm_traces_init(void);
/* With the gate closed. The tree, or everything. */
void tm_tree_clear(void);
void tm_traces_clear(void);
size_t tm_traces_bytes(void);
/* Changes when indexes given out before have lost their meaning. */
extern uint32_t tm_traces_generation;

/* UINT32_MAX: no memory. */
uint32_t tm_string(const char *bytes, size_t length);

typedef struct tm_script {
    uint64_t owner;       /* the isolate */
    int32_t id;           /* in the isolate */
    uint32_t url;         /* string */
    uint32_t flags;
    uint32_t text_length; /* with the url, tells a new script from one whose number is used again */
    uint32_t text_hash;   /* FNV-1a over its UTF-16 units; 0: the text could not be read */
    uint32_t origin;      /* code from eval: frame of the call, plus 1; 0: none, or not known */
    int32_t line_offset, column_offset;
    uint32_t line_count;
    const uint32_t *line_starts; /* positions; NULL: the text could not be read */
} tm_script;

/* Index of the script, or UINT32_MAX. */
uint32_t tm_script_find(uint64_t owner, int32_t id, uint32_t url, uint32_t text_length);
/* Room for the line starts of a script; NULL: no memory. */
uint32_t *tm_script_lines(uint32_t count);
/* Copies the script; its line starts are from tm_script_lines(). */
uint32_t tm_script_add(const tm_script *script);
const tm_script *tm_script_at(uint32_t index);
/* What was not known when the script was added. */
void tm_script_set_origin(uint32_t index, uint32_t origin);

/* Frame index, or the index of the frame "out of memory". Tiers are added to those the frame was seen in. */
uint32_t tm_frame(uint32_t kind, uint32_t owner, uint32_t line, uint32_t column, uint32_t tiers);
uint32_t tm_frame_native(uintptr_t pc);

/* Their indexes are smaller, and so fit what the block table has for them, with one to spare (TM_NODE_MARK). */
#define TM_MOST_NODES ((1ul << 27) - 1)

/* Node that extends `parent` by `frame`; when the tree is full, the parent. Never the root. */
uint32_t tm_node(uint32_t parent, uint32_t frame);

/*
 * How many blocks of one size and traceback live, for an allocator that keeps the number of the tally with each block of
 * its own. In fixed point: a sampled block stands for others.
 */
typedef struct tm_tally_row {
    uint64_t size;
    int64_t blocks; /* in TM_TALLY_ONE */
    uint32_t node;
} tm_tally_row;

#define TM_TALLY_ONE 65536

/* Never 0, but when there is no memory. A number loses its meaning with the node's; it is not given out again. */
uint32_t tm_tally(uint32_t node, uint64_t size);
/* NULL: the number is 0 or has no meaning any more. How many blocks it has, only tm_tallies_each() says. */
tm_tally_row *tm_tally_at(uint32_t tally);

/*
 * Counting in a tally takes an instruction that others may have to wait for, and finding it takes a table that all share. So
 * a thread keeps those that it came across last, and what it has counted in them: that is added when another takes the place
 * of one, and to all when they are read.
 */
#define TM_TALLIES_KEPT 128 /* a page of them */

typedef struct tm_tally_kept {
    uint64_t size;
    int64_t blocks; /* not yet added */
    uint32_t node, tally; /* 0: none is kept here */
} __attribute__((aligned(32))) tm_tally_kept;

/* The calling thread's; NULL: it has none yet, or there was no memory. */
extern __thread tm_tally_kept *tm_tallies_kept __attribute__((tls_model("initial-exec")));

/* Where a tally is kept, by what it is of. */
static inline uint32_t tm_tally_place(uint32_t node, uint64_t size) {
    return (uint32_t)((node * 31 + size) * 0x9E3779B97F4A7C15ull >> 57);
}
_Static_assert(TM_TALLIES_KEPT == 1 << (64 - 57), "there are as many places");

/* The tally of tm_tally(), and keeps it; NULL: no memory. In a hook. */
tm_tally_kept *tm_tally_keep(const tm_thread *self, uint32_t node, uint64_t size);
/* The same by number; NULL also if the number has no meaning any more. */
tm_tally_kept *tm_tally_keep_number(const tm_thread *self, uint32_t tally);
/* Counts without keeping. False: the number has no meaning any more. */
bool tm_tally_count(uint32_t tally, int64_t blocks, uint64_t *size);

static inline tm_tally_kept *tm_tally_kept_of(const tm_thread *self, uint32_t node, uint64_t size) {
    tm_tally_kept *own = tm_tallies_kept;
    if (tm_unlikely(!own)) return tm_tally_keep(self, node, size);
    own += tm_tally_place(node, size);
    return tm_likely(own->node == node && own->size == size && own->tally) ? own : tm_tally_keep(self, node, size);
}

static inline tm_tally_kept *tm_tally_kept_at(const tm_thread *self, uint32_t place, uint32_t tally) {
    tm_tally_kept *own = tm_tallies_kept;
    if (tm_unlikely(!own)) return tm_tally_keep_number(self, tally);
    own += place % TM_TALLIES_KEPT;
    return tm_likely(own->tally == tally) ? own : tm_tally_keep_number(self, tally);
}

/* With the gate closed: those in which there are blocks. */
void tm_tallies_each(void (*each)(uint64_t size, uint32_t node, double blocks, void *context), void *context);
uint64_t tm_tallies_count(void);

/*
 * Bytes ever asked for, by node: only where the process was started with that wish, for it costs an access to memory that
 * all threads share. Else NULL.
 */
extern bool tm_count_allocated;
extern uint64_t *tm_allocated;
static inline void tm_count(uint32_t node, uint64_t size) {
    if (tm_unlikely(tm_allocated != NULL)) __atomic_fetch_add(&tm_allocated[node], size, __ATOMIC_RELAXED);
}

/* With the gate closed: for images. Counts, and the columns as they lie in memory. */
typedef struct tm_frame_row {
    uint32_t kind, owner, line, column;
} tm_frame_row;

typedef struct tm_node_row {
    uint32_t parent, frame;
} tm_node_row;

uint32_t tm_frame_count(void);
const tm_frame_row *tm_frame_rows(void);
const uint8_t *tm_frame_tiers(void);
uint32_t tm_node_count(void);
const tm_node_row *tm_node_rows(void);
uint32_t tm_script_count(void);
uint32_t tm_string_count(void);
const uint64_t *tm_string_ends(void); /* ends[i] of string i in the bytes */
const char *tm_string_bytes(void);

#endif
