/*
 * Finding where V8 keeps what the walker needs.
 *
 * lib/runtime/v8.ts runs scripts of its own whose names and call positions are known, and which end in
 * tracemalloc_v8_probe(): C calls B calls A (first script) calls D (second script) calls the probe. The probe
 * searches the stack and the objects on it for the values that must be there. What one function shows is verified
 * on others; what does not fit is refused, and the report says where.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tasks.h"
#include "v8.h"

enum { A, B, C, D, FUNCTIONS };

/* Calibration is driven by one thread at a time, the one that began it. */
static struct {
    tm_v8_spec spec;
    bool failed, running;
    bool checking; /* with the second scripts */
    bool checked;
    uintptr_t right_at[3]; /* baseline, Maglev, TurboFan: a place in code that was decoded right */
    uint32_t last_id;            /* of the first scripts' functions, and */
    int32_t last_script;         /* of themselves */
    bool no_baseline;  /* V8 makes no such code */
    bool no_positions; /* of the functions; all else was found so far */
    uint32_t origins, origins_hold; /* how often the origin of code from eval was looked for, and was where it was before */
} state;

static uintptr_t calibrating; /* the thread that does, by its thread pointer; 0: none */

static char report[8192];
static int report_length;

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int room = (int)sizeof report - report_length;
    int written = vsnprintf(report + report_length, (size_t)room, format, arguments);
    va_end(arguments);
    if (written > 0) report_length += written < room ? written : room - 1;
}

static bool fail(const char *what) {
    say("failed %s\n", what);
    state.failed = true;
    return false;
}

/*
 * A shim built with TM_TEST_PERTURB finds one value of the layout wrong, as $TM_PERTURB says ("name +8"), every time that
 * it finds it: a test that it does not do any harm.
 */
#ifdef TM_TEST_PERTURB
#include <stdlib.h>

static void perturb(void) {
    static const char *const NAMES[] = {
#define FIELD(name) #name,
        TM_V8_LAYOUT(FIELD)
#undef FIELD
    };
    static int32_t made;
    char wanted[64];
    int by;
    const char *setting = getenv("TM_PERTURB");
    if (!setting || sscanf(setting, "%63s %d", wanted, &by) != 2) return;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        int32_t *value = (int32_t *)&tm_v8 + i;
        if (!strcmp(NAMES[i], wanted) && *value && *value != made) *value = made = *value + by;
    }
}
#else
static void perturb(void) {}
#endif

/* ---- the stack: V8's frames, which keep frame pointers also where native code has none ---- */

#define MOST_FRAMES 64
#define MOST_SCANNED (256ul << 10) /* bytes of native frames between the probe and the first of V8's */

typedef struct stack_frame {
    const uint64_t *fp;
    uintptr_t pc; /* where this frame's code goes on; 0: not known */
} stack_frame;

static stack_frame frames[MOST_FRAMES];
static int frame_count;
static const uint64_t *probe_fp;

static bool above_probe(uint64_t value) {
    return tm_frame_fits(value, (uint64_t)probe_fp, 16, tm_self->stack_high);
}

/* The frames from one of V8's on, up to native code; and on behind it, once it is known what entry frames keep. */
static void collect(const uint64_t *fp, uintptr_t pc) {
    for (frame_count = 0; frame_count < MOST_FRAMES;) {
        frames[frame_count++] = (stack_frame){fp, pc};
        if (TM_V8_IS_ENTRY(fp)) {
            uint64_t next = tm_v8.entry_exit_fp ? tm_v8_slot(fp, tm_v8.entry_exit_fp) : 0;
            if (next <= (uint64_t)fp || !above_probe(next)) return;
            fp = (const uint64_t *)next;
            pc = 0;
        } else {
            if (fp[0] <= (uint64_t)fp || !above_probe(fp[0])) return;
            pc = fp[1];
            fp = (const uint64_t *)fp[0];
        }
    }
}

/* Native code keeps what it likes on the stack: can this be the frame of a builtin that V8's code called? */
static bool can_be_frame(const uint64_t *fp) {
    tm_code_region region;
    return fp[0] > (uint64_t)fp && above_probe(fp[0]) && tm_code_region_known(fp[1], &region) && region.kind != TM_CODE_LIBRARY;
}

/* Collects from the next frame on that `wanted` accepts with its caller in frames[1]. */
static bool scan_stack(bool (*wanted)(void)) {
    const uint64_t *end = (const uint64_t *)(tm_self->stack_high - 16);
    if (end > probe_fp + MOST_SCANNED / 8) end = probe_fp + MOST_SCANNED / 8;
    for (const uint64_t *fp = probe_fp + 2; fp < end; fp++) {
        if (!can_be_frame(fp)) continue;
        collect(fp, 0);
        if (frame_count > 1 && wanted()) return true;
    }
    return false;
}

/* Copies an object's first words; what is not readable reads as zero. */
static void read_words(tm_tagged object, uint64_t *words, int count) {
    uintptr_t at = object & ~3ull;
    if (tm_read(at, words, 8 * (size_t)count)) return;
    for (int i = 0; i < count; i++) words[i] = tm_read64(at + 8 * (uint64_t)i);
}

/* ---- step 1: functions, their shared parts, scripts ---- */

#define FUNCTION_WORDS 10
#define SHARED_WORDS 12
#define SCRIPT_WORDS 24

/* The script of a frame's function, by the path found; 0 if the frame has none. */
static tm_tagged script_of(int index) {
    if (index < 0 || index >= frame_count) return 0;
    tm_tagged shared = tm_v8_frame_shared(frames[index].fp);
    tm_tagged script = shared ? tm_v8_field(shared, tm_v8.shared_script) : 0;
    return tm_is_object(script) && tm_v8_type(script) == tm_v8.type_script ? script : 0;
}

static int next_frame_of(int from, const char *name) {
    for (int i = from; i < frame_count; i++) {
        tm_tagged script = script_of(i);
        if (script && tm_v8_string_equals(tm_v8_field(script, tm_v8.script_name), name)) return i;
    }
    return -1;
}

static int at[FUNCTIONS]; /* frames of A, B, C, D */

/* With the path just found: do the frames of all four functions show the two scripts, in the order of the calls? */
static bool path_holds(int index) {
    if (tm_v8.type_shared == tm_v8.type_script || script_of(index) == 0) return false;
    int function = tm_v8_type(tm_v8_slot(frames[index].fp, tm_v8.frame_function));
    if (function == tm_v8.type_shared || function == tm_v8.type_script) return false;
    at[D] = index;
    at[A] = next_frame_of(index + 1, state.spec.file[0]);
    at[B] = at[A] < 0 ? -1 : next_frame_of(at[A] + 1, state.spec.file[0]);
    at[C] = at[B] < 0 ? -1 : next_frame_of(at[B] + 1, state.spec.file[0]);
    if (at[C] < 0) return false;
    tm_tagged script = script_of(at[A]);
    return script == script_of(at[B]) && script == script_of(at[C]) && script != script_of(index);
}

/* Path frame slot → function → shared → script → name, of which there may be false ones. Fills in the layout. */
static bool find_path(int index, const char *name) {
    for (int slot = -1; slot >= -6; slot--) {
        tm_tagged function = frames[index].fp[slot];
        if (!tm_is_object(function)) continue;
        uint64_t f[FUNCTION_WORDS];
        read_words(function, f, FUNCTION_WORDS);
        for (int i = 1; i < FUNCTION_WORDS; i++) {
            if (!tm_is_object(f[i])) continue;
            uint64_t s[SHARED_WORDS];
            read_words(f[i], s, SHARED_WORDS);
            for (int j = 1; j < SHARED_WORDS; j++) {
                if (!tm_is_object(s[j])) continue;
                uint64_t c[SCRIPT_WORDS];
                read_words(s[j], c, SCRIPT_WORDS);
                for (int k = 1; k < SCRIPT_WORDS; k++) {
                    if (!tm_is_object(c[k]) || !tm_v8_string_equals(c[k], name)) continue;
                    tm_v8.frame_function = 8 * slot;
                    tm_v8.function_shared = 8 * i;
                    tm_v8.shared_script = 8 * j;
                    tm_v8.script_name = 8 * k;
                    tm_v8.type_shared = tm_v8_type(f[i]);
                    tm_v8.type_script = tm_v8_type(s[j]);
                    if (path_holds(index)) return true;
                }
            }
        }
    }
    return false;
}

