/* From the calling thread's stack to frame indexes, with everything decoded before kept in a cache. */
#ifdef TM_TEST_PERTURB
#include <stdlib.h>
#endif
#include <string.h>

#include "unwind.h"
#include "v8.h"

uint32_t tm_v8_levels;
bool tm_v8_ready;

#define CACHE_ROWS 4096u
#define INLINE_FRAMES 2
#define MOST_LISTED (1u << 18)
#define MOST_STEPS 200000 /* frames of one walk, of all kinds */

/*
 * Decoded frames. Code moves and is thrown away, and its address is used again, so an entry holds only while the
 * function is the same and, for compiled code, while the code at the address is.
 */
typedef struct tm_v8_cached {
    uint64_t key[2];  /* interpreted: BytecodeArray and offset slot; compiled: pc and KEY_COMPILED */
    uint64_t stream, code, data; /* compiled code; 0: none was found */
    uint32_t function; /* tm_v8_identity_of() */
    int16_t data_field;
    uint8_t count;
    uint8_t listed;    /* the frames stand in the thread's lists, from frame[0] */
    uint32_t frame[INLINE_FRAMES];
    uint32_t uses;     /* how often what was not understood is taken for that before it is tried again; 0: for good */
    uint32_t tries;    /* how often it was tried again in vain */
} tm_v8_cached;

_Static_assert(sizeof(tm_v8_cached) == 64, "an entry of the cache takes a line");

/*
 * A place in a handler of the interpreter, from where a call was made below which the handler's frame was seen: the slots of
 * that frame which have held the offset of the bytecode each time, a bit a slot.
 */
typedef struct tm_v8_handler {
    uintptr_t pc;
    uint32_t slots;
    uint32_t times;
} tm_v8_handler;

#define HANDLER_ROWS 256u
#define HANDLER_SLOTS 32 /* of a handler's frame, below its type */
#define HANDLER_TIMES 16 /* that one slot has held it, and the place is known */

/* A Smi is never odd. */
#define KEY_COMPILED 1
#define KEY_NOT_UNDERSTOOD 3
#define KEY_PLACELESS 5

/* Most of what is not understood is so for a moment, while V8 moves something; the rest is tried ever more seldom. */
#define USES_AT_FIRST 4u
#define MOST_TRIES 6

static inline uint64_t load(uint64_t address) { return *(const volatile uint64_t *)address; }

tm_v8_thread *tm_v8_thread_of(tm_thread *self) {
    if (tm_likely(self->v8 != NULL)) return self->v8;
    size_t header = (sizeof(tm_v8_thread) + 63) & ~63ul;
    size_t bytes = header + (CACHE_ROWS + 1) * sizeof(tm_v8_cached) + HANDLER_ROWS * sizeof(tm_v8_handler) +
                   MOST_LISTED * sizeof(uint32_t) + TM_V8_PAGES * 4096;
    tm_v8_thread *v8 = os_map(bytes);
    if (!v8) return NULL;
    v8->cache = (tm_v8_cached *)((char *)v8 + header);
    v8->handlers = (tm_v8_handler *)(v8->cache + CACHE_ROWS + 1);
    v8->lists = (uint32_t *)(v8->handlers + HANDLER_ROWS);
    v8->pages = (uint8_t(*)[4096])(v8->lists + MOST_LISTED);
    self->v8 = v8;
    return v8;
}

static void forget(tm_v8_thread *v8) {
    memset(v8->cache, 0, CACHE_ROWS * sizeof *v8->cache);
    v8->lists_used = 0;
    v8->interpreter_return[0] = v8->interpreter_return[1] = 0;
    memset(v8->handlers, 0, HANDLER_ROWS * sizeof *v8->handlers);
    v8->dispatch = NULL;
    v8->no_script = 0;
    memset(v8->astride, 0, sizeof v8->astride);
    v8->isolate = 0;
    v8->past[0].count = v8->past[1].count = 0;
}

static void add_misses(tm_thread *thread, void *context) {
    if (thread->v8) *(uint64_t *)context += thread->v8->misses;
}

uint64_t tm_v8_misses(void) {
    uint64_t sum = 0;
    tm_each_thread(add_misses, &sum);
    return sum;
}

/* ---- decoding ---- */

static uint32_t place(uint64_t a, uint64_t b) { return (uint32_t)(tm_hash64(a ^ b << 17) >> 40) & (CACHE_ROWS - 1); }

static tm_v8_cached *store(tm_v8_thread *v8, tm_v8_cached *row, const uint32_t *frames, int count) {
    if (count <= INLINE_FRAMES) {
        memcpy(row->frame, frames, (size_t)count * sizeof *frames);
        row->listed = 0;
    } else {
        if (v8->lists_used + (uint32_t)count > MOST_LISTED) { /* start over: everything can be decoded again */
            memset(v8->cache, 0, CACHE_ROWS * sizeof *v8->cache);
            v8->lists_used = 0;
        }
        memcpy(v8->lists + v8->lists_used, frames, (size_t)count * sizeof *frames);
        row->frame[0] = v8->lists_used;
        row->listed = 1;
        v8->lists_used += (uint32_t)count;
    }
    row->count = (uint8_t)count;
    return row;
}

