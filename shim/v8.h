/*
 * V8's stack frames, read passively: nothing of the engine is called, nothing of its memory written.
 *
 * Where things lie is found at start (v8_calibrate.c) from functions of our own whose names and positions
 * are known; nothing is taken from a table of versions. What the fields mean is said at the layout.
 */
#ifndef TM_V8_H
#define TM_V8_H

#include "thread.h"
#include "traces.h"

/* Offsets are in bytes: of frames from the frame pointer, of objects from their untagged start. */
#define TM_V8_LAYOUT(FIELD)                                                                        \
    /* frames */                                                                                   \
    FIELD(frame_function)      /* JSFunction */                                                    \
    FIELD(frame_bytecode)      /* interpreted and baseline: BytecodeArray */                       \
    FIELD(frame_offset)        /* interpreted: Smi, bytecode offset + offset_bias */               \
    FIELD(offset_bias)                                                                             \
    FIELD(entry_exit_fp)       /* entry frame: the exit frame below it */                          \
    FIELD(frame_pointers)      /* native code keeps them, too */                                   \
    /* the isolate */                                                                              \
    FIELD(tls_isolate)         /* the thread's current isolate, from the thread pointer */         \
    FIELD(isolate_exit_fp)     /* frame through which JavaScript was last left, or 0 */            \
    FIELD(isolate_fast_fp)     /* JavaScript frame that called C directly, or 0; 0: not found */   \
    FIELD(isolate_fast_pc)                                                                         \
    FIELD(isolate_entry_sp)    /* outermost entry frame, or 0; 0: not found */                     \
    /* heap objects */                                                                             \
    FIELD(map_type)            /* Map: u16 instance type */                                        \
    FIELD(function_shared)     /* JSFunction → SharedFunctionInfo */                               \
    FIELD(shared_data)         /* SharedFunctionInfo → BytecodeArray, or Code with one */          \
    FIELD(shared_script)                                                                           \
    FIELD(shared_id)           /* u32, unique in the isolate; 0: not found */                      \
    FIELD(shared_literal)      /* u32, number of the function in its script */                     \
    FIELD(script_source)                                                                           \
    FIELD(script_name)                                                                             \
    FIELD(script_url)          /* of a //# sourceURL comment */                                    \
    FIELD(script_id)                                                                               \
    FIELD(script_line)         /* Smi: offset of the first line */                                 \
    FIELD(script_column)                                                                           \
    FIELD(script_eval_shared)  /* of code from eval: the function that called it; 0: not found */  \
    FIELD(script_eval_position) /* Smi: where, or the negated offset in its bytecode */            \
    FIELD(bytecode_length)                                                                         \
    FIELD(bytecode_positions)  /* BytecodeArray → its source position table */                     \
    FIELD(bytecode_start)                                                                          \
    FIELD(positions_shift)     /* flag bits below a position table's code delta; 1: its sign */    \
    FIELD(type_shared)                                                                             \
    FIELD(type_script)                                                                             \
    FIELD(type_bytecode)                                                                           \
    FIELD(type_bytes)          /* ByteArray and kin: position tables */                            \
    /* compiled code */                                                                            \
    FIELD(stream_header)       /* InstructionStream: where its instructions begin */               \
    FIELD(stream_code)         /* InstructionStream → Code */                                      \
    FIELD(code_stream)         /* Code → InstructionStream */                                      \
    FIELD(code_flags)          /* Code: u32, kind in the low 4 bits */                             \
    FIELD(code_size)           /* Code: u32, bytes of instructions; metadata size follows */       \
    FIELD(code_data)           /* Code → deoptimisation data, or baseline's BytecodeArray */       \
    FIELD(code_positions)      /* Code → position table, or baseline's table of return addresses */ \
    FIELD(type_code)                                                                               \
    FIELD(kind_baseline)                                                                           \
    FIELD(kind_maglev)                                                                             \
    FIELD(kind_turbofan)                                                                           \
    FIELD(deopt_inlining)      /* index in the deoptimisation data */                              \
    FIELD(deopt_literals)                                                                          \
    /* tables in the program's read-only data */                                                   \
    FIELD(bytecode_kinds)      /* row length of the bytecode size table; 0: not found */           \
    FIELD(translation_opcodes) /* number of translation opcodes; 0: table not found */             \
    FIELD(translation_begin)   /* the first opcode that begins a translation */

