/*
 * JavaScriptCore's stack frames, as Bun has it. The hook reads what tells a place in the program: the CodeBlock and the
 * number of the call site in it. What file and line that is, the engine itself says later, at a safe point, when it is
 * asked for the stack of forged frames (jsc_resolve.c): tiers, inlining and source maps are its own business.
 *
 * Where things lie is found at start (jsc_calibrate.c) from functions of our own; nothing is taken from a table of versions.
 */
#ifndef TM_JSC_H
#define TM_JSC_H

#include "thread.h"
#include "traces.h"

#define TM_JSC_BLOCK 16384ul /* MarkedBlock::blockSize: cells of the heap lie in blocks of this size and alignment */
#define TM_JSC_EPOCHS 4

/* Offsets are in bytes. */
#define TM_JSC_LAYOUT(FIELD)                                                                  \
    /* call frames, from the frame pointer */                                                 \
    FIELD(frame_code)      /* CodeBlock; 0: a native function's frame */                      \
    FIELD(frame_callee)                                                                       \
    FIELD(frame_count)     /* u32 arguments with `this`, u32 call site index */               \
    /* the VM */                                                                              \
    FIELD(block_vm)        /* block of cells → VM */                                          \
    FIELD(vm_top)          /* frame through which JavaScript was last left */                 \
    FIELD(vm_entry)        /* frame through which it was last entered */                      \
    FIELD(entry_top)       /* what vm_top was before, from the entry frame down */            \
    FIELD(entry_entry)     /* what vm_entry was */                                            \
    /* CodeBlock */                                                                           \
    FIELD(code_vm)                                                                            \
    FIELD(code_unlinked)   /* → unlinked code */                                              \
    FIELD(code_owner)      /* → executable */                                                 \
    FIELD(owner_provider)  /* → provider of its source */                                     \
    FIELD(provider_text)   /* → string: u32 at 4 its length, at 8 → characters */             \
    FIELD(unlinked_stream) /* → instructions */                                               \
    FIELD(stream_bytes)    /* u32: call sites of the interpreter and baseline are below it */ \
    FIELD(code_jit)        /* → JITCode */                                                    \
    FIELD(jit_type)        /* u8: JITType */                                                  \
    FIELD(dfg_origins)     /* JITCode → pool of code origins; 0: that tier was not seen */    \
    FIELD(ftl_origins)                                                                        \
    FIELD(origins_count)   /* u32 in the pool: call sites of optimised code are below it */

typedef struct tm_jsc_layout {
#define FIELD(name) int32_t name;
    TM_JSC_LAYOUT(FIELD)
#undef FIELD
    uint64_t text_class; /* first word (vtable) of the providers that have their text there; those of modules have it elsewhere */
    int32_t vm_epoch[TM_JSC_EPOCHS]; /* u32 each: counters that move with every collection of garbage */
    int32_t epochs;
} tm_jsc_layout;

extern tm_jsc_layout tm_jsc;
/* Calibration was accepted: frames are read on threads that have a VM. */
extern bool tm_jsc_ready;

/* JITType of JavaScriptCore (jit/JITCode.h). */
enum { TM_JIT_INTERPRETER = 2, TM_JIT_BASELINE = 3, TM_JIT_DFG = 4, TM_JIT_FTL = 5 };

/*
 * Another after every collection, and never one of before: what was read earlier may be gone. Some of what counts collections
 * begins again (places in a ring of 18), so that the sum of all would come again, too.
 */
static inline uint64_t tm_jsc_epoch(uintptr_t vm) {
    uint64_t epoch = 0;
    for (int32_t i = 0; i < tm_jsc.epochs; i++)
        epoch = epoch * 0x9E3779B97F4A7C15ull + *(const volatile uint32_t *)(vm + (uintptr_t)tm_jsc.vm_epoch[i]);
    return epoch;
}

/* ---- jsc_sites.c ---- */

/*
 * A call site in a CodeBlock. CodeBlocks are collected, and others take their addresses: after every collection it is seen
 * to that what is there is what was recorded, or at least of the same source.
 */
enum { TM_SITE_NEW, TM_SITE_RESOLVED, TM_SITE_LOST };

typedef struct tm_jsc_site {
    uint64_t vm, code;
    uint64_t epoch;       /* in which it was last seen to be valid */
    uint64_t identity;    /* hash of what the CodeBlock is; 0: not known, and it is lost with the next collection */
    uint32_t index;       /* call site index */
    uint32_t frame;       /* TM_FRAME_SITE, for as long as it is not resolved */
    uint32_t frames;      /* in the list of resolved frames, the most recent first */
    uint16_t frame_count; /* of the inlined functions and the function itself */
    uint16_t own;         /* so many are the program's own */
    uint8_t state, tier;
    uint32_t pin; /* number of the pin that certainly keeps its code, if that was not given to another yet; 0: none */
} tm_jsc_site;

