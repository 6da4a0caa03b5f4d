#include "traces.h"

#include <string.h>

#include "thread.h"

/* The most of each; less where address space is short (tm_arena_reserve). */
#define MOST_STRING_BYTES (256ul << 20)
#define MOST_STRINGS (1ul << 22)
#define MOST_SCRIPTS (1ul << 20)
#define MOST_LINES (1ul << 28)
#define MOST_FRAMES (1ul << 24)
#define MOST_TALLIES (1ul << 23)

uint32_t tm_traces_generation = 1;
bool tm_count_allocated;
uint64_t *tm_allocated;

typedef struct column {
    void *rows;
    size_t row_bytes, reserved;
    uint32_t count, most;
} column;

static bool column_init(column *c, size_t row_bytes, size_t most) {
    c->rows = tm_arena_reserve(row_bytes * most, &c->reserved);
    c->row_bytes = row_bytes;
    c->most = (uint32_t)(c->reserved / row_bytes);
    c->count = 0;
    return c->rows != NULL;
}

static void column_drop(column *c) {
    if (c->rows) os_unmap(c->rows, c->reserved);
    memset(c, 0, sizeof *c);
}

/* What a row refers to, and the row itself, are there before it counts: images are taken while rows are added. */
static void publish(column *c) { __atomic_store_n(&c->count, c->count + 1, __ATOMIC_RELEASE); }
static uint32_t published(const column *c) { return __atomic_load_n(&c->count, __ATOMIC_ACQUIRE); }

/* An open-addressing index into a column: slots hold row + 1. Readers take no lock; growth leaves the old one be. */
typedef struct index_slots {
    struct index_slots *older;
    size_t bytes;
    uint32_t mask;
    uint32_t slot[];
} index_slots;

typedef struct hash_index {
    index_slots *slots;
    uint32_t used;
} hash_index;

static bool index_reserve(hash_index *index, uint64_t (*hash_of)(uint32_t row)) {
    if (index->slots && index->used * 2 <= index->slots->mask) return true;
    uint32_t capacity = index->slots ? (index->slots->mask + 1) * 2 : 1024;
    size_t bytes = sizeof(index_slots) + capacity * sizeof(uint32_t);
    index_slots *fresh = os_map(bytes);
    if (!fresh) return index->slots && index->used < index->slots->mask;
    fresh->older = index->slots;
    fresh->bytes = bytes;
    fresh->mask = capacity - 1;
    if (index->slots)
        for (uint32_t i = 0; i <= index->slots->mask; i++) {
            uint32_t row = index->slots->slot[i];
            if (!row) continue;
            uint32_t at = (uint32_t)(hash_of(row - 1) >> 32) & fresh->mask;
            while (fresh->slot[at]) at = (at + 1) & fresh->mask;
            fresh->slot[at] = row;
        }
    __atomic_store_n(&index->slots, fresh, __ATOMIC_RELEASE);
    return true;
}

static void index_insert(hash_index *index, uint64_t hash, uint32_t row) {
    index_slots *slots = index->slots;
    uint32_t at = (uint32_t)(hash >> 32) & slots->mask;
    while (slots->slot[at]) at = (at + 1) & slots->mask;
    __atomic_store_n(&slots->slot[at], row + 1, __ATOMIC_RELEASE);
    index->used++;
}

static void index_drop(hash_index *index) {
    while (index->slots) {
        index_slots *older = index->slots->older;
        os_unmap(index->slots, index->slots->bytes);
        index->slots = older;
    }
    index->used = 0;
}

__thread tm_tally_kept *tm_tallies_kept __attribute__((tls_model("initial-exec")));

/* By the threads' records: whoever takes the record of a thread that is gone goes on with what that had kept. */
#define MOST_KEEPERS 16384
#define KEPT_BYTES (TM_TALLIES_KEPT * sizeof(tm_tally_kept))
static struct {
    const tm_thread *record;
    tm_tally_kept *kept;
} keepers[MOST_KEEPERS];
static uint32_t keeper_count;

static column string_ends, string_bytes, scripts, lines, frames, tiers, nodes, tallies;
static hash_index string_index, script_index, frame_index, node_index, tally_index;
static uint32_t tally_base = 1; /* number of the first tally: numbers are not used again */
static column allocated;
static tm_lock traces_lock;

/* Frame 0 and node 1 say that the tables are full: they are there before that can be. Node 0 is the root. */
#define FRAME_MEMORY 0
#define NODE_MEMORY 1

