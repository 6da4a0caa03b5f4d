/*
 * Where the program's own mimalloc keeps what its profiler hooks need.
 *
 * Three independent things must agree. The image that thread-local storage begins with: two words of it point to the
 * theap that stands for none, a run of equal pointers. The memory of this thread: what these words hold now is a theap,
 * which leads to a heap, which leads back. The code: the one place that looks at a heap's profiler, and the one that
 * gives a new heap its own.
 */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#include "mimalloc.h"

#define MOST_SEGMENTS 16
#define CODE_CHUNK (1ul << 20)
#define SITE_BYTES 64
#define SUBPROCESS_WORDS 1024

/* ---- the program's image ---- */

typedef struct segment {
    uintptr_t low, high;
    uint64_t file_offset, file_bytes;
    bool executable;
} segment;

typedef struct image {
    segment segments[MOST_SEGMENTS];
    int count;
    uintptr_t tls_start; /* of the bytes that storage begins with */
    size_t tls_filled, tls_bytes;
} image;

static int describe(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    image *program = context;
    memset(program, 0, sizeof *program);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_TLS) {
            program->tls_start = start;
            program->tls_filled = p->p_filesz;
        }
        if (p->p_type == PT_LOAD && program->count < MOST_SEGMENTS)
            program->segments[program->count++] =
                (segment){start, start + p->p_memsz, p->p_offset, p->p_filesz, (p->p_flags & PF_X) != 0};
    }
    program->tls_bytes = os_static_tls_bytes();
    return 1; /* the first object is the program */
}

static bool in_image(const image *program, uintptr_t address, size_t bytes) {
    for (int i = 0; i < program->count; i++) {
        const segment *s = &program->segments[i];
        if (!s->executable && address >= s->low && address < s->high && bytes <= s->high - address) return true;
    }
    return false;
}

static uint64_t word(uintptr_t address) {
    uint64_t value = 0;
    return os_read(address, &value, sizeof value) ? value : 0;
}

static bool is_pointer(uint64_t value) { return value >= 65536 && value < 1ull << 47 && !(value & 7); }

/* ---- the theap that stands for none ---- */

#define LEAST_DIRECT 64
#define MOST_DIRECT 1024

/* How many equal pointers a theap of the image begins with; 0: it is none. */
static int32_t empty_run(const image *program, uintptr_t theap) {
    if (!is_pointer(theap) || !in_image(program, theap, (MOST_DIRECT + 64) * 8)) return 0;
    const uint64_t *words = (const uint64_t *)theap;
    if (!is_pointer(words[0]) || !in_image(program, words[0], 128)) return 0;
    int32_t run = 1;
    while (run < MOST_DIRECT && words[run] == words[0]) run++;
    if (run < LEAST_DIRECT || run == MOST_DIRECT) return 0;
    /* The page that stands for none has no free block, no size, nothing. */
    const uint64_t *page = (const uint64_t *)words[0];
    for (int i = 1; i < 6; i++)
        if (page[i]) return 0;
    return run;
}

static bool find_empty(const image *program, tm_mimalloc_layout *l) {
    const uint64_t *words = (const uint64_t *)program->tls_start;
    int found = 0;
    for (size_t i = 0; i < program->tls_filled / 8; i++) {
        int32_t run = empty_run(program, words[i]);
        if (!run) continue;
        if (found && l->empty_theap != words[i]) return false;
        int32_t offset = (int32_t)(8 * i) - (int32_t)program->tls_bytes;
        if (found == 0) l->tls_default = offset;
        else if (found == 1) l->tls_cached = offset;
        l->empty_theap = words[i];
        l->direct_count = run;
        found++;
    }
    if (found != 2) return false;
    l->empty_page = *(const uint64_t *)l->empty_theap;
    return true;
}

/* ---- memory ---- */

static uintptr_t own_theap(const tm_mimalloc_layout *l) { return word(os_thread_pointer() + (uintptr_t)(intptr_t)l->tls_default); }

static bool is_heap(const tm_mimalloc_layout *l, uintptr_t heap) {
    if (!is_pointer(heap) || word(heap + (uintptr_t)l->heap_subprocess) != l->subprocess) return false;
    uintptr_t theap = word(heap + (uintptr_t)l->heap_theaps);
    return !theap || (is_pointer(theap) && word(theap + (uintptr_t)l->theap_heap) == heap);
}

/* What is said of a theap beside its pages stands right behind them. */
#define THEAP_WORDS 16
#define HEAP_WORDS 32

