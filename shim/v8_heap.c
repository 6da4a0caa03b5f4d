/* Reading V8's heap objects. Every read is checked; a value that does not fit is "none", never a fault. */
#include <string.h>

#include "utf8.h"
#include "v8.h"

tm_v8_layout tm_v8;

/* String representations and encoding in the instance type: V8 src/objects/instance-type.h. */
#define STRING_TYPES 128
#define STRING_ONE_BYTE 8
enum { STRING_SEQUENTIAL = 0, STRING_CONS = 1, STRING_EXTERNAL = 2, STRING_SLICED = 3, STRING_THIN = 5 };
/* String: u32 length; then by representation the characters, or two fields. V8 src/objects/string.h. */
#define STRING_LENGTH 12
#define STRING_CHARACTERS 16
#define STRING_FIRST 16
#define STRING_SECOND 24

bool tm_read(uintptr_t from, void *to, size_t bytes) {
    tm_v8_thread *v8 = tm_self->v8;
    uintptr_t page = from & ~4095ul;
    if ((from + bytes - 1) / 4096 != from / 4096) return os_read(from, to, bytes);
    unsigned slot = (unsigned)(from / 4096 % TM_V8_PAGES);
    if (v8->page_at[slot] != page) {
        if (!os_read(page, v8->pages[slot], 4096)) return false;
        v8->page_at[slot] = page;
    }
    memcpy(to, v8->pages[slot] + (from - page), bytes);
    return true;
}

uint64_t tm_read64(uintptr_t address) {
    uint64_t value;
    return tm_read(address, &value, sizeof value) ? value : 0;
}

uint32_t tm_read32(uintptr_t address) {
    uint32_t value;
    return tm_read(address, &value, sizeof value) ? value : 0;
}

tm_tagged tm_v8_forward(tm_tagged object) {
    uint64_t start = object & ~3ull, map;
    if (!tm_read(start, &map, sizeof map)) return 0;
    return (map & 3) == 0 && map ? map | 1 : start | 1;
}

int tm_v8_type(tm_tagged object) {
    if ((object & 3) != 1) return -1;
    uint64_t map = tm_read64(object & ~3ull);
    if ((map & 3) == 0 && map) map = tm_read64(map);
    if ((map & 3) != 1) return -1;
    uint16_t type;
    return tm_read((map & ~3ull) + (uint64_t)tm_v8.map_type, &type, sizeof type) ? type : -1;
}

/* The length is a Smi in old versions and a raw number in new ones. */
uint64_t tm_v8_bytes_length(uint64_t word) { return (uint32_t)word ? (uint32_t)word : word >> 32; }

int64_t tm_v8_string_length(tm_tagged string) {
    int type = tm_v8_type(string);
    if (type < 0 || type >= STRING_TYPES) return -1;
    return tm_read32((tm_v8_forward(string) & ~3ull) + STRING_LENGTH);
}

static bool copy_units(uintptr_t from, bool one_byte, int64_t start, int64_t length, uint16_t *out) {
    if (!one_byte) return tm_read(from + 2 * (uint64_t)start, out, 2 * (uint64_t)length);
    uint8_t buffer[4096];
    for (int64_t done = 0; done < length; done += (int64_t)sizeof buffer) {
        size_t part = length - done < (int64_t)sizeof buffer ? (size_t)(length - done) : sizeof buffer;
        if (!tm_read(from + (uint64_t)(start + done), buffer, part)) return false;
        for (size_t i = 0; i < part; i++) out[done + (int64_t)i] = buffer[i];
    }
    return true;
}

/* Copies [start, start + length) of the string. Concatenations nest to any depth on the left, so that side loops. */
static bool copy_string(tm_tagged string, int64_t start, int64_t length, uint16_t *out, int depth) {
    while (length > 0) {
        string = tm_v8_forward(string);
        int type = string ? tm_v8_type(string) : -1;
        if (type < 0 || type >= STRING_TYPES || depth > 64) return false;
        uintptr_t at = string & ~3ull;
        if (start + length > (int64_t)tm_read32(at + STRING_LENGTH)) return false;
        bool one_byte = type & STRING_ONE_BYTE;
        switch (type & 7) {
        case STRING_SEQUENTIAL: return copy_units(at + STRING_CHARACTERS, one_byte, start, length, out);
        case STRING_EXTERNAL: return copy_units(tm_read64(at + STRING_SECOND), one_byte, start, length, out);
        case STRING_THIN: string = tm_read64(at + STRING_FIRST); break;
        case STRING_SLICED:
            start += tm_smi(tm_read64(at + STRING_SECOND));
            string = tm_read64(at + STRING_FIRST);
            break;
        case STRING_CONS: {
            tm_tagged first = tm_read64(at + STRING_FIRST), second = tm_read64(at + STRING_SECOND);
            int64_t first_length = tm_v8_string_length(first);
            if (first_length < 0) return false;
            int64_t in_second = start + length - first_length;
            if (in_second > 0) {
                int64_t skip = start > first_length ? start - first_length : 0;
                int64_t part = in_second - skip;
                if (!copy_string(second, skip, part, out + (length - part), depth + 1)) return false;
                length -= part;
            }
            string = first;
            break;
        }
        default: return false;
        }
    }
    return true;
}

int64_t tm_v8_string_units(tm_tagged string, uint16_t *out, int64_t most) {
    int64_t length = tm_v8_string_length(string);
    if (length > most) length = most;
    return length >= 0 && copy_string(string, 0, length, out, 0) ? length : -1;
}

int32_t tm_v8_string_utf8(tm_tagged string, char *out, int32_t size) {
    uint16_t small[2048], *units = small;
    int64_t length = tm_v8_string_length(string);
    if (length < 0 || length >= size) return -1;
    if (length > 2048) units = tm_scratch((size_t)length * sizeof *units);
    if (!units || tm_v8_string_units(string, units, length) < 0) return -1;
    int32_t at = 0;
    for (int64_t i = 0; i < length; i++) {
        uint32_t c = units[i];
        if (c >= 0xd800 && c < 0xdc00 && i + 1 < length && (units[i + 1] & 0xfc00) == 0xdc00)
            c = 0x10000 + ((c & 0x3ff) << 10 | (units[++i] & 0x3ff));
        else if ((c & 0xf800) == 0xd800) c = 0xfffd;
        if (at + 5 > size) return -1;
        at += (int32_t)tm_utf8(c, out + at);
    }
    out[at] = 0;
    return at;
}

bool tm_v8_string_equals(tm_tagged string, const char *ascii) {
    size_t length = strlen(ascii);
    char text[256];
    if (!tm_is_object(string) || length >= sizeof text - 8) return false;
    /* The length first: it rules out nearly everything with one read. */
    if (tm_read32((string & ~3ull) + STRING_LENGTH) != length) return false;
    return tm_v8_string_utf8(string, text, sizeof text) == (int32_t)length && !memcmp(text, ascii, length);
}
