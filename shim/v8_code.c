/* From a frame to functions and positions: every tier, inlined functions, code that is being thrown away. */
#include <string.h>

#include "unwind.h"
#include "v8.h"

uint64_t tm_v8_interpreter_offset;
bool tm_v8_profiled, tm_v8_objects_placed;

#define ARRAY_START 16 /* FixedArray and kin: length at 8, elements from here */

static inline tm_tagged element(tm_tagged array, int64_t index) {
    return tm_read64((array & ~3ull) + ARRAY_START + 8 * (uint64_t)index);
}

/* ---- functions ---- */

tm_tagged tm_v8_frame_shared(const uint64_t *fp) {
    tm_tagged function = tm_v8_slot(fp, tm_v8.frame_function);
    if (!tm_is_object(function)) return 0;
    function = tm_v8_forward(function);
    if (!function) return 0;
    tm_tagged shared = tm_v8_field(function, tm_v8.function_shared);
    if (!tm_is_object(shared)) return 0;
    shared = tm_v8_forward(shared);
    return tm_v8_type(shared) == tm_v8.type_shared ? shared : 0;
}

tm_tagged tm_v8_bytecode_of(tm_tagged shared) {
    tm_tagged data = tm_v8_field(shared, tm_v8.shared_data);
    int type = tm_v8_type(data);
    if (type == tm_v8.type_bytecode) return tm_v8_forward(data);
    if (tm_v8.type_code && type == tm_v8.type_code) { /* baseline code stands in for the bytecode */
        tm_tagged bytecode = tm_v8_field(tm_v8_forward(data), tm_v8.code_data);
        if (tm_v8_type(bytecode) == tm_v8.type_bytecode) return tm_v8_forward(bytecode);
    }
    return 0;
}

/* ---- interpreted frames ---- */

static bool position_in_bytecode(tm_tagged bytecode, int64_t offset, bool exactly, int32_t *position) {
    tm_bytes table;
    uint64_t raw;
    if (!tm_v8_bytes(tm_v8_field(bytecode, tm_v8.bytecode_positions), &table)) return false;
    if (!tm_v8_position(&table, offset, exactly, tm_v8.positions_shift, &raw)) return false;
    *position = tm_position_offset(raw);
    return true;
}

/* The function is being entered; its position is where it begins. V8: kFunctionEntryBytecodeOffset. */
#define ENTRY_OFFSET (-1)

static bool bytecode_begins_at(tm_tagged bytecode, int64_t offset) {
    tm_bytes code;
    code.length = tm_v8_bytes_length(tm_v8_field(bytecode, tm_v8.bytecode_length));
    if (offset == ENTRY_OFFSET) return true;
    if (offset < 0 || (uint64_t)offset >= code.length || code.length > 8ul << 20) return false;
    if (!tm_v8_bytecode_sizes) return true;
    code.data = tm_scratch(code.length);
    if (!code.data || !tm_read((bytecode & ~3ull) + (uint64_t)tm_v8.bytecode_start, code.data, code.length)) return false;
    for (uint64_t at = 0; at <= (uint64_t)offset;) {
        if (at == (uint64_t)offset) return true;
        uint64_t next = tm_v8_next_bytecode(&code, at);
        /* The offset may also be that of the bytecode behind its prefix. */
        if (code.data[at] < 4 && at + 1 == (uint64_t)offset) return true;
        if (!next) return false;
        at = next;
    }
    return false;
}

static tm_v8_decoded interpreted(const uint64_t *fp, uint64_t slot, tm_tagged shared, tm_v8_site *sites, int *count) {
    tm_tagged bytecode = tm_v8_slot(fp, tm_v8.frame_bytecode);
    if (tm_v8_type(bytecode) != tm_v8.type_bytecode || !tm_is_smi(slot)) return TM_V8_UNKNOWN;
    bytecode = tm_v8_forward(bytecode);
    int64_t offset = tm_smi(slot) - tm_v8.offset_bias;
    int32_t position = -1;
    if (!position_in_bytecode(bytecode, offset, false, &position)) position = -1;
    sites[0] = (tm_v8_site){shared, position, TM_TIER_INTERPRETER};
    *count = 1;
    return TM_V8_INTERPRETED;
}

/*
 * A frame whose return address is in a builtin other than the interpreter's dispatch: the interpreter's at a
 * stack check or behind a deoptimisation; or a compiled frame below a builtin that has no frame of its own,
 * which cannot be told apart from here.
 */
static tm_v8_decoded in_builtin(const uint64_t *fp, tm_tagged shared, tm_v8_site *sites, int *count) {
    tm_tagged bytecode = tm_v8_slot(fp, tm_v8.frame_bytecode);
    uint64_t slot = tm_v8_slot(fp, tm_v8.frame_offset);
    if (!tm_is_object(bytecode) || !tm_is_smi(slot) || tm_v8_type(bytecode) != tm_v8.type_bytecode) return TM_V8_UNKNOWN;
    if (tm_v8_bytecode_of(shared) != tm_v8_forward(bytecode)) return TM_V8_UNKNOWN;
    if (!bytecode_begins_at(tm_v8_forward(bytecode), tm_smi(slot) - tm_v8.offset_bias)) return TM_V8_UNKNOWN;
    return interpreted(fp, slot, shared, sites, count);
}

/* ---- compiled code ---- */

#define STREAM_ALIGNMENT 64
#define MOST_STREAM_BYTES (8ul << 20)

