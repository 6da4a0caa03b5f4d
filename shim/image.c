#include "image.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "js_heap.h"
#include "jsc.h"
#include "maps.h"
#include "mimalloc.h"
#include "sampling.h"
#include "side.h"
#include "symbols.h"
#include "traces.h"
#include "unwind.h"
#include "v8.h"

/* ---- rows: alike blocks share one; where there is no memory for that, a row a block ---- */

typedef struct row {
    uint64_t size;
    double count; /* 0: empty */
    uint32_t node, domain;
} row;

#ifndef TM_FIRST_ROWS /* tests have less */
#define TM_FIRST_ROWS 4096
#endif

struct rows {
    row *table; /* open addressing */
    size_t capacity;
    uint64_t count;
    bool failed;     /* there was no memory */
    bool ungathered; /* the rows are the blocks themselves, with the gate closed */
};

static row *find_row(const struct rows *rows, uint32_t domain, uint64_t size, uint32_t node) {
    uint64_t key = size * 0x9E3779B97F4A7C15ull + ((uint64_t)domain << 32 | node);
    for (size_t at = tm_hash64(key) >> 20;; at++) {
        row *row = &rows->table[at & (rows->capacity - 1)];
        if (row->count == 0 || (row->size == size && row->node == node && row->domain == domain)) return row;
    }
}

static void drop(struct rows *rows) {
    if (rows->table) os_unmap(rows->table, rows->capacity * sizeof *rows->table);
    *rows = (struct rows){0};
}

static bool grow(struct rows *rows) {
    struct rows larger = {.capacity = rows->capacity ? rows->capacity * 4 : TM_FIRST_ROWS, .count = rows->count};
    larger.table = os_map(larger.capacity * sizeof *larger.table);
    if (!larger.table) return false;
    for (size_t i = 0; i < rows->capacity; i++) {
        const row *row = &rows->table[i];
        if (row->count > 0) *find_row(&larger, row->domain, row->size, row->node) = *row;
    }
    drop(rows);
    *rows = larger;
    return true;
}

static void add(struct rows *rows, uint32_t domain, uint64_t size, uint32_t node, double count) {
    if (rows->count * 2 >= rows->capacity && !rows->failed) rows->failed = !grow(rows);
    if (rows->failed) return;
    row *row = find_row(rows, domain, size, node);
    if (row->count == 0) {
        *row = (struct row){size, 0, node, domain};
        rows->count++;
    }
    row->count += count;
}

/* How many blocks of malloc each one stands for. */
static double stands_for(uint32_t domain, uint64_t size) { return domain ? 1 : tm_sample_weight(size); }

static void add_block(uint32_t domain, uint64_t size, uint32_t node, void *rows) {
    add(rows, domain, size, node, stands_for(domain, size));
}

static void add_tally(uint64_t size, uint32_t node, double count, void *rows) { add(rows, 0, size, node, count); }

/* Tracebacks of JavaScriptCore's frames are of call sites until these are named. */
static void name_sites(struct rows *rows) {
    struct rows named = {.failed = rows->failed};
    uint32_t nodes = tm_node_count(), *names = os_map(nodes * sizeof *names);
    for (size_t i = 0; i < rows->capacity; i++) {
        const row *row = &rows->table[i];
        if (row->count == 0) continue;
        uint32_t name = names ? names[row->node] : 0;
        if (!name) name = tm_jsc_resolved_node(row->node, tm_traceback_limit);
        if (names) names[row->node] = name;
        add(&named, row->domain, row->size, name, row->count);
    }
    if (names) os_unmap(names, nodes * sizeof *names);
    drop(rows);
    *rows = named;
}

/* ---- names of native frames ---- */

static uint32_t name_of(uintptr_t pc) {
    char name[1024];
    return tm_string(name, tm_symbol_name(pc, name, sizeof name));
}

/*
 * Strings of the native frames by frame index, kept: naming is slow, and what was named may be unloaded by the next time.
 * Only one image is taken at a time.
 */
static uint32_t *native_names;
static uint64_t names_reserved, names_done;
static uint32_t names_generation;