typedef struct tm_v8_layout {
#define FIELD(name) int32_t name;
    TM_V8_LAYOUT(FIELD)
#undef FIELD
} tm_v8_layout;

extern tm_v8_layout tm_v8;
/* Levels (TM_V8_ in the ABI) that calibration has reached. */
extern uint32_t tm_v8_levels;
/* Calibration has ended and was accepted: frames of JavaScript are walked. */
extern bool tm_v8_ready;
/* Positions are kept because a profiler runs: not in code that was compiled before. */
extern bool tm_v8_profiled;
/* Optimised code says where it makes objects: V8 was started with what lib/runtime/v8_flags.ts gives. */
extern bool tm_v8_objects_placed;
/* bytecode sizes in three rows (operand scale 1, 2, 4); operand counts of the translation opcodes */
extern const uint8_t *tm_v8_bytecode_sizes;
extern const int32_t *tm_v8_translation_operands;
/* Where calls from the interpreter return to, as an offset in the program's file. */
extern uint64_t tm_v8_interpreter_offset;

#define TM_V8_PAGES 32

/* A frame that a walk came by, and what it was taken for. */
typedef struct tm_v8_step {
    const uint64_t *fp;
    uintptr_t pc; /* where its code is to go on */
    /*
     * Of JavaScript frames: what the frame's slot held, where its object can be read at once, and where that has its
     * SharedFunctionInfo; else 0.
     */
    uint64_t function, shared_at;
    union {
        struct { uint64_t code_at, code, data_at, data; }; /* compiled code: words that tell whether it is still that code; 0: none do */
        struct { uint64_t bytecode, offset; };             /* interpreted: what the frame's slots hold */
        uint64_t type;                                     /* of frames of V8's own */
    };
    uint32_t identity; /* tm_v8_identity_of() of the function */
    uint32_t node;     /* traceback of the program's frames from the oldest up to this step's */
    uint16_t kind;
    uint16_t own; /* how many frames of the program's own it was good for */
} tm_v8_step;

#define TM_V8_STEPS 256

/* A walk, as far as it can be known again: a thread mostly allocates again where it just did, or nearby. */
typedef struct tm_v8_past {
    uint32_t count; /* of steps; 0: there is none */
    uint32_t limit;
    bool cut;           /* by the limit; the stack goes on */
    uint64_t entry_sp;  /* if it was not cut: what else decided that this is the end */
    uint64_t last_next;
    /* What the isolate said of where the stack begins. `plain`: that alone decides it, as long as it is above the hook's frame. */
    uint64_t exit_fp, fast_fp, fast_pc;
    bool plain;
    uint32_t node;
    tm_v8_step steps[TM_V8_STEPS];
} tm_v8_past;

