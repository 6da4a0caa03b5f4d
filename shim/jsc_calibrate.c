/*
 * Finds how JavaScriptCore lays its frames out, by searching for values that must be there: functions of ours call the
 * shim with themselves and known numbers of arguments, from known depths and places (lib/runtime/jsc.ts).
 * Everything is seen at least twice; what is not there, or not in one place only, is a refusal that says what.
 */
#include "jsc_calibrate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jsc.h"

#define WORDS 64
#define VM_BYTES 4096
#define MOST_CHAIN 200

static char failure[160];
static bool accepted;

static void fail(const char *format, ...) {
    if (*failure) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure, sizeof failure, format, arguments);
    va_end(arguments);
}

static bool is_pointer(uint64_t word) { return word >= 65536 && !(word >> 47) && !(word & 7); }

static bool read_words(uint64_t from, uint64_t *to, size_t count) { return is_pointer(from) && os_read(from, to, 8 * count); }

static bool word_at(uint64_t address, uint64_t *word) { return read_words(address, word, 1); }

/* ---- frames ---- */

/* The frames of the calling thread, the most recent first, as far as they can be followed. */
typedef struct chain {
    uint64_t fp[MOST_CHAIN];
    uint32_t count;
} chain;

static void follow(const uint64_t *fp, uintptr_t high, chain *chain) {
    chain->count = 0;
    for (uint64_t at = (uint64_t)fp; chain->count < MOST_CHAIN && at <= high - 128 && !(at & 7);) {
        chain->fp[chain->count++] = at;
        uint64_t next = *(const uint64_t *)at;
        if (next <= at) break;
        at = next;
    }
}

static uint64_t slot(uint64_t fp, int32_t offset) { return *(const uint64_t *)(fp + (uint64_t)offset); }

static uint32_t low_half(uint64_t word) { return (uint32_t)word; }

/* What the native function's caller and that one's own are, and how many arguments each was given, with `this`. */
enum { NATIVE_COUNT = 8, INNER_COUNT = 4, OUTER_COUNT = 3 };

#define FRAME_SLOTS 9

static void find_frames(const uint64_t *arguments, const chain *chain) {
    int solutions = 0;
    uint32_t native = 0;
    for (uint32_t i = 0; i + 2 < chain->count; i++)
        for (int32_t n = 16; n < 8 * FRAME_SLOTS; n += 8) {
            if (low_half(slot(chain->fp[i], n)) != NATIVE_COUNT || low_half(slot(chain->fp[i + 1], n)) != INNER_COUNT ||
                low_half(slot(chain->fp[i + 2], n)) != OUTER_COUNT)
                continue;
            for (int32_t c = 16; c < 8 * FRAME_SLOTS; c += 8)
                if (slot(chain->fp[i + 1], c) == arguments[1] && slot(chain->fp[i + 2], c) == arguments[2]) {
                    solutions++;
                    native = i;
                    tm_jsc.frame_count = n;
                    tm_jsc.frame_callee = c;
                }
        }
    if (solutions != 1) {
        fail("frames: %d places for the callee and the number of arguments", solutions);
        return;
    }
    solutions = 0;
    uint64_t top = chain->fp[native];
    for (int32_t k = 16; k < 8 * FRAME_SLOTS; k += 8) {
        uint64_t inner = slot(chain->fp[native + 1], k), outer = slot(chain->fp[native + 2], k);
        uint64_t inner_head[WORDS], outer_head[WORDS];
        if (k == tm_jsc.frame_callee || k == tm_jsc.frame_count || slot(top, k) || inner == outer) continue;
        if (!read_words(inner & ~(TM_JSC_BLOCK - 1), inner_head, WORDS) || !read_words(outer & ~(TM_JSC_BLOCK - 1), outer_head, WORDS)) continue;
        for (int32_t w = 0; w < WORDS; w++) {
            uint64_t vm[WORDS];
            if (inner_head[w] != outer_head[w] || !read_words(inner_head[w], vm, WORDS)) continue;
            for (int32_t o = 0; o < WORDS; o++) {
                if (vm[o] != top) continue;
                solutions++;
                tm_jsc.frame_code = k;
                tm_jsc.block_vm = 8 * w;
                tm_jsc.vm_top = 8 * o;
            }
        }
    }
    if (solutions != 1) fail("frames: %d places for the code block, the VM and its top frame", solutions);
}