uintptr_t tm_v8_find_stream(uintptr_t pc) {
    tm_code_region region;
    if (!tm_v8.stream_header || !tm_code_region_of(pc, &region) || region.kind != TM_CODE_GENERATED) return 0;
    uintptr_t header = (uintptr_t)tm_v8.stream_header;
    for (uintptr_t start = pc & ~(uintptr_t)(STREAM_ALIGNMENT - 1); start >= region.low + header; start -= STREAM_ALIGNMENT) {
        if (pc - start > MOST_STREAM_BYTES) return 0;
        uintptr_t stream = start - header;
        uint64_t words[2];
        if (!tm_read(stream, words, sizeof words)) return 0;
        /* A map and a Code that points back. (In every version seen, the Code is the word behind the map.) */
        if (!tm_is_object(words[0]) || !tm_is_object(words[1])) continue;
        tm_tagged code = tm_v8.stream_code == 8 ? words[1] : tm_read64(stream + (uint64_t)tm_v8.stream_code);
        if (tm_v8_field(code, tm_v8.code_stream) != stream + 1) continue;
        if (tm_v8_type(code) == tm_v8.type_code) return stream;
    }
    return 0;
}

/*
 * The kind of code, of which two things tell: a number in the Code, and that baseline code has bytecode where other code
 * has deoptimisation data. 0: they disagree. (The number is found last: until then baseline code goes without.)
 */
static int32_t kind_of(tm_tagged code) {
    bool has_bytecode = tm_v8_type(tm_v8_field(code, tm_v8.code_data)) == tm_v8.type_bytecode;
    if (!tm_v8.code_flags) return has_bytecode ? tm_v8.kind_baseline : 0;
    int32_t kind = (int32_t)(tm_read32((code & ~3ull) + (uint64_t)tm_v8.code_flags) & 15);
    return has_bytecode == (kind == tm_v8.kind_baseline) ? kind : 0;
}

/* Baseline code: a table of pc deltas, the first for the prologue, then one a bytecode. */
static bool baseline_offset(tm_tagged code, tm_tagged bytecode, uint64_t pc_offset, int64_t *offset) {
    tm_bytes table, instructions;
    if (!tm_v8_bytes(tm_v8_field(code, tm_v8.code_positions), &table)) return false;
    instructions.length = tm_v8_bytes_length(tm_v8_field(bytecode, tm_v8.bytecode_length));
    if (!instructions.length || instructions.length > 8ul << 20) return false;
    instructions.data = tm_scratch(instructions.length);
    if (!instructions.data ||
        !tm_read((bytecode & ~3ull) + (uint64_t)tm_v8.bytecode_start, instructions.data, instructions.length))
        return false;
    uint64_t pc = 0, next = 0;
    int64_t current = -1;
    for (uint64_t at = 0; at < table.length;) {
        uint64_t delta = 0;
        for (int shift = 0;; shift += 7) {
            if (at >= table.length || shift > 56) return false;
            uint8_t byte = table.data[at++];
            delta |= (uint64_t)(byte & 127) << shift;
            if (!(byte & 128)) break;
        }
        pc += delta;
        if (pc >= pc_offset) {
            *offset = current;
            return true;
        }
        current = (int64_t)next;
        next = tm_v8_next_bytecode(&instructions, next);
        if (!next) return false;
    }
    return false;
}

static tm_v8_decoded baseline(const uint64_t *fp, tm_tagged shared, tm_tagged code, uint64_t pc_offset, tm_v8_site *sites, int *count) {
    tm_tagged bytecode = tm_v8_slot(fp, tm_v8.frame_bytecode);
    int64_t offset;
    int32_t position = -1;
    if (tm_v8_type(bytecode) != tm_v8.type_bytecode) return TM_V8_UNKNOWN;
    bytecode = tm_v8_forward(bytecode);
    if (tm_v8_forward(tm_v8_field(code, tm_v8.code_data)) != bytecode) return TM_V8_UNKNOWN;
    if (!baseline_offset(code, bytecode, pc_offset, &offset)) return TM_V8_UNKNOWN;
    if (!position_in_bytecode(bytecode, offset, false, &position)) position = -1;
    sites[0] = (tm_v8_site){shared, position, TM_TIER_BASELINE};
    *count = 1;
    return TM_V8_COMPILED;
}

/* ---- deoptimisation data: what V8 itself names frames of optimised code from ---- */

typedef struct deopt_entry {
    tm_tagged bytecode_offset, translation, pc;
} deopt_entry;

typedef struct deopt {
    tm_tagged data;
    uint64_t exits_at; /* where the deoptimisation exits begin, in the instructions */
    deopt_entry *entries;
    uint64_t count;
} deopt;