/* What a thread that runs JavaScript keeps. */
typedef struct tm_v8_thread {
    uint64_t isolate;                  /* that the rest belongs to */
    uint32_t generation;               /* of the frame indexes */
    uint32_t incarnation;              /* of the thread's record */
    uintptr_t interpreter_return[2];   /* seen in this isolate */
#define TM_V8_WITH_FRAME 61
    uintptr_t with_frame[TM_V8_WITH_FRAME]; /* places in builtins, by remainder, that have frames of their own */
    struct tm_v8_handler *handlers;    /* places in the interpreter's handlers: see live_offset() in v8_walk.c */
    const uint64_t *dispatch;          /* the interpreter's table: address of the handler of each bytecode; NULL: not seen yet */
    uint64_t no_script;                /* what builtins that are functions have for a script */
#define TM_V8_ASTRIDE 64
    uint64_t astride[TM_V8_ASTRIDE];   /* functions that lie in two pages, by hash: see shared_of() in v8_walk.c */
    struct tm_v8_cached *cache;        /* decoded frames */
    uint32_t *lists;                   /* frame indexes of cached frames with more than a few */
    uint32_t lists_used;
    uint32_t *frames;                  /* of the walk under way */
    uint32_t frames_most;
    char *scratch;
    size_t scratch_used;
    /* Pages read during the decoding under way: objects that belong together lie together, and a read is a system call. */
    uintptr_t page_at[TM_V8_PAGES];
    uint8_t (*pages)[4096];
    uint64_t misses;
    uint32_t newest;                   /* of the two: */
    tm_v8_past past[2];                /* the walk before, and room for the next */
} tm_v8_thread;

/* The calling thread's, made when there is none; NULL: no memory. */
tm_v8_thread *tm_v8_thread_of(tm_thread *self);

/* ---- v8_heap.c: reading heap objects, never faulting ---- */

typedef uint64_t tm_tagged; /* a pointer with tag bits 01, or a Smi */

static inline bool tm_is_object(tm_tagged value) { return (value & 3) == 1 && value > 0x10000 && value < (1ull << 47); }
static inline bool tm_is_smi(tm_tagged value) { return (uint32_t)value == 0; }
static inline int32_t tm_smi(tm_tagged value) { return (int32_t)(value >> 32); }

bool tm_read(uintptr_t from, void *to, size_t bytes);
uint64_t tm_read64(uintptr_t address); /* 0 if unreadable */
uint32_t tm_read32(uintptr_t address);
/* Where the object is now: a collection that is under way leaves a forwarding pointer. 0 if unreadable. */
tm_tagged tm_v8_forward(tm_tagged object);
int tm_v8_type(tm_tagged object); /* -1 if it is none */
static inline uint64_t tm_v8_field(tm_tagged object, int32_t offset) { return tm_read64((object & ~3ull) + (uint64_t)offset); }
/* Length of a ByteArray or kin, whose data begins at 16. */
uint64_t tm_v8_bytes_length(uint64_t word);
#define TM_V8_BYTES_START 16
int64_t tm_v8_string_length(tm_tagged string); /* -1 if it is none */
/* UTF-16 units of a string in any representation, up to `most`; -1 if it is none or cannot be read. */
int64_t tm_v8_string_units(tm_tagged string, uint16_t *out, int64_t most);
/* UTF-8; -1 if it is none, cannot be read, or does not fit. */
int32_t tm_v8_string_utf8(tm_tagged string, char *out, int32_t size);
bool tm_v8_string_equals(tm_tagged string, const char *ascii);

/* ---- v8_positions.c: tables ---- */

/* A raw source position: where, and in which inlined function (-1: the outermost). */
static inline int32_t tm_position_offset(uint64_t raw) { return (int32_t)(raw >> 1 & 0x3fffffff) - 1; }
static inline int32_t tm_position_inlining(uint64_t raw) { return (int32_t)(raw >> 31 & 0xffff) - 1; }

typedef struct tm_bytes {
    uint8_t *data;
    uint64_t length;
} tm_bytes;

/*
 * Memory for decoding, of the calling thread, which has a tm_v8_thread. Begin with tm_scratch_reset(), which takes all of
 * it back and forgets what was read.
 */
void *tm_scratch(size_t bytes);
void tm_scratch_reset(void);