static void plant_tree(void) {
    nodes.count = 1;
    tm_node(0, FRAME_MEMORY);
}

bool tm_traces_init(void) {
    if (nodes.rows) return true;
    bool ok = column_init(&string_ends, sizeof(uint64_t), MOST_STRINGS) &&
              column_init(&string_bytes, 1, MOST_STRING_BYTES) && column_init(&scripts, sizeof(tm_script), MOST_SCRIPTS) &&
              column_init(&lines, sizeof(uint32_t), MOST_LINES) &&
              column_init(&frames, sizeof(tm_frame_row), MOST_FRAMES) && column_init(&tiers, 1, MOST_FRAMES) &&
              column_init(&nodes, sizeof(tm_node_row), TM_MOST_NODES) && column_init(&tallies, sizeof(tm_tally_row), MOST_TALLIES);
    if (ok && tm_count_allocated) ok = column_init(&allocated, sizeof *tm_allocated, nodes.most);
    if (!ok) {
        tm_traces_clear();
        return false;
    }
    tm_allocated = allocated.rows;
    if (tm_allocated && allocated.most < nodes.most) nodes.most = allocated.most;
    tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_MEMORY, 0, 0, 0);
    plant_tree();
    return true;
}

/* Their numbers are void, also where a block still bears one. */
static void clear_tallies(void) {
    for (uint32_t i = 0; i < keeper_count; i++) memset(keepers[i].kept, 0, KEPT_BYTES);
    index_drop(&tally_index);
    tally_base += tallies.count;
    tallies.count = 0;
    if (tallies.rows) os_discard(tallies.rows, tallies.reserved);
}

void tm_tree_clear(void) {
    clear_tallies();
    index_drop(&node_index);
    if (nodes.rows) {
        os_discard(nodes.rows, nodes.reserved);
        if (tm_allocated) os_discard(allocated.rows, allocated.reserved);
        plant_tree();
    }
    tm_traces_generation++;
    tm_steady_change();
}

void tm_traces_clear(void) {
    clear_tallies();
    index_drop(&string_index);
    index_drop(&script_index);
    index_drop(&frame_index);
    index_drop(&node_index);
    column *all[] = {&string_ends, &string_bytes, &scripts, &lines, &frames, &tiers, &nodes, &tallies, &allocated};
    tm_allocated = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) column_drop(all[i]);
    tm_traces_generation++;
    tm_steady_change();
}

static size_t index_bytes(const hash_index *index) {
    size_t bytes = 0;
    for (const index_slots *s = index->slots; s; s = s->older) bytes += s->bytes;
    return bytes;
}

size_t tm_traces_bytes(void) {
    const column *all[] = {&string_ends, &string_bytes, &scripts, &lines, &frames, &tiers, &nodes, &tallies};
    size_t bytes = index_bytes(&string_index) + index_bytes(&script_index) + index_bytes(&frame_index) + index_bytes(&node_index) +
                   index_bytes(&tally_index);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bytes += all[i]->count * all[i]->row_bytes;
    return bytes + __atomic_load_n(&keeper_count, __ATOMIC_RELAXED) * KEPT_BYTES;
}

/* ---- strings ---- */

static uint64_t hash_bytes(const char *bytes, size_t length) {
    uint64_t hash = length;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3ull;
    return tm_hash64(hash);
}

static const char *string_at(uint32_t row, size_t *length) {
    const uint64_t *ends = string_ends.rows;
    uint64_t start = row ? ends[row - 1] : 0;
    *length = ends[row] - start;
    return (const char *)string_bytes.rows + start;
}

static uint64_t hash_of_string(uint32_t row) {
    size_t length;
    const char *bytes = string_at(row, &length);
    return hash_bytes(bytes, length);
}

uint32_t tm_string(const char *bytes, size_t length) {
    uint64_t hash = hash_bytes(bytes, length);
    uint32_t result = UINT32_MAX;
    tm_lock_take(&traces_lock);
    if (index_reserve(&string_index, hash_of_string)) {
        index_slots *slots = string_index.slots;
        for (uint32_t at = (uint32_t)(hash >> 32) & slots->mask; slots->slot[at]; at = (at + 1) & slots->mask) {
            size_t found_length;
            const char *found = string_at(slots->slot[at] - 1, &found_length);
            if (found_length == length && !memcmp(found, bytes, length)) {
                result = slots->slot[at] - 1;
                break;
            }
        }
        if (result == UINT32_MAX && string_ends.count < string_ends.most && length <= string_bytes.most - string_bytes.count) {
            memcpy((char *)string_bytes.rows + string_bytes.count, bytes, length);
            string_bytes.count += (uint32_t)length;
            result = string_ends.count;
            ((uint64_t *)string_ends.rows)[result] = string_bytes.count;
            publish(&string_ends);
            index_insert(&string_index, hash, result);
        }
    }
    tm_lock_drop(&traces_lock);
    return result;
}