/* As many as there is memory for. */
static void name_native_frames(uint64_t frames) {
    if (names_generation != tm_traces_generation) {
        names_generation = tm_traces_generation;
        names_done = 0;
    }
    if (frames * sizeof *native_names > names_reserved) {
        size_t bytes = (size_t)(frames * 2 + 4096) * sizeof *native_names;
        uint32_t *more = os_map(bytes);
        if (!more) return;
        if (native_names) {
            memcpy(more, native_names, names_done * sizeof *more);
            os_unmap(native_names, names_reserved);
        }
        native_names = more;
        names_reserved = bytes;
    }
    const tm_frame_row *rows = tm_frame_rows();
    for (; names_done < frames; names_done++)
        if (rows[names_done].kind == TM_FRAME_NATIVE)
            native_names[names_done] = name_of((uint64_t)rows[names_done].line << 32 | rows[names_done].column);
    tm_symbols_forget();
}

/* ---- where an image goes: memory, or a file ---- */

struct sink {
    char *memory; /* NULL: the file */
    int file;
    bool failed;
    uint64_t bytes; /* so far */
    char *buffer;
    size_t buffered;
};

#define BUFFER_BYTES 65536

bool tm_write_all(int file, const char *bytes, uint64_t count) {
    while (count) {
        ssize_t written = write(file, bytes, count);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes += written;
        count -= (uint64_t)written;
    }
    return true;
}

static void flush(struct sink *sink) {
    if (!sink->failed) sink->failed = !tm_write_all(sink->file, sink->buffer, sink->buffered);
    sink->buffered = 0;
}

static void put(struct sink *sink, const void *from, size_t bytes) {
    if (sink->memory) {
        memcpy(sink->memory + sink->bytes, from, bytes);
        sink->bytes += bytes;
        return;
    }
    sink->bytes += bytes;
    while (bytes) {
        size_t now = BUFFER_BYTES - sink->buffered < bytes ? BUFFER_BYTES - sink->buffered : bytes;
        memcpy(sink->buffer + sink->buffered, from, now);
        from = (const char *)from + now;
        bytes -= now;
        if ((sink->buffered += now) == BUFFER_BYTES) flush(sink);
    }
}

static void put_u32(struct sink *sink, uint32_t value) { put(sink, &value, sizeof value); }
static void put_f64(struct sink *sink, double value) { put(sink, &value, sizeof value); }

/* Columns begin at multiples of 8 bytes. */
static void align(struct sink *sink) {
    static const char zeros[8];
    put(sink, zeros, -sink->bytes & 7);
}

enum column { SIZE, BLOCKS, NODE, DOMAIN };

/* How many blocks each one stands for. */
static double weight_of(const row *row) {
    return row->domain == TM_DOMAIN_JS_HEAP ? tm_js_heap_weight(row->size) : 1;
}

static void put_cell(struct sink *sink, enum column column, const row *row) {
    switch (column) {
    case SIZE: put_f64(sink, (double)(row->domain == TM_DOMAIN_JS_HEAP ? TM_JS_HEAP_SIZE(row->size) : row->size)); break;
    case BLOCKS: put_f64(sink, row->count * weight_of(row)); break;
    case NODE: put_u32(sink, row->node); break;
    case DOMAIN: put_u32(sink, row->domain); break;
    }
}

struct cells {
    struct sink *sink;
    enum column column;
};

static void put_block(uint32_t domain, uint64_t size, uint32_t node, void *context) {
    struct cells *cells = context;
    put_cell(cells->sink, cells->column, &(row){size, stands_for(domain, size), node, domain});
}

static void put_tally(uint64_t size, uint32_t node, double count, void *context) {
    struct cells *cells = context;
    put_cell(cells->sink, cells->column, &(row){size, count, node, 0});
}

static void put_column(struct sink *sink, const struct rows *rows, enum column column) {
    align(sink);
    if (rows->ungathered) {
        struct cells cells = {sink, column};
        tm_blocks_each(put_block, &cells);
        tm_tallies_each(put_tally, &cells);
    }
    for (size_t i = 0; i < rows->capacity; i++)
        if (rows->table[i].count > 0) put_cell(sink, column, &rows->table[i]);
}

/* ---- the image ---- */

static uint64_t lay(uint64_t *at, uint64_t bytes) {
    uint64_t start = *at;
    *at = (start + bytes + 7) & ~7ull;
    return start;
}

/*
 * Everything is append-only: blocks may go on being recorded, and what they add to the tables is behind these counts, or
 * unused. What refers to others is counted before them; names add strings.
 */