static const uint32_t *frames_of(const tm_v8_thread *v8, const tm_v8_cached *row) {
    return row->listed ? v8->lists + row->frame[0] : row->frame;
}

/*
 * Where the code was left past what keeps its place (below_builtin()), the function is known, but not the line in it; and
 * where other functions are inlined into it, not even the function.
 */
static tm_v8_decoded forget_place(tm_v8_decoded decoded, const uint64_t *fp, const tm_v8_identity *identity, tm_v8_site *sites,
                                  int *count) {
    if (decoded == TM_V8_UNKNOWN || (*count && sites[0].tiers & TM_TIER_BASELINE)) return decoded;
    if (decoded == TM_V8_COMPILED && tm_v8_inlines(identity)) return TM_V8_UNKNOWN;
    sites[0] = (tm_v8_site){tm_v8_frame_shared(fp), -1, sites[0].tiers & ~TM_TIER_INLINED};
    *count = 1;
    return TM_V8_COMPILED;
}

/* Decodes a frame and keeps the result; NULL: not a frame of JavaScript. The row is valid until the next call. */
static __attribute__((noinline)) tm_v8_cached *miss(tm_v8_thread *v8, const uint64_t *fp, uintptr_t pc, uint64_t offset, bool placeless) {
    v8->misses++;
    tm_scratch_reset();
    tm_v8_site sites[TM_V8_MOST_INLINED];
    uint32_t frames[TM_V8_MOST_INLINED];
    tm_v8_identity identity;
    int count;
    tm_v8_decoded decoded = tm_v8_decode(fp, pc, offset, sites, &count, &identity);
    if (placeless && decoded != TM_V8_NOT_A_FRAME) decoded = forget_place(decoded, fp, &identity, sites, &count);
    tm_tagged shared = tm_v8_frame_shared(fp);
    if (decoded == TM_V8_NOT_A_FRAME) {
        if (!shared) return NULL;
        tm_tagged script = tm_v8_field(shared, tm_v8.shared_script);
        if (tm_v8_type(script) != tm_v8.type_script) {
            v8->no_script = script;
            return NULL;
        }
        count = 0; /* the way into WebAssembly: known as no frame from now on */
    }
    bool understood = decoded != TM_V8_UNKNOWN;
    uint64_t key[2] = {pc, placeless ? KEY_PLACELESS : understood ? KEY_COMPILED : KEY_NOT_UNDERSTOOD};
    if (decoded == TM_V8_INTERPRETED) {
        key[0] = tm_v8_slot(fp, tm_v8.frame_bytecode);
        key[1] = offset;
    }
    for (int i = 0; i < count; i++) {
        frames[i] = tm_v8_frame_of(v8->isolate, &sites[i]);
        if (sites[i].position < 0) understood = false;
    }
    if (decoded == TM_V8_UNKNOWN) frames[0] = tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_CODE, 0, 0, 0), count = 1;
    /* The last row, one more than is looked up, takes what cannot be known again. */
    tm_v8_cached *row = shared ? &v8->cache[place(key[0], key[1])] : &v8->cache[CACHE_ROWS];
    uint32_t function = shared ? tm_v8_identity_of(shared) : 0;
    bool again = !row->key[0] && row->key[1] == key[1] && row->function == function && row->uses;
    row->tries = !again ? 0 : row->tries < MOST_TRIES ? row->tries + 1 : MOST_TRIES;
    row->key[0] = key[0];
    row->key[1] = key[1];
    row->stream = identity.stream;
    row->code = identity.code;
    row->data = identity.data;
    row->data_field = (int16_t)identity.data_field;
    row->function = function;
    row->uses = understood ? 0 : USES_AT_FIRST << row->tries;
    return store(v8, row, frames, count);
}

/* A function whose object lies in two pages, and which was seen to be one. */
static inline uint64_t *astride(tm_v8_thread *v8, uint64_t function) { return &v8->astride[tm_hash64(function) % TM_V8_ASTRIDE]; }

/*
 * Where what may be a function has its SharedFunctionInfo; 0: that cannot be read at once. A frame that is being deoptimised has
 * placeholders for what is yet to be made, its function among them, and V8 has those at the end of a page, with nothing to be
 * read behind it. They are never moved: where a function was, there is none of them.
 */
static inline uint64_t shared_at(tm_v8_thread *v8, uint64_t function) {
    uint64_t field = (function & ~3ull) + (uint64_t)tm_v8.function_shared;
    return tm_likely(function / 4096 == field / 4096) || *astride(v8, function) == function ? field : 0;
}

/* What the function slot leads to; 0: to nothing. */
static inline uint64_t shared_of(tm_v8_thread *v8, const uint64_t *fp) {
    uint64_t function = tm_v8_slot(fp, tm_v8.frame_function), at = shared_at(v8, function);
    if (tm_likely(at)) return load(at);
    tm_scratch_reset();
    uint64_t shared = tm_v8_frame_shared(fp);
    if (shared && tm_v8_forward(function) == function) *astride(v8, function) = function;
    return shared;
}

