/*
 * Work that the runtime does without JavaScript on the stack. Deno's event loop and its other threads are tokio's, where
 * all work belongs to tasks: blocks of memory that were allocated, and so have a traceback, when something started them.
 */
#ifndef TM_TASKS_H
#define TM_TASKS_H

#include "thread.h"

/* From a control function, with JavaScript below, before tasks are asked for. */
void tm_tasks_prepare(void);

/*
 * The node of the traceback that started the task which the calling thread is at work on; `fp` is the hook's frame. 0: it
 * is at work on none, or not on one that JavaScript is known to have started.
 */
uint32_t tm_task_node(tm_thread *self, const uint64_t *fp);

/* Where the number of the task is kept, in bytes from the thread pointer; 0: not known. */
int32_t tm_tasks_offset(void);

#endif