/* Another whenever the state of a site has changed; never 0. */
extern uint32_t tm_jsc_named;

/* So many were recorded by the calling thread since it named all. */
extern __thread uint32_t tm_jsc_unnamed __attribute__((tls_model("initial-exec")));

/*
 * The site of a frame as it is now, which is certainly on the stack, or only most likely. NULL: not in this state of the tables
 * (it is not a CodeBlock, or there is no room).
 */
const tm_jsc_site *tm_jsc_site_of(uintptr_t vm, uint64_t epoch, uint64_t code, uint32_t index, bool live);
/* Is it a CodeBlock with such a call site? Records nothing. */
bool tm_jsc_is_code(uintptr_t vm, uint64_t code, uint32_t index);
const tm_jsc_site *tm_jsc_site_at(uint32_t site);
const uint32_t *tm_jsc_site_frames(const tm_jsc_site *site);

/* For whoever resolves, beside threads that clear the tables: numbers of sites are those of a generation. */
uint32_t tm_jsc_sites_generation(void);
/* A copy of the first new site of a VM from *site on. False: there is none in this generation. */
bool tm_jsc_site_next(uint32_t generation, uintptr_t vm, uint32_t *site, tm_jsc_site *copy);
/* Is a CodeBlock there that the engine can be asked about? */
bool tm_jsc_site_is_code(const tm_jsc_site *site);
/* Is it certainly in use: was it seen on the stack since the last collection, or is it pinned? */
bool tm_jsc_site_in_use(const tm_jsc_site *site, uint64_t epoch);
/*
 * Is all there that names it, as it was when it was recorded? It may be in use, or not yet swept: memory that the engine has
 * swept, or given to others, is not the same.
 */
bool tm_jsc_site_is_same(const tm_jsc_site *site);
/* Its frames, the most recent first; NULL: it is lost. */
void tm_jsc_site_resolve(uint32_t generation, uint32_t site, const uint32_t *frames, uint16_t count);
/* The sites of a VM that is no more. */
void tm_jsc_sites_drop(uintptr_t vm);
/* With the gate closed. */
void tm_jsc_sites_clear(void);
size_t tm_jsc_sites_bytes(void);

/* ---- jsc_pins.c ---- */

/* Memory on the stack of the main thread, below main(); NULL: there is none. */
#define TM_JSC_PINS 8192
extern volatile uint64_t *tm_jsc_pins;

/*
 * Keeps code that the calling thread sees, for as long as there is room. What is not certainly live is not shown to engines
 * that would not look first. The pin's number where it is certain that it keeps, or 0.
 */
uint32_t tm_jsc_pin(uint64_t code, bool live);
bool tm_jsc_is_pinned(uint32_t pin);
/* All that the calling thread has seen is named: its code need not be kept any more. */
void tm_jsc_unpin(void);

/* ---- jsc_walk.c ---- */

/*
 * A walk, for it to be known again: a thread mostly allocates where it did before. What a walk finds follows from the words of
 * the stack that it reads, where it begins, and from what is known of their sites until the next collection.
 */
#define TM_JSC_WORDS 512
#define TM_JSC_PASTS 32 /* that a thread has, behind its frames; one more is for no JavaScript at all */

typedef struct tm_jsc_past {
    const uint64_t *fp; /* NULL: there is none */
    uintptr_t top, entry;
    uint64_t epoch;
    uint32_t traces; /* generation of the tables: sites are cleared with them */
    uint32_t named;  /* tm_jsc_named of then, which tells whether sites that were not named are so by now; 0: all were */
    uint32_t limit, node, count;
    struct {
        uintptr_t at;
        uint64_t word;
    } words[TM_JSC_WORDS]; /* in the order in which they were read: where one lies follows from those before */
} __attribute__((aligned(64))) tm_jsc_past;

/* Room for the frames of a thread with a VM, and its walks; NULL: no memory. */
uint32_t *tm_jsc_room(void);
/* The walks of whoever had the room before are nothing to its new owner. */
void tm_jsc_forget_walks(tm_thread *self);

/* Node of the traceback of the calling thread, which has a VM: of the native caller, where there is no JavaScript. */
uint32_t tm_jsc_traceback(tm_thread *self, const uint64_t *fp, uint32_t limit);
/* The same if it was walked before, and soon; else 0. */
uint32_t tm_jsc_known(const tm_thread *self, const uint64_t *fp, uint32_t limit);
/* The node with what is resolved by now in place of its sites. */
uint32_t tm_jsc_resolved_node(uint32_t node, uint32_t limit);

/* ---- jsc_calibrate.c ---- */

/* The VM of a native function's caller, by its frame; 0: not found. */
uintptr_t tm_jsc_vm_of_caller(const uint64_t *fp, uintptr_t stack_high);

#endif