/* Behind the inlining positions: where the exits begin, the number of eager and of lazy ones, then the entries. */
static bool read_deopt(tm_tagged code, deopt *out) {
    memset(out, 0, sizeof *out);
    if (!tm_v8.deopt_inlining) return false;
    out->data = tm_v8_field(code, tm_v8.code_data);
    if (!tm_is_object(out->data)) return false;
    uint64_t length = tm_v8_bytes_length(tm_v8_field(out->data, 8));
    uint64_t head_at = (uint64_t)tm_v8.deopt_inlining + 1, head[3];
    if (length < head_at + 3 || length > 1u << 22) return false;
    uintptr_t start = (out->data & ~3ull) + ARRAY_START;
    if (!tm_read(start + 8 * head_at, head, sizeof head)) return false;
    if (!tm_is_smi(head[0]) || !tm_is_smi(head[1]) || !tm_is_smi(head[2])) return false;
    out->exits_at = (uint64_t)tm_smi(head[0]);
    out->count = (uint64_t)tm_smi(head[1]) + (uint64_t)tm_smi(head[2]);
    if (length != head_at + 3 + 3 * out->count) return false;
    if (!out->count) return true;
    out->entries = tm_scratch(out->count * sizeof *out->entries);
    return out->entries && tm_read(start + 8 * (head_at + 3), out->entries, out->count * sizeof *out->entries);
}

/*
 * The safepoint table at the end of the instructions: rows [pc][deoptimisation entry + 1][trampoline + 1] with as
 * many bytes a field as the code's size needs. Looks for the row that `wanted` accepts.
 */
typedef struct safepoint {
    uint64_t pc, entry, trampoline; /* the last two from 1; 0: none */
} safepoint;

static bool find_safepoint(tm_tagged code, uintptr_t start, bool (*wanted)(const safepoint *, void *), void *context, safepoint *out) {
    uint32_t size = tm_v8_field(code, tm_v8.code_size) & UINT32_MAX;
    uint32_t metadata = tm_read32((code & ~3ull) + (uint64_t)tm_v8.code_size + 4);
    if (!tm_v8.code_size || !metadata || metadata > 1u << 20) return false;
    uint8_t *bytes = tm_scratch(metadata);
    if (!bytes || !tm_read(start + size, bytes, metadata)) return false;
    for (unsigned wide = 1; wide <= 3; wide++)
        for (unsigned narrow = 1; narrow <= 2; narrow++)
            for (uint32_t at = 8; at + 2 * wide + narrow <= metadata; at++) {
                safepoint row = {0, 0, 0};
                memcpy(&row.pc, bytes + at, wide);
                memcpy(&row.entry, bytes + at + wide, narrow);
                memcpy(&row.trampoline, bytes + at + wide + narrow, wide);
                if (wanted(&row, context)) {
                    *out = row;
                    return true;
                }
            }
    return false;
}

struct wanted {
    const deopt *deopt;
    uint64_t pc_offset, index;
};

static bool is_exit_of(const safepoint *row, void *context) {
    const struct wanted *w = context;
    return row->entry == w->index + 1 && row->trampoline == w->pc_offset + 1 && row->pc > 0 && row->pc < w->deopt->exits_at;
}

static bool is_call_at(const safepoint *row, void *context) {
    const struct wanted *w = context;
    return row->pc == w->pc_offset && row->entry >= 1 && row->entry <= w->deopt->count &&
           tm_smi(w->deopt->entries[row->entry - 1].pc) == (int64_t)row->trampoline - 1;
}

/* Code that was invalidated has its return addresses replaced by those of deoptimisation exits: back to the call. */
static uint64_t original_pc(tm_tagged code, uintptr_t start, const deopt *deopt, uint64_t pc_offset) {
    if (!deopt->count || pc_offset < deopt->exits_at || (pc_offset - deopt->exits_at) & 3) return pc_offset;
    uint64_t index = (pc_offset - deopt->exits_at) / 4;
    if (index >= deopt->count) return pc_offset;
    int64_t pc = tm_smi(deopt->entries[index].pc);
    if (pc > 0 && (uint64_t)pc < deopt->exits_at) return (uint64_t)pc; /* TurboFan */
    struct wanted wanted = {deopt, pc_offset, index};
    safepoint row;
    return find_safepoint(code, start, is_exit_of, &wanted, &row) ? row.pc : 0; /* Maglev */
}

static int64_t translation_of(tm_tagged code, uintptr_t start, const deopt *deopt, uint64_t pc_offset, bool maglev) {
    if (maglev) {
        struct wanted wanted = {deopt, pc_offset, 0};
        safepoint row;
        return find_safepoint(code, start, is_call_at, &wanted, &row) ? tm_smi(deopt->entries[row.entry - 1].translation) : -1;
    }
    for (uint64_t i = 0; i < deopt->count; i++)
        if (tm_is_smi(deopt->entries[i].pc) && (uint64_t)tm_smi(deopt->entries[i].pc) == pc_offset)
            return tm_smi(deopt->entries[i].translation);
    return -1;
}

/* ---- translations: one a deoptimisation point, frames outermost first ---- */

typedef struct translated {
    int32_t bytecode_offset, literal;
} translated;

typedef struct cursor {
    const tm_bytes *bytes;
    uint64_t at;
    bool failed;
} cursor;

static uint32_t operand(cursor *c) {
    uint32_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
        if (c->at >= c->bytes->length) break;
        uint8_t byte = c->bytes->data[c->at++];
        value |= (uint32_t)(byte & 127) << shift;
        if (!(byte & 128)) return value;
    }
    c->failed = true;
    return 0;
}

static int32_t signed_operand(cursor *c) {
    uint32_t value = operand(c);
    return value & 1 ? -(int32_t)(value >> 1) : (int32_t)(value >> 1);
}

static uint8_t opcode(cursor *c) {
    if (c->at < c->bytes->length) return c->bytes->data[c->at++];
    c->failed = true;
    return 0;
}

static bool begins(uint8_t code) { return code == tm_v8.translation_begin || code == tm_v8.translation_begin + 1; }

