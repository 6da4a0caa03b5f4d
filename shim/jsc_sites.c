#include <string.h>

#include "jsc.h"

#define MOST_SITES (1ul << 21)
#define MOST_FRAMES (1ul << 22)

static tm_jsc_site *sites;
static uint32_t *frames;
static size_t sites_bytes, frames_bytes;
static uint32_t site_count, site_most, frame_used, frame_most;
static uint32_t sites_generation = 1;

/* Slots hold a site's number + 1. Readers take no lock; growth leaves the old table be. */
typedef struct site_slots {
    struct site_slots *older;
    size_t bytes;
    uint32_t mask;
    uint32_t slot[];
} site_slots;

uint32_t tm_jsc_named = 1;

static void state_changed(void) {
    if (!__atomic_add_fetch(&tm_jsc_named, 1, __ATOMIC_RELEASE)) __atomic_add_fetch(&tm_jsc_named, 1, __ATOMIC_RELEASE);
}

__thread uint32_t tm_jsc_unnamed __attribute__((tls_model("initial-exec")));

static site_slots *slots;
static uint32_t slots_used;
static tm_lock sites_lock;

static uint32_t slot_of(uint64_t code, uint32_t index) {
    return (uint32_t)(tm_hash64(code + (uint64_t)index * 0x9E3779B97F4A7C15ull) >> 32);
}

static bool reserve(void) {
    if (!sites) {
        sites = tm_arena_reserve(MOST_SITES * sizeof *sites, &sites_bytes);
        frames = tm_arena_reserve(MOST_FRAMES * sizeof *frames, &frames_bytes);
        if (!sites || !frames) {
            if (sites) os_unmap(sites, sites_bytes);
            if (frames) os_unmap(frames, frames_bytes);
            sites = NULL, frames = NULL;
            return false;
        }
        site_most = (uint32_t)(sites_bytes / sizeof *sites);
        frame_most = (uint32_t)(frames_bytes / sizeof *frames);
    }
    if (slots && slots_used * 2 <= slots->mask) return true;
    uint32_t capacity = slots ? (slots->mask + 1) * 2 : 4096;
    site_slots *fresh = os_map(sizeof *fresh + capacity * sizeof *fresh->slot);
    if (!fresh) return slots && slots_used < slots->mask;
    *fresh = (site_slots){slots, sizeof *fresh + capacity * sizeof *fresh->slot, capacity - 1};
    for (uint32_t i = 0; slots && i <= slots->mask; i++) {
        uint32_t site = slots->slot[i];
        if (!site) continue;
        uint32_t at = slot_of(sites[site - 1].code, sites[site - 1].index) & fresh->mask;
        while (fresh->slot[at]) at = (at + 1) & fresh->mask;
        fresh->slot[at] = site;
    }
    __atomic_store_n(&slots, fresh, __ATOMIC_RELEASE);
    return true;
}

static uint32_t *find(site_slots *in, uint64_t code, uint32_t index) {
    for (uint32_t at = slot_of(code, index) & in->mask;; at = (at + 1) & in->mask) {
        uint32_t site = __atomic_load_n(&in->slot[at], __ATOMIC_ACQUIRE);
        if (!site || (sites[site - 1].code == code && sites[site - 1].index == index)) return &in->slot[at];
    }
}

/* Reads what may be anything. */
static bool word_at(uint64_t address, uint64_t *word) { return address >= 65536 && !(address >> 47) && os_read(address, word, 8); }