static void lay_out(const struct rows *rows, tm_image *header) {
    uint64_t nodes = tm_node_count(), frames = tm_frame_count();
    name_native_frames(frames);
    uint64_t scripts = tm_script_count(), strings = tm_string_count();
    tm_image h;
    memset(&h, 0, sizeof h);
    uint64_t at = sizeof h;
    h.abi = TM_ABI_VERSION;
    h.traceback_limit = tm_traceback_limit;
    h.pid = (uint64_t)getpid();
    h.string_count = strings;
    h.string_ends = lay(&at, 4 * strings);
    h.string_bytes = lay(&at, strings ? tm_string_ends()[strings - 1] : 0);
    h.script_count = scripts;
    h.script_url = lay(&at, 4 * scripts);
    h.script_flags = lay(&at, 4 * scripts);
    h.script_length = lay(&at, 4 * scripts);
    h.script_hash = lay(&at, 4 * scripts);
    h.script_origin = lay(&at, 4 * scripts);
    h.frame_count = frames;
    h.frame_kind = lay(&at, 4 * frames);
    h.frame_owner = lay(&at, 4 * frames);
    h.frame_line = lay(&at, 4 * frames);
    h.frame_column = lay(&at, 4 * frames);
    h.frame_tiers = lay(&at, 4 * frames);
    h.node_count = nodes;
    h.node_parent = lay(&at, 4 * nodes);
    h.node_frame = lay(&at, 4 * nodes);
    h.counted = tm_allocated ? nodes : 0;
    h.node_allocated = lay(&at, 8 * h.counted);
    h.row_count = rows->count;
    h.row_size = lay(&at, 8 * rows->count);
    h.row_blocks = lay(&at, 8 * rows->count);
    h.row_node = lay(&at, 4 * rows->count);
    h.row_domain = lay(&at, 4 * rows->count);
    h.counter_count = TM_COUNTERS;
    h.counters = lay(&at, 8 * TM_COUNTERS);
    h.bytes = at;
    *header = h;
}

/* In the order of the header. */
static void put_image(struct sink *sink, const tm_image *h, const struct rows *rows, uint64_t lost) {
    const tm_frame_row *frames = tm_frame_rows();
    const tm_node_row *nodes = tm_node_rows();
    uint64_t isolate = tm_v8_isolate();
#define COLUMN(count, value)                                 \
    align(sink);                                             \
    for (uint32_t i = 0; i < (count); i++) put_u32(sink, value)
#define NATIVE (frames[i].kind == TM_FRAME_NATIVE && i < names_done)
#define UNNAMED (frames[i].kind == TM_FRAME_NATIVE && i >= names_done)
#define SITE (frames[i].kind == TM_FRAME_SITE) /* what rows name instead stands elsewhere */
    put(sink, h, sizeof *h);
    COLUMN(h->string_count, (uint32_t)tm_string_ends()[i]);
    align(sink);
    put(sink, tm_string_bytes(), h->string_count ? tm_string_ends()[h->string_count - 1] : 0);
    COLUMN(h->script_count, tm_script_at(i)->url);
    COLUMN(h->script_count, tm_script_at(i)->flags | (tm_script_at(i)->owner == isolate ? 0 : TM_SCRIPT_FOREIGN));
    COLUMN(h->script_count, tm_script_at(i)->text_length);
    COLUMN(h->script_count, tm_script_at(i)->text_hash);
    COLUMN(h->script_count, __atomic_load_n(&tm_script_at(i)->origin, __ATOMIC_RELAXED));
    COLUMN(h->frame_count, SITE || UNNAMED ? TM_FRAME_UNKNOWN : frames[i].kind);
    COLUMN(h->frame_count, NATIVE ? native_names[i] : UNNAMED ? TM_UNKNOWN_MEMORY : SITE ? TM_UNKNOWN_POSITION : frames[i].owner);
    COLUMN(h->frame_count, NATIVE || UNNAMED ? 0 : frames[i].line);
    COLUMN(h->frame_count, NATIVE || UNNAMED ? 0 : frames[i].column);
    COLUMN(h->frame_count, __atomic_load_n(&tm_frame_tiers()[i], __ATOMIC_RELAXED));
    COLUMN(h->node_count, nodes[i].parent);
    COLUMN(h->node_count, nodes[i].frame);
    align(sink);
    for (uint64_t i = 0; i < h->counted; i++) {
        double bytes = (double)tm_allocated[i];
        put(sink, &bytes, sizeof bytes);
    }
    put_column(sink, rows, SIZE);
    put_column(sink, rows, BLOCKS);
    put_column(sink, rows, NODE);
    put_column(sink, rows, DOMAIN);
    align(sink);
    uint64_t counters[TM_COUNTERS];
    counters[TM_COUNT_LOST_NESTED] = tm_lost_nested();
    counters[TM_COUNT_LOST_MEMORY] = lost;
    counters[TM_COUNT_LOST_THREAD] = tm_lost_threads();
    counters[TM_COUNT_FRAME_MISSES] = tm_v8_misses();
    counters[TM_COUNT_MAPS_READ] = tm_code_maps_read();
    counters[TM_COUNT_LOST_SAMPLES] = tm_js_heap_lost();
    put(sink, counters, sizeof counters);
#undef COLUMN
#undef NATIVE
#undef UNNAMED
#undef SITE
}