/* Where a heap points to one of its theaps, which points back at it; 0: nowhere. */
static int32_t theaps_of(const tm_mimalloc_layout *l, const uint64_t heap_words[HEAP_WORDS], uintptr_t heap) {
    for (int i = 1; i < HEAP_WORDS; i++) {
        if (!is_pointer(heap_words[i]) || word(heap_words[i] + (uintptr_t)l->theap_heap) != heap) continue;
        uintptr_t page = word(heap_words[i] + 8 * (uintptr_t)(l->direct_count - 1));
        if (page == l->empty_page || is_pointer(page)) return 8 * i;
    }
    return 0;
}

/*
 * By code, the theap has its heap at l->theap_heap. That heap has to point back, and both to one and the same subprocess,
 * which points to the heap.
 */
static bool find_heap(tm_mimalloc_layout *l) {
    uintptr_t theap = own_theap(l);
    uint64_t theap_words[THEAP_WORDS], heap_words[HEAP_WORDS], subprocess_words[SUBPROCESS_WORDS];
    int32_t own = l->theap_heap / 8 - l->direct_count;
    if (!is_pointer(theap) || theap == l->empty_theap || own < 0 || own >= THEAP_WORDS || l->theap_heap % 8) return false;
    if (!os_read(theap + 8 * (uintptr_t)l->direct_count, theap_words, sizeof theap_words)) return false;
    uintptr_t heap = theap_words[own];
    if (!is_pointer(heap) || !os_read(heap, heap_words, sizeof heap_words)) return false;
    l->heap_theaps = theaps_of(l, heap_words, heap);
    int found = 0;
    for (int i = 0; i < THEAP_WORDS; i++) {
        uintptr_t candidate = theap_words[i];
        if (i == own || !is_pointer(candidate) || !os_read(candidate, subprocess_words, sizeof subprocess_words)) continue;
        bool back = false;
        for (int k = 0; k < SUBPROCESS_WORDS; k++) back |= subprocess_words[k] == heap;
        for (int k = 0; k < HEAP_WORDS && back; k++) {
            if (heap_words[k] != candidate) continue;
            l->heap_subprocess = 8 * k;
            l->subprocess = candidate;
            found++;
        }
    }
    return l->heap_theaps && found == 1;
}

/* Two heaps that are neighbours say where the list goes on. Where every heap is alone, the list is not needed. */
static void find_list(tm_mimalloc_layout *l) {
    uint64_t words[SUBPROCESS_WORDS];
    if (!os_read(l->subprocess, words, sizeof words)) return;
    for (int i = 0; i < SUBPROCESS_WORDS; i++) {
        uintptr_t heap = words[i];
        if (!is_heap(l, heap)) continue;
        for (int32_t field = 8; field < 64; field += 8) {
            uintptr_t next = word(heap + (uintptr_t)field);
            if (next == heap || !is_heap(l, next) || word(next + (uintptr_t)field + 8) != heap) continue;
            l->heap_next = field;
            l->heap_previous = field + 8;
            return;
        }
    }
}

void tm_mimalloc_each_heap(const tm_mimalloc_layout *l, void (*each)(uintptr_t, void *), void *context) {
    uint64_t words[SUBPROCESS_WORDS];
    if (!os_read(l->subprocess, words, sizeof words)) return;
    for (int i = 0; i < SUBPROCESS_WORDS; i++) {
        uintptr_t heap = words[i];
        for (int turns = 0; turns < 4096 && is_heap(l, heap); turns++) {
            each(heap, context);
            if (!l->heap_next) break;
            heap = word(heap + (uintptr_t)l->heap_next);
        }
    }
}

/* ---- code ---- */

