/* From a call of malloc to the JavaScript on the stack: along the engine's own record of it, and nothing else. */
#include "jsc.h"

/* Frames that are gone over, beside those that are asked for: the runtime's own, and what is not yet known to be so. */
#define MOST_OTHERS 64
#define MOST_STEPS 100000
#define MOST_NATIVE 400

tm_jsc_layout tm_jsc;
bool tm_jsc_ready;

#define AT(base, offset) (*(const volatile uint64_t *)((uintptr_t)(base) + (uintptr_t)(intptr_t)(offset)))

/*
 * The engine notes the frame it leaves JavaScript by. Some of its helpers do not, and the note is then of a frame that
 * has returned since. The native frames tell: they lead to the frame of the note, or past it to another. Libraries that
 * use the frame pointer for something else leave it open; those are called through frames that are always noted.
 */
static bool is_stale(uintptr_t vm, const uint64_t *fp, uintptr_t top, uintptr_t high) {
    const uint64_t *at = fp;
    for (int i = 0; i < MOST_NATIVE; i++) {
        uintptr_t next = at[0];
        if (!tm_frame_fits(next, (uint64_t)at, 64, high)) return false;
        if (next == top) return false;
        at = (const uint64_t *)next;
        if (next < top) continue;
        uint64_t code = AT(next, tm_jsc.frame_code);
        return code && tm_jsc_is_code(vm, code, (uint32_t)(AT(next, tm_jsc.frame_count) >> 32));
    }
    return false;
}

static uint32_t unknown(uint32_t reason) { return tm_frame(TM_FRAME_UNKNOWN, reason, 0, 0, 0); }

static bool is_internal(uint32_t frame) {
    const tm_frame_row *row = tm_frame_rows() + frame;
    return row->kind == TM_FRAME_SCRIPT && tm_script_at(row->owner)->flags & TM_SCRIPT_INTERNAL;
}

/* ---- the walk before ---- */

/* The frame after another; 0: there is none, or it cannot be. */
static inline uintptr_t next_frame(uintptr_t at, uintptr_t *entry, uintptr_t high, bool *end) {
    uintptr_t next = AT(at, 0);
    *end = false;
    if (next == *entry) {
        next = AT(*entry, -tm_jsc.entry_top);
        uintptr_t before = AT(*entry, -tm_jsc.entry_entry);
        *end = !next || !before;
        if (*end) return 0;
        *entry = before;
    }
    return tm_frame_fits(next, at, 64, high) ? next : 0;
}

static uint32_t index_at(uintptr_t at) { return (uint32_t)(AT(at, tm_jsc.frame_count) >> 32); }

/* Is the stack that of the walk before? Then what it found still holds, for there was no collection in between. */
static bool as_before(const tm_jsc_past *past, uintptr_t top, uintptr_t entry, uintptr_t high, uint64_t epoch, uint32_t limit) {
    if (!past->count || past->epoch != epoch || past->limit != limit || past->traces != tm_traces_generation || past->sites != tm_jsc_sites_generation())
        return false;
    uintptr_t at = top;
    bool end;
    for (uint32_t i = 0;; i++) {
        const tm_jsc_step *step = &past->steps[i];
        uint64_t code = AT(at, tm_jsc.frame_code);
        if (step->at != at || step->code != code || (code && step->index != index_at(at))) return false;
        if (i + 1 == past->count && past->cut) return true;
        at = next_frame(at, &entry, high, &end);
        if (i + 1 == past->count) return end;
        if (!at) return false;
    }
}