static const tm_image *image_in_memory(const struct rows *rows, uint64_t lost) {
    tm_image h;
    lay_out(rows, &h);
    struct sink sink = {.memory = os_map(h.bytes)};
    if (sink.memory) put_image(&sink, &h, rows, lost);
    return (const tm_image *)sink.memory;
}

/*
 * The blocks of one moment as rows; they are gathered while the program goes on. `rows->failed` where there was no memory.
 * The calling thread is hidden from then on.
 */
static tm_thread *gather(struct rows *rows, uint64_t *lost) {
    tm_gate_close();
    tm_js_heap_settle();
    bool frozen = tm_blocks_freeze();
    tm_tallies_each(add_tally, rows);
    *lost = tm_blocks_lost() + tm_maps_lost() + tm_mimalloc_lost();
    /* dladdr and snprintf are not the program's; and a fork waits until all blocks are gone through. */
    tm_thread *self = tm_gate_open_hidden(true);
    if (!tm_blocks_each_frozen(add_block, rows) || !frozen) rows->failed = true;
    if (tm_jsc_ready) name_sites(rows);
    return self;
}

const tm_image *tm_image_take(void) {
    struct rows rows = {0};
    uint64_t lost;
    tm_thread *self = gather(&rows, &lost);
    const tm_image *image = rows.failed ? NULL : image_in_memory(&rows, lost);
    drop(&rows);
    tm_hide_end(self);
    return image;
}

const tm_image *tm_image_of(uint32_t domain, uintptr_t address) {
    struct rows rows = {0};
    uint64_t size;
    uint32_t node;
    bool known = domain == TM_DOMAIN_MMAP ? tm_map_find(address, &size, &node)
                 : domain                 ? tm_side_find(domain, address, &size, &node)
                                          : tm_block_find(address, &size, &node) || tm_mimalloc_find_block(address, &size, &node);
    if (known) add(&rows, domain, size, node, 1);
    if (tm_jsc_ready) name_sites(&rows);
    tm_thread *self = tm_hide_begin();
    const tm_image *image = rows.failed ? NULL : image_in_memory(&rows, tm_blocks_lost() + tm_mimalloc_lost());
    tm_hide_end(self);
    drop(&rows);
    return image;
}

bool tm_image_write(int file) {
    static char buffer[BUFFER_BYTES];
    struct sink sink = {.file = file, .buffer = buffer};
    struct rows rows = {0};
    uint64_t lost;
    tm_thread *self = gather(&rows, &lost);
    bool closed = rows.failed;
    if (closed) {
        drop(&rows);
        tm_hide_end(self);
        tm_gate_close(); /* who has closed the gate is hidden */
        rows = (struct rows){.count = tm_blocks_count() + tm_tallies_count(), .ungathered = true};
    }
    tm_image h;
    lay_out(&rows, &h);
    put_image(&sink, &h, &rows, lost);
    flush(&sink);
    if (closed) tm_gate_open(true);
    else tm_hide_end(self);
    drop(&rows);
    return !sink.failed;
}

void tm_image_release(const tm_image *image) {
    if (image) os_unmap((void *)image, image->bytes);
}
