/*
 * The ABI of the shim: what it exports, and the layout of what it hands out.
 *
 * `lib/tracer/abi.ts` mirrors this file; TM_ABI_VERSION changes with every
 * change of meaning, and the TypeScript side refuses any other number.
 *
 * Names: `tracemalloc_` is exported, `tm_` is internal, `os_` is what a
 * platform supplies (platform.h).
 */
#ifndef TRACEMALLOC_H
#define TRACEMALLOC_H

#include <stddef.h>
#include <stdint.h>

#define TM_ABI_VERSION 11u
#define TM_EXPORT __attribute__((visibility("default")))

/* What tracemalloc_status() says. */
#define TM_STATUS_TRACING 1u   /* blocks are being recorded */
#define TM_STATUS_PRELOADED 2u /* malloc of this process is ours; otherwise slots are patched while tracing */
#define TM_STATUS_STARTS 8u /* from this bit on: how often tracing was started in this process */

/* Results of the control functions: 0 or one of these. */
#define TM_OK 0
#define TM_ERROR_NO_MEMORY (-1)   /* the arena could not be mapped */
#define TM_ERROR_STATE (-2)       /* not in a state for this call */
#define TM_ERROR_BUSY (-4)        /* another thread is at it: try again */
#define TM_ERROR_SIGNAL (-5)      /* somebody else handles that signal */
#define TM_ERROR_CALIBRATION (-3) /* the engine is not laid out as expected; the report says where */
#define TM_ERROR_POSITIONS (-6)   /* source positions are not kept, or not as expected */
#define TM_ERROR_OTHER (-7)       /* another copy of this library traces the process: tracemalloc_other() */

/* Kinds of raw frames. */
#define TM_FRAME_UNKNOWN 0u /* owner: a TM_UNKNOWN_ reason */
#define TM_FRAME_SCRIPT 1u  /* owner: script; line and column (both from 1) in the text that the engine compiled */
#define TM_FRAME_NATIVE 2u  /* owner: string "library!symbol" or "library+0xoffset" in an image */
#define TM_FRAME_THREAD 3u  /* owner: string, the name of a thread that runs no JavaScript */
#define TM_FRAME_MEMORY 4u  /* owner: string, the name of memory that no line asked for */
#define TM_FRAME_SITE 5u    /* not in an image: a call site that is not yet named */

/* Why a frame is unknown. */
#define TM_UNKNOWN_CODE 0u     /* JavaScript code that is not recognised */
#define TM_UNKNOWN_POSITION 1u /* the function is known, the position in it is not */
#define TM_UNKNOWN_STACK 2u    /* JavaScript is running, but its frames could not be reached */
#define TM_UNKNOWN_MEMORY 3u   /* a table of the tracer is full */
#define TM_UNKNOWN_REASONS 4u

/* Flags of a raw frame: the tiers it was seen in. */
#define TM_TIER_INTERPRETER 1u
#define TM_TIER_BASELINE 2u
#define TM_TIER_MAGLEV 4u
#define TM_TIER_TURBOFAN 8u
#define TM_TIER_INLINED 16u

/* Flags of a script. */
#define TM_SCRIPT_INTERNAL 1u /* part of the runtime itself, or of the tracer */
#define TM_SCRIPT_FOREIGN 2u  /* of another isolate (a worker's) than that of the thread that takes the image */

/*
 * The image of a snapshot: this header, then the columns, each at its offset
 * from the start of the image (8-aligned), in the byte order of the machine.
 */
typedef struct tm_image {
    uint64_t bytes; /* of the whole image */
    uint32_t abi;
    uint32_t traceback_limit;
    uint64_t pid;

    uint64_t string_count; /* strings are UTF-8 */
    uint64_t string_ends;  /* u32[string_count]: where each ends in string_bytes */
    uint64_t string_bytes;

    uint64_t script_count;
    uint64_t script_url;   /* u32[]: string */
    uint64_t script_flags; /* u32[] */
    uint64_t script_length; /* u32[]: UTF-16 units of the text that the engine compiled */
    uint64_t script_hash;   /* u32[]: 32-bit FNV-1a over these units; 0: not known */
    uint64_t script_origin; /* u32[]: code from eval: the frame that called it, plus 1; 0: not known */

    uint64_t frame_count;
    uint64_t frame_kind;   /* u32[] */
    uint64_t frame_owner;  /* u32[] */
    uint64_t frame_line;   /* u32[] */
    uint64_t frame_column; /* u32[] */
    uint64_t frame_tiers;  /* u32[] */

    uint64_t node_count;  /* node 0 is the empty root */
    uint64_t node_parent; /* u32[]: smaller than the node's own index */
    uint64_t node_frame;  /* u32[]: the more recent frame */
    uint64_t counted;        /* node_count, or 0 where it was not counted */
    uint64_t node_allocated; /* f64[counted]: bytes ever asked for with just this traceback */

    uint64_t row_count;  /* alike blocks share a row */
    uint64_t row_size;   /* f64[]: bytes of one block */
    uint64_t row_blocks; /* f64[]: blocks */
    uint64_t row_node;   /* u32[] */
    uint64_t row_domain; /* u32[] */

    uint64_t counter_count; /* see enum tm_counter */
    uint64_t counters;      /* u64[] */
} tm_image;

