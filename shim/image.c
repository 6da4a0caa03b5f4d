#include "image.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "traces.h"
#include "unwind.h"
#include "v8.h"

/* ---- blocks, copied while the gate is closed ---- */

typedef struct copied {
    uint64_t size;
    uint32_t node, domain;
} copied;

struct copy {
    copied *to;
    uint64_t count, most;
};

static void copy_one(uint32_t domain, uintptr_t address, uint64_t size, uint32_t node, void *context) {
    (void)address;
    struct copy *copy = context;
    if (copy->count < copy->most) copy->to[copy->count++] = (copied){size, node, domain};
}

/* ---- alike blocks share a row ---- */

typedef struct row {
    uint64_t size, count; /* count 0: empty */
    uint32_t node, domain;
} row;

static bool is_row(const row *row, copied block) {
    return row->size == block.size && row->node == block.node && row->domain == block.domain;
}

/* Gathers in place of the copies: an open-addressing table as large as need be. */
static row *gather(const struct copy *copy, size_t *capacity, uint64_t *rows) {
    row *table = NULL;
    *capacity = 0;
    *rows = 0;
    for (size_t wanted = 4096;; wanted *= 4) {
        table = os_map(wanted * sizeof *table);
        if (!table) return NULL;
        uint64_t used = 0, i;
        for (i = 0; i < copy->count && used * 2 < wanted; i++) {
            copied block = copy->to[i];
            uint64_t key = block.size * 0x9E3779B97F4A7C15ull + ((uint64_t)block.domain << 32 | block.node);
            size_t at = (tm_hash64(key) >> 20) & (wanted - 1);
            while (table[at].count && !is_row(&table[at], block)) at = (at + 1) & (wanted - 1);
            if (!table[at].count) {
                table[at] = (row){block.size, 0, block.node, block.domain};
                used++;
            }
            table[at].count++;
        }
        if (i == copy->count) {
            *capacity = wanted;
            *rows = used;
            return table;
        }
        os_unmap(table, wanted * sizeof *table);
    }
}

/* ---- names of native frames ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "library!symbol", if an exported symbol covers the address, or "library+0xoffset". */
static uint32_t native_name(uintptr_t pc) {
    char name[1024];
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    int length;
    /* The address is behind the call: one byte back it is in it, whatever comes next. */
    if (!dladdr1((void *)(pc - 1), &info, (void **)&symbol, RTLD_DL_SYMENT) || !info.dli_fname) {
        length = snprintf(name, sizeof name, "0x%lx", pc);
    } else {
        const char *path = info.dli_fname;
        char program[512];
        if (!*path || !strchr(path, '/')) {
            ssize_t got = readlink("/proc/self/exe", program, sizeof program - 1);
            if (got > 0) {
                program[got] = 0;
                path = program;
            }
        }
        bool inside = info.dli_sname && symbol && pc - 1 - (uintptr_t)info.dli_saddr < symbol->st_size;
        if (inside) length = snprintf(name, sizeof name, "%s!%s", base_name(path), info.dli_sname);
        else length = snprintf(name, sizeof name, "%s+0x%lx", base_name(path), pc - (uintptr_t)info.dli_fbase);
    }
    if (length >= (int)sizeof name) length = sizeof name - 1;
    return tm_string(name, (size_t)length);
}

/* ---- the image ---- */

static uint64_t lay(uint64_t *at, uint64_t bytes) {
    uint64_t start = *at;
    *at = (start + bytes + 7) & ~7ull;
    return start;
}