/* ---- scripts: looked up only when a frame is decoded for the first time; programs that use eval have many ---- */

const tm_script *tm_script_at(uint32_t index) { return (const tm_script *)scripts.rows + index; }

static uint64_t hash_script(uint64_t owner, int32_t id, uint32_t url, uint32_t text_length) {
    return tm_hash64(owner + (uint32_t)id * 0x9E3779B97F4A7C15ull + tm_hash64((uint64_t)url << 32 | text_length));
}

static uint64_t hash_of_script(uint32_t row) {
    const tm_script *script = tm_script_at(row);
    return hash_script(script->owner, script->id, script->url, script->text_length);
}

uint32_t tm_script_find(uint64_t owner, int32_t id, uint32_t url, uint32_t text_length) {
    uint64_t hash = hash_script(owner, id, url, text_length);
    const index_slots *slots = __atomic_load_n(&script_index.slots, __ATOMIC_ACQUIRE);
    for (uint32_t at = slots ? (uint32_t)(hash >> 32) & slots->mask : 0; slots; at = (at + 1) & slots->mask) {
        uint32_t row = __atomic_load_n(&slots->slot[at], __ATOMIC_ACQUIRE);
        if (!row) break;
        const tm_script *script = tm_script_at(row - 1);
        if (script->id == id && script->owner == owner && script->url == url && script->text_length == text_length) return row - 1;
    }
    return UINT32_MAX;
}

uint32_t *tm_script_lines(uint32_t count) {
    uint32_t *start = NULL;
    tm_lock_take(&traces_lock);
    if (count <= lines.most - lines.count) {
        start = (uint32_t *)lines.rows + lines.count;
        lines.count += count;
    }
    tm_lock_drop(&traces_lock);
    return start;
}

uint32_t tm_script_add(const tm_script *script) {
    uint32_t result = UINT32_MAX;
    tm_lock_take(&traces_lock);
    if (scripts.count < scripts.most && index_reserve(&script_index, hash_of_script)) {
        result = scripts.count;
        ((tm_script *)scripts.rows)[result] = *script;
        publish(&scripts);
        index_insert(&script_index, hash_of_script(result), result);
    }
    tm_lock_drop(&traces_lock);
    return result;
}

void tm_script_set_origin(uint32_t index, uint32_t origin) {
    __atomic_store_n(&((tm_script *)scripts.rows)[index].origin, origin, __ATOMIC_RELAXED);
}

/* ---- frames ---- */

static uint64_t hash_frame(const tm_frame_row *row) {
    return tm_hash64(((uint64_t)row->kind << 60 ^ (uint64_t)row->owner << 32 ^ row->line) + tm_hash64(row->column + 1ull));
}

static uint64_t hash_of_frame(uint32_t row) { return hash_frame((const tm_frame_row *)frames.rows + row); }

static inline uint32_t find_frame(const index_slots *slots, uint64_t hash, const tm_frame_row *wanted) {
    const tm_frame_row *rows = frames.rows;
    for (uint32_t at = (uint32_t)(hash >> 32) & slots->mask;; at = (at + 1) & slots->mask) {
        uint32_t row = __atomic_load_n(&slots->slot[at], __ATOMIC_ACQUIRE);
        if (!row || !memcmp(&rows[row - 1], wanted, sizeof *wanted)) return row;
    }
}