/* What the tracer counts beside the traces, in the order of an image. */
enum tm_counter {
    TM_COUNT_LOST_NESTED,  /* calls made while the thread was inside the tracer (signal handlers) */
    TM_COUNT_LOST_MEMORY,  /* blocks not recorded because the arena could not grow */
    TM_COUNT_LOST_THREAD,  /* calls of threads for which there was no record */
    TM_COUNT_FRAME_MISSES, /* frames that had to be decoded */
    TM_COUNT_MAPS_READ,    /* times the address space was looked at again */
    TM_COUNT_LOST_SAMPLES, /* sampled objects of the js-heap domain that were not recorded */
    TM_COUNTERS
};

/* ---- control: called by the runtime back ends through FFI ---- */

TM_EXPORT uint32_t tracemalloc_abi(void);
TM_EXPORT uint32_t tracemalloc_status(void);
/* nframe in [1, 65535]. Begins to record; where the shim is not preloaded, patches the slots of every loaded object. */
#define TM_START_MIXED 1u          /* tracebacks hold native code's frames, too, and the runtime's own JavaScript's */
#define TM_START_MMAP 2u           /* anonymous mappings are recorded, too (maps.h) */
#define TM_START_WITHOUT_NATIVE 4u /* blocks of malloc and its family are not recorded */
TM_EXPORT int32_t tracemalloc_start(uint32_t nframe, uint32_t flags);
/*
 * Before the start: one block of malloc's every so many bytes is recorded, on average, and stands for others of its size.
 * 0 and 1: every block. TM_ERROR_STATE while tracing.
 */
TM_EXPORT int32_t tracemalloc_sample(uint32_t bytes);
TM_EXPORT int32_t tracemalloc_stop(void);
TM_EXPORT int32_t tracemalloc_clear(void);
/* out: current, peak, bytes used by the tracer itself, traceback limit. */
TM_EXPORT void tracemalloc_memory(uint64_t out[4]);
/* Bytes of address space that the tracer has for itself, touched or not; while not tracing, too. */
TM_EXPORT uint64_t tracemalloc_mapped(void);
TM_EXPORT void tracemalloc_reset_peak(void);
/* The path of another copy of this library that traces this process now, with a NUL; its length, 0: there is none. */
TM_EXPORT int32_t tracemalloc_other(char *out, int32_t size);
/* While muted (calls nest), what the calling thread allocates is not recorded; what it frees is still forgotten. */
TM_EXPORT void tracemalloc_mute(int32_t on);
/* Until the end of tracing, no block of malloc's or of the runtime's own allocator is recorded; what is tracked by hand is. */
TM_EXPORT int32_t tracemalloc_without_native(void);
/* A new image, or NULL; to be given back to tracemalloc_release(). */
TM_EXPORT const tm_image *tracemalloc_snapshot(void);
/* The address itself: how a runtime's FFI tells that of a buffer or of a pointer of its own. */
TM_EXPORT uint64_t tracemalloc_address(const void *start);
/* An image with the block of a domain that begins at an address as its only row, or with none. NULL as above. */
TM_EXPORT const tm_image *tracemalloc_snapshot_of(uint32_t domain, uint64_t address);
/* Copies the image, or as much as fits; returns its length. Runtimes may not let a program read at an address itself. */
TM_EXPORT uint64_t tracemalloc_copy(const tm_image *image, void *out, uint64_t most);
TM_EXPORT void tracemalloc_release(const tm_image *image);