/* The VM by what is known of frames. */
static uintptr_t vm_of(const chain *chain) {
    for (uint32_t i = 0; i + 1 < chain->count && tm_jsc.vm_top; i++) {
        uint64_t code = slot(chain->fp[i + 1], tm_jsc.frame_code), vm, top;
        if (slot(chain->fp[i], tm_jsc.frame_code) || code & 15) continue;
        if (!word_at((code & ~(TM_JSC_BLOCK - 1)) + (uint64_t)tm_jsc.block_vm, &vm)) continue;
        if (word_at(vm + (uint64_t)tm_jsc.vm_top, &top) && top == chain->fp[i]) return vm;
    }
    return 0;
}

uintptr_t tm_jsc_vm_of_caller(const uint64_t *fp, uintptr_t stack_high) {
    chain chain;
    follow(fp, stack_high, &chain);
    return vm_of(&chain);
}

/* The same once more with other functions: all must be where it was. */
static void verify_frames(const uint64_t *arguments, const chain *chain, uintptr_t vm) {
    uint64_t top = 0;
    if (!vm || !word_at(vm + (uint64_t)tm_jsc.vm_top, &top)) fail("frames: not found again");
    if (*failure) return;
    uint64_t inner = slot(top, 0), outer = slot(inner, 0);
    if (slot(inner, tm_jsc.frame_callee) != arguments[1] || slot(outer, tm_jsc.frame_callee) != arguments[2] ||
        low_half(slot(top, tm_jsc.frame_count)) != NATIVE_COUNT || low_half(slot(inner, tm_jsc.frame_count)) != INNER_COUNT ||
        low_half(slot(outer, tm_jsc.frame_count)) != OUTER_COUNT) {
        fail("frames: other functions' are laid out in another way");
        return;
    }
    uint64_t a[WORDS], b[WORDS];
    int32_t found = 0;
    if (read_words(slot(inner, tm_jsc.frame_code), a, WORDS) && read_words(slot(outer, tm_jsc.frame_code), b, WORDS))
        for (int32_t w = WORDS - 1; w > 0; w--)
            if (a[w] == vm && b[w] == vm) found = 8 * w;
    if (!found) fail("code blocks: their VM was not found");
    if (tm_jsc.code_vm && tm_jsc.code_vm != found) fail("code blocks: their VM was found elsewhere the second time");
    tm_jsc.code_vm = found;
    (void)chain;
}

/* ---- entries ---- */

static uint64_t outer_vm[WORDS];
static uint32_t entries_seen;

static void before_entry(uintptr_t vm) {
    if (!vm || !read_words(vm, outer_vm, WORDS)) fail("entries: the VM could not be read");
}

/* Entered again from native code: the VM's note of the entry has changed, and what it was stands near the new entry's frame. */
static void find_entry(uintptr_t vm, const chain *chain) {
    uint64_t now[WORDS];
    if (*failure) return;
    if (!vm || !read_words(vm, now, WORDS)) {
        fail("entries: the VM was not found below one");
        return;
    }
    uint64_t old_top = outer_vm[tm_jsc.vm_top / 8];
    int solutions = 0;
    tm_jsc_layout was = tm_jsc;
    for (int32_t e = 0; e < WORDS; e++) {
        bool on_chain = false;
        for (uint32_t i = 0; i < chain->count; i++) on_chain |= chain->fp[i] == now[e];
        if (!on_chain || now[e] >= old_top || outer_vm[e] <= old_top || now[e] == now[tm_jsc.vm_top / 8]) continue;
        for (int32_t t = 8; t <= 256; t += 8) {
            if (slot(now[e], -t) != old_top) continue;
            for (int32_t p = 8; p <= 256; p += 8) {
                if (slot(now[e], -p) != outer_vm[e] || p == t) continue;
                solutions++;
                tm_jsc.vm_entry = 8 * e;
                tm_jsc.entry_top = t;
                tm_jsc.entry_entry = p;
            }
        }
    }
    if (solutions != 1) fail("entries: %d places for the record of one", solutions);
    else if (entries_seen++ && (was.vm_entry != tm_jsc.vm_entry || was.entry_top != tm_jsc.entry_top || was.entry_entry != tm_jsc.entry_entry))
        fail("entries: found elsewhere the second time");
}

