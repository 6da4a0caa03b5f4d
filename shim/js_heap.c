#include "js_heap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "side.h"
#include "traces.h"
#include "unwind.h"
#include "v8.h"

tm_js_heap_sizes tm_js_heap_wanted = {SIZE_MAX, 0};

/* What calibration found; offsets are in bytes. */
static struct {
    bool known;
    bool refused;         /* for good: verification found it wrong */
    uint32_t verified_in; /* TM_TIER_: it holds for what our own functions made there */
    bool profiled;        /* and the engine's own profile says the same */
    uintptr_t returns[2]; /* the first two return addresses of a record's malloc */
#define FIELD(name) uint32_t name;
    TM_JS_HEAP_LAYOUT(FIELD)
#undef FIELD
} layout;

static uint64_t interval; /* mean bytes between samples; 0: nothing is sampled */
static bool alone;        /* blocks that are no records are not recorded */
static bool native_off;   /* whether there are records or not */

/* A shim built with TM_TEST_PERTURB makes a mistake, as $TM_PERTURB says ("record_size 8"); all others make none. */
static int32_t mistake(const char *name) {
#ifdef TM_TEST_PERTURB
    const char *setting = getenv("TM_PERTURB");
    size_t length = strlen(name);
    if (setting && !strncmp(setting, name, length) && setting[length] == ' ') return atoi(setting + length + 1);
#else
    (void)name;
#endif
    return 0;
}

/* ---- samplers: one a thread that has an isolate with a running profiler ---- */

typedef struct sampler {
    tm_thread *thread; /* NULL: free */
    uint32_t incarnation;
    uintptr_t profiler; /* 0: it has made no record yet */
    uint64_t last_id;
    bool marked;       /* the profiler's end will be seen */
    bool ended;        /* it was */
    bool gap;          /* records may have been missed */
    uintptr_t pending; /* the last record, which was all zeros when malloc returned: V8 fills it later */
    uint32_t pending_node; /* 0: the tracer's own object */
} sampler;

#define MOST_SAMPLERS 256
static sampler samplers[MOST_SAMPLERS];
static uint32_t sampler_count;
static tm_lock samplers_lock;
static uint64_t lost;

static sampler *sampler_of(const tm_thread *thread) {
    for (uint32_t i = 0; i < __atomic_load_n(&sampler_count, __ATOMIC_ACQUIRE); i++)
        if (samplers[i].thread == thread && samplers[i].incarnation == thread->incarnation) return &samplers[i];
    return NULL;
}

static bool sampler_add(tm_thread *thread) {
    tm_lock_take(&samplers_lock);
    sampler *found = sampler_of(thread);
    for (uint32_t i = 0; !found && i < sampler_count; i++) {
        const tm_thread *owner = samplers[i].thread;
        if (!owner || owner->incarnation != samplers[i].incarnation) found = &samplers[i];
    }
    bool fresh = !found && sampler_count < MOST_SAMPLERS;
    if (fresh) found = &samplers[sampler_count];
    if (found) *found = (sampler){.thread = thread, .incarnation = thread->incarnation};
    if (fresh) __atomic_store_n(&sampler_count, sampler_count + 1, __ATOMIC_RELEASE);
    tm_lock_drop(&samplers_lock);
    return found != NULL;
}

uint64_t tm_js_heap_lost(void) { return lost; }

/* ---- verification: the records of one thread, which makes objects of our own, are kept apart ---- */

typedef struct verified {
    uintptr_t record; /* 0: the object has died */
    uint64_t size;    /* when it was made */
    uint32_t node;
} verified;

#define MOST_VERIFIED 32768

/* Who is at something that one thread does at a time; gone with its thread, which can end at any moment. */
typedef struct holder {
    tm_thread *thread; /* NULL: nobody */
    uint32_t incarnation;
} holder;

static struct {
    holder by;
    verified *rows;
    uint32_t count, looked_at;
    uint64_t lost;
    bool spoiled; /* another thread has cleared the traces meanwhile */
} verification;

/* With tm_here.control_lock. False: another thread is at it. */
static bool may_hold(const holder *by, const tm_thread *self) {
    const tm_thread *other = by->thread;
    return !other || other == self || other->incarnation != by->incarnation || !other->id || !os_thread_alive(other->id);
}

static bool is_holder(const holder *by, const tm_thread *self) {
    return tm_unlikely(self && self == by->thread) && self->incarnation == by->incarnation;
}

static bool verifies(const tm_thread *self) { return is_holder(&verification.by, self); }