static uint32_t intern_frame(tm_frame_row wanted, uint32_t seen_in) {
    uint64_t hash = hash_frame(&wanted);
    const index_slots *slots = __atomic_load_n(&frame_index.slots, __ATOMIC_ACQUIRE);
    uint32_t found = tm_likely(slots != NULL) ? find_frame(slots, hash, &wanted) : 0;
    if (tm_unlikely(!found)) {
        tm_lock_take(&traces_lock);
        if (index_reserve(&frame_index, hash_of_frame)) {
            found = find_frame(frame_index.slots, hash, &wanted);
            if (!found && frames.count < frames.most) {
                ((tm_frame_row *)frames.rows)[frames.count] = wanted;
                ((uint8_t *)tiers.rows)[frames.count] = 0;
                publish(&tiers);
                publish(&frames);
                found = frames.count;
                index_insert(&frame_index, hash, found - 1);
            }
        }
        tm_lock_drop(&traces_lock);
        if (!found) return FRAME_MEMORY;
    }
    uint8_t *seen = (uint8_t *)tiers.rows + found - 1;
    if (tm_unlikely(~__atomic_load_n(seen, __ATOMIC_RELAXED) & seen_in)) __atomic_or_fetch(seen, (uint8_t)seen_in, __ATOMIC_RELAXED);
    return found - 1;
}

uint32_t tm_frame(uint32_t kind, uint32_t owner, uint32_t line, uint32_t column_number, uint32_t seen_in) {
    return intern_frame((tm_frame_row){kind, owner, line, column_number}, seen_in);
}

uint32_t tm_frame_native(uintptr_t pc) {
    return intern_frame((tm_frame_row){TM_FRAME_NATIVE, 0, (uint32_t)(pc >> 32), (uint32_t)pc}, 0);
}

/* ---- nodes ---- */

static uint64_t hash_node(uint32_t parent, uint32_t frame) { return tm_hash64((uint64_t)parent << 32 | frame); }

static uint64_t hash_of_node(uint32_t row) {
    const tm_node_row *node = (const tm_node_row *)nodes.rows + row;
    return hash_node(node->parent, node->frame);
}

static inline uint32_t find_node(const index_slots *slots, uint64_t hash, uint32_t parent, uint32_t frame) {
    const tm_node_row *rows = nodes.rows;
    for (uint32_t at = (uint32_t)(hash >> 32) & slots->mask;; at = (at + 1) & slots->mask) {
        uint32_t row = __atomic_load_n(&slots->slot[at], __ATOMIC_ACQUIRE);
        if (!row) return 0;
        if (rows[row - 1].parent == parent && rows[row - 1].frame == frame) return row - 1;
    }
}

uint32_t tm_node(uint32_t parent, uint32_t frame) {
    uint64_t hash = hash_node(parent, frame);
    index_slots *slots = __atomic_load_n(&node_index.slots, __ATOMIC_ACQUIRE);
    uint32_t node = tm_likely(slots != NULL) ? find_node(slots, hash, parent, frame) : 0;
    if (tm_likely(node)) return node;
    tm_lock_take(&traces_lock);
    if (node_index.slots) node = find_node(node_index.slots, hash, parent, frame);
    if (!node) {
        if (nodes.count < nodes.most && index_reserve(&node_index, hash_of_node)) {
            node = nodes.count;
            ((tm_node_row *)nodes.rows)[node] = (tm_node_row){parent, frame};
            publish(&nodes);
            index_insert(&node_index, hash, node);
        } else {
            node = parent ? parent : NODE_MEMORY;
        }
    }
    tm_lock_drop(&traces_lock);
    return node;
}

/* ---- tallies ---- */

static uint64_t hash_tally(uint32_t node, uint64_t size) { return tm_hash64(size * 0x9E3779B97F4A7C15ull + node); }

static uint64_t hash_of_tally(uint32_t row) {
    const tm_tally_row *tally = (const tm_tally_row *)tallies.rows + row;
    return hash_tally(tally->node, tally->size);
}

static inline bool find_tally(const index_slots *slots, uint64_t hash, uint32_t node, uint64_t size, uint32_t *row) {
    const tm_tally_row *rows = tallies.rows;
    for (uint32_t at = (uint32_t)(hash >> 32) & slots->mask;; at = (at + 1) & slots->mask) {
        uint32_t slot = __atomic_load_n(&slots->slot[at], __ATOMIC_ACQUIRE);
        if (!slot) return false;
        *row = slot - 1;
        if (rows[*row].node == node && rows[*row].size == size) return true;
    }
}