static inline bool same_function(tm_v8_thread *v8, const tm_v8_cached *row, const uint64_t *fp) {
    uint64_t shared = shared_of(v8, fp);
    return shared && row->function == tm_v8_identity_of(shared);
}

/* Is the code still what it was, where there is any? */
static inline bool is_same_code(const tm_v8_cached *row) {
    return !row->stream || (load(row->stream + (uint64_t)tm_v8.stream_code) == row->code &&
                            load((row->code & ~3ull) + (uint64_t)(int64_t)row->data_field) == row->data);
}

/* Is the row what this key was decoded to, and is the code still the same? */
static inline bool holds(tm_v8_thread *v8, const tm_v8_cached *row, const uint64_t *fp, uint64_t a, uint64_t b) {
    if (tm_unlikely(row->key[0] != a || row->key[1] != b || !same_function(v8, row, fp))) return false;
    return is_same_code(row);
}

/* The row of a key, if it holds for the frame. */
static inline tm_v8_cached *hit(tm_v8_thread *v8, const uint64_t *fp, uint64_t a, uint64_t b) {
    tm_v8_cached *row = &v8->cache[place(a, b)];
    if (!holds(v8, row, fp, a, b)) return NULL;
    if (tm_unlikely(row->uses) && --row->uses == 0) {
        row->uses = 1; /* see miss() */
        row->key[0] = 0;
        return NULL;
    }
    return row;
}

/* Is the function in the frame one that has no script? */
static inline bool is_builtin(tm_v8_thread *v8, const uint64_t *fp) {
    uint64_t shared = v8->no_script ? shared_of(v8, fp) : 0;
    return shared && load((shared & ~3ull) + (uint64_t)tm_v8.shared_script) == v8->no_script;
}

/*
 * The frame at fp, which called a builtin without a frame of its own: a write barrier, from where the interpreter has not
 * saved its offset, nor optimised code a safepoint. Only baseline code says by its return address where it is.
 */
static __attribute__((noinline)) tm_v8_cached *below_builtin(tm_v8_thread *v8, const uint64_t *fp, uintptr_t pc) {
    tm_v8_cached *row = hit(v8, fp, pc, KEY_PLACELESS);
    return row ? row : miss(v8, fp, pc, tm_v8_slot(fp, tm_v8.frame_offset), true);
}

/* ---- the interpreter's offset ---- */

/* What the frame at hand called: the frame (NULL: not known), where its code goes on (0: not known), and its own callee's. */
struct callee {
    const uint64_t *fp;
    uintptr_t pc;
    const uint64_t *end;
};

#define DISPATCH_ROWS 256 /* a table for each width of operands */
#define MOST_HANDLER_BYTES 0x8000

/*
 * Is it the dispatch table? All of its first rows are places in the builtins, and most of them are different ones; before
 * V8 14 the last, which no bytecode has, are 0.
 */
static bool is_dispatch(uint64_t address) {
    uint64_t rows[DISPATCH_ROWS];
    if (address & 7 || !tm_read(address, rows, sizeof rows)) return false;
    uint32_t changes = 0, count = DISPATCH_ROWS;
    while (count && !rows[count - 1]) count--;
    for (uint32_t i = 0; i < count; i++) {
        tm_code_region region;
        if (!tm_code_region_known(rows[i], &region) || region.kind != TM_CODE_IMAGE) return false;
        changes += i && rows[i] != rows[i - 1];
    }
    return changes > DISPATCH_ROWS / 2;
}

/* Is the place in the handler of the bytecode of that row? The handler begins before it, and no other one between. */
static bool is_in_handler(const uint64_t *dispatch, uint32_t row, uintptr_t pc) {
    uint64_t start = load((uint64_t)(dispatch + row));
    if (pc <= start || pc - start > MOST_HANDLER_BYTES) return false;
    const uint64_t *width = dispatch + (row & ~(DISPATCH_ROWS - 1u));
    for (uint32_t i = 0; i < DISPATCH_ROWS; i++) {
        uint64_t other = load((uint64_t)(width + i));
        if (other > start && other < pc) return false;
    }
    return true;
}

/* Can the handler be at work on the bytecode at the offset? It may also be that of the bytecode behind its prefix. */
static bool is_at_work_on(const uint64_t *dispatch, tm_tagged bytecode, int64_t offset, uintptr_t pc) {
    uintptr_t at = (bytecode & ~3ull) + (uint64_t)tm_v8.bytecode_start + (uint64_t)offset;
    uint8_t bytes[2];
    if (!tm_read(at, bytes, sizeof bytes)) return false;
    /* Wide and ExtraWide, and the same for a debugger: V8 src/interpreter/bytecodes.h. */
    if (bytes[0] < 4) return is_in_handler(dispatch, DISPATCH_ROWS * (1 + (bytes[0] & 1)) + bytes[1], pc);
    for (uint32_t width = 0; width < 3; width++)
        if (is_in_handler(dispatch, DISPATCH_ROWS * width + bytes[0], pc)) return true;
    return false;
}