static void note_lost(const tm_thread *self, uint64_t records) {
    if (verifies(self)) verification.lost += records;
    else __atomic_add_fetch(&lost, records, __ATOMIC_RELAXED);
}

static void verified_add(uintptr_t record, uint64_t size, uint32_t node) {
    if (verification.count == MOST_VERIFIED) verification.lost++;
    else verification.rows[verification.count++] = (verified){record, size, node};
}

static void verified_drop(uintptr_t record) {
    for (uint32_t i = verification.count; i-- > 0;)
        if (verification.rows[i].record == record) {
            verification.rows[i].record = 0;
            return;
        }
}

/* ---- weights ---- */

/*
 * V8 samples at distances that are exponentially distributed: an object of s bytes is met with probability
 * 1 - exp(-s / interval), so that one that was met stands for 1 / that. At an interval of 1 everything is sampled.
 */
double tm_js_heap_weight(uint64_t sizes) {
    uint64_t size = TM_JS_HEAP_SIZE(sizes) + (sizes >> TM_JS_HEAP_SIZE_BITS);
    return interval <= 1 ? 1.0 : -1.0 / expm1(-(double)size / (double)interval);
}

/* What a record adds to the bytes traced. */
static int64_t bytes_of(uint64_t sizes) { return (int64_t)(tm_js_heap_weight(sizes) * (double)TM_JS_HEAP_SIZE(sizes) + 0.5); }

/* ---- records ---- */

static bool profiler_has(uintptr_t profiler, uint32_t offset, uint64_t value) {
    uint64_t found;
    return os_read(profiler + offset, &found, sizeof found) && found == value;
}

/* So that the block's end is seen. */
static bool mark(tm_thread *self, uintptr_t block) {
    uint64_t size;
    uint32_t node;
    tm_block_put(self, block, 0, TM_NODE_MARK);
    return tm_block_find(block, &size, &node) && node == TM_NODE_MARK;
}

static uint64_t word_of(uintptr_t record, uint32_t offset) {
    return __atomic_load_n((const uint64_t *)(record + offset), __ATOMIC_RELAXED);
}

static bool is_filled(uintptr_t record) {
    return word_of(record, layout.size) && word_of(record, layout.profiler) && word_of(record, layout.id);
}

/* Types of objects whose length can be less than was allocated for, found by objects that are known. */
typedef struct measured_type {
    uint32_t type, times;
    bool spoiled; /* there were several */
} measured_type;

static measured_type integers, tables;

#define LEAST_TIMES 4 /* that a type was seen */

static bool is_of(const measured_type *known, uint32_t type) {
    return known->times >= LEAST_TIMES && !known->spoiled && known->type == type;
}

static uint32_t integer_shift; /* of the length, in the second word of an integer, behind its sign */

/* Both have two words, the map and the length, before what that counts: V8 src/objects/bigint.h, fixed-array.h. */
static uint64_t integer_digits(uint64_t word) { return (uint32_t)word >> integer_shift; }

/*
 * The size of a record's object now, while its thread makes the next: what V8 has since given back at its end is no longer
 * counted, nor what was allocated together with a map's table.
 */
static uint64_t size_now(uintptr_t record, uint64_t size) {
    if (!layout.handle || (integers.times < LEAST_TIMES && tables.times < LEAST_TIMES)) return size;
    const uint64_t *handle = (const uint64_t *)word_of(record, layout.handle);
    tm_tagged object = handle ? *handle : 0, map;
    if (!tm_is_object(object) || !tm_is_object(map = *(const uint64_t *)(object & ~3ull))) return size;
    uint32_t type = *(const uint16_t *)((map & ~3ull) + (uint64_t)tm_v8.map_type);
    uint64_t second = *(const uint64_t *)((object & ~3ull) + 8), words;
    if (is_of(&integers, type)) words = integer_digits(second);
    else if (is_of(&tables, type)) words = tm_v8_bytes_length(second);
    else return size;
    uint64_t now = 16 + 8 * words;
    return words && now < size && size - now < 1u << (64 - TM_JS_HEAP_SIZE_BITS) ? now : size;
}