static bool calls_from_second(void) { return find_path(1, state.spec.file[1]); }

static bool find_functions(void) {
    /* The map's instance type is the one number that is the same for all of a kind and differs between kinds. */
    static const int8_t FIELDS[] = {12, 8, 10, 14, 16, 18, 20}; /* the likeliest first */
    tm_code_map_refresh();
    for (size_t k = 0; k < sizeof FIELDS; k++) {
        tm_v8.map_type = FIELDS[k];
        if (scan_stack(calls_from_second)) return true;
    }
    return fail("functions: no frame leads to the calibration scripts");
}

/* ---- step 2: fields of scripts and shared function infos ---- */

static bool unique(const char *what, int32_t *field, int32_t value) {
    if (*field) {
        say("failed %s: at %d and at %d\n", what, *field, value);
        state.failed = true;
        return false;
    }
    *field = value;
    return true;
}

static bool find_script_fields(void) {
    tm_tagged first = script_of(at[A]), second = script_of(at[D]);
    uint64_t a[SCRIPT_WORDS], d[SCRIPT_WORDS];
    read_words(first, a, SCRIPT_WORDS);
    read_words(second, d, SCRIPT_WORDS);
    char head[sizeof state.spec.source_head];
    for (int i = 1; i < SCRIPT_WORDS; i++) {
        int32_t field = 8 * i;
        if (tm_is_object(a[i]) && tm_v8_string_length(a[i]) == state.spec.source_length) {
            uint16_t units[sizeof head];
            int64_t count = (int64_t)strlen(state.spec.source_head);
            bool same = tm_v8_string_units(a[i], units, count) == count;
            for (int64_t k = 0; k < count && same; k++) same = units[k] == (unsigned char)state.spec.source_head[k];
            if (same && !unique("script_source", &tm_v8.script_source, field)) return false;
        }
        if (tm_is_object(d[i]) && tm_v8_string_equals(d[i], state.spec.source_url) &&
            !unique("script_url", &tm_v8.script_url, field))
            return false;
        if (!tm_is_smi(a[i]) || !tm_is_smi(d[i])) continue;
        int32_t x = tm_smi(a[i]), y = tm_smi(d[i]);
        if (x == state.spec.line_offset && y == x && !unique("script_line", &tm_v8.script_line, field)) return false;
        if (x == state.spec.column_offset && y == x && !unique("script_column", &tm_v8.script_column, field)) return false;
        /*
         * The second script was compiled soon after the first. Behind the object others can lie whose numbers have grown,
         * too: the field comes before them, and all later scripts are to have larger numbers there.
         */
        if (x > 0 && y > x && y - x <= 4 && !tm_v8.script_id) tm_v8.script_id = field;
    }
    if (!tm_v8.script_source || !tm_v8.script_url || !tm_v8.script_line || !tm_v8.script_column || !tm_v8.script_id)
        return fail("script fields: source, url, line, column or id not found");
    return true;
}

static bool find_shared_fields(void) {
    uint32_t words[FUNCTIONS][2 * SHARED_WORDS];
    for (int q = A; q < FUNCTIONS; q++) read_words(tm_v8_frame_shared(frames[at[q]].fp), (uint64_t *)words[q], SHARED_WORDS);
    for (int i = 2; i < 2 * SHARED_WORDS; i++) {
        uint32_t a = words[A][i], b = words[B][i], c = words[C][i], d = words[D][i];
        uint64_t whole;
        memcpy(&whole, &words[A][i & ~1], 8);
        if (tm_is_object(whole) && tm_v8_type(whole) >= 0) continue;
        if (b - a != 1 || c - b != 1) continue;
        if (a == (uint32_t)state.spec.literal[A]) {
            if (d != (uint32_t)state.spec.literal[D]) continue;
            if (!unique("shared_literal", &tm_v8.shared_literal, 4 * i)) return false;
        } else if (a > 16 && d > c && d - c < 4096) {
            if (!unique("shared_id", &tm_v8.shared_id, 4 * i)) return false;
        }
    }
    if (!tm_v8.shared_literal) return fail("shared_literal: not found");
    return true;
}

/* ---- step 3: bytecode, offsets, positions ---- */

struct entries {
    int32_t wanted;
    int count;
    int64_t offset[8];
};

static bool note_entry(int64_t code, uint64_t raw, void *context) {
    struct entries *entries = context;
    if (!(raw & 1) && tm_position_offset(raw) == entries->wanted && entries->count < 8) entries->offset[entries->count++] = code;
    return true;
}

/* In which way of reading the table does the known position stand at slot - bias, in all four functions? */
static bool fits(int slot, const tm_bytes tables[FUNCTIONS], int32_t shift, int32_t *bias) {
    struct entries found[FUNCTIONS];
    for (int q = A; q < FUNCTIONS; q++) {
        found[q] = (struct entries){state.spec.position[q], 0, {0}};
        tm_v8_each_position(&tables[q], shift, note_entry, &found[q]);
        if (!found[q].count) return false;
    }
    for (int i = 0; i < found[A].count; i++) {
        int32_t candidate = tm_smi(frames[at[A]].fp[slot]) - (int32_t)found[A].offset[i];
        if (candidate < 16 || candidate > 127) continue;
        bool all = true;
        for (int q = B; q < FUNCTIONS && all; q++) {
            all = false;
            for (int k = 0; k < found[q].count; k++)
                all |= tm_smi(frames[at[q]].fp[slot]) - (int32_t)found[q].offset[k] == candidate;
        }
        if (all) {
            *bias = candidate;
            return true;
        }
    }
    return false;
}

static bool find_bytecode_in(int bytecode_slot) {
    int type = -1;
    for (int q = A; q < FUNCTIONS; q++) {
        int own = tm_v8_type(frames[at[q]].fp[bytecode_slot]);
        if (own < 0 || (type >= 0 && own != type)) return false;
        type = own;
    }
    for (int field = 8; field <= 64; field += 8) {
        tm_bytes tables[FUNCTIONS];
        tm_scratch_reset();
        bool readable = true;
        for (int q = A; q < FUNCTIONS && readable; q++)
            readable = tm_v8_bytes(tm_v8_field(frames[at[q]].fp[bytecode_slot], field), &tables[q]) && tables[q].length < 4096;
        if (!readable) continue;
        for (int slot = -2; slot >= -10; slot--) {
            bool small = slot != bytecode_slot;
            for (int q = A; q < FUNCTIONS && small; q++)
                small = tm_is_smi(frames[at[q]].fp[slot]) && tm_smi(frames[at[q]].fp[slot]) > 0;
            if (!small) continue;
            for (int32_t shift = 1; shift <= 5; shift++) {
                int32_t bias;
                if (!fits(slot, tables, shift, &bias)) continue;
                tm_v8.frame_bytecode = 8 * bytecode_slot;
                tm_v8.frame_offset = 8 * slot;
                tm_v8.offset_bias = bias;
                tm_v8.bytecode_positions = field;
                tm_v8.positions_shift = shift;
                tm_v8.bytecode_start = bias + 1; /* the slot holds the offset from the tagged pointer */
                tm_v8.type_bytecode = type;
                tm_v8.type_bytes = tm_v8_type(tm_v8_field(frames[at[A]].fp[bytecode_slot], field));
                return true;
            }
        }
    }
    return false;
}