/* What the slot of a handler's frame would be as an offset in the bytecode; -1: none. */
static inline int64_t spilled_offset(const uint64_t *stub, int slot, uint64_t length) {
    int64_t offset = (int64_t)stub[-2 - slot] - tm_v8.offset_bias;
    return offset >= 0 && (uint64_t)offset < length ? offset : -1;
}

static uint32_t slots_with_offset(tm_v8_thread *v8, const struct callee *handler, tm_tagged bytecode, uint64_t length, uint32_t among) {
    const uint64_t *stub = handler->fp;
    uintptr_t pc = handler->pc;
    tm_scratch_reset();
    tm_code_region region;
    if (!tm_code_region_of(pc, &region) || region.kind != TM_CODE_IMAGE) return 0;
    int64_t room = stub - handler->end - 3;
    int most = room < HANDLER_SLOTS ? (int)room : HANDLER_SLOTS;
    for (int i = 0; !v8->dispatch && i < most; i++)
        if (is_dispatch(stub[-2 - i])) v8->dispatch = (const uint64_t *)stub[-2 - i];
    if (!v8->dispatch) return 0;
    uint32_t found = 0;
    for (int i = 0; i < most; i++) {
        if (!(among >> i & 1)) continue;
        int64_t offset = spilled_offset(stub, i, length);
        if (offset >= 0 && is_at_work_on(v8->dispatch, bytecode, offset, pc)) found |= 1u << i;
    }
    return found;
}

static inline tm_v8_handler *handler_row(const tm_v8_thread *v8, uintptr_t pc) {
    return &v8->handlers[tm_hash64(pc) >> 32 & (HANDLER_ROWS - 1)];
}

/*
 * The bytecode offset of the interpreted frame at fp, as its slot has it when it is up to date: the interpreter writes it
 * there before it calls, but not where a handler makes an object by itself and only calls to find room for it. The handler
 * keeps the offset in its own frame then; which of its slots that is depends on the place in the handler alone.
 */
static __attribute__((noinline)) uint64_t live_offset(tm_v8_thread *v8, const struct callee *handler, const uint64_t *fp) {
    uint64_t slot = tm_v8_slot(fp, tm_v8.frame_offset);
#ifdef TM_TEST_PERTURB /* $TM_PERTURB: "handler_offset 1" */
    if (getenv("TM_PERTURB") && !strcmp(getenv("TM_PERTURB"), "handler_offset 1")) return slot;
#endif
    tm_tagged bytecode = tm_v8_slot(fp, tm_v8.frame_bytecode);
    tm_v8_handler *row = handler_row(v8, handler->pc);
    bool seen = row->pc == handler->pc;
    if (seen && !row->slots) return slot;
    uint64_t length = tm_v8_bytes_length(load((bytecode & ~3ull) + (uint64_t)tm_v8.bytecode_length));
    if (!seen || row->times < HANDLER_TIMES) {
        uint32_t found = slots_with_offset(v8, handler, bytecode, length, seen ? row->slots : UINT32_MAX);
        if (!seen) *row = (tm_v8_handler){handler->pc, found, 0};
        row->slots = found;
        if (!(found & (found - 1))) row->times++;
        if (!found) return slot;
    }
    int64_t offset = spilled_offset(handler->fp, __builtin_ctz(row->slots), length);
    return offset < 0 ? slot : (uint64_t)(offset + tm_v8.offset_bias) << 32;
}

/* Does the frame of an interpreted function not say where it is, because a handler below it does? */
static bool handler_keeps_offset(const tm_v8_thread *v8, const struct callee *callee) {
    if (!callee->pc || !TM_V8_IS_TYPED(callee->fp)) return false;
    const tm_v8_handler *row = handler_row(v8, callee->pc);
    return row->pc != callee->pc || row->slots;
}

/* The frame at fp, whose code is to go on at pc; it has a context where frames of V8's own have their type. */
static inline tm_v8_cached *frame_at(tm_v8_thread *v8, const struct callee *callee, const uint64_t *fp, uintptr_t pc) {
    if (tm_unlikely(!tm_is_object(tm_v8_slot(fp, tm_v8.frame_function)))) return miss(v8, fp, pc, tm_v8_slot(fp, tm_v8.frame_offset), false);
    uint64_t bytecode = tm_v8_slot(fp, tm_v8.frame_bytecode), offset = tm_v8_slot(fp, tm_v8.frame_offset);
    tm_v8_cached *row;
    if (pc == v8->interpreter_return[0] || pc == v8->interpreter_return[1]) {
        if (callee->pc && TM_V8_IS_TYPED(callee->fp)) offset = live_offset(v8, callee, fp);
        row = hit(v8, fp, bytecode, offset);
        return tm_likely(row != NULL) ? row : miss(v8, fp, pc, offset, false);
    }
    row = hit(v8, fp, pc, KEY_COMPILED);
    if (tm_likely(row != NULL)) return row;
    /* Array.prototype.map and the like. */
    if (is_builtin(v8, fp)) return NULL;
    tm_code_region region;
    if (tm_code_region_of(pc, &region) && region.kind == TM_CODE_IMAGE) {
        if (tm_v8_returns_to_interpreter(&region, pc)) {
            v8->interpreter_return[1] = v8->interpreter_return[0];
            v8->interpreter_return[0] = pc;
        } else if (callee->fp && v8->with_frame[pc % TM_V8_WITH_FRAME] != pc) {
            uintptr_t real = tm_v8_return_to(callee->fp, fp);
            if (real) return below_builtin(v8, fp, real);
            v8->with_frame[pc % TM_V8_WITH_FRAME] = pc;
        }
        /* The interpreter elsewhere in the builtins: behind a deoptimisation, at a stack check. */
        if (tm_is_object(bytecode) && tm_is_smi(offset) && (row = hit(v8, fp, bytecode, offset))) return row;
    }
    row = hit(v8, fp, pc, KEY_NOT_UNDERSTOOD);
    return row ? row : miss(v8, fp, pc, offset, false);
}