/* Takes in the last record of the sampler, whose thread is `self`; `making`: and which makes the next one. */
static void settle(tm_thread *self, sampler *own, bool making) {
    uintptr_t record = own->pending;
    if (!record) return;
    own->pending = 0;
    uint64_t size = word_of(record, layout.size) + (uint64_t)mistake("record_size"), profiler = word_of(record, layout.profiler), id = word_of(record, layout.id);
    if (size == 56) size += (uint64_t)mistake("record_56");
    if (profiler != own->profiler || id <= own->last_id || !size || size >> 40) {
        note_lost(self, 1);
        return;
    }
    if (!own->marked) own->marked = mark(self, profiler);
    if (!own->gap) note_lost(self, id - own->last_id - 1);
    own->gap = false;
    own->last_id = id;
    if (!own->pending_node || (mistake("record_number") && id % (uint64_t)mistake("record_number") == 0)) return;
    if (verifies(self)) return verified_add(record, size, own->pending_node);
    uint64_t now = making ? size_now(record, size) : size, sizes = now | (size - now) << TM_JS_HEAP_SIZE_BITS;
    uint64_t before = tm_side_put(TM_DOMAIN_JS_HEAP, record, sizes, own->pending_node);
    if (before == TM_SIDE_FAILED) note_lost(self, 1);
    else tm_account(self, bytes_of(sizes) - (before ? bytes_of(before) : 0));
}

static bool is_alive(const sampler *sampler) {
    const tm_thread *thread = sampler->thread;
    return thread && thread->id && thread->incarnation == sampler->incarnation;
}

void tm_js_heap_settle(void) {
    for (uint32_t i = 0; i < sampler_count; i++) {
        sampler *each = &samplers[i];
        if (each->pending && is_alive(each) && is_filled(each->pending)) settle(each->thread, each, false);
    }
}

void tm_js_heap_clear(void) {
    for (uint32_t i = 0; i < sampler_count; i++) {
        sampler *each = &samplers[i];
        each->gap |= each->pending != 0;
        each->pending = 0;
        each->marked = each->profiler && !each->ended && is_alive(each) && mark(each->thread, each->profiler);
    }
    lost = 0;
    verification.count = verification.looked_at = 0;
    verification.spoiled = true;
}

/* ---- calibration: what mallocs there are while arrays of known sizes are made ---- */

#define LEAST_RECORD 24
#define MOST_RECORD 256
#define MOST_PROFILER 4096
#define MOST_WATCHED 16384
#define MOST_OF_KIND 1024
#define RETURNS 2

typedef struct watched {
    uintptr_t block; /* 0: it was freed */
    uint32_t size;
    bool looked_at; /* others of its kind with it */
    uintptr_t returns[RETURNS];
} watched;

static struct {
    holder by;
    watched *rows;
    uint32_t count;
} watch;

/* Tells the hooks which sizes to show. */
static void want(void) {
    tm_js_heap_sizes sizes = {SIZE_MAX, 0};
    if (native_off || (interval && alone)) sizes = (tm_js_heap_sizes){0, SIZE_MAX};
    else if (watch.by.thread) sizes = (tm_js_heap_sizes){LEAST_RECORD, MOST_PROFILER - LEAST_RECORD};
    else if (interval || verification.by.thread) sizes = (tm_js_heap_sizes){layout.bytes, 0};
    __atomic_store_n(&tm_js_heap_wanted.first, sizes.first, __ATOMIC_RELAXED);
    __atomic_store_n(&tm_js_heap_wanted.more, sizes.more, __ATOMIC_RELAXED);
    tm_plain_unless(TM_READS_ENGINE, sizes.first != SIZE_MAX);
}

static void returns_of(const tm_thread *self, const uint64_t *fp, uintptr_t out[RETURNS]) {
    out[0] = fp[1];
    const uint64_t *next = (const uint64_t *)fp[0];
    bool readable = tm_frame_fits((uint64_t)next, (uint64_t)fp, 16, self->stack_high);
    out[1] = readable ? next[1] : 0;
}

static uint32_t traceback_of(tm_thread *self, const uint64_t *fp) {
    uint32_t node = tm_traceback(self, fp);
    int32_t lines = mistake("record_line"), columns = mistake("record_column");
    if (tm_likely(!lines && !columns)) return node;
    const tm_node_row *row = &tm_node_rows()[node];
    const tm_frame_row *frame = &tm_frame_rows()[row->frame];
    if (frame->kind != TM_FRAME_SCRIPT || !frame->line) return node;
    uint32_t line = frame->line + (uint32_t)lines, column = frame->column + (uint32_t)columns;
    return tm_node(row->parent, tm_frame(frame->kind, frame->owner, line, column, tm_frame_tiers()[row->frame]));
}