/*
 * Writes a file of the two pieces, for a program that may not write files itself: for its user only, and whole or not
 * at all (it is renamed into place). 0, or the number of the system's error, negative.
 */
TM_EXPORT int32_t tracemalloc_save(const char *path, const void *first, uint64_t first_bytes, const void *second, uint64_t second_bytes);

/*
 * From now on the shim writes files by itself, each `first` and then an image, in the same way: into `path` when the
 * process ends, if it still can, and before that every so many milliseconds and whenever the traced size has changed by so
 * many bytes (0: not); into `path`.1, .2 and so on when the signal comes (0: none).
 *
 * TM_ERROR_SIGNAL: somebody else handles the signal, all else is done. Once in a process.
 */
TM_EXPORT int32_t tracemalloc_output(const char *path, const void *first, uint64_t first_bytes, uint64_t milliseconds,
                                     uint64_t bytes, int32_t signal_number);
/* The process ends, and what was saved last is the last. */
TM_EXPORT void tracemalloc_output_done(void);

/* ---- for native libraries ---- */

/*
 * Trace memory that was not allocated by malloc, under a domain of your own (16 and up); its traceback is that of the
 * caller. A block that is tracked already gets a new size and traceback. Declare them weak to run untraced as well:
 *
 *     __attribute__((weak)) int tracemalloc_track(unsigned domain, uintptr_t address, size_t size);
 *     if (tracemalloc_track) tracemalloc_track(16, (uintptr_t)block, size);
 *
 * 0; -1: no memory for the trace; -2: not tracing. Untracking what is not tracked is no error.
 */
TM_EXPORT int tracemalloc_track(unsigned domain, uintptr_t address, size_t size);
TM_EXPORT int tracemalloc_untrack(unsigned domain, uintptr_t address);

/*
 * For memory that is asked for here and is only there later: the caller's traceback, to be given back. It has no meaning
 * any more after the traces were cleared: the memory is not tracked then (-2). 0: none, tracing is off.
 */
TM_EXPORT uint64_t tracemalloc_here(void);
TM_EXPORT int tracemalloc_track_from(uint64_t here, unsigned domain, uintptr_t address, size_t size);

/* ---- V8: driven by lib/runtime/v8.ts ---- */

/* Arrays that are made while the mallocs of the calling thread are watched; see js_heap.h. */
typedef struct tm_js_heap_spec {
    uint32_t first, step, count; /* elements of the arrays: first, first + step, … */
    uint32_t rounds;             /* how often each is made */
    uint32_t interval;           /* of the profiler, in bytes */
    uint32_t confirm;            /* 0: learn; 1: what was learnt before must hold */
} tm_js_heap_spec;

/*
 * Begins to watch; one of the next two ends it. TM_ERROR_BUSY: another thread does. Learning gives TM_ERROR_CALIBRATION
 * where V8's records were not recognised; what one thread has learnt holds for all.
 */
TM_EXPORT int32_t tracemalloc_js_heap_watch(void);
TM_EXPORT int32_t tracemalloc_js_heap_learn(const tm_js_heap_spec *spec);
/*
 * Has V8 begun to sample at this interval since? TM_ERROR_STATE: it has not; an isolate has one sampler, which another has.
 * TM_ERROR_BUSY: another thread has stopped tracing meanwhile.
 */
TM_EXPORT int32_t tracemalloc_js_heap_began(uint32_t interval);
/*
 * What is known of the records, in this process: one of these; and from bit TM_JS_HEAP_TIERS on, the tiers (TM_TIER_) of
 * code whose objects had the right lines.
 */
#define TM_JS_HEAP_UNKNOWN 0
#define TM_JS_HEAP_LEARNT 1
#define TM_JS_HEAP_PROFILED 2 /* the engine's own profile says the same */
#define TM_JS_HEAP_REFUSED 3  /* for good */
#define TM_JS_HEAP_TIERS 8
TM_EXPORT int32_t tracemalloc_js_heap_known(void);
/*
 * Until the end, the records of the calling thread, whose sampler is about to begin, are kept apart, with their tracebacks,
 * muted or not. TM_ERROR_BUSY: another thread verifies.
 */
TM_EXPORT int32_t tracemalloc_js_heap_verify(void);
TM_EXPORT void tracemalloc_js_heap_verify_end(void);
/*
 * These records in the order in which they were made, as {whether the object lives, its size, line and column of where it was
 * made (0: not known), tiers}. Returns how many, as far as there is room for; TM_ERROR_CALIBRATION: there are some that are not known;
 * TM_ERROR_STATE: another thread has cleared the traces or stopped, and they are not there any more.
 */
