/* From a call of malloc to the JavaScript on the stack: along the engine's own record of it, and nothing else. */
#include "jsc.h"

/* Frames that are gone over, beside those that are asked for: the runtime's own, and what is not yet known to be so. */
#define MOST_OTHERS 64
#define MOST_STEPS 100000
#define MOST_NATIVE 400

tm_jsc_layout tm_jsc;
bool tm_jsc_ready;

#define AT(base, offset) (*(const volatile uint64_t *)((uintptr_t)(base) + (uintptr_t)(intptr_t)(offset)))

/* ---- walks before ---- */

static tm_jsc_past *pasts_of(const tm_thread *self) { return (tm_jsc_past *)(self->frames + TM_FRAMES_A_THREAD); }

uint32_t *tm_jsc_room(void) { return os_map(TM_FRAMES_A_THREAD * sizeof(uint32_t) + (TM_JSC_PASTS + 1) * sizeof(tm_jsc_past)); }

void tm_jsc_forget_walks(tm_thread *self) {
    for (int i = 0; i <= TM_JSC_PASTS; i++) pasts_of(self)[i].fp = NULL;
}

#define DEPENDS_ON_MORE (TM_JSC_WORDS + 1) /* than words of the stack: not to be known again */

/* A word of the stack that the walk depends on. */
static inline uint64_t read_word(tm_jsc_past *past, uintptr_t at) {
    uint64_t word = AT(at, 0);
    if (tm_likely(past->count < TM_JSC_WORDS)) past->words[past->count] = (__typeof__(past->words[0])){at, word};
    past->count++;
    return word;
}

/* Lies all as it was? The words are read in order: at each, all that leads to it was found to be the same. */
static inline bool is_same(const tm_jsc_past *past) {
    for (uint32_t i = 0; i < past->count; i++)
        if (AT(past->words[i].at, 0) != past->words[i].word) return false;
    return true;
}

/* ---- the walk ---- */

/*
 * The engine notes the frame it leaves JavaScript by. Some of its helpers do not, and the note is then of a frame that
 * has returned since. The native frames tell: they lead to the frame of the note, or past it to another. Libraries that
 * use the frame pointer for something else leave it open; those are called through frames that are always noted.
 */
enum note { NOTE_STALE, NOTE_OPEN, NOTE_LIVE };

static enum note check_note(tm_jsc_past *past, uintptr_t vm, const uint64_t *fp, uintptr_t top, uintptr_t high) {
    uintptr_t at = (uintptr_t)fp;
    for (int i = 0; i < MOST_NATIVE; i++) {
        uintptr_t next = read_word(past, at);
        if (!tm_frame_fits(next, at, 64, high)) return NOTE_OPEN;
        if (next == top) return NOTE_LIVE;
        at = next;
        if (next < top) continue;
        past->count = DEPENDS_ON_MORE;
        uint64_t code = AT(next, tm_jsc.frame_code);
        return code && tm_jsc_is_code(vm, code, (uint32_t)(AT(next, tm_jsc.frame_count) >> 32)) ? NOTE_STALE : NOTE_OPEN;
    }
    return NOTE_OPEN;
}

static uint32_t unknown(uint32_t reason) { return tm_frame(TM_FRAME_UNKNOWN, reason, 0, 0, 0); }

static bool is_internal(uint32_t frame) {
    const tm_frame_row *row = tm_frame_rows() + frame;
    return row->kind == TM_FRAME_SCRIPT && tm_script_at(row->owner)->flags & TM_SCRIPT_INTERNAL;
}

/* The frame after another; 0: there is none, or it cannot be. */
static inline uintptr_t next_frame(tm_jsc_past *past, uintptr_t at, uintptr_t *entry, uintptr_t high, bool *end) {
    uintptr_t next = read_word(past, at);
    *end = false;
    if (next == *entry) {
        next = read_word(past, *entry - (uintptr_t)(intptr_t)tm_jsc.entry_top);
        uintptr_t before = read_word(past, *entry - (uintptr_t)(intptr_t)tm_jsc.entry_entry);
        *end = !next || !before;
        if (*end) return 0;
        *entry = before;
    }
    return tm_frame_fits(next, at, 64, high) ? next : 0;
}