/* Is it a CodeBlock of this VM, and is the index one of its call sites? Engines abort when they are asked for others. */
static bool is_site(uintptr_t vm, uint64_t code, uint32_t index, uint8_t *tier) {
    uint64_t word, jit, pool;
    uint32_t most;
    uint8_t type;
    if (code & 15 || !word_at((code & ~(TM_JSC_BLOCK - 1)) + (uint64_t)tm_jsc.block_vm, &word) || word != vm) return false;
    if (!word_at(code + (uint64_t)tm_jsc.code_vm, &word) || word != vm) return false;
    if (!word_at(code + (uint64_t)tm_jsc.code_jit, &jit)) return false;
    if (jit < 65536 || jit >> 47 || !os_read(jit + (uint64_t)tm_jsc.jit_type, &type, 1)) return false;
    *tier = type;
    if (type == TM_JIT_INTERPRETER || type == TM_JIT_BASELINE) {
        if (!word_at(code + (uint64_t)tm_jsc.code_unlinked, &word)) return false;
        if (!word_at(word + (uint64_t)tm_jsc.unlinked_stream, &word)) return false;
        return word >= 65536 && !(word >> 47) && os_read(word + (uint64_t)tm_jsc.stream_bytes, &most, 4) && index < most;
    }
    int32_t origins = type == TM_JIT_DFG ? tm_jsc.dfg_origins : type == TM_JIT_FTL ? tm_jsc.ftl_origins : 0;
    if (!origins || !word_at(jit + (uint64_t)origins, &pool) || pool < 65536 || pool >> 47) return false;
    return os_read(pool + (uint64_t)tm_jsc.origins_count, &most, 4) && index < most;
}

static uint32_t tier_flag(uint8_t type) {
    switch (type) {
    case TM_JIT_INTERPRETER: return TM_TIER_INTERPRETER;
    case TM_JIT_BASELINE: return TM_TIER_BASELINE;
    case TM_JIT_DFG: return TM_TIER_MAGLEV; /* the middle tier */
    default: return TM_TIER_TURBOFAN;
    }
}

/* ---- which CodeBlock it is ---- */

#define TEXT_PIECE 2048

static uint64_t hash_bytes(uint64_t hash, uint64_t from, size_t bytes) {
    uint64_t words[TEXT_PIECE / 8] = {0};
    if (!os_read(from, words, bytes)) return hash;
    for (size_t i = 0; i < (bytes + 7) / 8; i++) hash = tm_hash64(hash ^ words[i]);
    return hash;
}

/* Of the source's text, or of three pieces of it; as it is where it cannot be read, or where it is nobody knows. */
static uint64_t hash_text(uint64_t hash, uint64_t provider) {
    uint64_t class, text, characters;
    uint32_t length;
    if (!word_at(provider, &class) || class != tm_jsc.text_class) return hash;
    if (!word_at(provider + (uint64_t)tm_jsc.provider_text, &text) || !word_at(text + 8, &characters)) return hash;
    if (characters < 65536 || characters >> 47 || !os_read(text + 4, &length, 4)) return hash;
    hash = tm_hash64(hash ^ length);
    if (length <= TEXT_PIECE) return hash_bytes(hash, characters, length);
    for (uint32_t piece = 0; piece < 3; piece++)
        hash = hash_bytes(hash, characters + (uint64_t)(length - TEXT_PIECE / 4) / 2 * piece, TEXT_PIECE / 4);
    return hash;
}

/*
 * What a line depends on, and some addresses: the source's text, where in it the function begins and ends (behind the
 * provider), its unlinked code and that's instructions. 0: the CodeBlock or what it leads to is swept, for the engine clears
 * the header of cells that it sweeps, or cannot be told.
 */
static uint64_t function_identity(uint64_t code) {
    uint64_t header, unlinked, unlinked_header, stream, owner, owner_header, provider, part;
    if (!tm_jsc.provider_text || !word_at(code, &header) || !(uint32_t)header) return 0;
    if (!word_at(code + (uint64_t)tm_jsc.code_unlinked, &unlinked) || !word_at(code + (uint64_t)tm_jsc.code_owner, &owner)) return 0;
    if (!word_at(unlinked, &unlinked_header) || !(uint32_t)unlinked_header) return 0;
    if (!word_at(unlinked + (uint64_t)tm_jsc.unlinked_stream, &stream)) return 0;
    if (!word_at(owner, &owner_header) || !(uint32_t)owner_header) return 0;
    if (!word_at(owner + (uint64_t)tm_jsc.owner_provider, &provider) || !word_at(owner + (uint64_t)tm_jsc.owner_provider + 8, &part)) return 0;
    const uint64_t words[] = {(uint32_t)header, unlinked, (uint32_t)unlinked_header, stream, owner, (uint32_t)owner_header, provider, part};
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) hash = tm_hash64(hash ^ words[i]) + i;
    return hash_text(hash, provider) | 1;
}