bool tm_v8_bytes(tm_tagged array, tm_bytes *out);
/* The last entry at or before the code offset, or the one exactly there. */
bool tm_v8_position(const tm_bytes *table, int64_t code_offset, bool exactly, int32_t shift, uint64_t *raw);
/* Calls each(code offset, raw position) until it returns false. */
void tm_v8_each_position(const tm_bytes *table, int32_t shift, bool (*each)(int64_t, uint64_t, void *), void *context);
/* Offset behind the bytecode at `offset`; 0 if there is none. */
uint64_t tm_v8_next_bytecode(const tm_bytes *bytecode, uint64_t offset);

/* ---- v8_code.c: frames of every tier ---- */

typedef struct tm_v8_site {
    tm_tagged shared;  /* the function */
    int32_t position;  /* in its script; -1: not known */
    uint32_t tiers;    /* TM_TIER_ */
} tm_v8_site;

#define TM_V8_MOST_INLINED 64

/* What a return address or frame was decoded to. */
typedef enum tm_v8_decoded {
    TM_V8_NOT_A_FRAME, /* a builtin's frame */
    TM_V8_UNKNOWN,     /* JavaScript, but not understood */
    TM_V8_INTERPRETED,
    TM_V8_COMPILED
} tm_v8_decoded;

/* How the result can be known again without decoding. */
typedef struct tm_v8_identity {
    uint64_t stream, code, data;
    int32_t data_field; /* offset of `data` in the Code */
} tm_v8_identity;

/*
 * Decodes the JavaScript functions of one frame, the most recent first. `offset` is what the frame's slot for the bytecode
 * offset holds, or should: the interpreter does not keep it up to date.
 */
tm_v8_decoded tm_v8_decode(const uint64_t *fp, uintptr_t pc, uint64_t offset, tm_v8_site *sites, int *count, tm_v8_identity *identity);
/* Decodes optimised code by its translation alone, for calibration: other ways must lead to the same. */
bool tm_v8_translated(const tm_v8_identity *identity, uintptr_t pc, tm_v8_site *sites, int *count);
/* Are other functions inlined into this compiled code? */
bool tm_v8_inlines(const tm_v8_identity *identity);
/*
 * Where the frame at fp goes on, if it called a builtin that has no frame of its own: the return address is among what the
 * builtin pushed, between the frame `below` that it called and this one. 0: there is none.
 */
uintptr_t tm_v8_return_to(const uint64_t *below, const uint64_t *fp);
/* Is it where compiled code of the frame's function goes on? */
bool tm_v8_goes_on_at(uintptr_t pc, const uint64_t *fp);
/* SharedFunctionInfo of the function in the frame, checked; 0 if it is none. */
tm_tagged tm_v8_frame_shared(const uint64_t *fp);
tm_tagged tm_v8_bytecode_of(tm_tagged shared);
/* The position of a call of eval, as scripts hold it; -1: not known. */
int32_t tm_v8_eval_position(tm_tagged shared, tm_tagged held);
/* InstructionStream around an address, 0 if there is none. */
uintptr_t tm_v8_find_stream(uintptr_t pc);

/* Of a function: shared_id, or what takes its place. Reads where it is told to. */
static inline uint32_t tm_v8_identity_of(tm_tagged shared) {
    uintptr_t at = shared & ~3ull;
    if (tm_v8.shared_id) return *(volatile uint32_t *)(at + (uint64_t)tm_v8.shared_id);
    tm_tagged script = *(volatile uint64_t *)(at + (uint64_t)tm_v8.shared_script);
    uint32_t id = (uint32_t)(*(volatile uint64_t *)((script & ~3ull) + (uint64_t)tm_v8.script_id) >> 32);
    return *(volatile uint32_t *)(at + (uint64_t)tm_v8.shared_literal) * 2654435761u ^ id;
}

/* Index of the frame for a site, with TM_FRAME_INTERNAL where that is so. */
uint32_t tm_v8_frame_of(uint64_t isolate, const tm_v8_site *site);