/* A translation being read: its own instructions, and those that it takes from an earlier one. */
typedef struct translation {
    cursor own, basis;
    bool has_basis;
    uint32_t repeated; /* instructions still to be taken from the basis */
    uint32_t behind;   /* instructions of the basis that own ones have taken the place of */
    int32_t frames;    /* how many it describes */
    uint8_t code;      /* of the instruction just read */
    int32_t operand[2];
} translation;

static bool translation_begin(translation *t, const tm_bytes *bytes, int64_t index) {
    if (index < 0 || (uint64_t)index >= bytes->length) return false;
    *t = (translation){.own = {bytes, (uint64_t)index, false}, .basis = {bytes, 0, false}};
    t->code = opcode(&t->own);
    if (!begins(t->code)) return false;
    uint32_t back = operand(&t->own); /* to the basis; 0: none */
    signed_operand(&t->own);
    t->frames = signed_operand(&t->own);
    if (t->own.failed || t->frames <= 0) return false;
    if (!back) return true;
    if (back > (uint64_t)index) return false;
    t->has_basis = true;
    t->basis.at = (uint64_t)index - back;
    if (!begins(opcode(&t->basis))) return false;
    for (int i = 0; i < 3; i++) operand(&t->basis);
    return !t->basis.failed;
}

/* Reads the next instruction. False: what stands there is none. */
static bool translation_next(translation *t) {
    int opcodes = tm_v8.translation_opcodes;
    cursor *from = &t->own;
    while (!t->repeated) {
        t->code = opcode(&t->own);
        if (t->own.failed) return false;
        uint32_t matches = t->code >= opcodes ? (uint32_t)(t->code - opcodes) : t->code == opcodes - 1 ? operand(&t->own) : 0;
        if (!matches) break;
        for (; t->behind && !t->basis.failed; t->behind--) {
            uint8_t skipped = opcode(&t->basis);
            if (skipped >= opcodes || begins(skipped)) return false;
            for (int i = 0; i < tm_v8_translation_operands[skipped]; i++) operand(&t->basis);
        }
        if (!t->has_basis || t->own.failed || t->basis.failed) return false;
        t->repeated = matches;
    }
    if (t->repeated) {
        t->repeated--;
        from = &t->basis;
        t->code = opcode(&t->basis);
    } else if (t->has_basis) {
        t->behind++;
    }
    if (t->code >= opcodes || begins(t->code) || from->failed) return false;
    t->operand[0] = t->operand[1] = 0;
    for (int i = 0; i < tm_v8_translation_operands[t->code]; i++) {
        int32_t value = signed_operand(from);
        if (i < 2) t->operand[i] = value;
    }
    return !from->failed;
}

/* Opcodes 0 to 3 are JavaScript frames; 0 and 1 begin with offset and function. */
static bool is_frame(const translation *t) { return t->code <= 3; }

/* Number of JavaScript frames, or -1. */
static int translate(const deopt *deopt, int64_t index, translated *out, int most) {
    tm_bytes bytes;
    translation t;
    if (!tm_v8_translation_operands || !tm_v8_bytes(element(deopt->data, 0), &bytes)) return -1;
    if (!translation_begin(&t, &bytes, index) || t.frames > most) return -1;
    int found = 0;
    for (int steps = 0, wanted = t.frames; wanted > 0; steps++) {
        if (steps == 100000 || !translation_next(&t)) return -1;
        if (is_frame(&t)) wanted--;
        if (t.code <= 1) out[found++] = (translated){t.operand[0], t.operand[1]};
    }
    return found;
}

static bool translation_leads_to_bytecodes(const deopt *deopt, int64_t index) {
    translated frames[TM_V8_MOST_INLINED];
    int found = translate(deopt, index, frames, TM_V8_MOST_INLINED);
    for (int i = 0; i < found; i++) {
        tm_tagged shared = tm_v8_forward(element(element(deopt->data, tm_v8.deopt_literals), frames[i].literal) | 1);
        tm_tagged bytecode = tm_v8_type(shared) == tm_v8.type_shared ? tm_v8_bytecode_of(shared) : 0;
        if (!bytecode || !bytecode_begins_at(bytecode, frames[i].bytecode_offset)) return false;
    }
    return found > 0;
}

#define SHAPES 64

/*
 * For calibration: do all translations of the code stand one behind the other, each up to where the next begins, and one
 * wherever an entry says so, of functions and where their bytecodes begin? And are those of the same functions all of the
 * same length, whether they take much from earlier ones or nothing?
 */
