/* V8's tables: source positions by code offset, and bytecode sizes. */
#include <string.h>

#include "v8.h"

const uint8_t *tm_v8_bytecode_sizes;
const int32_t *tm_v8_translation_operands;

/* ---- memory for decoding ---- */

#define SCRATCH_BYTES (64ul << 20) /* of address space; what is touched is given back */
#define SCRATCH_KEPT (64ul << 10)

void *tm_scratch(size_t bytes) {
    struct tm_v8_thread *v8 = tm_self->v8;
    if (!v8->scratch && !(v8->scratch = os_map(SCRATCH_BYTES))) return NULL;
    bytes = (bytes + 15) & ~15ul;
    if (bytes > SCRATCH_BYTES - v8->scratch_used) return NULL;
    void *start = v8->scratch + v8->scratch_used;
    v8->scratch_used += bytes;
    return start;
}

void tm_scratch_reset(void) {
    struct tm_v8_thread *v8 = tm_self->v8;
    if (v8->scratch_used > SCRATCH_KEPT) os_discard(v8->scratch + SCRATCH_KEPT, v8->scratch_used - SCRATCH_KEPT);
    v8->scratch_used = 0;
    memset(v8->page_at, 0, sizeof v8->page_at);
}

bool tm_v8_bytes(tm_tagged array, tm_bytes *out) {
    uint64_t head[2];
    if (!tm_is_object(array) || !tm_read(array & ~3ull, head, sizeof head)) return false;
    if ((head[0] & 3) == 0 && head[0]) {
        array = head[0] | 1;
        if (!tm_read(array & ~3ull, head, sizeof head)) return false;
    }
    out->length = tm_v8_bytes_length(head[1]);
    if (out->length == 0 || out->length > 8ul << 20) return false;
    out->data = tm_scratch(out->length);
    return out->data && tm_read((array & ~3ull) + TM_V8_BYTES_START, out->data, out->length);
}

/* ---- source positions: pairs of variable-length integers, 7 bits each, least significant first ---- */

static bool read_number(const tm_bytes *table, uint64_t *at, uint64_t *value) {
    uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (*at >= table->length) return false;
        uint8_t byte = table->data[(*at)++];
        result |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128)) {
            *value = result;
            return true;
        }
    }
    return false;
}

static int64_t unzigzag(uint64_t value) { return (int64_t)(value >> 1) ^ -(int64_t)(value & 1); }

void tm_v8_each_position(const tm_bytes *table, int32_t shift, bool (*each)(int64_t, uint64_t, void *), void *context) {
    int64_t code = -1, position = 0;
    for (uint64_t at = 0, first, second; at < table->length;) {
        if (!read_number(table, &at, &first) || !read_number(table, &at, &second)) return;
        if (shift == 1) {
            int64_t delta = unzigzag(first & UINT32_MAX); /* the sign tells statements from expressions */
            code += delta >= 0 ? delta : -delta - 1;
        } else {
            code += (int64_t)(first >> shift);
        }
        position += unzigzag(second);
        if (position < 0 || !each(code, (uint64_t)position, context)) return;
    }
}

struct search {
    int64_t code_offset;
    bool exactly, found;
    uint64_t raw;
};

static bool search_one(int64_t code, uint64_t raw, void *context) {
    struct search *search = context;
    if (code > search->code_offset) return false;
    bool external = raw & 1; /* a position outside any script */
    if (!external && (!search->exactly || code == search->code_offset)) {
        search->found = true;
        search->raw = raw;
    }
    return true;
}

bool tm_v8_position(const tm_bytes *table, int64_t code_offset, bool exactly, int32_t shift, uint64_t *raw) {
    struct search search = {code_offset, exactly, false, 0};
    tm_v8_each_position(table, shift, search_one, &search);
    if (search.found) *raw = search.raw;
    return search.found;
}

/* ---- bytecodes ---- */

uint64_t tm_v8_next_bytecode(const tm_bytes *bytecode, uint64_t offset) {
    if (!tm_v8_bytecode_sizes || offset >= bytecode->length) return 0;
    int row = 0;
    /* Wide and ExtraWide, and their forms with a breakpoint, scale the operands of the bytecode behind them. */
    uint8_t code = bytecode->data[offset];
    if (code < 4) {
        row = code & 1 ? 2 : 1;
        if (++offset >= bytecode->length) return 0;
        code = bytecode->data[offset];
    }
    if (code >= tm_v8.bytecode_kinds) return 0;
    return offset + tm_v8_bytecode_sizes[row * tm_v8.bytecode_kinds + code];
}