/* ---- collections ---- */

/* More than that a collection does not count: engines can be told to collect all the time, beside those asked for. */
#define MOST_COLLECTIONS 64

static uint32_t counters[VM_BYTES / 4];
static uint32_t counted[VM_BYTES / 4]; /* since the first; UINT32_MAX: it is no counter of collections */
static uint32_t collections;

static void count_collection(uintptr_t vm, bool first, uint32_t expected) {
    uint32_t now[VM_BYTES / 4];
    if (!vm || !os_read(vm, now, sizeof now)) {
        fail("collections: the VM could not be read");
        return;
    }
    for (uint32_t i = 0; i < VM_BYTES / 4; i++) {
        uint32_t more = now[i] - counters[i];
        if (first) counted[i] = 0;
        else if (counted[i] != UINT32_MAX) counted[i] = more < expected || more > MOST_COLLECTIONS ? UINT32_MAX : counted[i] + more;
    }
    memcpy(counters, now, sizeof counters);
    collections += first ? 0 : expected;
}

/* Those that counted least: where nothing else collects, that is what was asked for. */
static void choose_counters(void) {
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; i < VM_BYTES / 4; i++)
        if (counted[i] < least) least = counted[i];
    tm_jsc.epochs = 0;
    for (int32_t i = 0; i < VM_BYTES / 4 && tm_jsc.epochs < TM_JSC_EPOCHS; i++)
        if (counted[i] == least && least >= collections && least < UINT32_MAX) tm_jsc.vm_epoch[tm_jsc.epochs++] = 4 * i;
    if (collections < 3 || !tm_jsc.epochs) fail("collections: no counter of them was found");
}

/* Collections while code got hot, of which one at least was asked for: many where the engine collects all the time. */
#define MOST_MEANWHILE 65536

/* At the end. What has counted all until now by chance, or begins again, as places in a ring do, is not used. */
static void verify_counters(uintptr_t vm) {
    int32_t kept = 0;
    for (int32_t i = 0; i < tm_jsc.epochs; i++) {
        int32_t at = tm_jsc.vm_epoch[i];
        uint32_t now, more;
        bool had = at >= 0 && at < VM_BYTES && vm && os_read(vm + (uintptr_t)at, &now, 4);
        more = had ? now - counters[at / 4] : 0;
        if (more && more <= MOST_MEANWHILE) tm_jsc.vm_epoch[kept++] = at;
    }
    tm_jsc.epochs = kept;
    if (!kept) fail("collections: no counter did count the last");
}

/* ---- code ---- */

#define MOST_CODES 8

static struct code {
    uint64_t code;
    uint32_t index;
    uint32_t text_length;
} cold[MOST_CODES];
static uint32_t cold_count;

static void caller_of(uintptr_t vm, uint64_t *code, uint32_t *index) {
    uint64_t top = 0;
    *code = *index = 0;
    if (!vm || !word_at(vm + (uint64_t)tm_jsc.vm_top, &top)) return;
    uint64_t caller = slot(top, 0);
    *code = slot(caller, tm_jsc.frame_code);
    *index = (uint32_t)(slot(caller, tm_jsc.frame_count) >> 32);
}

/* Functions of different length, each at its end: what is as much behind the call site in all of them is the length. */
static void note_cold(uintptr_t vm, uint32_t text_length) {
    if (cold_count == MOST_CODES) return;
    struct code *c = &cold[cold_count];
    caller_of(vm, &c->code, &c->index);
    c->text_length = text_length;
    if (is_pointer(c->code)) cold_count++;
}

static bool stream_length(uint64_t code, int32_t unlinked, int32_t stream, int32_t bytes, uint32_t *length) {
    uint64_t word;
    if (!word_at(code + (uint64_t)unlinked, &word) || !word_at(word + (uint64_t)stream, &word)) return false;
    return is_pointer(word) && os_read(word + (uint64_t)bytes, length, 4);
}