static bool translations_stand(const deopt *deopt) {
    tm_bytes bytes;
    if (!tm_v8_translation_operands || !tm_v8_bytes(element(deopt->data, 0), &bytes)) return false;
    uint8_t *begun = tm_scratch(bytes.length + 1);
    if (!begun) return false;
    memset(begun, 0, bytes.length);
    begun[bytes.length] = 1;
    cursor c = {&bytes, 0, false};
    while (c.at < bytes.length) {
        uint64_t at = c.at;
        uint8_t code = opcode(&c);
        if (code >= tm_v8.translation_opcodes) continue; /* repeats so many */
        begun[at] = begins(code);
        int32_t operands = tm_v8_translation_operands[code];
        if (operands < 0 || operands > 6) return false;
        while (operands-- > 0) operand(&c);
        if (c.failed) return false;
    }
    struct {
        uint64_t frames;
        uint32_t length;
    } shapes[SHAPES];
    int shape_count = 0;
    for (uint64_t index = 0; index < bytes.length; index++) {
        if (!begun[index]) continue;
        uint64_t end = index + 1, frames = bytes.data[index];
        uint32_t length = 0;
        while (!begun[end]) end++;
        translation t;
        if (!translation_begin(&t, &bytes, (int64_t)index)) return false;
        for (; t.repeated || t.own.at < end; length++) {
            if (!translation_next(&t)) return false;
            if (is_frame(&t)) frames = tm_hash64(frames ^ (uint64_t)(t.code + 1) << 40 ^ (uint64_t)(uint32_t)t.operand[1]);
        }
        int i = 0;
        while (i < shape_count && shapes[i].frames != frames) i++;
        if (i < shape_count && shapes[i].length != length) return false;
        if (i == shape_count && i < SHAPES) {
            shapes[i].frames = frames;
            shapes[shape_count++].length = length;
        }
    }
    for (uint64_t i = 0; i < deopt->count; i++) {
        uint64_t index = (uint64_t)tm_smi(deopt->entries[i].translation);
        if (index >= bytes.length || !begun[index] || !translation_leads_to_bytecodes(deopt, (int64_t)index)) return false;
    }
    return true;
}

static bool sites_of_translation(const deopt *deopt, int64_t index, uint32_t tier, tm_v8_site *sites, int *count) {
    translated frames[TM_V8_MOST_INLINED];
    int found = translate(deopt, index, frames, TM_V8_MOST_INLINED);
    if (found <= 0) return false;
    tm_tagged literals = element(deopt->data, tm_v8.deopt_literals);
    for (int i = 0; i < found; i++) {
        const translated *frame = &frames[found - 1 - i];
        if (frame->literal < 0) return false;
        tm_tagged shared = tm_v8_forward(element(literals, frame->literal) | 1); /* may be weak */
        if (tm_v8_type(shared) != tm_v8.type_shared) return false;
        tm_tagged bytecode = tm_v8_bytecode_of(shared);
        int32_t position;
        if (!bytecode || !position_in_bytecode(bytecode, frame->bytecode_offset, false, &position)) return false;
        sites[i] = (tm_v8_site){shared, position, tier | (i < found - 1 ? TM_TIER_INLINED : 0)};
    }
    *count = found;
    return true;
}

/* ---- optimised code ---- */

bool tm_v8_inlines(const tm_v8_identity *identity) {
    if (!tm_v8.deopt_inlining) return true; /* not known */
    tm_tagged rows = element(identity->data, tm_v8.deopt_inlining);
    return !tm_is_object(rows) || tm_v8_bytes_length(tm_v8_field(rows, 8)) > 0;
}

#define MOST_OUT_OF_LINE 256 /* bytes of code that finds room for one object */

static bool distance_at(const uint8_t *bytes, uint64_t length, uint64_t at, int32_t *out) {
    if (at + sizeof *out > length) return false;
    memcpy(out, bytes + at, sizeof *out);
    return true;
}

/*
 * Is the call at the offset one that makes room for an object? Code finds room in place, and where there is none, it jumps
 * to a place behind the function's code, which calls, and jumps back behind the jump that led there.
 */
static bool makes_object(tm_tagged code, uintptr_t start, uint64_t pc_offset) {
    uint64_t size = tm_read32((code & ~3ull) + (uint64_t)tm_v8.code_size);
    if (!tm_v8.code_size || pc_offset >= size) return false;
    uint8_t bytes[MOST_OUT_OF_LINE], before[MOST_OUT_OF_LINE];
    uint64_t length = size - pc_offset < sizeof bytes ? size - pc_offset : sizeof bytes;
    if (!tm_read(start + pc_offset, bytes, length)) return false;
    for (uint64_t i = 0; i < length; i++) {
        int32_t distance;
        if (bytes[i] != 0xe9 || !distance_at(bytes, length, i + 1, &distance)) continue; /* jmp rel32 */
        int64_t back = (int64_t)(pc_offset + i + 5) + distance;
        if (back <= 0 || back >= (int64_t)pc_offset) continue;
        uint64_t seen = (uint64_t)back < sizeof before ? (uint64_t)back : sizeof before;
        if (!tm_read(start + (uint64_t)back - seen, before, seen)) return false;
        for (uint64_t j = 0; j + 6 <= seen; j++) {
            if (before[j] != 0x0f || (before[j + 1] & 0xf0) != 0x80 || !distance_at(before, seen, j + 2, &distance)) continue; /* jcc rel32 */
            int64_t to = back - (int64_t)(seen - j - 6) + distance;
            if (to < (int64_t)pc_offset && to > back && (int64_t)pc_offset - to < MOST_OUT_OF_LINE) return true;
        }
        return false;
    }
    return false;
}

static bool count_entry(int64_t code, uint64_t raw, void *context) {
    (void)code, (void)raw;
    ++*(uint64_t *)context;
    return true;
}

/*
 * Does TurboFan's table say where objects are made? Not unless V8 was started so that it makes room for each by itself. And
 * it knows calls only, unless details were asked for when it compiled: then what it says is where the last call was, or the
 * call of what is inlined. They were if there are more entries than calls (V8 src/codegen/safepoint-table.h: the first word
 * is their number); or if V8 was told so when it started.
 */
