/*
 * A model checker for the shim's own code: runs threads of a scenario one step at a time, in every order there is, within a
 * bound of forced switches. The code is compiled as it is, with -fsanitize=thread, whose calls for every access to memory
 * are answered here, and with the platform that interleave.c has instead of platform_linux.c.
 *
 * Found are: what the scenario itself expects; deadlocks; two accesses to the same memory that nothing orders (C11's
 * happens-before, with the orders that the code names, so that a missing acquire or release is seen although x86 would
 * forgive it); accesses to memory that was given back. Stores can be delayed as by a processor's store buffer.
 */
#ifndef INTERLEAVE_H
#define INTERLEAVE_H

#include <stdbool.h>
#include <stdint.h>

enum { MAIN = 0, MOST_FIBERS = 4 }; /* with main, which begins and ends alone */

typedef struct interleave_options {
    const char *name;
    int bound;                     /* forced switches and delayed stores in one execution, at the most */
    uint64_t most;                 /* executions; then it is said that they were not all */
    void (*run)(void);             /* one execution, as main */
    void (*reset)(void);           /* what the scenario itself keeps */
} interleave_options;

/* Executions that there were. Ends the process with 1 and the way there when one of them fails. */
uint64_t interleave_explore(const interleave_options *options, bool *all);

/* In an execution: runs work(1) … work(count) at once; returns when all have ended. */
void interleave_fibers(int count, void (*work)(int fiber));
int interleave_self(void);

/*
 * What the program itself orders: who has been given something (an address) sees all that was stored before it was given away,
 * as it does by an allocator's lock, or whatever threads use to hand each other blocks.
 */
typedef struct interleave_handover {
    int fiber;
    uint64_t stores;
    uint32_t clock[MOST_FIBERS];
} interleave_handover;
interleave_handover interleave_give(void);
void interleave_receive(const interleave_handover *given);

uint64_t interleave_time(void);

/* One of `count`: all are tried. */
int interleave_choose(int count);

/* The other fibers are no more, as after a fork; what they had under way stays as it is. */
void interleave_alone(void);

_Noreturn void interleave_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Handlers that the code under test has given to pthread_atfork(). */
extern void (*interleave_before_fork)(void), (*interleave_after_fork)(void), (*interleave_in_child)(void);

/* What is broken on purpose, to see that it is found. */
extern bool fault_no_barrier, fault_no_order, fault_open_locks;

#endif