static bool find_bytecode(void) {
    bool found = false;
    for (int slot = -2; slot >= -10 && !found; slot--) found = find_bytecode_in(slot);
    tm_scratch_reset();
    state.no_positions = !found;
    if (!found) return false;
    for (int field = 8; field < 8 * SHARED_WORDS; field += 8) {
        bool all = true;
        for (int q = A; q < FUNCTIONS && all; q++)
            all = tm_v8_field(tm_v8_frame_shared(frames[at[q]].fp), field) == tm_v8_slot(frames[at[q]].fp, tm_v8.frame_bytecode);
        if (all) tm_v8.shared_data = field;
    }
    if (!tm_v8.shared_data) return fail("shared_data: the functions do not hold their bytecode");
    return true;
}

/* ---- step 4: the interpreter's return address, tables of the program ---- */

static bool find_interpreter(void) {
    uintptr_t pc = frames[at[A]].pc;
    if (frames[at[B]].pc != pc || frames[at[C]].pc != pc) return fail("interpreter: return addresses differ");
    tm_code_map_refresh();
    tm_code_region region;
    if (!tm_code_region_of(pc, &region) || region.kind != TM_CODE_IMAGE) return fail("interpreter: not in the program's file");
    tm_v8_interpreter_offset = region.file_offset + (pc - region.low);
    return true;
}

struct rodata {
    uintptr_t low[64], high[64];
    int count;
};

static void note_rodata(const os_mapping *m, void *context) {
    struct rodata *data = context;
    if (!m->executable_image || !m->readable || m->writable || data->count == 64) return;
    data->low[data->count] = m->low;
    data->high[data->count++] = m->high;
}

/* Bytecode sizes: rows of increasing operand scale; the two prefixes and their debugger forms come first. */
static bool is_bytecode_sizes(const uint8_t *p, const uint8_t *end) {
    static const uint8_t ROW[3][8] = {{1, 1, 1, 1, 1, 2, 3, 4}, {1, 1, 1, 1, 1, 3, 5, 7}, {1, 1, 1, 1, 1, 5, 9, 13}};
    if (memcmp(p, ROW[0], 8)) return false;
    for (int length = 128; length < 256 && p + 3 * length <= end; length++) {
        if (memcmp(p + length, ROW[1], 8) || memcmp(p + 2 * length, ROW[2], 8)) continue;
        bool increasing = true;
        for (int i = 0; i < length && increasing; i++)
            increasing = p[i] && p[i] <= p[length + i] && p[length + i] <= p[2 * length + i];
        if (!increasing) continue;
        tm_v8_bytecode_sizes = p;
        tm_v8.bytecode_kinds = length;
        return true;
    }
    return false;
}

/* Operand counts of the translation opcodes: the four JavaScript frames come first, two BEGINs take three each. */
static bool is_translation_operands(const int32_t *p, const uint8_t *end) {
    /* Frames of functions had one operand less up to V8 12.4. */
    static const int32_t HEADS[2][8] = {{6, 4, 3, 3, 2, 1, 3, 4}, {5, 3, 3, 3, 2, 1, 3, 4}};
    if (memcmp(p, HEADS[0], sizeof HEADS[0]) && memcmp(p, HEADS[1], sizeof HEADS[1])) return false;
    int begin = -1, last_pair = -1;
    for (int i = 0; i < 70 && (const uint8_t *)(p + i + 2) <= end && p[i] >= 0 && p[i] <= 6; i++) {
        if (i >= 2 && begin < 0 && p[i] == 3 && p[i + 1] == 3 && p[i - 1] == 0) begin = i;
        if (begin > 0 && p[i] == 2) last_pair = i;
    }
    if (begin < 0 || last_pair <= begin + 10 || p[last_pair + 1] != 1) return false;
    tm_v8_translation_operands = p;
    tm_v8.translation_begin = begin;
    tm_v8.translation_opcodes = last_pair + 2;
    return true;
}

static void find_tables(void) {
    static struct rodata data;
    data.count = 0;
    os_each_mapping(note_rodata, &data);
    tm_v8_bytecode_sizes = NULL;
    tm_v8_translation_operands = NULL;
    for (int i = 0; i < data.count && !(tm_v8_bytecode_sizes && tm_v8_translation_operands); i++) {
        const uint8_t *end = (const uint8_t *)data.high[i] - 16;
        /* Tables of this size are aligned to 16 by every compiler for this platform. */
        for (const uint8_t *p = (const uint8_t *)data.low[i]; p + 1024 < end; p += 16) {
            if (tm_v8_bytecode_sizes && tm_v8_translation_operands) break;
            uint64_t word;
            memcpy(&word, p, 8);
            if (word == 0x0403020101010101ull && !tm_v8_bytecode_sizes) is_bytecode_sizes(p, end);
            if ((word == 0x0000000400000006ull || word == 0x0000000300000005ull) && !tm_v8_translation_operands) is_translation_operands((const int32_t *)p, end);
        }
    }
}

/* Every known offset is where a bytecode begins, and the walk over the bytecodes ends exactly at the length. */
static bool bytecodes_walk(void) {
    for (int q = A; q < FUNCTIONS; q++) {
        tm_tagged bytecode = tm_v8_slot(frames[at[q]].fp, tm_v8.frame_bytecode);
        uint64_t offset = (uint64_t)(tm_smi(tm_v8_slot(frames[at[q]].fp, tm_v8.frame_offset)) - tm_v8.offset_bias);
        tm_bytes code = {NULL, tm_v8_bytes_length(tm_v8_field(bytecode, tm_v8.bytecode_length))};
        if (code.length > 65536 || !(code.data = tm_scratch(code.length))) return false;
        if (!tm_read((bytecode & ~3ull) + (uint64_t)tm_v8.bytecode_start, code.data, code.length)) return false;
        bool hit = false;
        uint64_t p = 0;
        while (p < code.length) {
            hit |= p == offset;
            uint64_t next = tm_v8_next_bytecode(&code, p);
            if (!next) return false;
            p = next;
        }
        if (p != code.length || !hit) return false;
    }
    return true;
}

/* ---- verification ---- */

static int function_of(tm_tagged shared) {
    tm_tagged script = tm_v8_field(shared, tm_v8.shared_script);
    int32_t literal = (int32_t)tm_read32((shared & ~3ull) + (uint64_t)tm_v8.shared_literal);
    tm_tagged name = tm_v8_field(script, tm_v8.script_name);
    if (tm_v8_string_equals(name, state.spec.file[1])) return literal == state.spec.literal[D] ? D : -1;
    /* Copies of the first script have its name. */
    if (!tm_v8_string_equals(name, state.spec.file[0])) return -1;
    for (int q = A; q <= C; q++)
        if (literal == state.spec.literal[q]) return q;
    return -1;
}

/* What decoding a frame gives, against what it must give. */
typedef enum verdict { RIGHT, UNKNOWN, WRONG } verdict;

/* Calibration's functions from the frame's own back to those inlined into it, each at its call. */
static verdict judge(const tm_v8_site *sites, int count, uint32_t *tiers) {
    int before = -1;
    *tiers = 0;
    for (int i = 0; i < count; i++) *tiers |= sites[i].tiers;
    for (int i = 0; i < count; i++) {
        int q = function_of(sites[i].shared);
        if (q < 0 || (before >= 0 && q != before + 1)) return WRONG;
        if (sites[i].position < 0) return UNKNOWN;
        if (sites[i].position != state.spec.position[q]) return WRONG;
        before = q;
    }
    return count > 0 ? RIGHT : UNKNOWN;
}

