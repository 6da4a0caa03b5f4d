#include "mimalloc_code.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#define CODE_CHUNK (1ul << 20)
#define MARGIN 64
#define MOST_SITES 96
#define MOST_CHANGES 128
#define MOST_BYTES 9 /* of an instruction that is replaced */
#define WAYS_BYTES 8192

tm_mimalloc_originals tm_mimalloc_next;

typedef struct change {
    uintptr_t at;
    uint8_t length, before[MOST_BYTES], after[MOST_BYTES];
} change;

static change changes[MOST_CHANGES];
static int change_count;
static bool patched;

int tm_mimalloc_code_count(void) { return change_count; }

/* ---- where the code is ---- */

typedef struct text {
    uintptr_t low, high;
    uint64_t file_offset;
} text;

static text code;

static int describe(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size, (void)context;
    int found = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
        uintptr_t start = info->dlpi_addr + p->p_vaddr;
        code = (text){start, start + p->p_filesz, p->p_offset};
        found++;
    }
    if (found != 1) code = (text){0, 0, 0};
    return 1; /* the first object is the program */
}

static bool in_code(uintptr_t at, size_t bytes) { return at >= code.low + MARGIN && at < code.high && bytes + MARGIN <= code.high - at; }
static const uint8_t *code_at(uintptr_t at) { return (const uint8_t *)at; }

