/* Ways of ending that only native code has. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

void ends_exit(void) { exit(11); }
void ends_at_once(void) { _exit(12); }
void ends_abort(void) { abort(); }
void ends_raise(void) { raise(SIGPROF); }
void ends_by_trap(void) { __builtin_trap(); }
void ends_by_fault(void) { *(volatile int *)8 = 1; }

static int recurse(volatile int depth) {
    volatile char frame[4096];
    frame[0] = 1;
    return depth ? recurse(depth - 1) + frame[0] : 0;
}

void ends_by_deep_recursion(void) { recurse(1 << 30); }

/* From now on there is no more address space than this process has already. */
int no_more_memory(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu", &pages) != 1) return -1;
    fclose(file);
    struct rlimit limit = {pages * 4096, pages * 4096};
    return setrlimit(RLIMIT_AS, &limit);
}