/* ---- walking ---- */

struct found {
    uint32_t *frames;
    uint32_t limit, own, internal;
};

/* The program's own frames come first in the buffer; until there is one, the runtime's are kept behind the limit. */
static inline bool collect(struct found *found, uint32_t frame) {
    if (tm_unlikely(frame & TM_FRAME_INTERNAL)) {
        if (!found->own && found->internal < found->limit) found->frames[found->limit + found->internal++] = frame & TM_FRAME_INDEX;
        return true;
    }
    found->frames[found->own++] = frame;
    return found->own < found->limit;
}

/* In mixed stacks: the native code that called what is at fp, as far as `until`. */
static bool collect_native(struct found *found, const uint64_t *fp, uintptr_t until, uintptr_t high) {
    found->own += tm_native_frames(fp, until, high, found->frames + found->own, found->limit - found->own);
    return found->own < found->limit;
}

static bool make_room(tm_v8_thread *v8, uint32_t limit) {
    if (tm_likely(v8->frames_most >= limit)) return true;
    uint32_t *fresh = os_map(2ul * limit * sizeof *fresh);
    if (!fresh) return false;
    if (v8->frames) os_unmap(v8->frames, 2ul * v8->frames_most * sizeof *fresh);
    v8->frames = fresh;
    v8->frames_most = limit;
    return true;
}

/* Without the engine's record: the first frame up the frame pointers that is V8's, and the frame that it called. */
static bool first_by_frame_pointers(const uint64_t **below, const uint64_t **fp, uintptr_t *pc, uintptr_t high) {
    if (!tm_v8.frame_pointers) return false;
    tm_code_region region;
    tm_scratch_reset();
    for (int i = 0; i < 400; i++) {
        *below = *fp;
        if (!tm_next_frame(fp, pc, high)) return false;
        if (!tm_code_region_of(*pc, &region)) continue;
        if (region.kind == TM_CODE_GENERATED) return true;
        if (region.kind == TM_CODE_IMAGE && !TM_V8_IS_TYPED(*fp) && tm_v8_frame_shared(*fp)) return true;
    }
    return false;
}

#define ENTRY_SLOTS 16

/*
 * From an entry frame to compiled code that called C directly, and that JavaScript again: the entry frame saves what the
 * isolate said of such a call, side by side.
 */
static bool below_direct_call(const uint64_t **fp, uintptr_t *pc, uintptr_t high) {
    const uint64_t *entry = *fp;
    for (int slot = -2; slot > -ENTRY_SLOTS; slot--)
        for (int beside = slot - 1; beside <= slot + 1; beside += 2) {
            const uint64_t *at = (const uint64_t *)entry[slot];
            if (!tm_frame_fits((uint64_t)at, (uint64_t)entry, 16, high) || TM_V8_IS_TYPED(at)) continue;
            if (!tm_v8_goes_on_at(entry[beside], at)) continue;
            *fp = at;
            *pc = entry[beside];
            return true;
        }
    return false;
}

uint64_t tm_v8_isolate(void) {
    return tm_v8_ready ? load(os_thread_pointer() + (uint64_t)(int64_t)tm_v8.tls_isolate) : 0;
}

void tm_v8_look_for_javascript(tm_thread *self, const uint64_t *fp) {
    uint64_t isolate = tm_v8_isolate();
    if (!isolate) return;
    uint64_t entry_sp = tm_v8.isolate_entry_sp ? load(isolate + (uint64_t)tm_v8.isolate_entry_sp) : 0;
    uint64_t on_stack = entry_sp ? entry_sp : load(isolate + (uint64_t)tm_v8.isolate_exit_fp);
    if (on_stack > (uint64_t)fp && on_stack < self->stack_high) self->ran_javascript = true;
}

/* Where a walk begins. */
struct start {
    tm_v8_thread *v8;
    const uint64_t *hook;       /* where the walk was asked for */
    const uint64_t *below, *fp; /* `below` was called by the frame at fp; NULL: not known */
    uintptr_t pc;
    uint64_t high, entry_sp;
    bool recorded; /* the engine's own record said where */
    bool reached;  /* there is such a frame */
};