#define MOST_INLINING 8
#define INLINED_WORDS 8

/*
 * In optimised code the place of a call site: a word with the position in the function, and a pointer to what is known of the
 * inlined call that it is in; which leads to its function's CodeBlock and to the place that it is called from (JavaScriptCore's
 * CodeOrigin and InlineCallFrame). What these lead to is taken as it lies there: code for the same function at the same address
 * can have inlined something else.
 */
static uint64_t inlining_identity(uintptr_t vm, uint64_t code, uint32_t index, uint8_t type) {
    uint64_t jit, pool, places, place, hash;
    int32_t origins = type == TM_JIT_DFG ? tm_jsc.dfg_origins : tm_jsc.ftl_origins;
    if (!word_at(code + (uint64_t)tm_jsc.code_jit, &jit) || !word_at(jit + (uint64_t)origins, &pool)) return 0;
    if (!word_at(pool + (uint64_t)tm_jsc.origins_count - 12, &places) || !word_at(places + 8ul * index, &place)) return 0;
    hash = tm_hash64(jit ^ place);
    for (int depth = 0; depth < MOST_INLINING; depth++) {
        uint64_t at = place & 0xfffffffffff8ul, words[INLINED_WORDS];
        if (at < 65536 || !os_read(at, words, sizeof words)) break;
        for (int i = 0; i < INLINED_WORDS; i++) {
            uint64_t header_vm, part = words[i];
            hash = tm_hash64(hash ^ words[i]) + (uint64_t)i;
            bool is_code = !(part & 15) && word_at((part & ~(TM_JSC_BLOCK - 1)) + (uint64_t)tm_jsc.block_vm, &header_vm) && header_vm == vm &&
                           word_at(part + (uint64_t)tm_jsc.code_vm, &header_vm) && header_vm == vm;
            if (!is_code) continue;
            uint64_t inlined = function_identity(part);
            if (!inlined) return 0;
            hash = tm_hash64(hash ^ inlined);
        }
        place = words[2];
    }
    return hash | 1;
}

static uint64_t identity_of(const tm_jsc_site *site, uint8_t type) {
    uint64_t function = function_identity(site->code);
    if (!function || type < TM_JIT_DFG) return function;
    uint64_t inlining = inlining_identity(site->vm, site->code, site->index, type);
    return inlining ? tm_hash64(function ^ inlining) | 1 : 0;
}

bool tm_jsc_site_is_same(const tm_jsc_site *site) {
    uint8_t type;
    return site->identity && is_site(site->vm, site->code, site->index, &type) && identity_of(site, type) == site->identity;
}

bool tm_jsc_is_code(uintptr_t vm, uint64_t code, uint32_t index) {
    uint8_t type;
    return is_site(vm, code, index, &type);
}

bool tm_jsc_site_is_code(const tm_jsc_site *site) { return tm_jsc_is_code(site->vm, site->code, site->index); }

/* ---- sites ---- */

bool tm_jsc_site_in_use(const tm_jsc_site *site, uint64_t epoch) { return site->epoch == epoch || tm_jsc_is_pinned(site->pin); }

static inline bool holds(tm_jsc_site *site, uintptr_t vm, uint64_t epoch) {
    if (site->vm != vm || site->state == TM_SITE_LOST) return false;
    if (tm_likely(site->epoch == epoch)) return true;
    if (!tm_jsc_site_is_same(site)) return false;
    site->epoch = epoch;
    return true;
}