static int32_t read32(const uint8_t *at) {
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

#define REX_W 0x48
#define MOV_LOAD 0x8b
#define XCHG 0x87
#define TEST 0x85

/* ModRM: 01 = one byte of offset, 10 = four; no SIB. */
static bool has_byte(uint8_t modrm) { return modrm >> 6 == 1 && (modrm & 7) != 4; }
static bool has_word(uint8_t modrm) { return modrm >> 6 == 2 && (modrm & 7) != 4; }
static uint8_t base(uint8_t modrm) { return modrm & 7; }
static uint8_t target(uint8_t modrm) { return modrm >> 3 & 7; }

/*
 * The look at the profiler, page.c: _mi_theap_update_profiling(): the limit of the theap is exchanged, its heap loaded,
 * the heap's profiler loaded and compared with NULL.
 */
static bool is_update_site(const uint8_t *at, tm_mimalloc_layout *l) {
    if (at[0] != REX_W || at[1] != XCHG || !has_word(at[2])) return false;
    const uint8_t *heap = at + 7, *profiler = at + 14, *test = at + 18;
    if (heap[0] != REX_W || heap[1] != MOV_LOAD || !has_word(heap[2]) || base(heap[2]) != base(at[2])) return false;
    if (profiler[0] != REX_W || profiler[1] != MOV_LOAD || !has_byte(profiler[2]) || base(profiler[2]) != target(heap[2])) return false;
    if (test[0] != REX_W || test[1] != TEST || test[2] != (0xc0 | target(profiler[2]) * 9)) return false;
    l->theap_limit = read32(at + 3);
    l->theap_heap = read32(heap + 3);
    l->heap_profiler = (int8_t)profiler[3];
    return true;
}

/* Where a new heap gets its profiler, heap.c: _mi_heap_init(): loaded from the subprocess, exchanged with the heap's. */
static bool is_heap_site(const uint8_t *at, int32_t heap_profiler, tm_mimalloc_layout *l) {
    const uint8_t *exchange = at + 4;
    if (at[0] != REX_W || at[1] != MOV_LOAD || !has_byte(at[2])) return false;
    if (exchange[0] != REX_W || exchange[1] != XCHG || !has_byte(exchange[2]) || target(exchange[2]) != target(at[2])) return false;
    l->subprocess_profiler = (int8_t)at[3];
    return (int8_t)exchange[3] == heap_profiler;
}

struct sites {
    uintptr_t update, heaps[64];
    int updates, heap_count;
    uint8_t heap_code[64][8];
};

/* Looks at all exchanges in a piece of code, which is at least SITE_BYTES longer on either side than [from, to). */
static void scan(const uint8_t *from, const uint8_t *to, uintptr_t address, tm_mimalloc_layout *l, struct sites *sites) {
    for (const uint8_t *next = from + 1; (next = memchr(next, XCHG, (size_t)(to - next) + 1)) != NULL; next++) {
        const uint8_t *at = next - 1;
        if (*at != REX_W) continue;
        uintptr_t here = address + (uintptr_t)(at - from);
        tm_mimalloc_layout tried = *l;
        if (is_update_site(at, &tried)) {
            sites->updates++;
            sites->update = here;
            l->theap_limit = tried.theap_limit;
            l->theap_heap = tried.theap_heap;
            l->heap_profiler = tried.heap_profiler;
        }
        if (has_byte(at[2]) && is_heap_site(at - 4, (int8_t)at[3], &tried) && sites->heap_count < 64) {
            memcpy(sites->heap_code[sites->heap_count], at - 4, 8);
            sites->heaps[sites->heap_count++] = here - 4;
        }
    }
}

/* Reads the file rather than the mapping: the code of a large program is not to become resident. */
static bool find_code(const image *program, tm_mimalloc_layout *l, const char **failure) {
    struct sites sites = {0};
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    uint8_t *buffer = os_map(CODE_CHUNK + 2 * SITE_BYTES);
    for (int i = 0; i < program->count && file >= 0 && buffer; i++) {
        const segment *s = &program->segments[i];
        if (!s->executable) continue;
        for (uint64_t at = 0; at < s->file_bytes; at += CODE_CHUNK) {
            uint64_t before = at < SITE_BYTES ? at : SITE_BYTES;
            memset(buffer, 0, CODE_CHUNK + 2 * SITE_BYTES);
            ssize_t got = pread(file, buffer + SITE_BYTES - before, CODE_CHUNK + SITE_BYTES + before, (off_t)(s->file_offset + at - before));
            if (got < (ssize_t)before) break;
            uint64_t here = (uint64_t)got - before < CODE_CHUNK ? (uint64_t)got - before : CODE_CHUNK;
            scan(buffer + SITE_BYTES, buffer + SITE_BYTES + here, s->low + at, l, &sites);
        }
    }
    if (buffer) os_unmap(buffer, CODE_CHUNK + 2 * SITE_BYTES);
    if (file >= 0) close(file);
    *failure = "code that looks at a heap's profiler";
    if (sites.updates != 1) return false;
    l->update_site = sites.update;
    int found = 0;
    for (int i = 0; i < sites.heap_count; i++)
        if (is_heap_site(sites.heap_code[i], l->heap_profiler, l)) {
            l->heap_site = sites.heaps[i];
            found++;
        }
    *failure = "code that gives a new heap its profiler";
    if (found != 1) return false;
    uint8_t code[8];
    return os_read(l->heap_site, code, sizeof code) && is_heap_site(code, l->heap_profiler, l);
}

/* ---- all of it ---- */

#ifdef TM_DISTURB
#include <stdlib.h>

/* Tests build the shim so that one thing found is wrong by a word: DISTURB=name. */
static void disturb(tm_mimalloc_layout *l) {
    const char *name = getenv("DISTURB");
#define FIELD(field) \
    if (name && !strcmp(name, #field)) l->field += 8;
    TM_MIMALLOC_LAYOUT(FIELD)
#undef FIELD
}
#else
static void disturb(tm_mimalloc_layout *l) { (void)l; }
#endif

bool tm_mimalloc_find(tm_mimalloc_layout *l, const char **failure) {
    image program;
    memset(l, 0, sizeof *l);
    memset(&program, 0, sizeof program);
    dl_iterate_phdr(describe, &program);
    *failure = "its memory: process_vm_readv is refused";
    if (os_missing(false)) return false;
    *failure = "a theap in the program's thread-local storage";
    if (!find_empty(&program, l)) return false;
    if (!find_code(&program, l, failure)) return false;
    *failure = "the heap of this thread's theap, as the code has it";
    if (!find_heap(l)) return false;
    find_list(l);
    disturb(l);
    return tm_mimalloc_verify(l, failure);
}

struct check {
    const tm_mimalloc_layout *layout;
    uintptr_t own;
    int heaps;
    bool own_seen, profiled, broken;
};

static void check_heap(uintptr_t heap, void *context) {
    struct check *check = context;
    const tm_mimalloc_layout *l = check->layout;
    check->heaps++;
    check->own_seen |= heap == check->own;
    check->profiled |= word(heap + (uintptr_t)l->heap_profiler) != 0;
    uintptr_t next = l->heap_next ? word(heap + (uintptr_t)l->heap_next) : 0;
    check->broken |= next && (!is_heap(l, next) || word(next + (uintptr_t)l->heap_previous) != heap);
}

static bool same_fields(const tm_mimalloc_layout *a, const tm_mimalloc_layout *b) {
#define SAME(name) && a->name == b->name
    return true TM_MIMALLOC_LAYOUT(SAME);
#undef SAME
}

bool tm_mimalloc_verify(const tm_mimalloc_layout *l, const char **failure) {
    image program;
    tm_mimalloc_layout again = *l;
    memset(&program, 0, sizeof program);
    dl_iterate_phdr(describe, &program);
    *failure = "the same a second time";
    uint8_t update[SITE_BYTES], heap_code[8];
    if (!os_read(l->update_site, update, sizeof update) || !is_update_site(update, &again)) return false;
    if (!find_empty(&program, &again) || !find_heap(&again)) return false;
    again.heap_next = again.heap_previous = 0;
    find_list(&again);
    if (!os_read(l->heap_site, heap_code, sizeof heap_code) || !is_heap_site(heap_code, again.heap_profiler, &again)) return false;
    if (!same_fields(&again, l)) return false;

    /* A theap other than this thread's, if there is one, must hold the same constant. */
    uintptr_t theap = own_theap(l), heap = word(theap + (uintptr_t)l->theap_heap);
    uintptr_t other = word(heap + (uintptr_t)l->heap_theaps);
    int64_t limit = (int64_t)word(theap + (uintptr_t)l->theap_limit);
    *failure = "the limit of a theap";
    if (limit < 16 || limit > 1000000 || (int64_t)word(other + (uintptr_t)l->theap_limit) != limit) return false;
    /* The code that has just looked puts the same constant back: mov $limit, register. */
    bool restored = false;
    for (uintptr_t at = l->update_site; at < l->update_site + 256 && !restored; at++) {
        uint8_t code[5];
        restored = os_read(at, code, sizeof code) && (code[0] & 0xf8) == 0xb8 && read32(code + 1) == limit;
    }
    if (!restored) return false;

    struct check check = {.layout = l, .own = heap};
    tm_mimalloc_each_heap(l, check_heap, &check);
    *failure = "the list of heaps";
    if (!check.heaps || !check.own_seen || check.broken) return false;
    *failure = "room for a profiler: another one runs already";
    return !check.profiled && !word(l->subprocess + (uintptr_t)l->subprocess_profiler);
}