bool tm_js_heap_malloc(tm_thread *self, uintptr_t block, size_t size, const uint64_t *fp) {
    if (is_holder(&watch.by, self)) {
        if (size < LEAST_RECORD || size > MOST_PROFILER || watch.count == MOST_WATCHED || !mark(self, block)) return alone;
        watched *row = &watch.rows[watch.count];
        *row = (watched){.block = block, .size = (uint32_t)size};
        returns_of(self, fp, row->returns);
        __atomic_store_n(&watch.count, watch.count + 1, __ATOMIC_RELEASE);
        return true;
    }
    if (tm_unlikely(!self->ran_javascript) && alone && tm_v8_ready) tm_v8_look_for_javascript(self, fp);
    if (size != layout.bytes || !layout.known) return alone;
    uintptr_t returns[RETURNS];
    returns_of(self, fp, returns);
    sampler *own = memcmp(returns, layout.returns, sizeof returns) ? NULL : sampler_of(self);
    if (!own || own->ended) return alone;
    settle(self, own, true);
    if (!mark(self, block)) {
        own->gap = true;
        note_lost(self, 1);
        return true;
    }
    memset((void *)block, 0, size);
    own->pending = block;
    own->pending_node = self->muted && !verifies(self) ? 0 : traceback_of(self, fp);
    return true;
}

void tm_js_heap_free(tm_thread *self, uintptr_t block) {
    if (tm_unlikely(watch.by.thread != NULL)) {
        for (uint32_t i = __atomic_load_n(&watch.count, __ATOMIC_ACQUIRE); i-- > 0;)
            if (watch.rows[i].block == block) {
                watch.rows[i].block = 0;
                return;
            }
    }
    sampler *own = sampler_of(self);
    if (own && own->profiler == block) own->ended = true;
    if (own && own->pending == block) settle(self, own, false);
    if (verifies(self)) return verified_drop(block);
    uint64_t size;
    uint32_t node;
    if (tm_side_take(TM_DOMAIN_JS_HEAP, block, &size, &node)) tm_account(self, -bytes_of(size));
}

static bool same_kind(const watched *a, const watched *b) {
    return a->size == b->size && !memcmp(a->returns, b->returns, sizeof a->returns);
}

/* Of a kind of malloc, the words of the blocks that still live: word w of the i-th. */
typedef struct kind {
    watched like;
    uint32_t rows[MOST_OF_KIND];
    uint32_t count;
} kind;

static uint64_t word(const kind *kind, uint32_t i, uint32_t offset) {
    return *(const uint64_t *)(watch.rows[kind->rows[i]].block + offset);
}

/*
 * Do the words at the offset hold the sizes of the arrays, each as often as it was made at least twice? Elements are 8
 * bytes each; the array's other words are as many for all.
 */
static bool holds_sizes(const kind *kind, uint32_t offset, const tm_js_heap_spec *spec) {
    for (uint32_t i = 0; i < kind->count; i++) {
        uint64_t base = word(kind, i, offset) - 8ul * spec->first;
        if (base > 128) continue;
        uint32_t sizes = 0;
        for (uint32_t n = 0; n < spec->count; n++) {
            uint32_t times = 0;
            for (uint32_t j = 0; j < kind->count; j++)
                times += word(kind, j, offset) == base + 8ul * (spec->first + n * spec->step);
            sizes += times >= 2 && times <= spec->rounds;
        }
        if (sizes == spec->count) return true;
    }
    return false;
}

/* Numbers that grow by one from each record to the next that is still there. */
static bool holds_ids(const kind *kind, uint32_t offset) {
    for (uint32_t i = 0; i < kind->count; i++) {
        uint64_t id = word(kind, i, offset);
        if (!id || id >> 32 || (i && id <= word(kind, i - 1, offset))) return false;
    }
    return word(kind, kind->count - 1, offset) - word(kind, 0, offset) < watch.count;
}

static bool holds_one_pointer(const kind *kind, uint32_t offset) {
    uint64_t pointer = word(kind, 0, offset);
    if (pointer & 7 || pointer < 0x10000 || pointer >> 47) return false;
    for (uint32_t i = 1; i < kind->count; i++)
        if (word(kind, i, offset) != pointer) return false;
    return true;
}

static const watched *watched_at(uintptr_t block) {
    for (uint32_t i = 0; i < watch.count; i++)
        if (watch.rows[i].block == block) return &watch.rows[i];
    return NULL;
}

#define PROFILER_WORDS 32

/* Words of the profiler that are a value, a bit a word. */
static uint32_t profiler_words(uintptr_t profiler, uint64_t value) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < PROFILER_WORDS && 8 * i + 8 <= layout.profiler_bytes; i++)
        if (profiler_has(profiler, 8 * i, value)) found |= 1u << i;
    return found;
}

#define LEAST_OBJECTS 8 /* that were led to by one word of their records and no other */

