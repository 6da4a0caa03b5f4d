#include "symbols.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demangle.h"
#include "platform.h"

/* ---- symbol tables: in files, not in memory; all that a file says is checked ---- */

#define MOST_FILES 64

typedef struct file {
    uintptr_t base; /* where it is loaded: what it is known by */
    uintptr_t bias; /* what its addresses are counted from */
    const uint8_t *bytes;
    size_t size;
    const ElfW(Sym) *symbols; /* NULL: it has no table */
    size_t count;
    const char *strings;
    size_t strings_size;
} file;

static file files[MOST_FILES];
static size_t file_count;

static bool lies_within(const file *f, uint64_t offset, uint64_t bytes) { return offset <= f->size && bytes <= f->size - offset; }

static void find_table(file *f) {
    const ElfW(Ehdr) *header = (const void *)f->bytes;
    if (!lies_within(f, 0, sizeof *header) || memcmp(header->e_ident, ELFMAG, SELFMAG)) return;
    if (header->e_shentsize != sizeof(ElfW(Shdr)) || header->e_shoff & 7) return;
    if (!lies_within(f, header->e_shoff, (uint64_t)header->e_shnum * sizeof(ElfW(Shdr)))) return;
    f->bias = header->e_type == ET_EXEC ? 0 : f->base;
    const ElfW(Shdr) *sections = (const void *)(f->bytes + header->e_shoff);
    for (unsigned i = 0; i < header->e_shnum; i++) {
        const ElfW(Shdr) *table = &sections[i];
        if (table->sh_type != SHT_SYMTAB || table->sh_link >= header->e_shnum || table->sh_offset & 7) continue;
        const ElfW(Shdr) *strings = &sections[table->sh_link];
        if (!lies_within(f, table->sh_offset, table->sh_size) || !lies_within(f, strings->sh_offset, strings->sh_size)) continue;
        if (!strings->sh_size || f->bytes[strings->sh_offset + strings->sh_size - 1]) continue;
        f->symbols = (const void *)(f->bytes + table->sh_offset);
        f->count = table->sh_size / sizeof *f->symbols;
        f->strings = (const char *)f->bytes + strings->sh_offset;
        f->strings_size = strings->sh_size;
    }
}

static const file *file_of(const char *path, uintptr_t base) {
    for (size_t i = 0; i < file_count; i++)
        if (files[i].base == base) return &files[i];
    if (file_count == MOST_FILES) return NULL;
    file *f = &files[file_count++];
    *f = (file){.base = base};
    int descriptor = os_set_aside(open(path, O_RDONLY | O_CLOEXEC));
    if (descriptor < 0) return f;
    struct stat status;
    if (!fstat(descriptor, &status) && status.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (bytes != MAP_FAILED) {
            f->bytes = bytes;
            f->size = (size_t)status.st_size;
            find_table(f);
        }
    }
    close(descriptor);
    return f;
}

void tm_symbols_forget(void) {
    for (size_t i = 0; i < file_count; i++)
        if (files[i].bytes) munmap((void *)files[i].bytes, files[i].size);
    file_count = 0;
}

static const char *in_table(const file *f, uintptr_t address) {
    for (size_t i = 0; f && i < f->count; i++) {
        const ElfW(Sym) *symbol = &f->symbols[i];
        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF) continue;
        if (address - f->bias - symbol->st_value < symbol->st_size && symbol->st_name < f->strings_size)
            return f->strings + symbol->st_name;
    }
    return NULL;
}

/* ---- demangling ---- */

typedef char *(*demangler)(const char *, char *, size_t *, int *);

static int find_demangler(struct dl_phdr_info *info, size_t size, void *found) {
    (void)size;
    const char *path = info->dlpi_name;
    if (!path || !(strstr(path, "/libstdc++.so") || strstr(path, "/libc++abi.so"))) return 0;
    void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    void *symbol = library ? dlsym(library, "__cxa_demangle") : NULL;
    if (library) dlclose(library); /* whoever loaded it keeps it */
    memcpy(found, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* The name itself if it is not mangled, or there is nothing that could tell. */
static void demangle(const char *name, char *out, size_t size) {
    if (tm_demangle_rust(name, out, size)) return;
    demangler found = NULL;
    if (!strncmp(name, "_Z", 2)) dl_iterate_phdr(find_demangler, &found);
    int status;
    char *plain = found ? found(name, NULL, NULL, &status) : NULL;
    snprintf(out, size, "%s", plain ? plain : name);
    free(plain);
}

/* ---- names ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

size_t tm_symbol_name(uintptr_t pc, char *out, size_t size) {
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    int length;
    /* The address is behind the call: one byte back it is in it, whatever comes next. */
    if (!dladdr1((void *)(pc - 1), &info, (void **)&symbol, RTLD_DL_SYMENT) || !info.dli_fname) {
        length = snprintf(out, size, "0x%lx", pc);
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
        const char *name = inside ? info.dli_sname : in_table(file_of(path, (uintptr_t)info.dli_fbase), pc - 1);
        if (name) {
            char plain[768];
            demangle(name, plain, sizeof plain);
            length = snprintf(out, size, "%s!%s", base_name(path), plain);
        } else {
            length = snprintf(out, size, "%s+0x%lx", base_name(path), pc - (uintptr_t)info.dli_fbase);
        }
    }
    return length < 0 ? 0 : (size_t)length < size ? (size_t)length : size - 1;
}