static bool has_details(tm_tagged code, uintptr_t start, const tm_bytes *table) {
    uint64_t entries = 0;
    if (!tm_v8_objects_placed) return false;
    if (!tm_v8_profiled) return true;
    tm_v8_each_position(table, tm_v8.positions_shift, count_entry, &entries);
    return entries > tm_read32(start + tm_read32((code & ~3ull) + (uint64_t)tm_v8.code_size));
}

static tm_v8_decoded optimised(tm_tagged shared, tm_tagged code, uintptr_t start, uint64_t pc_offset, bool maglev, tm_v8_site *sites, int *count) {
    uint32_t tier = maglev ? TM_TIER_MAGLEV : TM_TIER_TURBOFAN;
    deopt deopt;
    bool has_deopt = read_deopt(code, &deopt);
    if (has_deopt) {
        pc_offset = original_pc(code, start, &deopt, pc_offset);
        if (!pc_offset) return TM_V8_UNKNOWN;
    }
    tm_bytes table;
    uint64_t raw;
    bool in_table = tm_v8_bytes(tm_v8_field(code, tm_v8.code_positions), &table) &&
                    tm_v8_position(&table, (int64_t)pc_offset - 1, false, tm_v8.positions_shift, &raw);
    bool vague = makes_object(code, start, pc_offset) && (maglev || !in_table || !has_details(code, start, &table));
    /*
     * Maglev's own table is wrong inside peeled loops, so there the translation comes first. TurboFan's is empty in
     * code compiled before positions were asked for.
     */
    if (has_deopt && (maglev || !in_table || vague) &&
        sites_of_translation(&deopt, translation_of(code, start, &deopt, pc_offset, maglev), tier, sites, count))
        return TM_V8_COMPILED;
    if (vague) {
        if (!has_deopt || tm_v8_inlines(&(tm_v8_identity){.data = deopt.data})) return TM_V8_UNKNOWN;
        sites[0] = (tm_v8_site){shared, -1, tier};
        *count = 1;
        return TM_V8_COMPILED;
    }
    if (!in_table) return TM_V8_UNKNOWN;
    int found = 0;
    for (;;) {
        int32_t inlining = tm_position_inlining(raw);
        if (inlining < 0) {
            sites[found++] = (tm_v8_site){shared, tm_position_offset(raw), tier};
            break;
        }
        /* {u64 position of the call, i32 function} a row, 16 bytes */
        struct {
            uint64_t raw;
            int32_t function;
        } call;
        if (!has_deopt || found == TM_V8_MOST_INLINED - 1) return TM_V8_UNKNOWN;
        tm_tagged rows = element(deopt.data, tm_v8.deopt_inlining), literals = element(deopt.data, tm_v8.deopt_literals);
        if (!tm_is_object(rows) || !tm_read((rows & ~3ull) + TM_V8_BYTES_START + 16 * (uint64_t)inlining, &call, 12)) return TM_V8_UNKNOWN;
        tm_tagged inlined = call.function < 0 ? shared : tm_v8_forward(element(literals, call.function) | 1);
        if (tm_v8_type(inlined) != tm_v8.type_shared) return TM_V8_UNKNOWN;
        sites[found++] = (tm_v8_site){inlined, tm_position_offset(raw), tier | TM_TIER_INLINED};
        raw = call.raw;
    }
    *count = found;
    return TM_V8_COMPILED;
}

bool tm_v8_translated(const tm_v8_identity *identity, uintptr_t pc, tm_v8_site *sites, int *count) {
    uintptr_t start = identity->stream + (uintptr_t)tm_v8.stream_header;
    bool maglev = kind_of(identity->code) == tm_v8.kind_maglev;
    deopt deopt;
    *count = 0;
    if (!read_deopt(identity->code, &deopt) || !translations_stand(&deopt)) return false;
    uint64_t pc_offset = original_pc(identity->code, start, &deopt, pc - start);
    int64_t index = translation_of(identity->code, start, &deopt, pc_offset, maglev);
    return sites_of_translation(&deopt, index, maglev ? TM_TIER_MAGLEV : TM_TIER_TURBOFAN, sites, count);
}

/* ---- any frame ---- */

/* A function that a WebAssembly module exports: its frame only leads there. V8 names the module's script so. */
static bool is_webassembly(tm_tagged shared, tm_tagged script) {
    char name[256];
    return !tm_v8_bytecode_of(shared) && tm_v8_string_utf8(tm_v8_field(script, tm_v8.script_name), name, sizeof name) > 0 &&
           !strncmp(name, "wasm://", 7);
}