static inline __attribute__((always_inline)) tm_v8_walk_end begin(tm_thread *self, const uint64_t *fp, uint32_t limit,
                                                                 struct start *start) {
    uint64_t isolate = load(os_thread_pointer() + (uint64_t)(int64_t)tm_v8.tls_isolate);
    if (tm_likely(!isolate)) return TM_V8_NO_ISOLATE;
    uint64_t low = (uint64_t)fp, high = self->stack_high;
    uint64_t exit_fp = load(isolate + (uint64_t)tm_v8.isolate_exit_fp);
    uint64_t entry_sp = tm_v8.isolate_entry_sp ? load(isolate + (uint64_t)tm_v8.isolate_entry_sp) : 0;
    /* Threads that compile or collect for another thread have its isolate, whose JavaScript is not on their stack. */
    uint64_t on_stack = entry_sp ? entry_sp : exit_fp;
    if (on_stack && (on_stack <= low || on_stack >= high)) return TM_V8_NO_ISOLATE;
    if (on_stack) self->ran_javascript = true;
    else if (!self->ran_javascript) return TM_V8_NO_ISOLATE;
    tm_v8_thread *v8 = tm_v8_thread_of(self);
    if (tm_unlikely(!v8 || !make_room(v8, limit))) return TM_V8_NO_ISOLATE;
    if (tm_unlikely(v8->isolate != isolate || v8->generation != tm_traces_generation || v8->incarnation != self->incarnation)) {
        /* An isolate's code can lie where that of one that is gone lay, in other places: what was there is not to be believed. */
        bool other = v8->isolate != isolate || v8->incarnation != self->incarnation;
        forget(v8);
        if (other) tm_code_map_refresh();
        v8->isolate = isolate;
        v8->generation = tm_traces_generation;
        v8->incarnation = self->incarnation;
    }
    uint64_t fast_fp = tm_v8.isolate_fast_fp ? load(isolate + (uint64_t)tm_v8.isolate_fast_fp) : 0;
    *start = (struct start){v8, fp, NULL, NULL, 0, high, entry_sp, true, true};
    if (fast_fp > low && fast_fp < high && (exit_fp <= low || fast_fp < exit_fp)) {
        start->fp = (const uint64_t *)fast_fp;
        start->pc = load(isolate + (uint64_t)tm_v8.isolate_fast_pc);
    } else if (exit_fp > low && exit_fp <= high - 16) {
        start->fp = (const uint64_t *)exit_fp;
    } else {
        if (tm_v8.isolate_entry_sp && !entry_sp) return TM_V8_NO_JAVASCRIPT;
        start->recorded = false;
        start->fp = fp;
        start->reached = first_by_frame_pointers(&start->below, &start->fp, &start->pc, high);
        if (!start->reached && !tm_v8.isolate_entry_sp) return TM_V8_NO_JAVASCRIPT;
    }
    return TM_V8_WALKED;
}

/* ---- what can be known again ---- */

enum { STEP_TYPED, STEP_ENTRY, STEP_PLACELESS, STEP_BUILTIN, STEP_INTERPRETED, STEP_COMPILED };

static inline bool is_interpreted(const tm_v8_cached *row, const uint64_t *fp) {
    return row->key[0] == tm_v8_slot(fp, tm_v8.frame_bytecode) && row->key[1] == tm_v8_slot(fp, tm_v8.frame_offset);
}

/* Takes note of a step. False: it could not be known again by itself. */
static bool note(tm_v8_thread *v8, tm_v8_past *past, const struct callee *callee, const uint64_t *fp, uintptr_t pc,
                 tm_v8_cached *row, uint32_t own) {
    if (past->count == TM_V8_STEPS || own > UINT16_MAX) return false;
    tm_v8_step *step = &past->steps[past->count++];
    *step = (tm_v8_step){.fp = fp, .pc = pc, .own = (uint16_t)own};
    if (TM_V8_IS_TYPED(fp)) {
        step->kind = TM_V8_IS_ENTRY(fp) ? STEP_ENTRY : STEP_TYPED;
        step->type = fp[-1];
    } else if (!pc) {
        step->kind = STEP_PLACELESS;
    } else if (row) {
        if (row->uses || row == &v8->cache[CACHE_ROWS]) return false;
        step->identity = row->function;
        uint64_t function = tm_v8_slot(fp, tm_v8.frame_function), at = tm_is_object(function) ? shared_at(v8, function) : 0;
        step->function = at ? function : 0;
        step->shared_at = at;
        if (row->key[0] == pc && row->key[1] == KEY_COMPILED) {
            step->kind = STEP_COMPILED;
            if (row->stream) {
                step->code_at = row->stream + (uint64_t)tm_v8.stream_code;
                step->code = row->code;
                step->data_at = (row->code & ~3ull) + (uint64_t)(int64_t)row->data_field;
                step->data = row->data;
            }
        } else if (!row->stream && is_interpreted(row, fp) && !handler_keeps_offset(v8, callee)) {
            step->kind = STEP_INTERPRETED;
            step->bytecode = row->key[0];
            step->offset = row->key[1];
        } else {
            return false;
        }
    } else {
        step->kind = STEP_BUILTIN;
        return tm_is_object(tm_v8_slot(fp, tm_v8.frame_function)) && is_builtin(v8, fp);
    }
    return true;
}