/* By the walker's own decoding; optimised code is decoded in two ways, where both can be wanted. */
static verdict verify(int index, bool twice, uint32_t *tiers) {
    tm_v8_site sites[TM_V8_MOST_INLINED];
    tm_v8_identity identity;
    int count;
    uintptr_t pc = frames[index].pc;
    tm_v8_decoded decoded = tm_v8_decode(frames[index].fp, pc, tm_v8_slot(frames[index].fp, tm_v8.frame_offset), sites, &count, &identity);
    verdict result = UNKNOWN;
    *tiers = 0;
    if (decoded == TM_V8_INTERPRETED || decoded == TM_V8_COMPILED) result = judge(sites, count, tiers);
    if (twice && result == RIGHT && *tiers & (TM_TIER_MAGLEV | TM_TIER_TURBOFAN)) {
        uint32_t again = 0;
        if (tm_v8_translated(&identity, pc, sites, &count)) result = judge(sites, count, &again);
        else result = UNKNOWN;
        if (result == RIGHT && again && again != *tiers) result = WRONG;
    }
    tm_scratch_reset();
    return result;
}

/* Numbers of functions and scripts tell them apart, and grow. */
static bool identities_hold(void) {
    uint32_t id[FUNCTIONS] = {0};
    int32_t script[FUNCTIONS] = {0};
    int with_bytecode = 0;
    for (int i = 0; i < frame_count; i++) {
        tm_tagged shared = tm_v8_frame_shared(frames[i].fp);
        int q = shared ? function_of(shared) : -1;
        if (q < 0 || script[q]) continue;
        tm_tagged bytecode = tm_v8_slot(frames[i].fp, tm_v8.frame_bytecode);
        /* A function that has compiled code by now has that instead. */
        tm_tagged own = tm_v8_bytecode_of(shared);
        if (own && own != tm_v8_forward(bytecode)) return false;
        with_bytecode += own != 0;
        if (tm_v8.shared_id) id[q] = tm_read32((shared & ~3ull) + (uint64_t)tm_v8.shared_id);
        script[q] = tm_smi(tm_v8_field(tm_v8_field(shared, tm_v8.shared_script), tm_v8.script_id));
    }
    if (!with_bytecode || script[A] <= 0 || script[A] != script[B] || script[A] != script[C] || script[D] <= script[A]) return false;
    if (tm_v8.shared_id && (id[B] != id[A] + 1 || id[C] != id[B] + 1 || id[D] <= id[C])) return false;
    bool hold = !state.checking || (script[A] > state.last_script && (!tm_v8.shared_id || id[A] > state.last_id));
    if (!state.checking) {
        state.last_script = script[D];
        state.last_id = id[D];
    }
    return hold;
}

static bool first_step(void) {
    memset(&tm_v8, 0, sizeof tm_v8);
    const char *missing = os_missing(true);
    if (missing) return fail(missing);
    if (!find_functions() || !find_script_fields() || !find_shared_fields()) return false;
    tm_v8.bytecode_length = 8;
    if (!find_bytecode() || !find_interpreter()) return false;
    find_tables();
    perturb();
    if (tm_v8_bytecode_sizes && !bytecodes_walk()) return fail("bytecode sizes: bytecodes do not end where they should");
    tm_scratch_reset();
    tm_v8_levels = TM_V8_FRAMES;
    uint32_t tiers;
    for (int q = A; q < FUNCTIONS; q++)
        if (verify(at[q], true, &tiers) != RIGHT || tiers != TM_TIER_INTERPRETER) return fail("interpreted frames: the walker disagrees");
    return identities_hold() || fail("functions and scripts are not told apart");
}

/* ---- step 5: the engine's own record of its frames ---- */

typedef struct anchor {
    int32_t tls, field;
} anchor;

#define MOST_ANCHORS 256

static anchor anchors[MOST_ANCHORS];
static int anchor_count;
static int anchor_rounds;

#define ISOLATE_BYTES 2048

static bool is_interpreter_return(uintptr_t pc) {
    tm_code_region region;
    return tm_code_region_of(pc, &region) && tm_v8_returns_to_interpreter(&region, pc);
}

static bool is_calibration(int index) {
    tm_tagged shared = index < frame_count ? tm_v8_frame_shared(frames[index].fp) : 0;
    return shared && function_of(shared) >= 0;
}

/* The frame through which calibration's last function was left for native code, from the interpreter. */
static bool is_exit_frame(uint64_t value) {
    if (!above_probe(value)) return false;
    const uint64_t *fp = (const uint64_t *)value;
    if (!TM_V8_IS_TYPED(fp) || fp[-1] >= 256 || !is_interpreter_return(fp[1])) return false;
    collect(fp, 0);
    return is_calibration(1);
}

static uint64_t isolate_now(void) { return *(const uint64_t *)(os_thread_pointer() + (uint64_t)(int64_t)tm_v8.tls_isolate); }

#define NEAR 256 /* bytes */

/*
 * Beside the record of its frames an isolate holds its own address. (An object that lies before it in memory, and could
 * be taken for it, does not.)
 */
static bool is_isolate(uint64_t isolate, int32_t field) {
    for (int32_t at = field > NEAR ? field - NEAR : 0; at < field + NEAR; at += 8)
        if (tm_read64(isolate + (uint64_t)at) == isolate) return true;
    return false;
}

static bool is_record(uint64_t isolate, int32_t field) {
    return is_exit_frame(tm_read64(isolate + (uint64_t)field)) && is_isolate(isolate, field);
}

static void collect_anchors(void) {
    uintptr_t thread = os_thread_pointer();
    size_t bytes = os_static_tls_bytes();
    anchor_count = 0;
    for (size_t back = 8; back <= bytes; back += 8) {
        uint64_t isolate = *(const uint64_t *)(thread - back);
        uint64_t words[ISOLATE_BYTES / 8];
        if (isolate < 0x10000 || isolate >> 47 || isolate & 7) continue;
        if (isolate >= tm_self->stack_low && isolate < tm_self->stack_high) continue;
        if (!tm_read(isolate, words, sizeof words)) continue;
        for (int i = 0; i < ISOLATE_BYTES / 8; i++)
            if (above_probe(words[i]) && is_record(isolate, 8 * i) && anchor_count < MOST_ANCHORS)
                anchors[anchor_count++] = (anchor){-(int32_t)back, 8 * i};
    }
}

/* Called from frames at different addresses, until one place is left, and once more. */
static void find_anchors(void) {
    if (tm_v8.tls_isolate) {
        if (is_record(isolate_now(), tm_v8.isolate_exit_fp)) tm_v8_levels |= TM_V8_ANCHORS;
        return;
    }
    if (anchor_rounds++ == 0) {
        collect_anchors();
        return;
    }
    int kept = 0;
    for (int i = 0; i < anchor_count; i++) {
        uint64_t isolate = tm_read64(os_thread_pointer() + (uint64_t)(int64_t)anchors[i].tls);
        if (is_record(isolate, anchors[i].field)) anchors[kept++] = anchors[i];
    }
    anchor_count = kept;
    if (anchor_rounds < 3 || anchor_count != 1) return;
    tm_v8.tls_isolate = anchors[0].tls;
    tm_v8.isolate_exit_fp = anchors[0].field;
    perturb();
}

/* ---- step 6: native code that calls JavaScript again ---- */

/* Collects from where the engine says that JavaScript was left; the index of calibration's first frame, or -1. */
static int collect_from_isolate(void) {
    uint64_t exit_fp = tm_read64(isolate_now() + (uint64_t)tm_v8.isolate_exit_fp);
    uint64_t fast_fp = tm_v8.isolate_fast_fp ? tm_read64(isolate_now() + (uint64_t)tm_v8.isolate_fast_fp) : 0;
    if (above_probe(fast_fp) && (!above_probe(exit_fp) || fast_fp < exit_fp))
        collect((const uint64_t *)fast_fp, tm_read64(isolate_now() + (uint64_t)tm_v8.isolate_fast_pc));
    else if (above_probe(exit_fp)) collect((const uint64_t *)exit_fp, 0);
    else return -1;
    for (int i = 0; i < frame_count; i++)
        if (is_calibration(i)) return i;
    return -1;
}

