/*
 * The ways in which a program ends itself, for a last image: preloaded, these definitions stand before libc's. Where a
 * runtime has ended its engine already by then, it was told of the end before, and the program saved the image itself.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

#define EXPORT(name) TM_EXPORT extern __typeof__(tm_end_##name) name __attribute__((alias("tm_end_" #name)));

static void look_up(void *next, const char *name) {
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(next, &symbol, sizeof symbol);
}

#define EXIT(name)                                          \
    _Noreturn void tm_end_##name(int code) {                \
        static void (*next)(int);                           \
        if (!next) look_up(&next, #name);                   \
        tm_output_exit();                                   \
        next(code);                                         \
        __builtin_unreachable();                            \
    }                                                       \
    EXPORT(name)

EXIT(exit)
EXIT(_exit)
EXIT(_Exit)
EXIT(quick_exit)

_Noreturn void tm_end_abort(void) {
    static void (*next)(void);
    if (!next) look_up(&next, "abort");
    tm_output_end();
    next();
    __builtin_unreachable();
}
EXPORT(abort)

/* Does the signal end a process that does nothing about it, and does this one do nothing? */
static bool ends_process(int number) {
    static const int others[] = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (number == others[i]) return false;
    struct sigaction action;
    return !sigaction(number, NULL, &action) && action.sa_handler == SIG_DFL;
}

/* How runtimes end by a signal that they have handled; Node does so in the handler, where the signal still has to wait. */
int tm_end_raise(int number) {
    static int (*next)(int);
    if (!next) look_up(&next, "raise");
    if (number > 0 && ends_process(number)) {
        sigset_t blocked;
        if (pthread_sigmask(SIG_BLOCK, NULL, &blocked) || !sigismember(&blocked, number)) tm_output_end();
        else tm_output_likely_end();
    }
    return next(number);
}
EXPORT(raise)