/* Is the function in the frame still that of the step? */
static inline bool is_of_step(tm_v8_thread *v8, const tm_v8_step *step, const uint64_t *fp) {
    uint64_t function = tm_v8_slot(fp, tm_v8.frame_function), shared;
    if (tm_likely(function && function == step->function)) return step->identity == tm_v8_identity_of(load(step->shared_at));
    return tm_is_object(function) && (shared = shared_of(v8, fp)) && step->identity == tm_v8_identity_of(shared);
}

/* Is the frame at fp, which is where the step's was, what the step says? */
static inline bool same_frame(tm_v8_thread *v8, const tm_v8_step *step, const uint64_t *fp) {
    if (step->kind <= STEP_ENTRY) return fp[-1] == step->type;
    if (tm_unlikely(TM_V8_IS_TYPED(fp))) return false;
    if (tm_likely(step->kind >= STEP_INTERPRETED)) {
        if (tm_unlikely(!is_of_step(v8, step, fp))) return false;
        if (step->kind == STEP_INTERPRETED)
            return step->bytecode == tm_v8_slot(fp, tm_v8.frame_bytecode) && step->offset == tm_v8_slot(fp, tm_v8.frame_offset);
        return !step->code_at || (load(step->code_at) == step->code && load(step->data_at) == step->data);
    }
    if (step->kind == STEP_PLACELESS) return true;
    return tm_is_object(tm_v8_slot(fp, tm_v8.frame_function)) && is_builtin(v8, fp);
}

/* From the same start. Every frame is looked at: below one that is as it was, another may have called it. */
static inline bool as_before(tm_v8_thread *v8, const tm_v8_past *past, uint64_t entry_sp, uint64_t high) {
    const tm_v8_step *step = past->steps, *last = step + past->count - 1;
    const uint64_t *fp = step->fp;
    uintptr_t pc = step->pc;
    for (;; step++) {
        if (!same_frame(v8, step, fp)) return false;
        if (step == last) break;
        if (step->kind == STEP_ENTRY) {
            fp = (const uint64_t *)tm_v8_slot(fp, tm_v8.entry_exit_fp);
            pc = 0;
        } else if (tm_likely(fp[0] == (uint64_t)step[1].fp && fp[1] == step[1].pc)) { /* as tm_next_frame() found it then */
            fp = step[1].fp;
            continue;
        } else if (!tm_next_frame(&fp, &pc, high)) {
            return false;
        }
        if (fp != step[1].fp || pc != step[1].pc) return false;
    }
    if (past->cut) return true;
    if (step->kind == STEP_ENTRY) return entry_sp == past->entry_sp && tm_v8_slot(fp, tm_v8.entry_exit_fp) == past->last_next;
    return !tm_next_frame(&fp, &pc, high);
}

/* Takes note of where the walk began: it did so where the isolate said. */
static void note_start(const tm_v8_thread *v8, tm_v8_past *past) {
    past->exit_fp = load(v8->isolate + (uint64_t)tm_v8.isolate_exit_fp);
    past->fast_fp = tm_v8.isolate_fast_fp ? load(v8->isolate + (uint64_t)tm_v8.isolate_fast_fp) : 0;
    past->fast_pc = past->fast_fp ? load(v8->isolate + (uint64_t)tm_v8.isolate_fast_pc) : 0;
    /* See begin(): which of the two it is can depend on where the hook's own frame is. */
    uint64_t fp = (uint64_t)past->steps->fp;
    bool fast = past->fast_fp && (!past->exit_fp || past->fast_fp < past->exit_fp);
    past->plain = fp == (fast ? past->fast_fp : past->exit_fp) && (!past->entry_sp || past->entry_sp >= fp);
}

uint32_t tm_v8_as_before(tm_thread *self, const uint64_t *hook) {
    tm_v8_thread *v8 = self->v8;
    if (!tm_v8_ready || (uintptr_t)hook < self->stack_low) return 0;
    uint64_t isolate = load(os_thread_pointer() + (uint64_t)(int64_t)tm_v8.tls_isolate);
    const tm_v8_past *past = &v8->past[v8->newest];
    if (!isolate || v8->isolate != isolate || v8->generation != tm_traces_generation || v8->incarnation != self->incarnation) return 0;
    if (!past->count || !past->plain || past->limit != tm_traceback_limit || past->steps->fp <= hook) return 0;
    uint64_t entry_sp = tm_v8.isolate_entry_sp ? load(isolate + (uint64_t)tm_v8.isolate_entry_sp) : 0;
    if (load(isolate + (uint64_t)tm_v8.isolate_exit_fp) != past->exit_fp || entry_sp != past->entry_sp) return 0;
    if (tm_v8.isolate_fast_fp && (load(isolate + (uint64_t)tm_v8.isolate_fast_fp) != past->fast_fp ||
                                  (past->fast_fp && load(isolate + (uint64_t)tm_v8.isolate_fast_pc) != past->fast_pc)))
        return 0;
    return as_before(v8, past, entry_sp, self->stack_high) ? past->node : 0;
}

static inline bool same_step(const tm_v8_step *a, const tm_v8_step *b) {
    return a->fp == b->fp && a->pc == b->pc && a->kind == b->kind && a->own == b->own && a->identity == b->identity &&
           a->code_at == b->code_at && a->code == b->code && a->data_at == b->data_at && a->data == b->data;
}

