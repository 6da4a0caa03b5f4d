/*
 * Variables that only tell the runtime of this process how to run: whatever environment it was given for a new program, it
 * is started without them. Preloaded, this execve() stands before the C library's.
 */
#include "environment.h"

#include <dlfcn.h>
#include <string.h>

#include "platform.h"
#include "tracemalloc.h"

enum { MOST_OWN = 8, MOST_VARIABLES = 65536 };

static const char *own[MOST_OWN];
static size_t own_lengths[MOST_OWN], own_count;

void tm_environment_own(const char *lines) {
    while (*lines && own_count < MOST_OWN) {
        size_t length = strcspn(lines, "\n");
        own[own_count] = lines;
        own_lengths[own_count++] = length;
        lines += length + (lines[length] == '\n');
    }
}

static bool is_own(const char *variable) {
    for (size_t i = 0; i < own_count; i++)
        if (!strncmp(variable, own[i], own_lengths[i]) && !variable[own_lengths[i]]) return true;
    return false;
}

typedef int execve_function(const char *, char *const[], char *const[]);

TM_EXPORT execve_function execve;

static execve_function *next;

__attribute__((constructor)) static void find_next(void) {
    void *symbol = dlsym(RTLD_NEXT, "execve");
    memcpy(&next, &symbol, sizeof symbol);
}

/* Also called between fork() or vfork() and the new program: on the stack alone, and without a lock. */
int execve(const char *path, char *const arguments[], char *const variables[]) {
    if (!next) find_next(); /* before any constructor has run */
    size_t count = 0, kept = 0;
    while (own_count && variables && variables[count]) count++;
    if (!count || count > MOST_VARIABLES) return next(path, arguments, variables);
    char *others[count + 1];
    for (size_t i = 0; i < count; i++)
        if (!is_own(variables[i])) others[kept++] = variables[i];
    others[kept] = NULL;
    return next(path, arguments, others);
}