static const tm_image *write_image(const struct copy *copy, uint64_t lost) {
    size_t capacity;
    uint64_t rows;
    row *table = gather(copy, &capacity, &rows);
    if (!table) return NULL;

    /* Blocks may have gone on being recorded since: what they added to the tables is behind these counts, or unused. */
    uint64_t frames = tm_frame_count(), nodes = tm_node_count(), scripts = tm_script_count();
    const tm_frame_row *frame_rows = tm_frame_rows();
    const uint8_t *tiers = tm_frame_tiers();

    /* Names first: they add strings. */
    uint32_t *names = os_map(frames * sizeof *names + 1);
    if (!names) {
        os_unmap(table, capacity * sizeof *table);
        return NULL;
    }
    for (uint64_t i = 0; i < frames; i++) {
        names[i] = frame_rows[i].owner;
        if (frame_rows[i].kind == TM_FRAME_NATIVE)
            names[i] = native_name((uint64_t)frame_rows[i].line << 32 | frame_rows[i].column);
    }
    uint64_t strings = tm_string_count(), string_bytes = strings ? tm_string_ends()[strings - 1] : 0;

    tm_image h;
    memset(&h, 0, sizeof h);
    uint64_t at = sizeof h;
    h.abi = TM_ABI_VERSION;
    h.traceback_limit = tm_traceback_limit;
    h.pid = (uint64_t)getpid();
    h.string_count = strings;
    h.string_ends = lay(&at, 4 * strings);
    h.string_bytes = lay(&at, string_bytes);
    h.script_count = scripts;
    h.script_url = lay(&at, 4 * scripts);
    h.script_flags = lay(&at, 4 * scripts);
    h.frame_count = frames;
    h.frame_kind = lay(&at, 4 * frames);
    h.frame_owner = lay(&at, 4 * frames);
    h.frame_line = lay(&at, 4 * frames);
    h.frame_column = lay(&at, 4 * frames);
    h.frame_tiers = lay(&at, 4 * frames);
    h.node_count = nodes;
    h.node_parent = lay(&at, 4 * nodes);
    h.node_frame = lay(&at, 4 * nodes);
    h.row_count = rows;
    h.row_size = lay(&at, 8 * rows);
    h.row_blocks = lay(&at, 8 * rows);
    h.row_node = lay(&at, 4 * rows);
    h.row_domain = lay(&at, 4 * rows);
    h.counter_count = TM_COUNTERS;
    h.counters = lay(&at, 8 * TM_COUNTERS);
    h.bytes = at;

    char *image = os_map(at);
    if (image) {
        memcpy(image, &h, sizeof h);
#define U32(column) ((uint32_t *)(image + h.column))
#define F64(column) ((double *)(image + h.column))
        for (uint64_t i = 0; i < strings; i++) U32(string_ends)[i] = (uint32_t)tm_string_ends()[i];
        memcpy(image + h.string_bytes, tm_string_bytes(), string_bytes);
        uint64_t isolate = tm_v8_isolate();
        for (uint64_t i = 0; i < scripts; i++) {
            const tm_script *script = tm_script_at((uint32_t)i);
            U32(script_url)[i] = script->url;
            U32(script_flags)[i] = script->flags | (script->owner == isolate ? 0 : TM_SCRIPT_FOREIGN);
        }
        for (uint64_t i = 0; i < frames; i++) {
            bool native = frame_rows[i].kind == TM_FRAME_NATIVE;
            U32(frame_kind)[i] = frame_rows[i].kind;
            U32(frame_owner)[i] = names[i];
            U32(frame_line)[i] = native ? 0 : frame_rows[i].line;
            U32(frame_column)[i] = native ? 0 : frame_rows[i].column;
            U32(frame_tiers)[i] = tiers[i];
        }
        for (uint64_t i = 0; i < nodes; i++) {
            U32(node_parent)[i] = tm_node_rows()[i].parent;
            U32(node_frame)[i] = tm_node_rows()[i].frame;
        }
        uint64_t next = 0;
        for (size_t i = 0; i < capacity; i++) {
            if (!table[i].count) continue;
            F64(row_size)[next] = (double)table[i].size;
            F64(row_blocks)[next] = (double)table[i].count;
            U32(row_node)[next] = table[i].node;
            U32(row_domain)[next] = table[i].domain;
            next++;
        }
        uint64_t *counters = (uint64_t *)(image + h.counters);
        counters[TM_COUNT_LOST_NESTED] = tm_lost_nested();
        counters[TM_COUNT_LOST_MEMORY] = lost;
        counters[TM_COUNT_LOST_THREAD] = tm_lost_threads();
        counters[TM_COUNT_FRAME_MISSES] = tm_v8_misses();
        counters[TM_COUNT_MAPS_READ] = tm_code_maps_read();
    }
    os_unmap(names, frames * sizeof *names + 1);
    os_unmap(table, capacity * sizeof *table);
    return (const tm_image *)image;
}

static const tm_image *finish(const struct copy *copy, uint64_t lost) {
    tm_thread *self = tm_hide_begin(); /* dladdr and snprintf are not the program's */
    const tm_image *image = write_image(copy, lost);
    tm_hide_end(self);
    return image;
}

const tm_image *tm_image_take(void) {
    tm_gate_close();
    uint64_t count = tm_blocks_count();
    struct copy copy = {NULL, 0, count};
    size_t bytes = (count + 1) * sizeof *copy.to;
    copy.to = os_map(bytes);
    if (copy.to) tm_blocks_each(copy_one, &copy);
    uint64_t lost = tm_blocks_lost();
    tm_gate_open(true);
    if (!copy.to) return NULL;
    const tm_image *image = finish(&copy, lost);
    os_unmap(copy.to, bytes);
    return image;
}

const tm_image *tm_image_of(uint32_t domain, uintptr_t address) {
    copied block = {0, 0, domain};
    bool known = domain ? tm_tracked_find(domain, address, &block.size, &block.node)
                        : tm_block_find(address, &block.size, &block.node);
    struct copy copy = {&block, known, 1};
    return finish(&copy, tm_blocks_lost());
}

void tm_image_release(const tm_image *image) {
    if (image) os_unmap((void *)image, image->bytes);
}