TM_EXPORT int32_t tracemalloc_js_heap_verified(uint32_t *out, int32_t words);
/*
 * What came of it: one of the states above, the last of which holds for all threads and for good; what was recorded so far is
 * forgotten then. `tiers`: code in which lines were right.
 */
TM_EXPORT void tracemalloc_js_heap_judge(int32_t state, uint32_t tiers);
/*
 * The profiler of the calling thread's isolate is about to sample at this mean interval of bytes, and the native domain is
 * traced or not. Where other isolates are sampled already, as those are. Returns the interval. Where nothing was learnt, no
 * records are taken in.
 */
TM_EXPORT int32_t tracemalloc_js_heap_start(uint32_t interval, uint32_t without_native);
/* It did not, or does no more. */
TM_EXPORT void tracemalloc_js_heap_end(void);
/* 0: this isolate is not sampled; 1: it is; 2: the sampler that was watched is gone, someone else ended it. */
TM_EXPORT int32_t tracemalloc_js_heap_state(void);
/* Threads that run JavaScript and are not sampled, though others are. */
TM_EXPORT uint32_t tracemalloc_js_heap_unsampled(void);

/* The text of the calibration scripts, as far as the shim has to find it again. */
typedef struct tm_v8_spec {
    char file[2][64];      /* names of the two scripts */
    char source_url[64];   /* of the second */
    char source_head[32];  /* how the text of the first begins */
    int32_t source_length; /* of the first, in UTF-16 units */
    int32_t line_offset, column_offset; /* of both */
    /* Of A, B, C (first script) and D (second): */
    int32_t position[4];         /* of the call, from 0 */
    int32_t literal[4];          /* number of the function in its script */
    int32_t line[4], column[4];  /* of the call, both from 1, with the offsets */
} tm_v8_spec;

#define TM_V8_FRAMES 1u    /* interpreted frames decode to the known positions */
#define TM_V8_ANCHORS 2u   /* the engine's own record of the last JavaScript frame was found */
#define TM_V8_REENTRY 4u   /* frames below a re-entry from native code were reached */
#define TM_V8_BASELINE 8u
#define TM_V8_MAGLEV 16u
#define TM_V8_TURBOFAN 32u
#define TM_V8_INLINING 64u
#define TM_V8_FAST_CALL 128u /* calls from optimised code straight into C */

/* Scripts whose URL begins so are the tracer's own, and are left out as the runtime's are. */
TM_EXPORT void tracemalloc_v8_hide(const char *url_prefix);
/*
 * TM_ERROR_STATE: it was done already in this process, by another thread or copy of the library; the report says what was
 * found. TM_ERROR_BUSY: another thread does it now.
 */
TM_EXPORT int32_t tracemalloc_v8_begin(const tm_v8_spec *spec);
/*
 * From now on the scripts are these: whatever was found by the first ones has to be right for them, and what more is found
 * is found by them.
 */
TM_EXPORT int32_t tracemalloc_v8_check(const tm_v8_spec *other);
/*
 * Called from the calibration scripts; step 7 carries a position above its four lowest bits. Returns the TM_V8_ levels reached, or a negative number: for good, except that
 * the first step can be tried again once positions are kept.
 */
TM_EXPORT int32_t tracemalloc_v8_probe(int32_t step);
/*
 * What the process's command line and environment say of an option of V8's, by its name without dashes before it: 1: it is
 * given, -1: its opposite is, 0: neither.
 */
TM_EXPORT int32_t tracemalloc_v8_option(const char *name);
/* Accept what was found, or go without JavaScript frames. The last says that positions are kept because a profiler runs. */
#define TM_V8_REFUSE 0
#define TM_V8_ACCEPT 1
#define TM_V8_ACCEPT_PROFILED 2
TM_EXPORT int32_t tracemalloc_v8_end(int32_t accept);
/*
 * The JavaScript frames of the caller, the most recent first, as {line, column, tiers}; 0 for what is unknown.
 * Returns how many, `most` at the most, or a negative number. For self-tests against the engine's own stack traces.
 */
TM_EXPORT int32_t tracemalloc_v8_frames(uint32_t *out, int32_t most);
/* Lines "name value"; the last says what failed, if anything did. Returns the length without the final NUL. */
TM_EXPORT int32_t tracemalloc_v8_report(char *out, int32_t size);