/* ---- the walk ---- */

/* `past`: where to keep what it came by; its count is 0 if it cannot be known again. */
static struct found walk(const struct start *start, uint32_t limit, tm_v8_past *past, bool mixed) {
    tm_v8_thread *v8 = start->v8;
    struct callee callee = {start->below, 0, NULL};
    const uint64_t *fp = start->fp;
    uintptr_t pc = start->pc;
    uint64_t high = start->high, entry_sp = start->entry_sp, next = 0;
    struct found found = {v8->frames, limit, 0, 0};
    bool more = start->reached, noted = start->recorded && !mixed;
    if (!more) collect(&found, tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_STACK, 0, 0, 0));
    past->count = 0;
    if (tm_unlikely(mixed) && more) more = collect_native(&found, start->hook, (uintptr_t)fp, high);
    for (int steps = 0; more && steps < MOST_STEPS; steps++) {
        uint32_t own = found.own;
        tm_v8_cached *row = NULL;
        if (!TM_V8_IS_TYPED(fp) && pc) {
            row = frame_at(v8, &callee, fp, pc);
            if (row) {
                const uint32_t *list = frames_of(v8, row);
                uint32_t shown = mixed ? TM_FRAME_INDEX : UINT32_MAX;
                for (int i = 0; i < row->count && more; i++) more = collect(&found, list[i] & shown);
            }
        }
        noted = noted && note(v8, past, &callee, fp, pc, row, found.own - own);
        if (!more) break;
        if (TM_V8_IS_TYPED(fp) && TM_V8_IS_ENTRY(fp)) { /* native code called JavaScript here: on with where that was called from */
            next = tm_v8_slot(fp, tm_v8.entry_exit_fp);
            if (tm_unlikely(mixed) && !collect_native(&found, fp, next > (uint64_t)fp ? next : high, high)) {
                more = false;
                break;
            }
            if (!next && entry_sp && entry_sp != (uint64_t)fp) {
                /* Not the outermost: compiled code called C directly, past the exit frame. */
                noted = false;
                callee = (struct callee){NULL, 0, NULL};
                if (below_direct_call(&fp, &pc, high) || first_by_frame_pointers(&callee.fp, &fp, &pc, high)) continue;
                collect(&found, tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_STACK, 0, 0, 0));
                break;
            }
            if (next <= (uint64_t)fp || next > high - 16) break;
            callee = (struct callee){NULL, 0, NULL};
            pc = 0;
            fp = (const uint64_t *)next;
            continue;
        }
        callee = (struct callee){fp, pc, callee.fp};
        if (!tm_next_frame(&fp, &pc, high)) break;
    }
    if (!noted) past->count = 0;
    past->limit = limit;
    past->cut = !more;
    past->entry_sp = entry_sp;
    past->last_next = next;
    return found;
}

tm_v8_walk_end tm_v8_walk(tm_thread *self, const uint64_t *fp, uint32_t limit, uint32_t **frames, uint32_t *count) {
    struct start start;
    *count = 0;
    tm_v8_walk_end end = begin(self, fp, limit, &start);
    if (end != TM_V8_WALKED) return end;
    tm_v8_thread *v8 = start.v8;
    struct found found = walk(&start, limit, &v8->past[!v8->newest], false);
    *frames = found.own ? v8->frames : v8->frames + limit;
    *count = found.own ? found.own : found.internal;
    return *count ? TM_V8_WALKED : TM_V8_NO_JAVASCRIPT;
}

tm_v8_walk_end tm_v8_traceback(tm_thread *self, const uint64_t *fp, uint32_t limit, uint32_t *node) {
    struct start start;
    tm_v8_walk_end end = begin(self, fp, limit, &start);
    if (end != TM_V8_WALKED) return end;
    tm_v8_thread *v8 = start.v8;
    const tm_v8_past *before = &v8->past[v8->newest];
    tm_v8_past *past = &v8->past[!v8->newest];
    struct found found = walk(&start, limit, past, tm_mixed_stacks);
    uint32_t result = 0, left = found.own, i = past->count;
    /* The oldest steps, as far as they are those of before, have their node already. */
    for (uint32_t j = before->count; i && j && same_step(&past->steps[i - 1], &before->steps[j - 1]); i--, j--) {
        result = past->steps[i - 1].node = before->steps[j - 1].node;
        left -= past->steps[i - 1].own;
    }
    for (; i; i--) {
        for (uint32_t k = past->steps[i - 1].own; k > 0; k--) result = tm_node(result, found.frames[--left]);
        past->steps[i - 1].node = result;
    }
    while (left) result = tm_node(result, found.frames[--left]);
    if (!found.own)
        for (uint32_t k = found.internal; k > 0; k--) result = tm_node(result, found.frames[limit + k - 1]);
    past->node = *node = result;
    if (past->count) {
        v8->newest = !v8->newest;
        note_start(v8, past);
    }
    return result ? TM_V8_WALKED : TM_V8_NO_JAVASCRIPT;
}