tm_v8_decoded tm_v8_decode(const uint64_t *fp, uintptr_t pc, uint64_t offset, tm_v8_site *sites, int *count, tm_v8_identity *identity) {
    *count = 0;
    memset(identity, 0, sizeof *identity);
    tm_code_region region;
    if (!tm_code_region_of(pc, &region)) return TM_V8_UNKNOWN;
    tm_tagged shared = tm_v8_frame_shared(fp);
    /* Without a function, but with bytecode: a frame that is being made by a deoptimisation. */
    if (!shared) return tm_v8_type(tm_v8_slot(fp, tm_v8.frame_bytecode)) == tm_v8.type_bytecode ? TM_V8_UNKNOWN : TM_V8_NOT_A_FRAME;
    /* Builtins that are functions have no script. */
    tm_tagged script = tm_v8_field(shared, tm_v8.shared_script);
    if (tm_v8_type(script) != tm_v8.type_script || is_webassembly(shared, script)) return TM_V8_NOT_A_FRAME;
    if (region.kind == TM_CODE_IMAGE) {
        if (tm_v8_returns_to_interpreter(&region, pc)) return interpreted(fp, offset, shared, sites, count);
        return in_builtin(fp, shared, sites, count);
    }
    uintptr_t stream = tm_v8_find_stream(pc);
    if (!stream) return TM_V8_UNKNOWN;
    tm_tagged code = tm_read64(stream + (uint64_t)tm_v8.stream_code);
    uintptr_t start = stream + (uintptr_t)tm_v8.stream_header;
    uint64_t pc_offset = pc - start;
    int32_t kind = kind_of(code);
    *identity = (tm_v8_identity){stream, code, tm_v8_field(code, tm_v8.code_data), tm_v8.code_data};
    if (kind == tm_v8.kind_baseline && tm_v8_levels & TM_V8_BASELINE) return baseline(fp, shared, code, pc_offset, sites, count);
    if (kind == tm_v8.kind_maglev && tm_v8_levels & TM_V8_MAGLEV) return optimised(shared, code, start, pc_offset, true, sites, count);
    if (kind == tm_v8.kind_turbofan && tm_v8_levels & TM_V8_TURBOFAN) return optimised(shared, code, start, pc_offset, false, sites, count);
    return TM_V8_UNKNOWN;
}

/* Baseline code names its BytecodeArray, optimised code its function, before the inlining positions or in a wrapper there. */
static bool is_code_of(tm_tagged code, tm_tagged shared) {
    int32_t kind = kind_of(code);
    tm_tagged data = tm_v8_field(code, tm_v8.code_data);
    if (!kind) return false;
    if (kind == tm_v8.kind_baseline) return tm_v8_forward(data) == tm_v8_bytecode_of(shared);
    if (!tm_v8.deopt_inlining || (kind != tm_v8.kind_maglev && kind != tm_v8.kind_turbofan) || !tm_is_object(data)) return false;
    for (int i = 0; i < tm_v8.deopt_inlining; i++) {
        tm_tagged named = element(data, i);
        if (!tm_is_object(named)) continue;
        if (tm_v8_forward(named) == shared || tm_v8_forward(tm_v8_field(named, 8)) == shared) return true;
    }
    return false;
}

#define MOST_BUILTIN_WORDS 256 /* what a builtin without a frame pushes: all registers at the most */

static bool in_code_of(uintptr_t pc, tm_tagged shared) {
    uintptr_t stream = tm_v8_find_stream(pc);
    if (!stream) return false;
    tm_tagged code = tm_read64(stream + (uint64_t)tm_v8.stream_code);
    uint64_t offset = pc - stream - (uint64_t)tm_v8.stream_header;
    return offset <= tm_read32((code & ~3ull) + (uint64_t)tm_v8.code_size) && is_code_of(code, shared);
}

/* The frame's function, if it is of a script. */
static tm_tagged scripted(const uint64_t *fp) {
    tm_tagged shared = tm_v8_frame_shared(fp);
    return shared && tm_v8_type(tm_v8_field(shared, tm_v8.shared_script)) == tm_v8.type_script ? shared : 0;
}

bool tm_v8_goes_on_at(uintptr_t pc, const uint64_t *fp) {
    tm_scratch_reset();
    tm_tagged shared = scripted(fp);
    return shared && in_code_of(pc, shared);
}

uintptr_t tm_v8_return_to(const uint64_t *below, const uint64_t *fp) {
    tm_scratch_reset();
    tm_tagged shared = scripted(fp);
    if (!shared) return 0;
    for (const uint64_t *at = below + 2; at < fp && at < below + MOST_BUILTIN_WORDS; at++) {
        tm_code_region region;
        if (!tm_code_region_known(*at, &region)) continue;
        if (tm_v8_returns_to_interpreter(&region, *at)) return *at;
        if (region.kind == TM_CODE_GENERATED && in_code_of(*at, shared)) return *at;
    }
    return 0;
}

/* ---- scripts and lines ---- */

/* Of a carriage return and a newline, the newline does. */
static bool ends_line(const uint16_t *text, int64_t at, int64_t length) {
    if (text[at] == '\r') return at + 1 == length || text[at + 1] != '\n';
    return text[at] == '\n' || text[at] == 0x2028 || text[at] == 0x2029;
}

static bool starts_with(const char *text, const char *prefix) { return !strncmp(text, prefix, strlen(prefix)); }

void tracemalloc_v8_hide(const char *url_prefix) { tm_own_add(url_prefix); }

/* The runtime's own modules, and the tracer's; what people write is a file, a URL, or has no name. */
static bool is_internal(const char *url) {
    if (tm_is_own(url)) return true;
    return starts_with(url, "ext:") || starts_with(url, "node:") || starts_with(url, "internal:") || starts_with(url, "checkin:");
}

/* A URL as UTF-8: in `small` if it fits, for data: URLs can be long. Its length, 0 if there is none. */
static int32_t read_url(tm_tagged string, char small[4096], char **url) {
    int64_t units = tm_v8_string_length(string);
    if (units <= 0 || units > 1 << 20) return 0;
    int32_t size = (int32_t)units * 3 + 5;
    *url = size <= 4096 ? small : tm_scratch((size_t)size);
    int32_t length = *url ? tm_v8_string_utf8(string, *url, size) : 0;
    return length > 0 ? length : 0;
}

