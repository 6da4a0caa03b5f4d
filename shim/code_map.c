/* Which addresses hold what code. */
#include <string.h>

#include "v8.h"

#define MOST_REGIONS 4096
#define REFRESH_MILLISECONDS 20
#define FREE_REFRESHES 64 /* before the rate is bounded: workers that start add regions */

/* Readers take no lock: they look again when the sequence has moved (odd: being written). */
static tm_code_region regions[MOST_REGIONS];
static uint32_t region_count;
static uint32_t sequence;
static tm_lock refresh_lock;
static uint64_t refreshed_at, maps_read;

/* What of the program's file V8 has copied: its builtins. The rest of the file is native code. 0: no copy was seen. */
static uint64_t builtins_low, builtins_high;

struct build {
    tm_code_region *out;
    uint32_t count;
    /* A run of anonymous mappings side by side: reserved, or executable. */
    uintptr_t run_low, run_high;
    bool run_executable;
};

static void add(struct build *build, uintptr_t low, uintptr_t high, uint64_t file_offset, tm_code_kind kind) {
    if (build->count < MOST_REGIONS) build->out[build->count++] = (tm_code_region){low, high, file_offset, kind};
}

static void end_run(struct build *build) {
    if (build->run_executable) add(build, build->run_low, build->run_high, 0, TM_CODE_GENERATED);
    build->run_executable = false;
    build->run_low = build->run_high = 0;
}

/* The builtins in a mapping of the program's file, and what stands before and behind them. */
static void add_image(struct build *build, const os_mapping *m) {
    uint64_t low = m->file_offset, high = low + (m->high - m->low);
    uint64_t from = low, to = high;
    if (builtins_high) {
        from = builtins_low < low ? low : builtins_low > high ? high : builtins_low;
        to = builtins_high < from ? from : builtins_high > high ? high : builtins_high;
    }
    if (from > low) add(build, m->low, m->low + (from - low), low, TM_CODE_LIBRARY);
    if (to > from) add(build, m->low + (from - low), m->low + (to - low), from, TM_CODE_IMAGE);
    if (high > to) add(build, m->low + (to - low), m->high, to, TM_CODE_LIBRARY);
}

static void each(const os_mapping *m, void *context) {
    struct build *build = context;
    bool anonymous = !m->file && !m->special;
    bool reserved = anonymous && !m->readable && !m->writable && !m->executable;
    if (reserved || (anonymous && m->executable)) {
        /* Engines reserve a range and commit parts of it later: what is reserved beside code is code to be. */
        if (build->run_high != m->low) {
            end_run(build);
            build->run_low = m->low;
        }
        build->run_high = m->high;
        build->run_executable |= m->executable;
        return;
    }
    bool own_copy = m->file && m->executable && m->executable_image;
    /* V8 maps a copy of its builtins into its code range: what is reserved before it is code, and so is what follows. */
    bool inside = own_copy && build->run_high == m->low;
    build->run_executable |= inside;
    end_run(build);
    if (own_copy) add_image(build, m);
    else if (m->executable) add(build, m->low, m->high, m->file_offset, TM_CODE_LIBRARY);
    if (inside) {
        if (m->high - m->low > builtins_high - builtins_low) {
            builtins_low = m->file_offset;
            builtins_high = m->file_offset + (m->high - m->low);
        }
        build->run_low = build->run_high = m->high;
        build->run_executable = true;
    }
}

static void refresh(void) {
    static tm_code_region fresh[MOST_REGIONS];
    uint64_t known = builtins_high;
    struct build build = {fresh, 0, 0, 0, false};
    bool ok = os_each_mapping(each, &build);
    if (ok && builtins_high != known) { /* the copy may lie behind the file's own mapping */
        build = (struct build){fresh, 0, 0, 0, false};
        ok = os_each_mapping(each, &build);
    }
    if (ok) {
        end_run(&build);
        __atomic_store_n(&sequence, sequence + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        memcpy(regions, fresh, build.count * sizeof *regions);
        region_count = build.count;
        __atomic_store_n(&sequence, sequence + 1, __ATOMIC_RELEASE);
    }
    maps_read++;
    refreshed_at = os_milliseconds();
}

static bool try_refresh(void) {
    if (__atomic_exchange_n(&refresh_lock, 1, __ATOMIC_ACQUIRE)) return false;
    refresh();
    __atomic_store_n(&refresh_lock, 0, __ATOMIC_RELEASE);
    return true;
}

/* Who has the lock may have looked before the caller's code was there. In the child of a fork it may be a thread that is gone. */
void tm_code_map_refresh(void) {
    for (int tries = 0; !try_refresh() && tries < 10000; tries++) os_yield();
}

uint64_t tm_code_maps_read(void) { return maps_read; }

static bool find(uintptr_t pc, tm_code_region *out) {
    for (;;) {
        uint32_t before = __atomic_load_n(&sequence, __ATOMIC_ACQUIRE);
        if (before & 1) {
            os_yield();
            continue;
        }
        uint32_t low = 0, high = region_count;
        if (high > MOST_REGIONS) high = MOST_REGIONS;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (regions[middle].high <= pc) low = middle + 1;
            else high = middle;
        }
        tm_code_region found = regions[low < MOST_REGIONS ? low : 0];
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&sequence, __ATOMIC_RELAXED) != before) continue;
        if (pc < found.low || pc >= found.high) return false;
        *out = found;
        return true;
    }
}

bool tm_code_region_known(uintptr_t pc, tm_code_region *out) { return find(pc, out); }

bool tm_code_region_of(uintptr_t pc, tm_code_region *out) {
    if (pc < 4096) return false;
    if (find(pc, out)) return true;
    if (maps_read > FREE_REFRESHES && os_milliseconds() - refreshed_at < REFRESH_MILLISECONDS) return false;
    try_refresh();
    return find(pc, out);
}
