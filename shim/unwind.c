#include "unwind.h"

#include <string.h>

#include "jsc.h"
#include "traces.h"
#include "v8.h"

uint32_t tm_traceback_limit = 1;

/* A thread without JavaScript is one traceback: its name. Runtimes name a thread after its first allocations. */
static uint32_t thread_node(tm_thread *self) {
    if (tm_unlikely(!self->thread_node)) {
        os_thread_name(self->name);
        uint32_t name = tm_string(self->name, strlen(self->name));
        self->thread_node = tm_node(0, tm_frame(name == UINT32_MAX ? TM_FRAME_UNKNOWN : TM_FRAME_THREAD,
                                                name == UINT32_MAX ? TM_UNKNOWN_MEMORY : name, 0, 0, 0));
    }
    return self->thread_node;
}

uint32_t tm_traceback(tm_thread *self, const uint64_t *fp) {
    uint64_t calls = ++self->calls;
    if (tm_unlikely(self->generation != tm_traces_generation)) {
        self->generation = tm_traces_generation;
        self->thread_node = 0;
    }
    if (tm_unlikely(calls == 8 || calls == 64 || calls == 512)) self->thread_node = 0;
    if (!tm_v8_ready && !(tm_jsc_ready && self->vm)) return thread_node(self);
    /* On a stack of the program's own making (a signal's, a coroutine's) nothing says how far it may be read. */
    if (tm_unlikely((uintptr_t)fp < self->stack_low || (uintptr_t)fp >= self->stack_high)) return thread_node(self);
    uint32_t node;
    if (tm_jsc_ready)
        return tm_jsc_traceback(self, fp, tm_traceback_limit, &node) == TM_JSC_WALKED ? node : tm_node(0, tm_frame_native(fp[1]));
    switch (tm_v8_traceback(self, fp, tm_traceback_limit, &node)) {
    case TM_V8_NO_ISOLATE: return thread_node(self);
    case TM_V8_NO_JAVASCRIPT: return tm_node(0, tm_frame_native(fp[1]));
    case TM_V8_WALKED: break;
    }
    return node;
}