uint32_t tm_tally(uint32_t node, uint64_t size) {
    uint64_t hash = hash_tally(node, size);
    uint32_t row;
    index_slots *slots = __atomic_load_n(&tally_index.slots, __ATOMIC_ACQUIRE);
    if (tm_likely(slots && find_tally(slots, hash, node, size, &row))) return tally_base + row;
    tm_lock_take(&traces_lock);
    bool known = tally_index.slots && find_tally(tally_index.slots, hash, node, size, &row);
    if (!known && tallies.count < tallies.most && tallies.count < UINT32_MAX - tally_base && index_reserve(&tally_index, hash_of_tally)) {
        row = tallies.count;
        ((tm_tally_row *)tallies.rows)[row] = (tm_tally_row){size, 0, node};
        tallies.count++;
        index_insert(&tally_index, hash, row);
        known = true;
    }
    tm_lock_drop(&traces_lock);
    return known ? tally_base + row : 0;
}

tm_tally_row *tm_tally_at(uint32_t tally) {
    uint32_t row = tally - tally_base;
    return tally && row < tallies.count ? (tm_tally_row *)tallies.rows + row : NULL;
}

bool tm_tally_count(uint32_t tally, int64_t blocks, uint64_t *size) {
    tm_tally_row *row = tm_tally_at(tally);
    if (!row) return false;
    __atomic_add_fetch(&row->blocks, blocks, __ATOMIC_RELAXED);
    *size = row->size;
    return true;
}

static void add_kept(tm_tally_kept *kept) {
    uint64_t size;
    if (kept->blocks) tm_tally_count(kept->tally, kept->blocks, &size);
    kept->blocks = 0;
}

static tm_tally_kept *own_places(const tm_thread *self) {
    if (tm_likely(tm_tallies_kept != NULL)) return tm_tallies_kept;
    tm_lock_take(&traces_lock);
    uint32_t i = 0;
    while (i < keeper_count && keepers[i].record != self) i++;
    if (i == keeper_count && i < MOST_KEEPERS && (keepers[i].kept = os_map(KEPT_BYTES))) {
        keepers[i].record = self;
        keeper_count++;
    }
    tm_tallies_kept = i < keeper_count ? keepers[i].kept : NULL;
    tm_lock_drop(&traces_lock);
    return tm_tallies_kept;
}

static tm_tally_kept *keep(const tm_thread *self, uint32_t tally, uint32_t node, uint64_t size) {
    tm_tally_kept *kept = own_places(self);
    if (!kept) return NULL;
    kept += tm_tally_place(node, size);
    add_kept(kept);
    *kept = (tm_tally_kept){.size = size, .node = node, .tally = tally};
    return kept;
}

tm_tally_kept *tm_tally_keep(const tm_thread *self, uint32_t node, uint64_t size) {
    uint32_t tally = tm_tally(node, size);
    return tally ? keep(self, tally, node, size) : NULL;
}

tm_tally_kept *tm_tally_keep_number(const tm_thread *self, uint32_t tally) {
    const tm_tally_row *row = tm_tally_at(tally);
    return row ? keep(self, tally, row->node, row->size) : NULL;
}

static void add_all_kept(void) {
    for (uint32_t i = 0; i < keeper_count; i++)
        for (uint32_t k = 0; k < TM_TALLIES_KEPT; k++) add_kept(keepers[i].kept + k);
}

void tm_tallies_each(void (*each)(uint64_t, uint32_t, double, void *), void *context) {
    add_all_kept();
    const tm_tally_row *rows = tallies.rows;
    for (uint32_t i = 0; i < tallies.count; i++)
        if (rows[i].blocks > 0) each(rows[i].size, rows[i].node, (double)rows[i].blocks / TM_TALLY_ONE, context);
}

static void count_tally(uint64_t size, uint32_t node, double blocks, void *context) {
    (void)size, (void)node, (void)blocks;
    ++*(uint64_t *)context;
}

uint64_t tm_tallies_count(void) {
    uint64_t count = 0;
    tm_tallies_each(count_tally, &count);
    return count;
}

/* ---- for images ---- */

uint32_t tm_frame_count(void) { return published(&frames); }
const tm_frame_row *tm_frame_rows(void) { return frames.rows; }
const uint8_t *tm_frame_tiers(void) { return tiers.rows; }
uint32_t tm_node_count(void) { return published(&nodes); }
const tm_node_row *tm_node_rows(void) { return nodes.rows; }
uint32_t tm_script_count(void) { return published(&scripts); }
uint32_t tm_string_count(void) { return published(&string_ends); }
const uint64_t *tm_string_ends(void) { return string_ends.rows; }
const char *tm_string_bytes(void) { return string_bytes.rows; }
