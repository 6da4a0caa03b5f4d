#include "slots.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>

#include "hooks.h"
#include "maps.h"
#include "thread.h"

/* ELF for x86-64: the relocations that hold the address of a function. */
#define HOLDS_FUNCTION(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT || (type) == R_X86_64_64)

static void *(*next_dlopen)(const char *, int);

/* What dlopen loads has slots of its own. */
static void *hooked_dlopen(const char *file, int flags) {
    void *handle = next_dlopen(file, flags);
    if (handle && tm_here.gate != TM_GATE_OFF) tm_slots_patch();
    return handle;
}

typedef struct hooked {
    const char *name;
    uintptr_t hook, next;
} hooked;

static hooked all[24];
static size_t all_count, map_count; /* those of mappings come first */

static uintptr_t address_of(const void *function_pointer) {
    uintptr_t address;
    memcpy(&address, function_pointer, sizeof address);
    return address;
}

static void list_hooks(void) {
    if (all_count) return;
    void *symbol = tm_slots_definition("dlopen");
    memcpy(&next_dlopen, &symbol, sizeof symbol);
#define ENTRY(next, function)                                                                  \
    {                                                                                          \
        __typeof__(next.function) hook = tm_hook_##function;                                   \
        all[all_count++] = (hooked){#function, address_of(&hook), address_of(&next.function)}; \
    }
#define OF_MALLOC(function) ENTRY(tm_next, function)
#define OF_MAPS(function) ENTRY(tm_next_map, function)
    TM_MAP_HOOKS(OF_MAPS)
    map_count = all_count;
    TM_HOOKS(OF_MALLOC)
#undef ENTRY
#undef OF_MALLOC
#undef OF_MAPS
    void *(*hook)(const char *, int) = hooked_dlopen;
    all[all_count++] = (hooked){"dlopen", address_of(&hook), address_of(&next_dlopen)};
}

typedef struct object {
    uintptr_t base, low, high, relro_low, relro_high;
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Rela) * tables[2];
    size_t counts[2];
    const uint32_t *hash; /* GNU's */
    bool own_search_path;
} object;

static bool describe(const struct dl_phdr_info *info, object *o) {
    memset(o, 0, sizeof *o);
    o->base = info->dlpi_addr;
    o->low = UINTPTR_MAX;
    const ElfW(Dyn) *dynamic = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = o->base + p->p_vaddr;
        if (p->p_type == PT_DYNAMIC) dynamic = (const ElfW(Dyn) *)start;
        if (p->p_type == PT_GNU_RELRO) o->relro_low = start & ~4095ul, o->relro_high = (start + p->p_memsz) & ~4095ul;
        if (p->p_type != PT_LOAD) continue;
        if (start < o->low) o->low = start;
        if (start + p->p_memsz > o->high) o->high = start + p->p_memsz;
    }
    if (!dynamic) return false;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        uintptr_t value = dynamic->d_un.d_ptr;
        /* glibc relocates these in place, other loaders and the vdso do not. */
        uintptr_t address = value < o->base ? o->base + value : value;
        switch (dynamic->d_tag) {
        case DT_SYMTAB: o->symbols = (const ElfW(Sym) *)address; break;
        case DT_STRTAB: o->strings = (const char *)address; break;
        case DT_GNU_HASH: o->hash = (const uint32_t *)address; break;
        case DT_JMPREL: o->tables[0] = (const ElfW(Rela) *)address; break;
        case DT_PLTRELSZ: o->counts[0] = value / sizeof(ElfW(Rela)); break;
        case DT_RELA: o->tables[1] = (const ElfW(Rela) *)address; break;
        case DT_RELASZ: o->counts[1] = value / sizeof(ElfW(Rela)); break;
        case DT_RPATH:
        case DT_RUNPATH: o->own_search_path = true; break;
        default: break;
        }
    }
    return o->symbols && o->strings;
}

/* A symbol that others can be bound to. */
static const ElfW(Sym) *find_symbol(const object *o, const char *name) {
    if (!o->hash) return NULL;
    uint32_t hash = 5381, buckets = o->hash[0], first = o->hash[1];
    for (const char *at = name; *at; at++) hash = hash * 33 + (unsigned char)*at;
    const uint32_t *bucket = o->hash + 4 + 2 * o->hash[2], *chain = bucket + buckets;
    uint32_t i = buckets ? bucket[hash % buckets] : 0;
    for (; i >= first && i > 0; i++) {
        if ((chain[i - first] | 1) == (hash | 1) && !strcmp(o->strings + o->symbols[i].st_name, name)) return &o->symbols[i];
        if (chain[i - first] & 1) break;
    }
    return NULL;
}