static const uint64_t *last_entry(void) {
    for (int i = frame_count; i-- > 0;)
        if (TM_V8_IS_ENTRY(frames[i].fp)) return frames[i].fp;
    return NULL;
}

/* Does it lead from native code to calibration's functions below it, as exit frames do? */
static bool leads_on(uint64_t value, const uint64_t *entry) {
    if (value <= (uint64_t)entry || !above_probe(value)) return false;
    const uint64_t *fp = (const uint64_t *)value;
    if (!TM_V8_IS_TYPED(fp) || fp[-1] >= 256) return false;
    collect(fp, 0);
    for (int i = 1; i < frame_count; i++)
        if (is_calibration(i)) return true;
    return false;
}

/* Do frame pointers lead from the probe to the very call that left JavaScript? Exit frames say where on the stack it is. */
static bool native_frames_lead_to(const uint64_t *exit) {
    const uint64_t *fp = probe_fp;
    for (uintptr_t pc = 0; fp[0] != (uint64_t)exit;)
        if (!tm_next_frame(&fp, &pc, tm_self->stack_high)) return false;
    for (int slot = -2; slot >= -4; slot--)
        if (exit[slot] == (uint64_t)(fp + 2)) return true;
    return false;
}

/* An entry frame keeps the exit frame of the JavaScript below it; the isolate keeps the outermost entry frame. */
static void find_reentry(void) {
    int32_t known = tm_v8.entry_exit_fp, field = 0;
    tm_v8.entry_exit_fp = 0;
    if (collect_from_isolate() < 0) return;
    bool lead = !frames[0].pc && native_frames_lead_to(frames[0].fp);
    tm_v8.frame_pointers = lead && (!known || tm_v8.frame_pointers);
    const uint64_t *entry = last_entry();
    if (!entry) return;
    for (int slot = -2; slot >= -16 && !field; slot--)
        if (leads_on(entry[slot], entry)) field = 8 * slot;
    if (!field || (known && known != field)) return;
    tm_v8.entry_exit_fp = field;
    const uint64_t *outermost = entry;
    for (uint64_t next = entry[field / 8]; next > (uint64_t)outermost && above_probe(next); next = outermost[field / 8]) {
        collect((const uint64_t *)next, 0);
        if (!last_entry()) break;
        outermost = last_entry();
    }
    uint64_t words[ISOLATE_BYTES / 8];
    if (tm_read(isolate_now(), words, sizeof words))
        for (int i = 0; i < ISOLATE_BYTES / 8 && !tm_v8.isolate_entry_sp; i++)
            if (words[i] == (uint64_t)outermost) tm_v8.isolate_entry_sp = 8 * i;
    perturb();
    if (known) tm_v8_levels |= TM_V8_REENTRY;
}

/* ---- step 7: compiled code ---- */

#define CODE_WORDS 16

#define KIND_OF_BASELINE 1 /* until the number is known, which is larger */

static int32_t code_start; /* in the Code: address of the first instruction */

/* InstructionStream and Code point to each other, and the Code knows where the instructions begin. */
static bool find_code(uintptr_t pc, uintptr_t *stream, tm_tagged *code) {
    tm_code_region region;
    if (!tm_code_region_of(pc, &region) || region.kind != TM_CODE_GENERATED) return false;
    for (uintptr_t start = pc & ~63ul; pc - start < 65536 && start >= region.low + 64; start -= 64) {
        uint64_t words[8];
        if (!tm_read(start - 64, words, sizeof words)) return false;
        for (int header = 2; header <= 8; header++)
            for (int field = 1; field < header && field < 4; field++) {
                tm_tagged candidate = words[8 - header + field];
                if (!tm_is_object(words[8 - header]) || !tm_is_object(candidate)) continue;
                uint64_t c[CODE_WORDS];
                read_words(candidate, c, CODE_WORDS);
                int back = 0, begin = 0;
                for (int i = 1; i < CODE_WORDS; i++) {
                    if (c[i] == start - 8 * (uint64_t)header + 1) back = 8 * i;
                    if (c[i] == start) begin = 8 * i;
                }
                if (!back || !begin) continue;
                tm_v8.stream_header = 8 * header;
                tm_v8.stream_code = 8 * field;
                tm_v8.code_stream = back;
                code_start = begin;
                tm_v8.type_code = tm_v8_type(candidate);
                *stream = start - 8 * (uint64_t)header;
                *code = candidate;
                return true;
            }
    }
    return false;
}

/* What was seen of the numbers in a Code, to tell the field that holds its kind. */
typedef struct code_seen {
    uint32_t words[2 * CODE_WORDS];
    bool baseline;
} code_seen;

static code_seen seen[64];
static int seen_count;
static uintptr_t seen_pcs[128];
static int seen_pc_count;

/* All code of one tier has one kind, the optimising tiers have the next two; one field only may show that. */
static void find_kind(void) {
    int fitting = 0;
    int32_t found = 0, found_baseline = 0;
    for (int i = 8; i < 2 * CODE_WORDS; i++) {
        int32_t field = 4 * i, baseline = -1;
        if (field >= code_start && field < code_start + 8) continue;
        bool fit = true, optimised = false;
        for (int k = 0; k < seen_count && fit; k++) {
            int32_t kind = (int32_t)(seen[k].words[i] & 15);
            if (!seen[k].baseline) {
                /* Without baseline code the smaller of the two is Maglev's. */
                if (state.no_baseline && (baseline < 0 || kind <= baseline)) baseline = kind - 1;
                continue;
            }
            fit = (baseline < 0 || baseline == kind) && kind >= 8 && kind <= 12;
            baseline = kind;
        }
        bool both[2] = {false, false};
        for (int k = 0; k < seen_count && fit; k++) {
            if (seen[k].baseline) continue;
            int32_t kind = (int32_t)(seen[k].words[i] & 15);
            fit = kind == baseline + 1 || kind == baseline + 2;
            both[kind == baseline + 2] = true;
            optimised = true;
        }
        if (!fit || !optimised || baseline < 8 - state.no_baseline) continue;
        if (state.no_baseline && (!both[0] || !both[1])) continue;
        fitting++;
        found = field;
        found_baseline = baseline;
    }
    if (fitting != 1) return;
    tm_v8.code_flags = found;
    tm_v8.kind_baseline = found_baseline;
    tm_v8.kind_maglev = found_baseline + 1;
    tm_v8.kind_turbofan = found_baseline + 2;
}

static bool sum_of_table(tm_tagged table, uint64_t *sum) {
    tm_bytes bytes;
    if (tm_v8_type(table) != tm_v8.type_bytes || !tm_v8_bytes(table, &bytes)) return false;
    uint64_t value = 0;
    int shift = 0;
    *sum = 0;
    for (uint64_t i = 0; i < bytes.length; i++) {
        value |= (uint64_t)(bytes.data[i] & 127) << shift;
        shift += 7;
        if (bytes.data[i] & 128) {
            if (shift > 56) return false;
            continue;
        }
        *sum += value;
        value = 0;
        shift = 0;
    }
    return true;
}

/* Compiled code is decoded before its level is reached. */
static verdict verify_in(bool twice, int index, uint32_t *tiers) {
    uint32_t before = tm_v8_levels;
    *tiers = 0;
    tm_v8_levels |= TM_V8_BASELINE | TM_V8_MAGLEV | TM_V8_TURBOFAN;
    verdict result = tm_v8.stream_header && tm_v8.kind_baseline ? verify(index, twice, tiers) : UNKNOWN;
    tm_v8_levels = before;
    return result;
}

static verdict verify_compiled(int index, uint32_t *tiers) { return verify_in(true, index, tiers); }