/* Frames of V8: the word below the frame pointer is a context, or a type << 1. V8 src/execution/frames.h. */
/* A word of a frame, by its offset in the layout: calibration and walks read alike. */
static inline uint64_t tm_v8_slot(const uint64_t *fp, int32_t offset) { return *(const uint64_t *)((const char *)fp + offset); }
#define TM_V8_IS_TYPED(fp) (!((fp)[-1] & 1))
#define TM_V8_IS_ENTRY(fp) ((fp)[-1] == 2 || (fp)[-1] == 4)

/* ---- code_map.c: which addresses hold what code ---- */

typedef enum tm_code_kind { TM_CODE_NONE, TM_CODE_IMAGE, TM_CODE_LIBRARY, TM_CODE_GENERATED } tm_code_kind;

typedef struct tm_code_region {
    uintptr_t low, high;
    uint64_t file_offset;
    tm_code_kind kind;
} tm_code_region;

/* Is the address, which is in the region, where calls from the interpreter return to? Every copy of the builtins has it. */
static inline bool tm_v8_returns_to_interpreter(const tm_code_region *region, uintptr_t pc) {
    return region->kind == TM_CODE_IMAGE && region->file_offset + (pc - region->low) == tm_v8_interpreter_offset;
}

/* Copies the region around the address; looks at the address space again when it is not known (at a bounded rate). */
bool tm_code_region_of(uintptr_t pc, tm_code_region *out);
/* The same for a word that may be no address of code: never looks again. */
bool tm_code_region_known(uintptr_t pc, tm_code_region *out);
/* Looks at the address space again. */
void tm_code_map_refresh(void);
uint64_t tm_code_maps_read(void);

/* ---- v8_walk.c ---- */

typedef enum tm_v8_walk_end {
    TM_V8_NO_ISOLATE,    /* the thread runs no JavaScript, if it may help a thread that does */
    TM_V8_NO_JAVASCRIPT, /* it does, but not now */
    TM_V8_WALKED
} tm_v8_walk_end;

/*
 * The JavaScript frames of the calling thread, the most recent first: frame indexes, `limit` of the program's
 * own, or if there are none, of the runtime's. `fp` is the frame pointer to start from where the engine's own
 * record of its frames cannot be used.
 */
tm_v8_walk_end tm_v8_walk(tm_thread *self, const uint64_t *fp, uint32_t limit, uint32_t **frames, uint32_t *count);
/* The same as a node of the tree of tracebacks; what is as the walk before found it is not looked up again. */
tm_v8_walk_end tm_v8_traceback(tm_thread *self, const uint64_t *fp, uint32_t limit, uint32_t *node);
/* The node of the walk before, if every frame is as it was then; 0: one is not, or it is not known. With self->v8. */
uint32_t tm_v8_as_before(tm_thread *self, const uint64_t *fp);
/* Takes note if the calling thread runs JavaScript, as a walk would; `fp` is below it. */
void tm_v8_look_for_javascript(tm_thread *self, const uint64_t *fp);
/* The calling thread's isolate; 0: it has none. */
uint64_t tm_v8_isolate(void);
uint64_t tm_v8_misses(void);

/* The frame that called this one; steps over libffi's call frame, whose saved frame pointer lies elsewhere. */
static inline bool tm_next_frame(const uint64_t **fp, uintptr_t *pc, uintptr_t stack_high) {
    const uint64_t *at = *fp;
    uint64_t next = at[0], back = at[1];
    if (tm_unlikely(!tm_frame_fits(next, (uint64_t)at, 16, stack_high))) {
        /* libffi's ffi_call_unix64: the flags at [0], the result at [1], then the caller's frame pointer and the way back. */
        if (next >= 0x10000 || (uint64_t)(at + 4) > stack_high) return false;
        next = at[2];
        back = at[3];
        if (!tm_frame_fits(next, (uint64_t)at, 16, stack_high)) return false;
    }
    *fp = (const uint64_t *)next;
    *pc = back;
    return true;
}

#endif