static bool learn_kind(const kind *kind, const tm_js_heap_spec *spec) {
    uint32_t size = kind->like.size;
    if (size > MOST_RECORD) return false;
    for (uint32_t at = 0; at + 8 <= size; at += 8) {
        if (!holds_sizes(kind, at, spec)) continue;
        for (uint32_t id = 0; id + 8 <= size; id += 8) {
            if (id == at || !holds_ids(kind, id)) continue;
            for (uint32_t profiler = 0; profiler + 8 <= size; profiler += 8) {
                if (profiler == at || profiler == id || !holds_one_pointer(kind, profiler)) continue;
                uintptr_t pointer = word(kind, 0, profiler);
                const watched *block = watched_at(pointer);
                if (!block) continue;
                layout.profiler_bytes = block->size;
                layout.last_id = profiler_words(pointer, word(kind, kind->count - 1, id));
                layout.interval = profiler_words(pointer, spec->interval);
                if (!layout.last_id || !layout.interval) continue;
                layout.bytes = size;
                memcpy(layout.returns, kind->like.returns, sizeof layout.returns);
                layout.size = at;
                layout.id = id;
                layout.profiler = profiler;
                layout.handles = (1u << size / 8) - 1;
                layout.objects = 0;
#define FIELD(name) layout.name += (uint32_t)mistake("js_heap_" #name);
                TM_JS_HEAP_LAYOUT(FIELD)
#undef FIELD
                return true;
            }
        }
    }
    return false;
}

/* The second time, with another interval: what was learnt must hold. */
static bool confirm_kind(const kind *kind, const tm_js_heap_spec *spec) {
    if (kind->like.size != layout.bytes || memcmp(kind->like.returns, layout.returns, sizeof layout.returns)) return false;
    if (!holds_sizes(kind, layout.size, spec) || !holds_ids(kind, layout.id) || !holds_one_pointer(kind, layout.profiler))
        return false;
    uintptr_t profiler = word(kind, 0, layout.profiler);
    const watched *block = watched_at(profiler);
    if (!block || block->size != layout.profiler_bytes) return false;
    layout.interval &= profiler_words(profiler, spec->interval);
    layout.last_id &= profiler_words(profiler, word(kind, kind->count - 1, layout.id));
    if (!layout.interval || !layout.last_id) return false;
    layout.interval = 8 * (uint32_t)__builtin_ctz(layout.interval);
    layout.last_id = 8 * (uint32_t)__builtin_ctz(layout.last_id);
    bool one = layout.objects >= LEAST_OBJECTS && layout.handles && !(layout.handles & (layout.handles - 1));
    layout.handle = one ? 8 * (uint32_t)__builtin_ctz(layout.handles) : 0;
#define FIELD(name) layout.name += (uint32_t)mistake("confirmed_" #name);
    TM_JS_HEAP_LAYOUT(FIELD)
#undef FIELD
    return true;
}

/* One call at a time, with every other thread out of the tables. False: tracing is off; to be left in any case. */
static bool begin_alone(void) {
    tm_lock_take(&tm_here.control_lock);
    return tm_gate_close();
}

static void end_alone(bool tracing) {
    tm_gate_open(tracing);
    tm_lock_drop(&tm_here.control_lock);
}

/* The same; false: it has been left. */
static bool enter_alone(void) {
    if (begin_alone()) return true;
    end_alone(false);
    return false;
}

static void leave_alone(void) { end_alone(true); }

static void end_watch(void) {
    watch.by.thread = NULL;
    want();
    if (watch.rows) os_unmap(watch.rows, MOST_WATCHED * sizeof *watch.rows);
    watch.rows = NULL;
    watch.count = 0;
}

static void end_verification(void) {
    verification.by.thread = NULL;
    want();
    if (verification.rows) os_unmap(verification.rows, MOST_VERIFIED * sizeof *verification.rows);
    verification.rows = NULL;
    verification.count = verification.looked_at = 0;
}

int32_t tracemalloc_js_heap_watch(void) {
    tm_thread *self = tm_self ? tm_self : tm_thread_attach();
    if (!self) return TM_ERROR_STATE;
    int32_t result = TM_ERROR_BUSY;
    tm_lock_take(&tm_here.control_lock);
    if (may_hold(&watch.by, self)) {
        if (!watch.rows) watch.rows = os_map(MOST_WATCHED * sizeof *watch.rows);
        watch.count = 0;
        result = watch.rows ? TM_OK : TM_ERROR_NO_MEMORY;
        if (watch.rows) watch.by = (holder){self, self->incarnation};
        want();
    }
    tm_lock_drop(&tm_here.control_lock);
    return result;
}

