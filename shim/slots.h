/* Hooking in at run time: the slots through which loaded objects call malloc and its family. */
#ifndef TM_SLOTS_H
#define TM_SLOTS_H

#include <stdbool.h>

/* Points the slots of every loaded object to the hooks. Again: only those of objects loaded since. */
void tm_slots_patch(void);
/* Points them back. */
void tm_slots_restore(void);

/*
 * The function that calls by this name lead to. An executable with fixed addresses that takes the address of another
 * object's function has a stub of its own for it, which is then all that dlsym() finds.
 */
void *tm_slots_definition(const char *name);

/* Of the other objects that have this function, each by its path and its own function, until one is taken. */
bool tm_slots_others(const char *name, bool (*take)(const char *path, void *function, void *context), void *context);

#endif