/* Where a walk is kept: what is called from several places is told by the frame that called it, too. */
static inline tm_jsc_past *past_of(const tm_thread *self, const uint64_t *fp, uintptr_t top, uintptr_t high) {
    uintptr_t caller = AT(top, 0);
    uint64_t key = (uint64_t)(uintptr_t)fp * 3 + AT(top, tm_jsc.frame_count) / 2;
    if (tm_frame_fits(caller, top, 64, high)) key += AT(caller, tm_jsc.frame_count);
    return &pasts_of(self)[tm_hash64(key) >> 32 & (TM_JSC_PASTS - 1)];
}

static uint32_t walk(tm_thread *self, tm_jsc_past *past, const uint64_t *fp, uintptr_t top, uintptr_t entry, uint64_t epoch, uint32_t limit) {
    uintptr_t vm = self->vm, high = self->stack_high;
    uint32_t *found = self->frames;
    uint32_t most = TM_FRAMES_A_THREAD, count = 0, own = 0, open = 0;
    uint32_t named = __atomic_load_n(&tm_jsc_named, __ATOMIC_ACQUIRE);
    past->fp = NULL;
    past->count = 0;
    past->top = top, past->entry = entry;
    enum note note = check_note(past, vm, fp, top, high);
    if (note == NOTE_STALE) return tm_node(0, unknown(TM_UNKNOWN_STACK));
    uintptr_t at = top;
    bool whole = false;
    for (int step = 0; step < MOST_STEPS; step++) {
        uint64_t code = read_word(past, at + (uintptr_t)(intptr_t)tm_jsc.frame_code);
        if (code) {
            uint32_t index = (uint32_t)(read_word(past, at + (uintptr_t)(intptr_t)tm_jsc.frame_count) >> 32);
            const tm_jsc_site *site = tm_jsc_site_of(vm, epoch, code, index, note == NOTE_LIVE);
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
                whole = true;
                break;
            }
        }
        at = next_frame(past, at, &entry, high, &whole);
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
    if (!result) result = tm_node(0, tm_frame_native(read_word(past, (uintptr_t)(fp + 1))));
    if (whole && past->count <= TM_JSC_WORDS) {
        past->named = open ? named : 0;
        past->epoch = epoch;
        past->traces = tm_traces_generation;
        past->limit = limit;
        past->node = result;
        past->fp = fp;
    }
    return result;
}

/* The place of a walk, if it is one with JavaScript, and whether it is as it was. */
static inline bool look(const tm_thread *self, const uint64_t *fp, uint32_t limit, uintptr_t *top, uintptr_t *entry, uint64_t *epoch, tm_jsc_past **past) {
    uintptr_t vm = self->vm, high = self->stack_high;
    *top = AT(vm, tm_jsc.vm_top), *entry = AT(vm, tm_jsc.vm_entry);
    if (!*top || !*entry) {
        *past = pasts_of(self) + TM_JSC_PASTS;
        return (*past)->fp && (*past)->top == fp[1] && (*past)->traces == tm_traces_generation;
    }
    *past = NULL;
    if (tm_unlikely(!tm_frame_fits(*top, (uint64_t)fp, 64, high))) return false;
    *epoch = tm_jsc_epoch(vm);
    *past = past_of(self, fp, *top, high);
    const tm_jsc_past *p = *past;
    return p->fp == fp && p->top == *top && p->entry == *entry && p->epoch == *epoch && p->limit == limit && p->traces == tm_traces_generation &&
           (!p->named || p->named == __atomic_load_n(&tm_jsc_named, __ATOMIC_RELAXED)) && is_same(p);
}

static uint32_t least(uint32_t limit) { return limit < TM_FRAMES_A_THREAD / 2 ? limit : TM_FRAMES_A_THREAD / 2; }

uint32_t tm_jsc_known(const tm_thread *self, const uint64_t *fp, uint32_t limit) {
    uintptr_t top, entry;
    uint64_t epoch = 0;
    tm_jsc_past *past;
    return look(self, fp, least(limit), &top, &entry, &epoch, &past) ? past->node : 0;
}

uint32_t tm_jsc_traceback(tm_thread *self, const uint64_t *fp, uint32_t limit) {
    uintptr_t top, entry;
    uint64_t epoch = 0;
    tm_jsc_past *past;
    limit = least(limit);
    if (look(self, fp, limit, &top, &entry, &epoch, &past)) return past->node;
    if (!past) return tm_node(0, unknown(TM_UNKNOWN_STACK));
    if (top && entry) return walk(self, past, fp, top, entry, epoch, limit);
    past->fp = fp;
    past->top = fp[1];
    past->traces = tm_traces_generation;
    return past->node = tm_node(0, tm_frame_native(fp[1]));
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
