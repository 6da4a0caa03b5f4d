/* From a call of malloc to the traceback it is charged to. */
#ifndef TM_UNWIND_H
#define TM_UNWIND_H

#include "thread.h"
#include "v8.h"

extern uint32_t tm_traceback_limit;
/* Tracebacks hold all frames: native code's and the runtime's own JavaScript beside the program's. */
extern bool tm_mixed_stacks;

/*
 * The native code that the frame at fp returns to, the most recent first, up to the frame `until` or as far as frame
 * pointers lead; how many.
 */
uint32_t tm_native_frames(const uint64_t *fp, uintptr_t until, uintptr_t high, uint32_t *frames, uint32_t most);

/*
 * Scripts whose URL or path begins so are the tracer's own, and left out of tracebacks; copies of this library have each their
 * own, and those that there is no more room for are shown.
 */
void tm_own_add(const char *prefix);
bool tm_is_own(const char *url);

/* Node of the traceback of the calling thread; `fp` is the hook's frame. Never 0. */
uint32_t tm_traceback_anew(tm_thread *self, const uint64_t *fp);
static inline uint32_t tm_traceback(tm_thread *self, const uint64_t *fp) {
    uint32_t node = self->v8 ? tm_v8_as_before(self, fp) : 0;
    return tm_likely(node) ? node : tm_traceback_anew(self, fp);
}

#endif