int32_t tracemalloc_js_heap_learn(const tm_js_heap_spec *spec) {
    if (!is_holder(&watch.by, tm_self)) return TM_ERROR_STATE;
    bool tracing = begin_alone();
    kind *found = tracing ? os_map(sizeof *found) : NULL;
    bool done = layout.known;
    for (uint32_t first = 0; found && first < watch.count && !done; first++) {
        if (!watch.rows[first].block || watch.rows[first].looked_at) continue;
        found->like = watch.rows[first];
        found->count = 0;
        for (uint32_t i = first; i < watch.count; i++) {
            if (!watch.rows[i].block || !same_kind(&watch.rows[i], &found->like)) continue;
            watch.rows[i].looked_at = true;
            if (found->count < MOST_OF_KIND) found->rows[found->count++] = i;
        }
        if (found->count >= 2 * spec->count && found->count < MOST_OF_KIND)
            done = spec->confirm ? confirm_kind(found, spec) : learn_kind(found, spec);
    }
    layout.known = done && (layout.known || spec->confirm);
    if (found) os_unmap(found, sizeof *found);
    end_watch();
    end_alone(tracing);
    return done ? TM_OK : TM_ERROR_CALIBRATION;
}

/* Is the block a profiler of that interval, as far as is known what one looks like? */
static bool is_profiler(const watched *block, uint64_t wanted) {
    if (!block->block || (layout.known && block->size != layout.profiler_bytes)) return false;
    if (layout.known) return profiler_has(block->block, layout.interval, wanted);
    for (uint32_t at = 0; at + 8 <= block->size; at += 8)
        if (profiler_has(block->block, at, wanted)) return true;
    return false;
}

int32_t tracemalloc_js_heap_began(uint32_t bytes) {
    if (!is_holder(&watch.by, tm_self)) return TM_ERROR_BUSY;
    bool tracing = begin_alone();
    const watched *found = NULL;
    for (uint32_t i = 0; i < watch.count && !found; i++)
        if (is_profiler(&watch.rows[i], bytes)) found = &watch.rows[i];
    sampler *own = layout.known ? sampler_of(tm_self) : NULL;
    if (own && found) {
        own->profiler = found->block;
        own->marked = own->gap = true;
    }
    end_watch();
    end_alone(tracing);
    return !tracing ? TM_ERROR_BUSY : found ? TM_OK : TM_ERROR_STATE;
}

/* ---- from an object to its record ---- */

/* Most words are no address: that is seen without asking the system for what is there. */
static bool leads_to(uint64_t word, uint64_t object) {
    return !(word & 7) && word >> 16 && !(word >> 47) && profiler_has(word, 0, object);
}

void tm_js_heap_learn_handle(uintptr_t slot) {
    if (!is_holder(&watch.by, tm_self) || !layout.bytes || !enter_alone()) return;
    uint64_t object = *(const uint64_t *)slot;
    for (uint32_t word = 0; word < layout.bytes / 8; word++) {
        uint32_t times = 0;
        for (uint32_t i = 0; i < watch.count; i++) {
            const watched *row = &watch.rows[i];
            if (!row->block || row->size != layout.bytes || memcmp(row->returns, layout.returns, sizeof row->returns)) continue;
            times += leads_to(word_of(row->block, 8 * word), object);
        }
        if (times != 1) layout.handles &= ~(1u << word);
    }
    layout.objects++;
    leave_alone();
}

static void note_type(measured_type *known, tm_tagged object) {
    uint64_t map;
    uint16_t type;
    if (!os_read(object & ~3ull, &map, sizeof map) || !tm_is_object(map)) return;
    if (!os_read((map & ~3ull) + (uint64_t)tm_v8.map_type, &type, sizeof type)) return;
    known->spoiled |= known->times && known->type != type;
    known->type = type;
    known->times++;
}

void tm_js_heap_learn_integer(uintptr_t slot, uint32_t digits) {
    tm_tagged object = *(const uint64_t *)slot;
    uint64_t second;
    if (!is_holder(&watch.by, tm_self) || !tm_is_object(object)) return;
    if (!os_read((object & ~3ull) + 8, &second, sizeof second)) return;
    if (!integers.times)
        while (integer_shift < 16 && integer_digits(second) > digits) integer_shift++;
    if (integer_digits(second) == digits) note_type(&integers, object);
    else integers.spoiled = true;
}