tm_jsc_walk_end tm_jsc_traceback(tm_thread *self, const uint64_t *fp, uint32_t limit, uint32_t *node) {
    uintptr_t vm = self->vm, high = self->stack_high;
    uintptr_t top = AT(vm, tm_jsc.vm_top), entry = AT(vm, tm_jsc.vm_entry);
    if (!top || !entry) return TM_JSC_NO_JAVASCRIPT;
    uint64_t epoch = tm_jsc_epoch(vm);
    uint32_t *found = self->frames;
    uint32_t most = TM_FRAMES_A_THREAD, count = 0, own = 0, open = 0;
    if (limit > most / 2) limit = most / 2;
    if (!tm_frame_fits(top, (uint64_t)fp, 64, high) || is_stale(vm, fp, top, high)) {
        *node = tm_node(0, unknown(TM_UNKNOWN_STACK));
        return TM_JSC_WALKED;
    }
    tm_jsc_past *past = (tm_jsc_past *)(found + TM_FRAMES_A_THREAD);
    if (as_before(past, top, entry, high, epoch, limit)) {
        *node = past->node;
        return past->node ? TM_JSC_WALKED : TM_JSC_NO_JAVASCRIPT;
    }
    past->count = 0;
    uint32_t steps = 0;
    uintptr_t at = top;
    bool whole = false, cut = false;
    for (int step = 0; step < MOST_STEPS; step++) {
        uint64_t code = AT(at, tm_jsc.frame_code);
        uint32_t index = index_at(at);
        if (steps < TM_JSC_STEPS) past->steps[steps] = (tm_jsc_step){at, code, index};
        steps++;
        if (code) {
            const tm_jsc_site *site = tm_jsc_site_of(vm, epoch, code, index);
            if (!site) {
                found[count++] = unknown(TM_UNKNOWN_CODE);
                own++;
            } else if (site->state == TM_SITE_NEW) {
                found[count++] = site->frame;
                open++;
            } else {
                const uint32_t *frames = tm_jsc_site_frames(site);
                for (uint32_t i = 0; i < site->frame_count && count < most - 1; i++) found[count++] = frames[i];
                own += site->own;
            }
            if (own >= limit || (open && own + open >= limit + MOST_OTHERS) || count >= most - 1) {
                whole = cut = true;
                break;
            }
        }
        at = next_frame(at, &entry, high, &whole);
        if (!at) break;
    }
    if (!whole) found[count++] = unknown(TM_UNKNOWN_STACK);
    /* The runtime's own frames are only of use where there are no others, which is not known while sites are open. */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool internal = found[i] & TM_FRAME_INTERNAL;
        if (internal && own && !open) continue;
        if (!open && kept == limit) break;
        found[kept++] = found[i] & TM_FRAME_INDEX;
    }
    uint32_t result = 0;
    while (kept) result = tm_node(result, found[--kept]);
    *node = result;
    if (whole && !open && steps <= TM_JSC_STEPS) {
        past->epoch = epoch;
        past->traces = tm_traces_generation;
        past->sites = tm_jsc_sites_generation();
        past->limit = limit;
        past->node = result;
        past->cut = cut;
        past->count = steps;
    }
    return result ? TM_JSC_WALKED : TM_JSC_NO_JAVASCRIPT;
}

uint32_t tm_jsc_resolved_node(uint32_t node, uint32_t limit) {
    const tm_node_row *nodes = tm_node_rows();
    const tm_frame_row *rows = tm_frame_rows();
    bool open = false;
    for (uint32_t n = node; n; n = nodes[n].parent) open |= rows[nodes[n].frame].kind == TM_FRAME_SITE;
    if (!open) return node;
    size_t room = 2ul * limit, bytes = room * sizeof(uint32_t);
    uint32_t *own = os_map(bytes); /* the program's, then the runtime's */
    if (!own) return tm_node(0, unknown(TM_UNKNOWN_MEMORY));
    uint32_t *internal = own + limit, owns = 0, internals = 0;
    for (uint32_t n = node; n && owns < limit; n = nodes[n].parent) {
        uint32_t frame = nodes[n].frame;
        const uint32_t *frames = &frame;
        uint32_t count = 1, lost = unknown(TM_UNKNOWN_POSITION);
        if (rows[frame].kind == TM_FRAME_SITE) {
            const tm_jsc_site *site = tm_jsc_site_at(rows[frame].owner);
            bool known = site->state == TM_SITE_RESOLVED;
            frames = known ? tm_jsc_site_frames(site) : &lost;
            if (known) count = site->frame_count;
        }
        for (uint32_t i = 0; i < count; i++) {
            uint32_t index = frames[i] & TM_FRAME_INDEX;
            if (is_internal(index)) {
                if (internals < limit) internal[internals++] = index;
            } else if (owns < limit) {
                own[owns++] = index;
            }
        }
    }
    uint32_t result = 0;
    if (owns) while (owns) result = tm_node(result, own[--owns]);
    else while (internals) result = tm_node(result, internal[--internals]);
    os_unmap(own, bytes);
    return result ? result : tm_node(0, unknown(TM_UNKNOWN_CODE));
}