/* ---- a mimalloc inside the program: driven by lib/runtime/mimalloc.ts ---- */

/*
 * Finds it and begins to watch the calling thread; nothing is recorded by it before tracemalloc_mimalloc_end(1).
 * TM_ERROR_CALIBRATION: there is none, or none that can be traced. TM_ERROR_STATE: this was done already.
 */
TM_EXPORT int32_t tracemalloc_mimalloc_begin(void);
/* Looks out for a block of exactly so many bytes, to be allocated and freed by the calling thread. */
TM_EXPORT void tracemalloc_mimalloc_expect(uint64_t size);
/* out: address of the last such block, how many were allocated, how often the last was freed. */
TM_EXPORT void tracemalloc_mimalloc_seen(uint64_t out[3]);
/*
 * out: the size that a block of the garbage-collected heap is asked for by, and how many were seen so far. The caller makes
 * objects until there are some, and a block of that size that is none.
 */
TM_EXPORT void tracemalloc_mimalloc_garbage(uint64_t out[2]);
/* Bytes between two samples, on average, from the next start on; 1, as at first: every block. */
TM_EXPORT void tracemalloc_mimalloc_sample(uint64_t bytes);
/* Trace its blocks whenever tracing is on, or leave it alone for good. */
TM_EXPORT int32_t tracemalloc_mimalloc_end(int32_t accept);
/* As tracemalloc_v8_report(). */
TM_EXPORT int32_t tracemalloc_mimalloc_report(char *out, int32_t size);

/* ---- JavaScriptCore: driven by lib/runtime/jsc.ts ---- */

/*
 * The shim is a Node-API module, too, which exports to each thread that loads it:
 *
 *   calibrate(step, …)   see the steps; seven arguments. Returns what was seen of the tiers, or TM_JSC_FAILED.
 *   attach()             this thread's frames are read from now on. Returns false where they cannot be.
 *   resolve(named)       names what was recorded on this thread; `named`: a function for the frames to name.
 *                        Returns how many sites are named now.
 *   detach()
 */
#define TM_JSC_STEP_FRAMES 0u       /* (step, inner, outer, …) called by inner(…3), called by outer(…2) */
#define TM_JSC_STEP_FRAMES_AGAIN 1u /* the same with other functions */
#define TM_JSC_STEP_ENTER 2u        /* (step, f): calls f from native code */
#define TM_JSC_STEP_ENTERED 3u      /* to be called by f */
#define TM_JSC_STEP_COUNT 4u
#define TM_JSC_STEP_COLLECTED 5u     /* one collection later */
#define TM_JSC_STEP_NOT_COLLECTED 6u /* a moment later */
#define TM_JSC_STEP_COLD 7u          /* (step, units of the text) called last by functions that are called once, the shortest first */
#define TM_JSC_STEP_CODE 8u
#define TM_JSC_TEXT "/*tracemalloc*/" /* how their text begins */
#define TM_JSC_STEP_HOT 9u /* (step, function, call): called by functions that are called often */
#define TM_JSC_STEP_END 10u
#define TM_JSC_STEP_COUNTED 12u /* after the last collection but one */
#define TM_JSC_STEP_IDLE 11u /* nothing; returns undefined */
/* TM_ERROR_STATE: it was done already in this process; TM_ERROR_BUSY: another thread does it now. */
TM_EXPORT int32_t tracemalloc_jsc_begin(void);
/* TM_OK: what was found holds, and walks use it. */
TM_EXPORT int32_t tracemalloc_jsc_end(void);
/* Lines "name value"; the last says what failed, if anything did. Returns the length without the final NUL. */
TM_EXPORT int32_t tracemalloc_jsc_report(char *out, int32_t size);
/* How many sites the calling thread has recorded since all were named. */
TM_EXPORT uint32_t tracemalloc_jsc_unnamed(void);
/* Scripts whose path begins so are the tracer's own. */
TM_EXPORT void tracemalloc_jsc_hide(const char *path_prefix);
/*
 * The calling thread, which is attached, tracks its memory of a domain at "addresses" from `first` to `last`, which are
 * numbers of its own: what is left of them is untracked when its virtual machine ends.
 */
TM_EXPORT void tracemalloc_jsc_own(uint32_t domain, uint64_t first, uint64_t last);

#endif
