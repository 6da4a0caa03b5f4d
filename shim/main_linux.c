/*
 * Preloaded, the shim stands around the program's main(), and has memory there that lies on the main thread's stack. Engines
 * that look for what is in use on stacks keep what is written down in it: code whose frames were seen and are not yet named.
 */
#include <dlfcn.h>
#include <string.h>

#include "jsc.h"
#include "tracemalloc.h"

typedef int main_function(int argc, char **argv, char **envp);
typedef int start_function(main_function *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                           void (*loader_fini)(void), void *stack_end);

static main_function *programs_main;

static __attribute__((noinline)) int main_with_pins(int argc, char **argv, char **envp) {
    volatile uint64_t pins[TM_JSC_PINS];
    for (size_t i = 0; i < TM_JSC_PINS; i++) pins[i] = 0;
    tm_jsc_pins = pins;
    int result = programs_main(argc, argv, envp);
    tm_jsc_pins = NULL;
    return result;
}

TM_EXPORT start_function __libc_start_main;

int __libc_start_main(main_function *main, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*loader_fini)(void),
                      void *stack_end) {
    void *symbol = dlsym(RTLD_NEXT, "__libc_start_main");
    start_function *next;
    memcpy(&next, &symbol, sizeof symbol);
    programs_main = main;
    return next(main_with_pins, argc, argv, init, fini, loader_fini, stack_end);
}