const tm_jsc_site *tm_jsc_site_of(uintptr_t vm, uint64_t epoch, uint64_t code, uint32_t index, bool live) {
    site_slots *now = __atomic_load_n(&slots, __ATOMIC_ACQUIRE);
    if (tm_likely(now != NULL)) {
        uint32_t site = *find(now, code, index);
        if (tm_likely(site && holds(&sites[site - 1], vm, epoch))) return &sites[site - 1];
    }
    uint8_t type;
    if (!is_site(vm, code, index, &type)) return NULL;
    tm_jsc_site fresh = {.vm = vm, .code = code, .epoch = epoch, .index = index, .tier = (uint8_t)tier_flag(type)};
    fresh.identity = identity_of(&fresh, type);
    fresh.pin = tm_jsc_pin(code, live);
    const tm_jsc_site *result = NULL;
    tm_lock_take(&sites_lock);
    if (reserve() && site_count < site_most) {
        uint32_t *slot = find(slots, code, index);
        fresh.frame = tm_frame(TM_FRAME_SITE, site_count, 0, 0, fresh.tier);
        sites[site_count] = fresh;
        if (!*slot) slots_used++;
        __atomic_store_n(slot, site_count + 1, __ATOMIC_RELEASE);
        result = &sites[site_count];
        tm_jsc_unnamed++;
        __atomic_store_n(&site_count, site_count + 1, __ATOMIC_RELEASE);
    }
    tm_lock_drop(&sites_lock);
    return result;
}

const tm_jsc_site *tm_jsc_site_at(uint32_t site) { return &sites[site]; }

const uint32_t *tm_jsc_site_frames(const tm_jsc_site *site) { return frames + site->frames; }

uint32_t tm_jsc_sites_generation(void) { return __atomic_load_n(&sites_generation, __ATOMIC_ACQUIRE); }

bool tm_jsc_site_next(uint32_t generation, uintptr_t vm, uint32_t *site, tm_jsc_site *copy) {
    bool found = false;
    tm_lock_take(&sites_lock);
    for (; generation == sites_generation && *site < site_count && !found; ++*site) {
        found = sites[*site].state == TM_SITE_NEW && sites[*site].vm == vm;
        if (found) *copy = sites[*site];
    }
    if (found) --*site;
    tm_lock_drop(&sites_lock);
    return found;
}

void tm_jsc_site_resolve(uint32_t generation, uint32_t number, const uint32_t *resolved, uint16_t count) {
    tm_lock_take(&sites_lock);
    if (generation == sites_generation) {
        tm_jsc_site *site = &sites[number];
        bool room = resolved && count <= frame_most - frame_used;
        if (room) {
            memcpy(frames + frame_used, resolved, count * sizeof *frames);
            site->frames = frame_used;
            frame_used += count;
            site->frame_count = count;
            site->own = 0;
            for (uint16_t i = 0; i < count; i++) site->own += !(resolved[i] & TM_FRAME_INTERNAL);
        }
        __atomic_store_n(&site->state, room ? TM_SITE_RESOLVED : TM_SITE_LOST, __ATOMIC_RELEASE);
        state_changed();
    }
    tm_lock_drop(&sites_lock);
}

void tm_jsc_sites_drop(uintptr_t vm) {
    tm_lock_take(&sites_lock);
    for (uint32_t i = 0; i < site_count; i++) {
        if (sites[i].vm != vm) continue;
        sites[i].vm = 0;
        if (sites[i].state == TM_SITE_NEW) sites[i].state = TM_SITE_LOST;
    }
    state_changed();
    tm_lock_drop(&sites_lock);
}

void tm_jsc_sites_clear(void) {
    tm_lock_take(&sites_lock);
    while (slots) {
        site_slots *older = slots->older;
        os_unmap(slots, slots->bytes);
        slots = older;
    }
    if (sites) os_unmap(sites, sites_bytes);
    if (frames) os_unmap(frames, frames_bytes);
    sites = NULL, frames = NULL;
    slots_used = site_count = frame_used = 0;
    sites_generation++;
    tm_lock_drop(&sites_lock);
}

size_t tm_jsc_sites_bytes(void) {
    size_t bytes = site_count * sizeof *sites + frame_used * sizeof *frames;
    for (const site_slots *s = slots; s; s = s->older) bytes += s->bytes;
    return bytes;
}