static int32_t read32(const uint8_t *at) {
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void write32(uint8_t *at, int32_t value) { memcpy(at, &value, sizeof value); }

/* ---- what is looked for in all of it ---- */

/* The counts of a page (used, and taken since it was looked at last) when a block was taken; a block is pushed. */
static const uint8_t TAKEN[] = {TM_MI_COUNTS, 1, 0, 1, 0}, PUSHED[] = {0x66, 0xff, 0x4f, TM_MI_COUNTS};
/* imul block_size(%page), %rax, behind movzwl reserved(%page), %eax */
static const uint8_t PAGE_BYTES[] = {TM_MI_RESERVED, 0x48, 0x0f, 0xaf}, PAGE_BYTES_HIGH[] = {TM_MI_RESERVED, 0x49, 0x0f, 0xaf};

typedef struct sites {
    uintptr_t at[MOST_SITES];
    int count;
} sites;

static sites taken, pushed, page_bytes;

static void look_for(const uint8_t *needle, size_t length, const uint8_t *from, size_t bytes, uintptr_t address, sites *out) {
    const uint8_t *at = from, *end = from + bytes;
    while ((at = memmem(at, (size_t)(end - at) + length - 1, needle, length)) != NULL && at < end) {
        if (out->count < MOST_SITES) out->at[out->count] = address + (uintptr_t)(at - from);
        out->count++;
        at++;
    }
}

/* Reads the file rather than the mapping: the code of a large program is not to become resident. */
static bool scan(void) {
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    uint8_t *buffer = os_map(CODE_CHUNK + MARGIN);
    bool ok = file >= 0 && buffer && code.low;
    taken.count = pushed.count = page_bytes.count = 0;
    for (uintptr_t at = code.low; ok && at < code.high; at += CODE_CHUNK) {
        ssize_t got = pread(file, buffer, CODE_CHUNK + MARGIN, (off_t)(code.file_offset + (at - code.low)));
        size_t here = code.high - at < CODE_CHUNK ? code.high - at : CODE_CHUNK;
        if (got < (ssize_t)here) ok = false;
        if (!ok) break;
        if (here > MARGIN && got < (ssize_t)(CODE_CHUNK + MARGIN)) here -= MARGIN; /* the end of the file */
        look_for(TAKEN, sizeof TAKEN, buffer, here, at, &taken);
        look_for(PUSHED, sizeof PUSHED, buffer, here, at, &pushed);
        look_for(PAGE_BYTES, sizeof PAGE_BYTES, buffer, here, at, &page_bytes);
        look_for(PAGE_BYTES_HIGH, sizeof PAGE_BYTES_HIGH, buffer, here, at, &page_bytes);
    }
    if (buffer) os_unmap(buffer, CODE_CHUNK + MARGIN);
    if (file >= 0) close(file);
    return ok && taken.count <= MOST_SITES && pushed.count <= MOST_SITES && page_bytes.count <= MOST_SITES;
}

#ifdef TM_DISTURB
#include <stdlib.h>

/* Tests build the shim so that one place is off by a byte: DISTURB_CODE=number. */
static void disturb(void) {
    const char *number = getenv("DISTURB_CODE");
    int which = number ? atoi(number) : -1;
    if (which >= 0 && which < taken.count) taken.at[which]++;
    else if (which >= taken.count && which < taken.count + pushed.count) pushed.at[which - taken.count]++;
}
#else
static void disturb(void) {}
#endif

/* ---- instructions: only the forms that are expected; any other is refused ---- */

#define REX_W(byte) (((byte) & 0xf8) == 0x48)
#define REX_R(rex) ((rex) >> 2 & 1)
#define REX_B(rex) ((rex) & 1)

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

static unsigned mod_of(uint8_t modrm) { return modrm >> 6; }
static unsigned reg_of(uint8_t modrm, uint8_t rex) { return (modrm >> 3 & 7u) | (unsigned)REX_R(rex) << 3; }
static unsigned rm_of(uint8_t modrm, uint8_t rex) { return (modrm & 7u) | (unsigned)REX_B(rex) << 3; }

/* Bytes of ModRM, SIB and offset; 0: of a form that is not expected (by the instruction pointer). */
static size_t operand_bytes(const uint8_t *modrm) {
    unsigned mod = mod_of(*modrm), rm = *modrm & 7;
    if (mod == 3) return 1;
    if (mod == 0 && rm == 5) return 0;
    size_t sib = rm == 4;
    if (sib && mod == 0 && (modrm[1] & 7) == 5) return 0;
    return 1 + sib + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/* Length of one of the instructions that move arguments about; 0: it is none. */
static size_t plain_length(const uint8_t *at) {
    size_t rex = (*at & 0xf0) == 0x40;
    const uint8_t *op = at + rex;
    if ((*op & 0xf0) == 0x50) return rex + 1;              /* push, pop */
    if ((*op & 0xf8) == 0xb8 && !(rex && REX_W(*at))) return rex + 5; /* mov $imm32 */
    if (*op == 0x83 && mod_of(op[1]) == 3) return rex + 3; /* add, sub $imm8 */
    if (*op == 0x0f && op[1] == 0xb6) {                    /* movzbl */
        size_t operand = operand_bytes(op + 2);
        return operand ? rex + 2 + operand : 0;
    }
    if (*op == 0x88 || *op == 0x89 || *op == 0x8b || *op == 0x8d || *op == 0x31 || *op == 0x85) {
        size_t operand = operand_bytes(op + 1);
        return operand ? rex + 1 + operand : 0;
    }
    return 0;
}

/* Where a way leads that only moves arguments about: the function it calls or jumps to, at *last; 0: another one. */
static uintptr_t way_leads_to(uintptr_t from, uintptr_t *last) {
    for (int i = 0; i < 24 && in_code(from, 16); i++) {
        const uint8_t *at = code_at(from);
        *last = from;
        if (*at == 0xe8 || *at == 0xe9) return from + 5 + (uintptr_t)(intptr_t)read32(at + 1);
        size_t length = *at == 0xeb ? 2 + (size_t)(intptr_t)(int8_t)at[1] : plain_length(at);
        if (!length) return 0;
        from += length;
    }
    return 0;
}

/* ---- changes ---- */

static change *change_of(uintptr_t at, size_t length) {
    if (change_count == MOST_CHANGES || length > MOST_BYTES) return NULL;
    /* The first two bytes are written as one, see poke(). */
    if (length > 1 && at % 16 == 15) return NULL;
    change *c = &changes[change_count++];
    *c = (change){.at = at, .length = (uint8_t)length};
    memcpy(c->before, code_at(at), length);
    memset(c->after, 0x90, length);
    return c;
}

static bool jump_instead(uintptr_t at, size_t length, uintptr_t to) {
    change *c = length < 5 ? NULL : change_of(at, length);
    intptr_t distance = (intptr_t)(to - (at + 5));
    if (!c || distance != (int32_t)distance) return false;
    c->after[0] = 0xe9;
    write32(c->after + 1, (int32_t)distance);
    return true;
}

/*
 * The short way of a site: mov (%block), %next; mov %next, free(%page); addq $…, counts(%page). Before it, or where a jump
 * leads to it from, the block is compared with NULL: by the conditional jump the way is closed when it is taken always, or
 * never. The other side of it leads to one of the functions for the long way.
 */
typedef struct short_way {
    uintptr_t jump, target, leads_to, last; /* the last is the call or jump to what it leads to */
    size_t length;     /* of the jump */
    size_t get_length; /* of what loads the block, right before it is compared */
    unsigned block;    /* its register */
    bool never;        /* it is to be taken never: the block is where it leads to */
    bool closed;
} short_way;

/* Is it opcode %reg, offset(%page) or back, right before an address? */
static bool is_access(const uint8_t *end, uint8_t opcode, uint8_t offset, unsigned reg, unsigned page, size_t *length) {
    *length = 4 + ((page & 7) == 4); /* r12 needs a SIB */
    const uint8_t *at = end - *length;
    return REX_W(at[0]) && at[1] == opcode && mod_of(at[2]) == 1 && reg_of(at[2], at[0]) == reg && rm_of(at[2], at[0]) == page && end[-1] == offset;
}

/* Only moves, and jumps to the other way. */
static bool leads_straight(const uint8_t *from, const uint8_t *to, uintptr_t other) {
    while (from < to) {
        size_t length = plain_length(from);
        if (*from >> 4 == 7) {
            length = 2;
            if ((uintptr_t)from + 2 + (uintptr_t)(intptr_t)(int8_t)from[1] != other) return false;
        } else if (from[0] == 0x0f && from[1] >> 4 == 8) {
            length = 6;
            if ((uintptr_t)from + 6 + (uintptr_t)(intptr_t)read32(from + 2) != other) return false;
        }
        if (!length) return false;
        from += length;
    }
    return from == to;
}

static bool find_short_way(const uint8_t *add, short_way *found) {
    size_t store, load, get;
    unsigned page = rm_of(add[2], add[0]), next = 16, block;
    for (unsigned reg = 0; reg < 16; reg++)
        if (is_access(add, 0x89, TM_MI_FREE, reg, page, &store)) next = reg;
    const uint8_t *begin = add - store;
    if (next == 16) return false;
    /* mov (%block), %next, with an offset of 0 when the block is in r13 */
    load = REX_W(begin[-3]) && begin[-2] == 0x8b && mod_of(begin[-1]) == 0 ? 3 : REX_W(begin[-4]) && begin[-3] == 0x8b && mod_of(begin[-2]) == 1 && begin[-1] == 0 ? 4 : 0;
    if (!load) return false;
    begin -= load;
    block = rm_of(begin[2], begin[0]);
    if (reg_of(begin[2], begin[0]) != next) return false;
    const uint8_t compare[3] = {(uint8_t)(0x48 | (block > 7) * 5), 0x85, (uint8_t)(0xc0 | (block & 7) * 9)};
    for (const uint8_t *test = begin - 5; test > begin - 64; test--) {
        if (memcmp(test, compare, 3) || !is_access(test, 0x8b, TM_MI_FREE, block, page, &get)) continue;
        *found = (short_way){.jump = (uintptr_t)(test + 3), .length = test[3] == 0x0f ? 6 : 2, .get_length = get, .block = block};
        uintptr_t behind = found->jump + found->length;
        found->target = behind + (uintptr_t)(intptr_t)(found->length == 2 ? (int8_t)test[4] : read32(test + 5));
        found->never = test[3] == 0x75;
        if (found->never) {
            if (found->target != (uintptr_t)begin) continue;
            found->leads_to = way_leads_to(behind, &found->last);
        } else {
            if (test[3] != 0x74 && (test[3] != 0x0f || test[4] != 0x84)) continue;
            if (!leads_straight((const uint8_t *)behind, begin, found->target)) continue;
            found->leads_to = way_leads_to(found->target, &found->last);
        }
        return found->leads_to;
    }
    return false;
}

static bool close_short_way(const short_way *way) {
    if (way->length == 6 && way->jump % 16 == 15) {
        /* It cannot be written to as one: instead, there is no block. imul $0, %block, %block, of as many bytes. */
        change *c = change_of(way->jump - 3 - way->get_length, way->get_length);
        const uint8_t zero[] = {0x3e, (uint8_t)(0x48 | (way->block > 7) * 5), 0x6b, (uint8_t)(0xc0 | (way->block & 7) * 9), 0};
        if (c) memcpy(c->after, zero + 5 - way->get_length, way->get_length);
        return c != NULL;
    }
    if (way->length == 6) return jump_instead(way->jump, 6, way->target);
    change *c = change_of(way->jump, way->never ? 2 : 1);
    if (c) c->after[0] = way->never ? 0x66 : 0xeb; /* 66 90 is one instruction that does nothing */
    return c != NULL;
}

/* ---- ways through the shim ---- */

static uint8_t *ways, *ways_at;

static void emit(const void *bytes, size_t length) {
    if (ways_at + length <= ways + WAYS_BYTES) memcpy(ways_at, bytes, length);
    ways_at += length;
}
#define EMIT(...) emit((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void emit_relative(uint8_t opcode, uintptr_t to) {
    uint8_t jump[5] = {opcode};
    write32(jump + 1, (int32_t)(intptr_t)(to - ((uintptr_t)ways_at + 5)));
    emit(jump, sizeof jump);
}

static void emit_call(const void *function_pointer) {
    EMIT(0x48, 0xb8); /* movabs */
    emit(function_pointer, 8);
    EMIT(0xff, 0xd0);
}

static void align_way(void) {
    while ((uintptr_t)ways_at % 16) EMIT(0xcc);
}

/*
 * A function that begins by saving registers, copies some arguments without changing any, and comes to a conditional jump
 * of 6 bytes: this is replaced. The way calls the hook, whose arguments are still where the caller has put them, and
 * returns what it returned, as the function would. The original is what was before the jump, a jump as that one, and the
 * rest.
 */
#define ARGUMENTS (1u << RDI | 1u << RSI | 1u << RDX | 1u << RCX | 1u << 8 | 1u << 9)

static bool lead_function(uintptr_t function, const void *hook, void *original) {
    uint8_t pops[32];
    size_t pop_bytes = 0, at = 0, room = 0, pushes = 0;
    if (!in_code(function, 64)) return false;
    const uint8_t *start = code_at(function);
    for (;;) {
        const uint8_t *here = start + at;
        if (here[0] == 0x0f && (here[1] & 0xf0) == 0x80) break;
        size_t length = plain_length(here), rex = (*here & 0xf0) == 0x40;
        uint8_t op = here[rex];
        if (!length || at > 48) return false;
        if ((op & 0xf8) == 0x50) {
            if (room || pushes++ == 8) return false;
            uint8_t which = op & 7;
            if (rex && here[0] != 0x41) return false;
            /* What was pushed for its room alone goes to where nothing is. */
            if (!rex && which != RBX && which != RBP) which = RCX;
            if (rex) pops[sizeof pops - ++pop_bytes] = (uint8_t)(0x58 | which), pops[sizeof pops - ++pop_bytes] = 0x41;
            else pops[sizeof pops - ++pop_bytes] = (uint8_t)(0x58 | which);
        } else if (op == 0x83) { /* sub $room, %rsp */
            if (room || here[0] != 0x48 || here[2] != 0xec || here[3] >= 0x80) return false;
            room = here[3];
        } else if (op == 0x89) {
            unsigned to = rm_of(here[rex + 1], rex ? here[0] : 0);
            bool frame = rex && here[0] == 0x48 && here[2] == 0xe5; /* mov %rsp, %rbp */
            if (mod_of(here[rex + 1]) != 3 || (!frame && (to == RSP || to == RBP || ARGUMENTS >> to & 1))) return false;
        } else if (op != 0x85 || mod_of(here[rex + 1]) != 3) { /* test */
            return false;
        }
        at += length;
    }
    if (start[0] != 0x55 || start[1] != 0x48 || start[2] != 0x89 || start[3] != 0xe5) return false; /* push %rbp; mov %rsp, %rbp */
    if ((8 + 8 * pushes + room) % 16) return false; /* the stack is aligned for calls */
    uintptr_t jump = function + at, target = jump + 6 + (uintptr_t)(intptr_t)read32(start + at + 2);
    align_way();
    uintptr_t stub = (uintptr_t)ways_at;
    memcpy(original, &stub, sizeof stub);
    emit(start, at);
    EMIT(0x0f, start[at + 1]);
    int32_t distance = (int32_t)(intptr_t)(target - ((uintptr_t)ways_at + 4));
    emit(&distance, sizeof distance);
    emit_relative(0xe9, jump + 6);
    align_way();
    uintptr_t way = (uintptr_t)ways_at;
    emit_call(hook);
    if (room) EMIT(0x48, 0x83, 0xc4, (uint8_t)room);
    emit(pops + sizeof pops - pop_bytes, pop_bytes);
    EMIT(0xc3);
    return jump_instead(jump, 6, way);
}

/* All that a function may change is saved. The red zone is the program's. */
static void emit_save(void) {
    EMIT(0x48, 0x8d, 0x64, 0x24, 0x80);                           /* lea -128(%rsp), %rsp */
    EMIT(0x50, 0x51, 0x52, 0x56, 0x57, 0x41, 0x50, 0x41, 0x51, 0x41, 0x52, 0x41, 0x53); /* rax rcx rdx rsi rdi r8 … r11 */
}
static void emit_align(void) {
    EMIT(0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xe4, 0xf0);         /* push %rbp; mov %rsp, %rbp; and $-16, %rsp */
    EMIT(0x48, 0x81, 0xec, 0, 1, 0, 0);                           /* sub $256, %rsp */
    for (uint8_t i = 0; i < 16; i++)                              /* movups %xmm, 16 i(%rsp) */
        i < 8 ? EMIT(0x0f, 0x11, (uint8_t)(0x84 | i << 3), 0x24, (uint8_t)(16 * i), 0, 0, 0)
              : EMIT(0x44, 0x0f, 0x11, (uint8_t)(0x84 | (i & 7) << 3), 0x24, (uint8_t)(16 * i), 0, 0, 0);
}
static void emit_restore(void) {
    for (uint8_t i = 0; i < 16; i++)
        i < 8 ? EMIT(0x0f, 0x10, (uint8_t)(0x84 | i << 3), 0x24, (uint8_t)(16 * i), 0, 0, 0)
              : EMIT(0x44, 0x0f, 0x10, (uint8_t)(0x84 | (i & 7) << 3), 0x24, (uint8_t)(16 * i), 0, 0, 0);
    EMIT(0x48, 0x89, 0xec, 0x5d);                                 /* mov %rbp, %rsp; pop %rbp */
    EMIT(0x41, 0x5b, 0x41, 0x5a, 0x41, 0x59, 0x41, 0x58, 0x5f, 0x5e, 0x5a, 0x59, 0x58);
    EMIT(0x48, 0x8d, 0xa4, 0x24, 128, 0, 0, 0);                   /* lea 128(%rsp), %rsp */
}

/* ---- blocks that are given back ---- */

/* mov 24(%rdi), %rax; mov %rax, (%block); mov %block, 24(%rdi); decw: the block's register; -1: something else. */
static int pushed_block(const uint8_t *decrement, size_t *length) {
    const uint8_t *store = decrement - 4; /* mov %block, 24(%rdi) */
    if (!REX_W(store[0]) || store[1] != 0x89 || (store[2] & 0xc7) != 0x47 || store[3] != 24) return -1;
    int block = (int)reg_of(store[2], store[0]);
    size_t link = (block & 7) == 5 ? 4 : 3;
    const uint8_t *mov = store - link;
    if (!REX_W(mov[0]) || mov[1] != 0x89 || reg_of(mov[2], mov[0]) != RAX || (int)rm_of(mov[2], mov[0]) != block) return -1;
    static const uint8_t load[] = {0x48, 0x8b, 0x47, 24};
    *length = 4 + link + 4;
    return memcmp(mov - 4, load, 4) ? -1 : block;
}

/* The whole beginning of mi_free(), up to the comparison of threads: there, nothing but rax, rdi and rsi is of use. */
static bool is_function_of_block(const uint8_t *compare, uintptr_t *page_map) {
    static const uint8_t begin[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xfe, 0x48, 0x8b, 0x05};
    static const uint8_t middle[] = {0x48, 0x89, 0xf9, 0x48, 0xc1, 0xe9, 0x1d, 0x48, 0x8b, 0x44, 0xc8, 0x50, 0x89, 0xf1, 0xc1, 0xe9, 0x0d,
                                     0x81, 0xe1, 0xf8, 0xff, 0,    0,    0x48, 0x8b, 0x3c, 0x08, 0x48, 0x85, 0xff, 0x74};
    static const uint8_t end[] = {0x48, 0x8b, 0x07};
    const uint8_t *at = compare - sizeof end - 1 - sizeof middle - 4 - sizeof begin;
    *page_map = (uintptr_t)(at + 14) + (uintptr_t)(intptr_t)read32(at + 10);
    return !memcmp(at, begin, sizeof begin) && !memcmp(at + 14, middle, sizeof middle) && !memcmp(compare - 3, end, sizeof end);
}

#define COMPARE_BYTES 9

static bool lead_free(uintptr_t decrement, const void *hook, uintptr_t *page_map, bool *local) {
    size_t length;
    const uint8_t *at = code_at(decrement);
    int block = pushed_block(at, &length);
    if (block < 0) return false;
    /* xor %fs:0, %r; something that is moved; jne, before it */
    static const uint8_t thread[] = {0x25, 0, 0, 0, 0};
    const uint8_t *branch = at - length - 2, *compare = branch - COMPARE_BYTES;
    while (compare > branch - COMPARE_BYTES - 12 &&
           (compare[0] != 0x64 || compare[1] != 0x48 || compare[2] != 0x33 || memcmp(compare + 4, thread, sizeof thread)))
        compare--;
    *local = branch[0] != 0x75 || compare[0] != 0x64 || (compare[3] & 0xc7) != 0x04 || !leads_straight(compare + COMPARE_BYTES, branch, 0);
    if (*local) return true; /* the part that is only for blocks of the thread's own: it comes after such a comparison */
    uint8_t operand = compare[3];
    uintptr_t map = 0, site = (uintptr_t)compare;
    align_way();
    uintptr_t way = (uintptr_t)ways_at;
    if (operand == 0x04 && block == RSI && is_function_of_block(compare, &map)) {
        *page_map = map;
        EMIT(0x50, 0x57, 0x56, 0x51); /* rax, rdi, rsi, and the stack is aligned again */
        EMIT(0x48, 0x89, 0xf7);       /* mov %rsi, %rdi */
        emit_call(hook);
        EMIT(0x59, 0x5e, 0x5f, 0x58);
    } else {
        emit_save();
        EMIT((uint8_t)(0x48 | (block > 7) << 2), 0x89, (uint8_t)(0xc7 | (block & 7) << 3)); /* mov %block, %rdi */
        emit_align();
        emit_call(hook);
        emit_restore();
    }
    emit(compare, COMPARE_BYTES);
    emit_relative(0xe9, site + COMPARE_BYTES);
    return jump_instead(site, COMPARE_BYTES, way);
}

/*
 * Where a page is put into the map of pages, or taken out of it: mov map(%rip), %r; test %r, %r; je; perhaps
 * mov -…(%rbp), %page; movzwl reserved(%page), %eax; imul block_size(%page), %rax.
 */
static bool lead_page(uintptr_t multiply, uintptr_t page_map, const void *hook, bool *other) {
    const uint8_t *at = code_at(multiply); /* the last byte of movzwl; imul is behind it */
    uint8_t high = REX_B(at[1]);
    const uint8_t *branch = at - 3 - high, *map;
    unsigned page = rm_of(at[-1], high);
    *other = true;
    if (at[-3] != 0x0f || at[-2] != 0xb7 || (high && at[-4] != 0x41) || mod_of(at[-1]) != 1 || reg_of(at[-1], 0) != RAX) return true;
    if (mod_of(at[4]) != 1 || reg_of(at[4], 0) != RAX || rm_of(at[4], high) != page || at[5] != TM_MI_BLOCK_SIZE) return true;
    const uint8_t *load = branch - 4;
    bool loaded = REX_W(load[0]) && load[1] == 0x8b && mod_of(load[2]) == 1 && rm_of(load[2], load[0]) == RBP && reg_of(load[2], load[0]) == page;
    branch -= loaded ? 10 : 6;
    map = branch - 10;
    if (branch[0] != 0x0f || branch[1] != 0x84 || !REX_W(branch[-3]) || branch[-2] != 0x85) return true;
    if ((map[0] & 0xfb) != 0x48 || map[1] != 0x8b || (map[2] & 0xc7) != 5 || (uintptr_t)branch - 3 + (uintptr_t)(intptr_t)read32(map + 3) != page_map)
        return true;
    *other = false;
    align_way();
    uintptr_t way = (uintptr_t)ways_at;
    emit_save();
    if (loaded) EMIT(0x48, 0x8b, 0x7d, load[3]); /* mov -…(%rbp), %rdi */
    else EMIT((uint8_t)(0x48 | (page > 7) << 2), 0x89, (uint8_t)(0xc7 | (page & 7) << 3)); /* mov %page, %rdi */
    emit_align();
    emit_call(hook);
    emit_restore();
    emit(map, 3);
    int32_t distance = (int32_t)(intptr_t)(page_map - ((uintptr_t)ways_at + 4));
    emit(&distance, sizeof distance);
    emit_relative(0xe9, (uintptr_t)map + 7);
    return jump_instead((uintptr_t)map, 7, way);
}

/* ---- all of it ---- */

/* Before the short way of mi_realloc(): no block to begin with, else to the function that reallocates. */
static uintptr_t reallocating(uintptr_t add) {
    static const uint8_t way[] = {0x48, 0x85, 0xf6, 0x74}, jump[] = {0x31, 0xc9, 0x5d, 0xe9}; /* test %rsi, %rsi; je; xor %ecx, %ecx; pop %rbp; jmp */
    for (const uint8_t *at = code_at(add) - 32; at > code_at(add) - 80; at--)
        if (!memcmp(at, way, sizeof way) && !memcmp(at + 5, jump, sizeof jump)) return (uintptr_t)at + 13 + (uintptr_t)(intptr_t)read32(at + 9);
    return 0;
}

/* Where the function is the last thing that a site calls, it can as well jump to the hook. Only for speed. */
static void lead_past(const short_way *way, uintptr_t past) {
    if (*code_at(way->last) == 0xe9 && way->last % 16 != 15) jump_instead(way->last, 5, past);
}

static uintptr_t way_to(const void *hook) {
    align_way();
    uintptr_t way = (uintptr_t)ways_at;
    EMIT(0x55, 0x48, 0x89, 0xe5); /* push %rbp; mov %rsp, %rbp */
    emit_call(hook);
    EMIT(0x5d, 0xc3);
    return way;
}

#define BODY 0x800 /* bytes that a function takes, at the most */

/* The function that the general one leaves the rest to: pop %rbp; jmp. */
static bool is_rest(uintptr_t function, uintptr_t site) {
    for (uintptr_t at = function; at < function + BODY && in_code(at, 16); at++) {
        const uint8_t *here = code_at(at);
        if (here[0] != 0x5d || here[1] != 0xe9) continue;
        uintptr_t rest = at + 6 + (uintptr_t)(intptr_t)read32(here + 2);
        if (site >= rest && site < rest + BODY) return true;
    }
    return false;
}

static bool find(const tm_mimalloc_hooks *hooks, const char **failure) {
    uintptr_t generic = 0, aligned = 0, reallocate = 0;
    int most = 0;
    short_way found[MOST_SITES] = {{0}};
    *failure = "where its code takes blocks";
    if (taken.count < 8) return false;
    for (int i = 0; i < taken.count; i++) {
        /* addq $…, counts(%page), with a SIB when the page is in r12 */
        const uint8_t *counts = code_at(taken.at[i]);
        size_t before = REX_W(counts[-3]) && counts[-2] == 0x81 && (counts[-1] & 0xf8) == 0x40 ? 3
                        : REX_W(counts[-4]) && counts[-3] == 0x81 && counts[-2] == 0x44 ? 4 : 0;
        if (!before) return false;
        if (!find_short_way(counts - before, &found[i])) found[i].leads_to = 0;
        uintptr_t other = reallocating(taken.at[i] - before);
        if (other && reallocate && other != reallocate) return false;
        if (other) reallocate = other;
    }
    for (int i = 0; i < taken.count; i++) {
        int same = 0;
        for (int k = 0; k < taken.count; k++) same += found[k].leads_to && found[k].leads_to == found[i].leads_to;
        if (same > most) most = same, generic = found[i].leads_to;
    }
    if (!generic) return false;
    for (int i = 0; i < taken.count; i++) {
        /* The long way ends like the short ones. */
        if ((taken.at[i] >= generic && taken.at[i] < generic + BODY) || is_rest(generic, taken.at[i])) continue;
        if (!found[i].leads_to || !close_short_way(&found[i])) return false;
        found[i].closed = true;
        if (found[i].leads_to == generic) continue;
        if (aligned && found[i].leads_to != aligned) return false;
        aligned = found[i].leads_to;
    }
    *failure = "the functions that all blocks come from";
    if (!aligned || !reallocate || !lead_function(generic, &hooks->generic, &tm_mimalloc_next.generic) ||
        !lead_function(aligned, &hooks->aligned, &tm_mimalloc_next.aligned) ||
        !lead_function(reallocate, &hooks->reallocate, &tm_mimalloc_next.reallocate))
        return false;
    uintptr_t past = way_to(&hooks->generic);
    for (int i = 0; i < taken.count; i++)
        if (found[i].closed && found[i].leads_to == generic) lead_past(&found[i], past);
    *failure = "where its code gives blocks back";
    uintptr_t page_map = 0;
    int locals = 0, frees = 0;
    for (int i = 0; i < pushed.count; i++) {
        bool local;
        if (!lead_free(pushed.at[i], &hooks->freed, &page_map, &local)) return false;
        locals += local;
        frees += !local;
    }
    if (!page_map || locals > 1 || !frees) return false;
    *failure = "where its code has its pages come and go";
    int pages = 0;
    for (int i = 0; i < page_bytes.count; i++) {
        bool other;
        if (!lead_page(page_bytes.at[i], page_map, &hooks->page, &other)) return false;
        pages += !other;
    }
    return pages == 2 && ways_at <= ways + WAYS_BYTES;
}

bool tm_mimalloc_code_find(const tm_mimalloc_hooks *hooks, const char **failure) {
    if (patched) return false;
    dl_iterate_phdr(describe, NULL);
    change_count = 0;
    *failure = "its code";
    if (!scan()) return false;
    disturb();
    if (!ways) ways = os_map_near(code.low, code.high, WAYS_BYTES);
    *failure = "room beside its code";
    if (!ways) return false;
    ways_at = ways;
    bool found = find(hooks, failure);
    if (found && os_code_open((uintptr_t)ways, WAYS_BYTES) /* no longer written to */) os_code_close((uintptr_t)ways, WAYS_BYTES);
    else change_count = 0, found = false;
    return found;
}

/* ---- writing to code that runs ---- */

/* Two bytes at once, which are fetched at once. */
static void write2(uintptr_t at, const uint8_t bytes[2]) {
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    __asm__ volatile("xchgw %0, %1" : "+r"(value), "+m"(*(uint16_t *)at) : : "memory"); /* locked: as one, where not aligned too */
}

/*
 * One instruction becomes one instruction, so that no thread can be inside of it. One byte is written as it is. Of more,
 * the first two become a jump to themselves: whoever comes by waits there until the rest is written and all processors
 * have forgotten what they had fetched.
 */
static bool poke(uintptr_t at, const uint8_t *bytes, size_t length) {
    static const uint8_t wait_here[2] = {0xeb, 0xfe};
    uint8_t *to = (uint8_t *)at;
    if (length == 1) {
        __atomic_store_n(to, *bytes, __ATOMIC_SEQ_CST);
        return os_barrier_code();
    }
    if (length == 2) {
        write2(at, bytes);
        return os_barrier_code();
    }
    write2(at, wait_here);
    os_barrier_code();
    memcpy(to + 2, bytes + 2, length - 2);
    os_barrier_code();
    write2(at, bytes);
    return os_barrier_code();
}

/* Pages of code are written to one instruction after the other; what cannot be opened is left as it is. */
static bool write_change(const change *c, bool after) {
    if (!os_code_open(c->at, c->length)) return false;
    poke(c->at, after ? c->after : c->before, c->length);
    os_code_close(c->at, c->length);
    return true;
}

bool tm_mimalloc_code_patch(void) {
    if (patched) return true;
    if (!change_count || !os_barrier_code()) return false;
    for (int i = 0; i < change_count; i++)
        if (memcmp(code_at(changes[i].at), changes[i].before, changes[i].length)) return false; /* somebody else was there */
    /* Last first: the long ways see a block before the short ones are closed. */
    for (int i = change_count - 1; i >= 0; i--) {
        if (write_change(&changes[i], true)) continue;
        for (i++; i < change_count; i++) write_change(&changes[i], false);
        return false;
    }
    patched = true;
    return true;
}

void tm_mimalloc_code_restore(void) {
    if (!patched) return;
    patched = false;
    for (int i = 0; i < change_count; i++)
        if (!memcmp(code_at(changes[i].at), changes[i].after, changes[i].length)) write_change(&changes[i], false);
}