static void find_stream(void) {
    if (cold_count < 4) fail("code: too little was seen");
    for (uint32_t i = 1; i < cold_count; i++)
        if (cold[i].index <= cold[i - 1].index) fail("code: call sites are not numbered as expected");
    if (*failure) return;
    for (int32_t u = 8; u < 8 * 32; u += 8)
        for (int32_t s = 8; s < 8 * 40; s += 8)
            for (int32_t b = 0; b < 32; b += 4) {
                uint32_t length, gap = 0, i = 0;
                for (; i < cold_count; i++) {
                    if (!stream_length(cold[i].code, u, s, b, &length) || length <= cold[i].index) break;
                    uint32_t behind = length - cold[i].index;
                    if (behind > 96 || (gap && behind != gap)) break;
                    gap = behind;
                }
                if (i < cold_count) continue;
                /* A vector's capacity and its size are alike and side by side; the size is the latter. */
                uint32_t next;
                tm_jsc.code_unlinked = u;
                tm_jsc.unlinked_stream = s;
                tm_jsc.stream_bytes = b + (stream_length(cold[0].code, u, s, b + 4, &next) && next - cold[0].index == gap ? 4 : 0);
                return;
            }
    fail("code: the length of its instructions was not found");
}

static bool is_text(uint64_t text, uint32_t expected) {
    uint32_t length;
    uint64_t characters;
    char begin[sizeof TM_JSC_TEXT - 1];
    if (!is_pointer(text) || !os_read(text + 4, &length, 4) || length != expected || !word_at(text + 8, &characters)) return false;
    return characters >= 65536 && !(characters >> 47) && os_read(characters, begin, sizeof begin) && !memcmp(begin, TM_JSC_TEXT, sizeof begin);
}

static bool leads_to_text(const struct code *code, int32_t o, int32_t p, int32_t t) {
    uint64_t owner, provider, text;
    return word_at(code->code + (uint64_t)o, &owner) && word_at(owner + (uint64_t)p, &provider) && word_at(provider + (uint64_t)t, &text) &&
           is_text(text, code->text_length);
}

#define NEAR 32 /* words */

static void find_text(void) {
    uint64_t code[NEAR], owner[NEAR], provider[NEAR];
    if (!read_words(cold[0].code, code, NEAR)) return;
    for (int32_t o = 1; o < NEAR; o++) {
        if (!read_words(code[o], owner, NEAR)) continue;
        for (int32_t p = 1; p < NEAR; p++) {
            if (!read_words(owner[p], provider, NEAR)) continue;
            for (int32_t t = 1; t < NEAR; t++) {
                uint32_t i = 0;
                while (is_text(provider[t], cold[0].text_length) && i < cold_count && leads_to_text(&cold[i], 8 * o, 8 * p, 8 * t)) i++;
                if (i < cold_count) continue;
                tm_jsc.code_owner = 8 * o;
                tm_jsc.owner_provider = 8 * p;
                tm_jsc.provider_text = 8 * t;
                tm_jsc.text_class = provider[0];
                return;
            }
        }
    }
}

/* Again, it must be where it was. */
static void find_code(void) {
    tm_jsc_layout was = tm_jsc;
    tm_jsc.code_unlinked = tm_jsc.unlinked_stream = tm_jsc.stream_bytes = 0;
    tm_jsc.code_owner = tm_jsc.owner_provider = tm_jsc.provider_text = 0;
    find_stream();
    find_text();
    if (was.stream_bytes && memcmp(&was, &tm_jsc, sizeof was)) fail("code: found elsewhere the second time");
}

/* ---- tiers ---- */

#define MOST_SITES 8
#define MOST_HOT 4

static struct hot {
    uint64_t first;                /* code, as it was before it was optimised */
    uint32_t bytecode[MOST_SITES]; /* of each call */
    uint64_t code;                 /* as it is now */
    uint32_t index[MOST_SITES];
    uint32_t seen; /* bits of calls */
} hots[MOST_HOT];

static uint32_t tiers_seen;
static bool read_type(uint64_t code, int32_t jit, int32_t type, uint8_t *value) {
    uint64_t word;
    return word_at(code + (uint64_t)jit, &word) && is_pointer(word) && os_read(word + (uint64_t)type, value, 1);
}