static bool is_right(int index) {
    uint32_t tiers;
    return verify_compiled(index, &tiers) == RIGHT;
}

static void find_baseline(int index, tm_tagged code, uint64_t pc_offset, const uint64_t *c) {
    tm_tagged bytecode = tm_v8_slot(frames[index].fp, tm_v8.frame_bytecode);
    for (int i = 1; i < CODE_WORDS; i++)
        if (c[i] == bytecode) tm_v8.code_data = 8 * i;
    for (int i = 1; i < CODE_WORDS; i++) {
        uint64_t sum;
        if (8 * i == tm_v8.code_data || !tm_is_object(c[i]) || !sum_of_table(c[i], &sum) || sum < pc_offset) continue;
        tm_v8.code_positions = 8 * i;
        /* The table covers the instructions up to their padding. */
        for (int32_t field = 32; field < 8 * CODE_WORDS; field += 4) {
            uint32_t size = tm_read32((code & ~3ull) + (uint64_t)field);
            if (size >= sum && size - sum < 64) {
                tm_v8.code_size = field;
                break;
            }
        }
        if (!tm_v8.kind_baseline) tm_v8.kind_baseline = KIND_OF_BASELINE;
        perturb();
        if (tm_v8.code_size && is_right(index)) return;
    }
}

/* Deoptimisation data: an array with the inlining positions and the literals that they number functions in. */
static void find_inlining(uint64_t raw, const uint64_t *c) {
    int32_t inlining = tm_position_inlining(raw);
    for (int i = 1; i < CODE_WORDS; i++) {
        if (8 * i == tm_v8.code_positions || !tm_is_object(c[i])) continue;
        uint64_t length = tm_v8_bytes_length(tm_v8_field(c[i], 8));
        if (length < 8 || length > 4096) continue;
        uint64_t words[18];
        read_words(c[i], words, 18);
        for (int x = 0; x < 16 && x < (int)length; x++) {
            struct {
                uint64_t raw;
                int32_t function;
            } call;
            tm_tagged rows = words[2 + x];
            if (!tm_is_object(rows)) continue;
            uint64_t bytes = tm_v8_bytes_length(tm_v8_field(rows, 8));
            if (bytes < 16 * ((uint64_t)inlining + 1) || bytes % 16) continue;
            if (!tm_read((rows & ~3ull) + TM_V8_BYTES_START + 16 * (uint64_t)inlining, &call, 12)) continue;
            if (tm_position_offset(call.raw) != state.spec.position[B] || call.function < 0 || call.function > 4096) continue;
            for (int y = 0; y < 16 && y < (int)length; y++) {
                tm_tagged literals = words[2 + y];
                if (y == x || !tm_is_object(literals)) continue;
                tm_tagged shared = tm_read64((literals & ~3ull) + 16 + 8 * (uint64_t)call.function) | 1;
                if (tm_v8_type(shared) != tm_v8.type_shared || function_of(shared) != A) continue;
                tm_v8.code_data = 8 * i;
                tm_v8.deopt_inlining = x;
                tm_v8.deopt_literals = y;
                return;
            }
        }
    }
}

static bool position_at(tm_tagged at_positions, uint64_t pc_offset, uint64_t *raw) {
    tm_bytes table;
    return tm_v8_type(at_positions) == tm_v8.type_bytes && tm_v8_bytes(at_positions, &table) &&
           tm_v8_position(&table, (int64_t)pc_offset - 1, false, tm_v8.positions_shift, raw);
}

/* Where there is no baseline code: the table that has the call of the frame's function, or of what is inlined into it. */
static void find_positions(int index, uint64_t pc_offset, const uint64_t *c) {
    int q = function_of(tm_v8_frame_shared(frames[index].fp));
    for (int i = 1; i < CODE_WORDS && !tm_v8.code_positions; i++) {
        uint64_t raw;
        if (!tm_is_object(c[i]) || !position_at(c[i], pc_offset, &raw)) continue;
        int at_call = tm_position_inlining(raw) < 0 ? q : A;
        if (at_call >= 0 && tm_position_offset(raw) == state.spec.position[at_call]) tm_v8.code_positions = 8 * i;
    }
}

/* And the size of the instructions: behind them Maglev's code has what its calls are known by. */
static void find_size(int index, uint64_t pc_offset, const uint64_t *c) {
    for (int32_t field = 32; field < 8 * CODE_WORDS && tm_v8.code_flags; field += 4) {
        uint32_t size;
        memcpy(&size, (const char *)c + field, sizeof size);
        if (size < pc_offset || size > 1u << 20 || field == tm_v8.code_flags) continue;
        tm_v8.code_size = field;
        if (is_right(index)) return;
    }
    tm_v8.code_size = 0;
}

static void find_optimised(int index, uint64_t pc_offset, const uint64_t *c) {
    if (state.no_baseline && !tm_v8.code_positions) find_positions(index, pc_offset, c);
    if (!tm_v8.code_positions) return; /* wait for baseline code: it shows the fields */
    uint64_t raw;
    find_kind();
    if (position_at(c[tm_v8.code_positions / 8], pc_offset, &raw) && tm_position_inlining(raw) >= 0) find_inlining(raw, c);
    if (state.no_baseline && !tm_v8.code_size && !is_right(index)) find_size(index, pc_offset, c);
    perturb();
}

static void find_compiled(int index) {
    uintptr_t stream;
    tm_tagged code;
    if (!find_code(frames[index].pc, &stream, &code)) return;
    uint64_t pc_offset = frames[index].pc - (stream + (uintptr_t)tm_v8.stream_header);
    uint64_t c[CODE_WORDS];
    read_words(code, c, CODE_WORDS);
    perturb();
    tm_tagged bytecode = tm_v8_slot(frames[index].fp, tm_v8.frame_bytecode);
    bool is_baseline = false;
    for (int i = 1; i < CODE_WORDS; i++) is_baseline |= tm_is_object(bytecode) && c[i] == bytecode && tm_v8_type(bytecode) == tm_v8.type_bytecode;
    if (seen_count < (int)(sizeof seen / sizeof *seen)) {
        memcpy(seen[seen_count].words, c, sizeof seen[0].words);
        seen[seen_count++].baseline = is_baseline;
    }
    if (!is_baseline) find_optimised(index, pc_offset, c);
    else if (tm_v8_bytecode_sizes) find_baseline(index, code, pc_offset, c);
}

static uint32_t tiers_of(uint32_t levels) {
    return (levels & TM_V8_BASELINE ? TM_TIER_BASELINE : 0) | (levels & TM_V8_MAGLEV ? TM_TIER_MAGLEV : 0) |
           (levels & TM_V8_TURBOFAN ? TM_TIER_TURBOFAN : 0);
}

/* A level is reached when code of its tier is right at two places; what was found at one of them was found there alone. */
static void reach(uint32_t tiers, uintptr_t pc) {
    static const uint32_t TIERS[] = {TM_TIER_BASELINE, TM_TIER_MAGLEV, TM_TIER_TURBOFAN};
    static const uint32_t LEVELS[] = {TM_V8_BASELINE, TM_V8_MAGLEV, TM_V8_TURBOFAN};
    for (unsigned i = 0; i < sizeof LEVELS / sizeof *LEVELS; i++) {
        if (!(tiers & TIERS[i])) continue;
        if (state.right_at[i] && state.right_at[i] != pc) tm_v8_levels |= LEVELS[i];
        state.right_at[i] = pc;
    }
    if (tiers & TM_TIER_INLINED) tm_v8_levels |= TM_V8_INLINING;
}

/* The first frames of a tier show where things are, and the others whether that is so. */
static void look_at_compiled(int index) {
    uint32_t tiers;
    verdict found = verify_compiled(index, &tiers);
    if (found == WRONG && tiers_of(tm_v8_levels) & tiers) {
        fail("compiled code: the walker disagrees");
        return;
    }
    if (found != RIGHT) {
        find_compiled(index);
        found = verify_compiled(index, &tiers);
    }
    if (found == RIGHT) reach(tiers, frames[index].pc);
    tm_scratch_reset();
}