/* The table is what a field of the map leads to, and has a record of just its size. */
void tm_js_heap_learn_map(uintptr_t slot) {
    if (!is_holder(&watch.by, tm_self) || !layout.handles || !enter_alone()) return;
    uint64_t fields[4];
    uint32_t handle = 8 * (uint32_t)__builtin_ctz(layout.handles);
    bool known = os_read((*(const uint64_t *)slot & ~3ull), fields, sizeof fields);
    for (uint32_t i = 0; known && i < watch.count; i++) {
        const watched *row = &watch.rows[i];
        if (!row->block || row->size != layout.bytes || memcmp(row->returns, layout.returns, sizeof row->returns)) continue;
        uint64_t object, second;
        if (!os_read(word_of(row->block, handle), &object, sizeof object) || !tm_is_object(object)) continue;
        for (int field = 1; field < 4; field++)
            if (fields[field] == object && os_read((object & ~3ull) + 8, &second, sizeof second) &&
                word_of(row->block, layout.size) == 16 + 8 * tm_v8_bytes_length(second))
                note_type(&tables, object);
    }
    leave_alone();
}

uintptr_t tm_js_heap_record_of(uintptr_t slot) {
    if (!layout.known || !layout.handle || !tm_self || !enter_alone()) return 0;
    uintptr_t found = 0;
    tm_js_heap_settle();
    const sampler *own = sampler_of(tm_self);
    uint64_t object = *(const uint64_t *)slot;
    size_t count = 0;
    const tm_side_block *rows = own && own->profiler && !own->ended && tm_is_object(object) ? tm_side_rows(&count) : NULL;
    for (size_t i = 0; i < count && !found; i++) {
        if (!rows[i].node || rows[i].domain != TM_DOMAIN_JS_HEAP) continue;
        uintptr_t record = rows[i].address;
        if (word_of(record, layout.profiler) != own->profiler) continue;
        const uint64_t *handle = (const uint64_t *)word_of(record, layout.handle);
        if (handle && *handle == object) found = record;
    }
    leave_alone();
    return found;
}

/* ---- verification ---- */

int32_t tracemalloc_js_heap_known(void) {
    if (layout.refused) return TM_JS_HEAP_REFUSED;
    if (!layout.known) return TM_JS_HEAP_UNKNOWN;
    return (layout.profiled ? TM_JS_HEAP_PROFILED : TM_JS_HEAP_LEARNT) | (int32_t)(layout.verified_in << TM_JS_HEAP_TIERS);
}

int32_t tracemalloc_js_heap_verify(void) {
    tm_thread *self = tm_self ? tm_self : tm_thread_attach();
    if (!self || !layout.known) return TM_ERROR_STATE;
    int32_t result = TM_ERROR_BUSY;
    tm_lock_take(&tm_here.control_lock);
    if (tm_here.gate != TM_GATE_OFF && may_hold(&verification.by, self)) {
        if (!verification.rows) verification.rows = os_map(MOST_VERIFIED * sizeof *verification.rows);
        result = verification.rows && sampler_add(self) ? TM_OK : TM_ERROR_NO_MEMORY;
        verification.count = verification.looked_at = 0;
        verification.lost = 0;
        verification.spoiled = false;
        verification.by = result == TM_OK ? (holder){self, self->incarnation} : (holder){0};
        want();
    }
    tm_lock_drop(&tm_here.control_lock);
    return result;
}

/* Of the calling thread, inside the tracer; NULL: it does not verify. */
static tm_thread *enter_verification(void) {
    tm_thread *self = tm_enter();
    if (!self) return NULL;
    sampler *own = verifies(self) && !verification.spoiled ? sampler_of(self) : NULL;
    if (!own) {
        tm_leave(self);
        return NULL;
    }
    if (own->pending && is_filled(own->pending)) settle(self, own, false);
    return self;
}

int32_t tm_js_heap_verify_object(uintptr_t slot) {
    tm_thread *self = enter_verification();
    if (!self) return TM_ERROR_STATE;
    uint64_t object = *(const uint64_t *)slot;
    int32_t found = TM_ERROR_CALIBRATION;
    uint32_t times = 0;
    for (uint32_t i = verification.looked_at; i < verification.count; i++) {
        uintptr_t record = verification.rows[i].record;
        if (!record || !layout.handle || !leads_to(word_of(record, layout.handle), object)) continue;
        found = (int32_t)i;
        times++;
    }
    verification.looked_at = verification.count;
    tm_leave(self);
    return times > 1 ? TM_ERROR_CALIBRATION : found;
}

