/* From a call of malloc to the traceback it is charged to. */
#ifndef TM_UNWIND_H
#define TM_UNWIND_H

#include "thread.h"

extern uint32_t tm_traceback_limit;

/* Node of the traceback of the calling thread; `fp` is the hook's frame. Never 0. */
uint32_t tm_traceback(tm_thread *self, const uint64_t *fp);

#endif