/* Code lies in regions whose numbers are as small as those of kinds: an address's byte can look like one everywhere. */
static bool in_address(uint64_t code, int32_t jit, int32_t type) {
    uint64_t word, pointed;
    return word_at(code + (uint64_t)jit, &word) && word_at(word + (uint64_t)(type & ~7), &pointed) && is_pointer(pointed) && word_at(pointed, &word);
}

static bool fits_kind(uint64_t code, int32_t jit, int32_t type, uint8_t kind) {
    uint8_t value;
    return read_type(code, jit, type, &value) && value == kind && !in_address(code, jit, type);
}

/* What ran never before is interpreted; code that was put in its place later is optimised. */
static void find_type(uint64_t optimised) {
    int solutions = 0;
    for (int32_t j = 8; j < 8 * 32; j += 8)
        for (int32_t t = 0; t < 32; t++) {
            uint32_t i = 0;
            while (i < cold_count && fits_kind(cold[i].code, j, t, TM_JIT_INTERPRETER)) i++;
            if (i < cold_count || !fits_kind(optimised, j, t, TM_JIT_DFG)) continue;
            solutions++;
            tm_jsc.code_jit = j;
            tm_jsc.jit_type = t;
        }
    if (solutions != 1) {
        tm_jsc.code_jit = 0;
        fail("tiers: %d places for the kind of code", solutions);
    }
}

/* The position of a code origin lies in its upper bits; origins stand in a row, by call site index. */
static bool are_origins(const struct hot *hot, uint64_t row) {
    for (int shift = 40; shift < 57; shift++)
        for (int k = 0; k < 4; k++) {
            uint32_t i = 0;
            for (; i < MOST_SITES; i++) {
                uint64_t origin;
                if (!word_at(row + 8ul * hot->index[i], &origin) || origin >> shift != (uint64_t)hot->bytecode[i] << k) break;
            }
            if (i == MOST_SITES) return true;
        }
    return false;
}

static void find_origins(const struct hot *hot, int32_t *origins) {
    uint64_t jit, pool, row;
    uint32_t top = 0;
    for (uint32_t i = 0; i < MOST_SITES; i++)
        if (hot->index[i] > top) top = hot->index[i];
    if (!word_at(hot->code + (uint64_t)tm_jsc.code_jit, &jit)) return;
    for (int32_t p = 8; p < 8 * WORDS; p += 8) {
        if (!word_at(jit + (uint64_t)p, &pool)) continue;
        for (int32_t d = 0; d < 64; d += 8) {
            if (!word_at(pool + (uint64_t)d, &row) || !is_pointer(row) || !are_origins(hot, row)) continue;
            /* Behind the address of the row, its capacity and its length; the length is not above the capacity. */
            uint32_t counts[2];
            if (!os_read(pool + (uint64_t)d + 8, counts, sizeof counts) || counts[1] <= top || counts[1] > counts[0] || counts[0] > 65536) continue;
            int32_t at = d + 12;
            if (tm_jsc.origins_count && tm_jsc.origins_count != at) {
                fail("tiers: origins of the tiers are counted in different places");
                return;
            }
            if (*origins && *origins != p) {
                fail("tiers: origins were found elsewhere the second time");
                return;
            }
            tm_jsc.origins_count = at;
            *origins = p;
            return;
        }
    }
}

static void note_hot(uintptr_t vm, uint32_t number, uint32_t site) {
    uint64_t code;
    uint32_t index;
    if (number >= MOST_HOT || site >= MOST_SITES) return;
    struct hot *hot = &hots[number];
    caller_of(vm, &code, &index);
    if (!is_pointer(code)) return;
    if (!hot->first) hot->first = code;
    if (code == hot->first) {
        hot->bytecode[site] = index;
        return;
    }
    if (code != hot->code) {
        hot->code = code;
        hot->seen = 0;
    }
    hot->index[site] = index;
    hot->seen |= 1u << site;
    if (hot->seen != (1u << MOST_SITES) - 1) return;
    uint8_t type;
    if (!tm_jsc.code_jit) find_type(code);
    if (*failure || !read_type(code, tm_jsc.code_jit, tm_jsc.jit_type, &type)) return;
    if (type == TM_JIT_DFG) find_origins(hot, &tm_jsc.dfg_origins);
    else if (type == TM_JIT_FTL) find_origins(hot, &tm_jsc.ftl_origins);
    else fail("tiers: code of kind %d", type);
    if (tm_jsc.dfg_origins) tiers_seen |= 1;
    if (tm_jsc.ftl_origins) tiers_seen |= 2;
}

