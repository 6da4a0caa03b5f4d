/*
 * Names of functions that a library does not export, while the library's file is cut: symbols_test LIBRARY, which is this file, built
 * with -DLIBRARY. The file is cut behind what of it is in memory: where its symbol table is.
 */
#ifdef LIBRARY

/* So many that their table takes more than the page it begins in. */
#define F(name) static __attribute__((noinline, used)) int name(int a) { return a + __LINE__; }
#define F10(name) F(name##0) F(name##1) F(name##2) F(name##3) F(name##4) F(name##5) F(name##6) F(name##7) F(name##8) F(name##9)
#define F100(name) F10(name##0) F10(name##1) F10(name##2) F10(name##3) F10(name##4) F10(name##5) F10(name##6) F10(name##7) F10(name##8) F10(name##9)
#define F1000(name) F100(name##0) F100(name##1) F100(name##2) F100(name##3) F100(name##4) F100(name##5) F100(name##6) F100(name##7) F100(name##8) F100(name##9)
F1000(hidden_)
void *first(void) { return (void *)hidden_000; }
void *last(void) { return (void *)hidden_999; }

#else

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../shim/symbols.h"

static int failures;

static void expect(void *library, const char *which, const char *name) {
    void *(*function)(void);
    void *symbol = dlsym(library, which);
    memcpy(&function, &symbol, sizeof symbol);
    char found[256];
    tm_symbol_name((uintptr_t)function() + 2, found, sizeof found);
    const char *shown = strchr(found, '!');
    if (shown && !strcmp(shown + 1, name)) return;
    printf("%s: expected %s, found %s\n", which, name, found);
    failures++;
}

int main(int count, char **arguments) {
    void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (!library) return printf("%s\n", dlerror()), 2;
    expect(library, "first", "hidden_000");
    struct stat status;
    if (stat(arguments[1], &status) || truncate(arguments[1], status.st_size - 16 * 1024)) return perror("truncate"), 2;
    expect(library, "last", "hidden_999"); /* as it was read */
    tm_symbols_forget();
    char found[256];
    tm_symbol_name((uintptr_t)dlsym(library, "last") + 2, found, sizeof found);
    if (!strstr(found, "!last")) printf("last: found %s\n", found), failures++;
    return failures != 0;
}

#endif