/*
 * A direct call from compiled code to C leaves the frame and the return address in the isolate, side by side. The frame
 * becomes frames[0].
 */
static bool find_fast_call(void) {
    uint64_t words[ISOLATE_BYTES / 8];
    if (!tm_v8.stream_header || !tm_read(isolate_now(), words, sizeof words)) return false;
    for (int i = 1; i < ISOLATE_BYTES / 8 - 1; i++) {
        if (!above_probe(words[i])) continue;
        for (int k = i - 1; k <= i + 1; k += 2) {
            if (!tm_v8_find_stream(words[k])) continue;
            collect((const uint64_t *)words[i], words[k]);
            if (!is_calibration(0)) continue;
            tm_v8.isolate_fast_fp = 8 * i;
            tm_v8.isolate_fast_pc = 8 * k;
            perturb();
            return true;
        }
    }
    return false;
}

static uintptr_t known_pcs[256]; /* see anything_new() */
static unsigned known_pc_count;

static void compiled_step(void) {
    uint32_t before = tm_v8_levels;
    uint32_t tiers;
    int first = collect_from_isolate();
    /* Found at one call, used at another. Where code cannot be left at such a call, nothing but its table knows of it. */
    if (first == 0 && frames[0].pc && tm_v8_levels & TM_V8_TURBOFAN && verify_in(false, 0, &tiers) == RIGHT)
        tm_v8_levels |= TM_V8_FAST_CALL;
    if (first < 0 && !find_fast_call()) return;
    if (first < 0) first = 0;
    for (int i = first; i < frame_count; i++) {
        if (!is_calibration(i)) continue;
        uintptr_t pc = frames[i].pc;
        bool known = false;
        for (int k = 0; k < seen_pc_count && !known; k++) known = seen_pcs[k] == pc;
        if (known || is_interpreter_return(pc)) continue;
        if (seen_pc_count == (int)(sizeof seen_pcs / sizeof *seen_pcs)) seen_pc_count = 0;
        seen_pcs[seen_pc_count++] = pc;
        look_at_compiled(i);
    }
    /* What one tier showed may explain code that was seen before. */
    if (tm_v8_levels != before) seen_pc_count = known_pc_count = 0;
}

/* Cheap when nothing on the stack is new: this is called thousands of times while code gets hot. */
static bool anything_new(void) {
    uint64_t isolate = isolate_now(), exit_fp = *(const uint64_t *)(isolate + (uint64_t)tm_v8.isolate_exit_fp);
    uint64_t fast_fp = tm_v8.isolate_fast_fp ? *(const uint64_t *)(isolate + (uint64_t)tm_v8.isolate_fast_fp) : 0;
    bool fresh = false, fast = above_probe(fast_fp) && (!above_probe(exit_fp) || fast_fp < exit_fp);
    if (!fast && !above_probe(exit_fp)) return true; /* a direct call, seen for the first time */
    const uint64_t *fp = (const uint64_t *)(fast ? fast_fp : exit_fp);
    uintptr_t pc = fast ? *(const uint64_t *)(isolate + (uint64_t)tm_v8.isolate_fast_pc) : 0;
    for (int i = 0; i < 8; i++) {
        bool found = pc == 0;
        for (unsigned k = 0; k < known_pc_count && !found; k++) found = known_pcs[k] == pc;
        if (!found) {
            if (known_pc_count == sizeof known_pcs / sizeof *known_pcs) known_pc_count = 0;
            known_pcs[known_pc_count++] = pc;
            fresh = true;
        }
        if (fp[0] <= (uint64_t)fp || !above_probe(fp[0])) break;
        pc = fp[1];
        fp = (const uint64_t *)fp[0];
    }
    return fresh;
}

/* ---- step 8: is it right for the second scripts, which were not there when it was found? ---- */

/* The frames of the walker as it is when the program runs: D, if it is there, A, B, C. */
static bool walker_is_right(tm_thread *self, bool compiled) {
    uint32_t *found, count;
    if (tm_v8_walk(self, probe_fp, 16, &found, &count) != TM_V8_WALKED) return false;
    static const int ORDER[] = {D, A, B, C};
    for (uint32_t i = 0, q = compiled ? 1 : 0; q < FUNCTIONS; i++, q++) {
        if (i == count) return false;
        tm_frame_row row = tm_frame_rows()[found[i]];
        /* An unknown frame stands for all functions that were inlined into it. */
        if (row.kind != TM_FRAME_SCRIPT || !row.line) return compiled;
        const char *name = ORDER[q] == D ? state.spec.source_url : state.spec.file[0];
        if (tm_script_at(row.owner)->url != tm_string(name, strlen(name))) return false;
        if (row.line != (uint32_t)state.spec.line[ORDER[q]] || row.column != (uint32_t)state.spec.column[ORDER[q]]) return false;
    }
    return true;
}

static bool entry_holds(void) {
    uint64_t entry = tm_v8.isolate_entry_sp ? tm_read64(isolate_now() + (uint64_t)tm_v8.isolate_entry_sp) : 0;
    if (!tm_v8.isolate_entry_sp) return true;
    return above_probe(entry) && TM_V8_IS_ENTRY((const uint64_t *)entry) && !tm_v8_slot((const uint64_t *)entry, tm_v8.entry_exit_fp);
}

static void check(tm_thread *self, bool compiled) {
    if (!is_isolate(isolate_now(), tm_v8.isolate_exit_fp)) {
        fail("check: the thread's isolate is another");
    } else if (!entry_holds()) {
        fail("check: the isolate's record of the outermost frame leads elsewhere");
    } else if (collect_from_isolate() < 0 && !compiled) {
        fail("check: the isolate's record of frames leads elsewhere");
    } else if (!state.checked && !identities_hold()) {
        fail("check: functions and scripts are not told apart");
    } else {
        state.checked = walker_is_right(self, compiled);
        if (!state.checked) fail(compiled ? "check: the walker disagrees in compiled code" : "check: the walker disagrees");
    }
}

/* ---- step 9: where code from eval comes from ---- */

/*
 * Called from code that was made by a call at the position, of eval itself or of the constructor of functions. Found at the
 * first call, to be so at all others, or it is not used: names of such code then say less.
 */
static void find_origin(int32_t position) {
    collect_from_isolate();
    int code = 0, caller;
    while (code < frame_count && !script_of(code)) code++;
    for (caller = code + 1; caller < frame_count; caller++)
        if (script_of(caller) && script_of(caller) != script_of(code)) break;
    if (caller >= frame_count) return;
    tm_tagged script = script_of(code), shared = tm_v8_frame_shared(frames[caller].fp);
    uint64_t words[SCRIPT_WORDS];
    read_words(script, words, SCRIPT_WORDS);
    int32_t by = 0, at = 0;
    for (int i = 1; i < SCRIPT_WORDS; i++) {
        if (tm_is_object(words[i]) && tm_v8_forward(words[i]) == shared) by = by ? -1 : 8 * i;
        if (tm_is_smi(words[i]) && words[i] && tm_v8_eval_position(shared, words[i]) == position) at = at ? -1 : 8 * i;
    }
    if (!state.origins++) {
        tm_v8.script_eval_shared = by < 0 ? 0 : by;
        tm_v8.script_eval_position = at < 0 ? 0 : at;
        perturb();
    }
    state.origins_hold += by > 0 && at > 0 && by == tm_v8.script_eval_shared && at == tm_v8.script_eval_position;
}

/* ---- options that V8 was started with: some tiers may not be there, whatever is waited for ---- */