/* Where JavaScript was, as the most recent frame of a traceback that is no native code's says. */
static void place_of(uint32_t node, uint32_t out[3]) {
    const tm_node_row *nodes = tm_node_rows();
    const tm_frame_row *frames = tm_frame_rows();
    while (node && frames[nodes[node].frame].kind == TM_FRAME_NATIVE) node = nodes[node].parent;
    const tm_frame_row *frame = node ? &frames[nodes[node].frame] : NULL;
    bool known = frame && frame->kind == TM_FRAME_SCRIPT && frame->line;
    out[0] = known ? frame->line : 0;
    out[1] = known ? frame->column : 0;
    out[2] = known ? tm_frame_tiers()[nodes[node].frame] : 0;
}

int32_t tracemalloc_js_heap_verified(uint32_t *out, int32_t words) {
    tm_thread *self = enter_verification();
    if (!self) return TM_ERROR_STATE;
    int32_t count = (int32_t)verification.count < words / 5 ? (int32_t)verification.count : words / 5;
    for (int32_t i = 0; i < count; i++) {
        const verified *row = &verification.rows[i];
        out[5 * i] = row->record != 0;
        out[5 * i + 1] = (uint32_t)row->size;
        place_of(row->node, out + 5 * i + 2);
    }
    if (verification.lost) count = TM_ERROR_CALIBRATION;
    tm_leave(self);
    return count;
}

/* Of all threads: they would be wrong. */
static void forget_records(tm_thread *self) {
    size_t count = 0;
    const tm_side_block *rows = tm_side_rows(&count);
    for (size_t i = 0; i < count; i++) {
        uint64_t sizes;
        uint32_t node;
        if (rows[i].node && rows[i].domain == TM_DOMAIN_JS_HEAP && tm_side_take(TM_DOMAIN_JS_HEAP, rows[i].address, &sizes, &node))
            tm_account(self, -bytes_of(sizes));
    }
    for (uint32_t i = 0; i < sampler_count; i++) samplers[i].pending = 0;
}

void tracemalloc_js_heap_verify_end(void) {
    if (!tm_self) return;
    bool tracing = begin_alone();
    if (is_holder(&verification.by, tm_self)) {
        sampler *own = sampler_of(tm_self);
        if (own) *own = (sampler){0};
        end_verification();
    }
    end_alone(tracing);
}

void tracemalloc_js_heap_judge(int32_t state, uint32_t tiers) {
    if (!tm_self && !tm_thread_attach()) return;
    bool tracing = begin_alone();
    layout.verified_in |= tiers;
    layout.profiled |= layout.known && state == TM_JS_HEAP_PROFILED;
    if (state == TM_JS_HEAP_REFUSED) {
        layout.known = false;
        layout.refused = true;
        forget_records(tm_self);
    }
    want();
    end_alone(tracing);
}

/* ---- control ---- */

int32_t tracemalloc_js_heap_start(uint32_t bytes, uint32_t without_native) {
    tm_thread *self = tm_self ? tm_self : tm_thread_attach();
    if (!self || !bytes || bytes > INT32_MAX) return TM_ERROR_STATE;
    int32_t result = TM_ERROR_NO_MEMORY;
    tm_lock_take(&tm_here.control_lock);
    if (sampler_add(self)) {
        sampler_of(self)->ended = !layout.known; /* the engine's own profile has to do */
        if (!interval) {
            interval = bytes;
            alone = without_native || native_off;
        }
        want();
        result = (int32_t)interval;
    }
    tm_lock_drop(&tm_here.control_lock);
    return result;
}

void tracemalloc_js_heap_end(void) {
    if (!enter_alone()) return;
    sampler *own = tm_self ? sampler_of(tm_self) : NULL;
    if (own) *own = (sampler){0};
    leave_alone();
}

void tm_js_heap_alone(void) {
    alone = native_off = true;
    want();
}

void tm_js_heap_stop(void) {
    memset(samplers, 0, sizeof samplers);
    __atomic_store_n(&sampler_count, 0, __ATOMIC_RELEASE);
    lost = interval = 0;
    alone = native_off = false;
    end_watch();
    end_verification();
}

int32_t tracemalloc_js_heap_state(void) {
    int32_t state = 0;
    tm_lock_take(&tm_here.control_lock);
    const sampler *own = tm_self ? sampler_of(tm_self) : NULL;
    if (own) state = own->ended ? 2 : 1;
    tm_lock_drop(&tm_here.control_lock);
    return state;
}

static void count_unsampled(tm_thread *thread, void *count) {
    if (thread->id && thread->ran_javascript && !sampler_of(thread)) ++*(uint32_t *)count;
}

uint32_t tracemalloc_js_heap_unsampled(void) {
    uint32_t count = 0;
    if (!enter_alone()) return 0;
    if (interval) tm_each_thread(count_unsampled, &count);
    leave_alone();
    return count;
}
