#include "symbols.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demangle.h"
#include "platform.h"

/* ---- symbol tables: in files, not in memory; all that a file says is checked ---- */

#define MOST_FILES 64

typedef struct file {
    uintptr_t base; /* where it is loaded: what it is known by */
    uintptr_t bias; /* what its addresses are counted from */
    /* Copies: a file that is mapped can be cut meanwhile, and then to look at it is fatal. */
    ElfW(Sym) *symbols; /* NULL: it has no table */
    size_t symbols_size;
    char *strings;
    size_t strings_size;
} file;

static file files[MOST_FILES];
static size_t file_count;

/* False: not all of it is there. */
static bool read_at(int descriptor, uint64_t offset, void *to, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes;) {
        ssize_t got = pread(descriptor, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (got <= 0) return false;
        done += (uint64_t)got;
    }
    return true;
}

/* To be unmapped; NULL: it is not there. */
static void *read_part(int descriptor, uint64_t file_size, uint64_t offset, uint64_t bytes) {
    void *part = bytes && offset <= file_size && bytes <= file_size - offset ? os_map(bytes) : NULL;
    if (!part || read_at(descriptor, offset, part, bytes)) return part;
    os_unmap(part, bytes);
    return NULL;
}

static void drop_table(file *f) {
    if (f->symbols) os_unmap(f->symbols, f->symbols_size);
    if (f->strings) os_unmap(f->strings, f->strings_size);
    f->symbols = NULL;
    f->strings = NULL;
}

static void read_table(file *f, int descriptor, uint64_t file_size) {
    ElfW(Ehdr) header;
    ElfW(Shdr) table = {0}, strings;
    if (!read_at(descriptor, 0, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG)) return;
    if (header.e_shentsize != sizeof table) return;
    for (unsigned i = 0; i < header.e_shnum && table.sh_type != SHT_SYMTAB; i++)
        if (!read_at(descriptor, header.e_shoff + i * sizeof table, &table, sizeof table)) return;
    if (table.sh_type != SHT_SYMTAB || table.sh_link >= header.e_shnum) return;
    if (!read_at(descriptor, header.e_shoff + table.sh_link * sizeof strings, &strings, sizeof strings)) return;
    f->bias = header.e_type == ET_EXEC ? 0 : f->base;
    f->symbols = read_part(descriptor, file_size, table.sh_offset, f->symbols_size = table.sh_size);
    f->strings = read_part(descriptor, file_size, strings.sh_offset, f->strings_size = strings.sh_size);
    if (!f->symbols || !f->strings || f->strings[f->strings_size - 1]) drop_table(f);
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
    if (!fstat(descriptor, &status)) read_table(f, descriptor, (uint64_t)status.st_size);
    close(descriptor);
    return f;
}

void tm_symbols_forget(void) {
    for (size_t i = 0; i < file_count; i++) drop_table(&files[i]);
    file_count = 0;
}

static const char *in_table(const file *f, uintptr_t address) {
    for (size_t i = 0; f && f->symbols && i < f->symbols_size / sizeof *f->symbols; i++) {
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
