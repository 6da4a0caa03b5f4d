/* Images that the shim writes into files by itself: at the process's end, on a signal, and from time to time. */
#ifndef TM_OUTPUT_H
#define TM_OUTPUT_H

#include "tracemalloc.h"

/*
 * The process is about to end, and will not come back: writes the last image, unless that has been done. From any thread,
 * also from a signal's handler; waits for the image, but not for ever.
 */
void tm_output_end(void);
/* The same at exit(), which a runtime calls after its engine's end: what the program saved before that stays. */
void tm_output_exit(void);
/* The same where it most likely is: should it go on after all, there will be another. */
void tm_output_likely_end(void);

/* Children of this process write images of their own, named by their numbers behind the path. */
void tm_output_of_children(const char *path);

#endif