/* "--no-maglev", "--nomaglev" and "--no_maglev" are the same to V8. */
static int32_t option_in(const char *list, const char *name) {
    int32_t result = 0;
    while (*list) {
        size_t length = strcspn(list, ", ");
        const char *at = list, *end = list + length;
        while (at < end && *at == '-') at++;
        for (int opposite = 0; opposite < 2; opposite++) {
            size_t k = 0;
            while (at + k < end && name[k] && (at[k] == name[k] || (at[k] == '_' && name[k] == '-'))) k++;
            if (at + k == end && !name[k]) result = opposite ? -1 : 1;
            if (end - at < 2 || at[0] != 'n' || at[1] != 'o') break;
            at += end - at > 2 && (at[2] == '-' || at[2] == '_') ? 3 : 2;
        }
        list = end + strspn(end, ", ");
    }
    return result;
}

/* What a string gives V8 by a name before it: Deno's variable and argument, and Node's variable. */
static int32_t option_after(const char *text, const char *prefix, const char *name) {
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) ? 0 : option_in(text + length, name);
}

int32_t tracemalloc_v8_option(const char *name) {
    size_t room = 1ul << 20;
    char *text = os_map(room);
    if (!text) return 0;
    int32_t result = 0, found;
    size_t bytes = os_initial_environment(text, room - 1);
    for (size_t at = 0; at < bytes; at += strlen(text + at) + 1)
        if ((found = option_after(text + at, "DENO_V8_FLAGS=", name)) || (found = option_after(text + at, "NODE_OPTIONS=", name)))
            result = found;
    memset(text, 0, room);
    bytes = os_initial_arguments(text, room - 1);
    /* Node takes V8's options as its own, before what it runs. */
    bool before_script = true;
    for (size_t at = strlen(text) + 1; at < bytes; at += strlen(text + at) + 1) {
        before_script = before_script && text[at] == '-';
        if ((found = option_after(text + at, "--v8-flags=", name)) || (before_script && (found = option_in(text + at, name))))
            result = found;
    }
    os_unmap(text, room);
    return result;
}

/* ---- what is exported ---- */

static bool begin_exclusively(void) {
    uintptr_t nobody = 0;
    return __atomic_compare_exchange_n(&calibrating, &nobody, os_thread_pointer(), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

int32_t tracemalloc_v8_begin(const tm_v8_spec *spec) {
    tm_thread *self = tm_hide_begin();
    int32_t result = TM_OK;
    if (!self || !tm_traces_init() || !tm_v8_thread_of(self)) {
        result = TM_ERROR_NO_MEMORY;
    } else if (tm_v8_ready) {
        result = TM_ERROR_STATE;
    } else if (!begin_exclusively()) {
        result = TM_ERROR_BUSY;
    } else {
        memset(&state, 0, sizeof state);
        state.spec = *spec;
        state.running = true;
        state.no_baseline = tracemalloc_v8_option("sparkplug") < 0;
        tm_v8_levels = 0;
        report_length = 0;
        report[0] = 0;
        anchor_rounds = anchor_count = seen_count = seen_pc_count = 0;
        known_pc_count = 0;
    }
    tm_hide_end(self);
    return result;
}

int32_t tracemalloc_v8_check(const tm_v8_spec *other) {
    if (!state.running || calibrating != os_thread_pointer()) return TM_ERROR_STATE;
    state.spec = *other;
    state.checking = true;
    return TM_OK;
}

int32_t tracemalloc_v8_probe(int32_t step) {
    tm_thread *self = tm_hide_begin();
    if (!self) return TM_ERROR_STATE;
    if (state.running && !state.failed) {
        probe_fp = __builtin_frame_address(0);
        tm_scratch_reset();
        if (step == 0 && !tm_v8_levels) first_step();
        else if (step == 1 && tm_v8_levels) find_anchors();
        else if (step == 2 && tm_v8_levels & TM_V8_ANCHORS) find_reentry();
        else if (step == 3 && tm_v8_levels & TM_V8_ANCHORS && anything_new()) compiled_step();
        else if ((step & 15) == 7 && tm_v8_levels & TM_V8_ANCHORS) find_origin(step >> 4);
        else if (step >= 5 && state.checking && tm_v8_levels & TM_V8_REENTRY) check(self, step == 6);
    }
    int32_t result = !state.running ? TM_ERROR_STATE
                     : state.failed ? TM_ERROR_CALIBRATION
                     : state.no_positions ? TM_ERROR_POSITIONS
                                          : (int32_t)tm_v8_levels;
    tm_hide_end(self);
    return result;
}

int32_t tracemalloc_v8_end(int32_t accept) {
    if (!state.running || calibrating != os_thread_pointer()) return TM_ERROR_STATE;
    state.running = false;
    if (state.no_positions) fail("positions: none are kept of these functions");
    uint32_t needed = TM_V8_FRAMES | TM_V8_ANCHORS | TM_V8_REENTRY;
    if (!(tm_v8_levels & TM_V8_FAST_CALL)) tm_v8.isolate_fast_fp = tm_v8.isolate_fast_pc = 0;
    if (state.origins < 3 || state.origins_hold < state.origins) tm_v8.script_eval_shared = tm_v8.script_eval_position = 0;
    if (!tiers_of(tm_v8_levels)) tm_v8.stream_header = 0; /* nothing of compiled code is known to be right */
    bool usable = accept && state.checked && !state.failed && (tm_v8_levels & needed) == needed;
#define SAY(name) say("%s %d\n", #name, tm_v8.name);
    if (usable) {
        static const char *const LEVELS[] = {"frames", "anchors", "reentry", "baseline", "maglev", "turbofan", "inlining", "fast-call"};
        say("levels");
        for (unsigned i = 0; i < sizeof LEVELS / sizeof *LEVELS; i++)
            if (tm_v8_levels >> i & 1) say(" %s", LEVELS[i]);
        say("\n");
        tm_v8_profiled = accept == TM_V8_ACCEPT_PROFILED;
        tm_v8_objects_placed = tracemalloc_v8_option("turbo-allocation-folding") < 0 &&
                               tracemalloc_v8_option("max-inlined-bytecode-size-small=460") > 0;
        say("positions %s\n", accept == TM_V8_ACCEPT_PROFILED ? "profiler" : "kept");
        TM_V8_LAYOUT(SAY)
    }
#undef SAY
    if (usable) tm_tasks_prepare();
    bool tracing = tm_here.gate != TM_GATE_OFF;
    tm_gate_close();
    tm_v8_ready = usable;
    tm_steady_change();
    if (tm_self && tm_self->v8) tm_self->v8->isolate = 0; /* forgets what was decoded before all was known */
    tm_gate_open(tracing);
    __atomic_store_n(&calibrating, 0, __ATOMIC_RELEASE);
    return usable ? TM_OK : TM_ERROR_CALIBRATION;
}

int32_t tracemalloc_v8_report(char *out, int32_t size) {
    int32_t length = report_length < size ? report_length : size - 1;
    memcpy(out, report, (size_t)length);
    out[length] = 0;
    return length;
}

int32_t tracemalloc_v8_frames(uint32_t *out, int32_t most) {
    const uint64_t *fp = __builtin_frame_address(0);
    if (!tm_v8_ready || most < 1) return TM_ERROR_STATE;
    tm_thread *self = tm_hide_begin();
    if (!self) return TM_ERROR_STATE;
    uint32_t *found, count;
    tm_v8_walk(self, fp, (uint32_t)most, &found, &count);
    for (uint32_t i = 0; i < count; i++) {
        tm_frame_row row = tm_frame_rows()[found[i]];
        out[3 * i] = row.kind == TM_FRAME_SCRIPT ? row.line : 0;
        out[3 * i + 1] = row.kind == TM_FRAME_SCRIPT ? row.column : 0;
        out[3 * i + 2] = tm_frame_tiers()[found[i]];
    }
    tm_hide_end(self);
    return (int32_t)count;
}