typedef struct definition {
    const char *name;
    uintptr_t found; /* by dlsym() */
    bool is_stub;
} definition;

static int find_definition(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    definition *d = context;
    object o;
    if (!describe(info, &o)) return !d->is_stub;
    const ElfW(Sym) *symbol = find_symbol(&o, d->name);
    if (!d->is_stub) { /* the executable */
        d->is_stub = symbol && symbol->st_shndx == SHN_UNDEF && o.base + symbol->st_value == d->found;
        return !d->is_stub;
    }
    if (!symbol || symbol->st_shndx == SHN_UNDEF) return 0;
    d->found = o.base + symbol->st_value;
    return 1;
}

void *tm_slots_definition(const char *name) {
    void *symbol = dlsym(RTLD_DEFAULT, name);
    definition d = {name, (uintptr_t)symbol, false};
    if (symbol) dl_iterate_phdr(find_definition, &d);
    return (void *)d.found;
}

static bool is_shim(const object *o) { return (uintptr_t)&all >= o->low && (uintptr_t)&all < o->high; }

struct others {
    const char *name;
    bool (*take)(const char *, void *, void *);
    void *context;
};

static int offer_other(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    const struct others *others = context;
    object o;
    if (!describe(info, &o) || is_shim(&o)) return 0;
    const ElfW(Sym) *symbol = find_symbol(&o, others->name);
    if (!symbol || symbol->st_shndx == SHN_UNDEF) return 0;
    return others->take(info->dlpi_name, (void *)(o.base + symbol->st_value), others->context);
}

bool tm_slots_others(const char *name, bool (*take)(const char *, void *, void *), void *context) {
    struct others others = {name, take, context};
    return dl_iterate_phdr(offer_other, &others);
}

/* To be put in: those of mappings only where they are wanted. */
static const hooked *hook_named(const char *name, bool install) {
    for (size_t i = install && !tm_maps_wanted ? map_count : 0; i < all_count; i++)
        if (!strcmp(name, all[i].name)) return &all[i];
    return NULL;
}

static void patch_object(const object *o, bool install) {
    bool opened = false;
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; o->tables[t] && i < o->counts[t]; i++) {
            const ElfW(Rela) *r = &o->tables[t][i];
            uint32_t index = ELF64_R_SYM(r->r_info);
            if (!index || !HOLDS_FUNCTION(ELF64_R_TYPE(r->r_info))) continue;
            const ElfW(Sym) *symbol = &o->symbols[index];
            const hooked *h = hook_named(o->strings + symbol->st_name, install);
            if (!h || !h->next) continue;
            uintptr_t *slot = (uintptr_t *)(o->base + r->r_offset), value = *slot;
            if (install) {
                /* Only what leads to the allocator that the hooks call, or is still to be bound to it. */
                bool unbound = symbol->st_shndx == SHN_UNDEF && ELF64_R_TYPE(r->r_info) == R_X86_64_JUMP_SLOT &&
                               value >= o->low && value < o->high;
                if (value != h->next && !unbound) continue;
                /* dlopen() looks at its caller: objects with a search path of their own must go on calling it themselves. */
                if (h->hook == all[all_count - 1].hook && o->own_search_path) continue;
            } else if (value != h->hook) {
                continue;
            }
            bool read_only = (uintptr_t)slot >= o->relro_low && (uintptr_t)slot < o->relro_high;
            if (read_only && !opened) {
                if (mprotect((void *)o->relro_low, o->relro_high - o->relro_low, PROT_READ | PROT_WRITE)) continue;
                opened = true;
            }
            __atomic_store_n(slot, install ? h->hook : h->next, __ATOMIC_RELEASE);
        }
    }
    if (opened) mprotect((void *)o->relro_low, o->relro_high - o->relro_low, PROT_READ);
}

static int each_object(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    object o;
    if (!describe(info, &o)) return 0;
    if (is_shim(&o)) return 0;
    const char *name = info->dlpi_name ? info->dlpi_name : "";
    if (strstr(name, "linux-vdso") || strstr(name, "/ld-linux")) return 0;
    patch_object(&o, *(const bool *)context);
    return 0;
}

static void each(bool install) {
    list_hooks();
    dl_iterate_phdr(each_object, &install);
}

void tm_slots_patch(void) { each(true); }
void tm_slots_restore(void) { each(false); }