#define MOST_NESTED 8 /* evals in evals whose origin is said */

static uint32_t frame_of(uint64_t isolate, const tm_v8_site *site, int nested);

int32_t tm_v8_eval_position(tm_tagged shared, tm_tagged held) {
    int32_t position = tm_smi(held);
    if (!tm_is_smi(held) || tm_v8_type(shared) != tm_v8.type_shared) return -1;
    if (position >= 0) return position;
    tm_tagged bytecode = tm_v8_bytecode_of(shared);
    return bytecode && position_in_bytecode(bytecode, -(int64_t)position, false, &position) ? position : -1;
}

/* The frame of the call that code without a name comes from, plus 1. */
static uint32_t origin_of(uint64_t isolate, tm_tagged script, int nested) {
    if (!tm_v8.script_eval_shared || nested == MOST_NESTED) return 0;
    tm_tagged shared = tm_v8_forward(tm_v8_field(script, tm_v8.script_eval_shared));
    int32_t position = tm_v8_eval_position(shared, tm_v8_field(script, tm_v8.script_eval_position));
    if (position < 0) return 0;
    uint32_t frame = frame_of(isolate, &(tm_v8_site){shared, position, 0}, nested + 1) & TM_FRAME_INDEX;
    return tm_frame_rows()[frame].kind == TM_FRAME_SCRIPT && tm_frame_rows()[frame].line ? frame + 1 : 0;
}

static uint32_t script_of(uint64_t isolate, tm_tagged script, int nested) {
    int32_t id = tm_smi(tm_v8_field(script, tm_v8.script_id));
    char small[4096], *url;
    int32_t length = tm_v8.script_url ? read_url(tm_v8_field(script, tm_v8.script_url), small, &url) : 0;
    if (!length) length = read_url(tm_v8_field(script, tm_v8.script_name), small, &url);
    bool named = length > 0;
    if (!named) {
        url = memcpy(small, "<eval>", 7);
        length = 6;
    }
    tm_tagged source = tm_v8_field(script, tm_v8.script_source);
    int64_t units = tm_v8_string_length(source);
    uint32_t name = tm_string(url, (size_t)length);
    if (name == UINT32_MAX) return UINT32_MAX;
    uint32_t text_length = units < 0 ? 0 : (uint32_t)units;
    uint32_t found = tm_script_find(isolate, id, name, text_length);
    if (found != UINT32_MAX) {
        /* A thread that has not started yet keeps no positions, and code from eval may have run there already. */
        if (!named && !tm_script_at(found)->origin) tm_script_set_origin(found, origin_of(isolate, script, nested));
        return found;
    }
    tm_script fresh = {
        .owner = isolate,
        .id = id,
        .url = name,
        .text_length = text_length,
        .flags = is_internal(url) ? TM_SCRIPT_INTERNAL : 0,
        .origin = named ? 0 : origin_of(isolate, script, nested),
        .line_offset = tm_smi(tm_v8_field(script, tm_v8.script_line)),
        .column_offset = tm_smi(tm_v8_field(script, tm_v8.script_column)),
    };
    uint16_t *text = units >= 0 && units < 16 << 20 ? tm_scratch(2 * (size_t)units + 2) : NULL;
    if (text && tm_v8_string_units(source, text, units) == units) {
        uint32_t count = 1;
        for (int64_t i = 0; i < units; i++) count += ends_line(text, i, units);
        uint32_t *starts = tm_script_lines(count), line = 0;
        if (starts) {
            starts[line++] = 0;
            uint32_t hash = 2166136261u;
            for (int64_t i = 0; i < units; i++) {
                hash = (hash ^ text[i]) * 16777619u;
                if (ends_line(text, i, units)) starts[line++] = (uint32_t)i + 1;
            }
            fresh.text_hash = hash;
            fresh.line_count = count;
            fresh.line_starts = starts;
        }
    }
    return tm_script_add(&fresh);
}

uint32_t tm_v8_frame_of(uint64_t isolate, const tm_v8_site *site) { return frame_of(isolate, site, 0); }

static uint32_t frame_of(uint64_t isolate, const tm_v8_site *site, int nested) {
    tm_tagged script = tm_v8_field(site->shared, tm_v8.shared_script);
    if (tm_v8_type(script) != tm_v8.type_script) return tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_CODE, 0, 0, 0);
    uint32_t index = script_of(isolate, tm_v8_forward(script), nested);
    if (index == UINT32_MAX) return tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_MEMORY, 0, 0, 0);
    const tm_script *found = tm_script_at(index);
    uint32_t internal = found->flags & TM_SCRIPT_INTERNAL ? TM_FRAME_INTERNAL : 0;
    if (site->position < 0 || !found->line_starts || (uint32_t)site->position > found->text_length)
        return tm_frame(TM_FRAME_SCRIPT, index, 0, 0, site->tiers) | internal;
    uint32_t low = 0, high = found->line_count;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (found->line_starts[middle] <= (uint32_t)site->position) low = middle;
        else high = middle;
    }
    uint32_t line = low + 1 + (uint32_t)found->line_offset;
    uint32_t column = (uint32_t)site->position - found->line_starts[low] + 1 + (low == 0 ? (uint32_t)found->column_offset : 0);
    return tm_frame(TM_FRAME_SCRIPT, index, line, column, site->tiers) | internal;
}