/* ---- the steps, in their order ---- */

#ifdef TM_JSC_PERTURB /* the tests' own build */
#include <stdlib.h>

/* Moves the field that the environment gives the number of, once it is found. */
static void perturb(void) {
    static bool done;
    const char *number = getenv("TM_JSC_PERTURB");
    int32_t *field = (int32_t *)&tm_jsc + (number ? atoi(number) : 0);
    if (done || !number || !*field) return;
    done = true;
    *field += 8;
}
#endif

void tm_jsc_calibrate_begin(void) {
    memset(&tm_jsc, 0, sizeof tm_jsc);
    memset(hots, 0, sizeof hots);
    *failure = 0;
    entries_seen = collections = cold_count = tiers_seen = 0;
    accepted = false;
    const char *missing = os_missing(false);
    if (missing) fail("%s", missing);
}

uint32_t tm_jsc_calibrate_step(uint32_t step, const uint64_t *arguments, const uint64_t *fp, uintptr_t stack_high) {
    chain chain;
    if (*failure) return TM_JSC_FAILED;
    follow(fp, stack_high, &chain);
    uintptr_t vm = step == TM_JSC_STEP_FRAMES ? 0 : vm_of(&chain);
    switch (step) {
    case TM_JSC_STEP_FRAMES: find_frames(arguments, &chain); break;
    case TM_JSC_STEP_FRAMES_AGAIN: verify_frames(arguments, &chain, vm); break;
    case TM_JSC_STEP_ENTER: before_entry(vm); break;
    case TM_JSC_STEP_ENTERED: find_entry(vm, &chain); break;
    case TM_JSC_STEP_COUNT: count_collection(vm, true, 0); break;
    case TM_JSC_STEP_COLLECTED: count_collection(vm, false, 1); break;
    case TM_JSC_STEP_NOT_COLLECTED: count_collection(vm, false, 0); break;
    case TM_JSC_STEP_COLD: note_cold(vm, (uint32_t)arguments[1]); break;
    case TM_JSC_STEP_CODE: find_code(); break;
    case TM_JSC_STEP_COUNTED: choose_counters(); break;
    case TM_JSC_STEP_HOT: note_hot(vm, (uint32_t)arguments[1], (uint32_t)arguments[2]); break;
    case TM_JSC_STEP_END:
        verify_counters(vm);
        if (entries_seen < 2) fail("entries: too few were seen");
        if (!tm_jsc.code_vm) fail("code blocks: none was seen twice");
        if (!tm_jsc.stream_bytes) fail("code: its length was not looked for");
        if (!tm_jsc.code_jit || !tm_jsc.dfg_origins) fail("tiers: optimised code was not seen");
        accepted = !*failure;
        break;
    default: fail("no step %u", step);
    }
#ifdef TM_JSC_PERTURB
    perturb();
#endif
    return *failure ? TM_JSC_FAILED : tiers_seen;
}

bool tm_jsc_calibrated(void) { return accepted; }

int32_t tracemalloc_jsc_report(char *out, int32_t size) {
    int32_t length = 0;
#define LINE(...)                                                                             \
    do {                                                                                      \
        int n = length < size ? snprintf(out + length, (size_t)(size - length), __VA_ARGS__) : 0; \
        length += n > 0 && n < size - length ? n : 0;                                         \
    } while (0)
#define FIELD(name) LINE(#name " %d\n", tm_jsc.name);
    TM_JSC_LAYOUT(FIELD)
#undef FIELD
    for (int32_t i = 0; i < tm_jsc.epochs; i++) LINE("vm_epoch%d %d\n", i, tm_jsc.vm_epoch[i]);
    if (!accepted) LINE("failed %s\n", *failure ? failure : "not all was looked at");
    return length;
}
