#include "unwind.h"

#include <string.h>

#include "jsc.h"
#include "tasks.h"
#include "traces.h"
#include "v8.h"

uint32_t tm_traceback_limit = 1;
bool tm_mixed_stacks;

#define MOST_NATIVE 1024 /* between two of JavaScript */

/* A thread that has allocated so often has the name that it keeps. */
#ifndef TM_STEADY_CALLS /* tests do not allocate that often */
#define TM_STEADY_CALLS 512
#endif

uint32_t tm_native_frames(const uint64_t *fp, uintptr_t until, uintptr_t high, uint32_t *frames, uint32_t most) {
    uint32_t count = 0;
    uintptr_t pc = fp[1]; /* right also where the caller keeps no frame pointer */
    bool more = tm_next_frame(&fp, &pc, high);
    while (count < most && count < MOST_NATIVE) {
        tm_code_region region;
        tm_code_kind kind = tm_code_region_of(pc, &region) ? region.kind : TM_CODE_NONE;
        bool below = more && (uintptr_t)fp < until;
        /* V8's own code: what is behind it, V8's frames say. */
        if (kind == TM_CODE_GENERATED || kind == TM_CODE_NONE || (kind == TM_CODE_IMAGE && !below)) break;
        frames[count++] = tm_frame_native(pc);
        if (!below || !tm_next_frame(&fp, &pc, high)) break;
    }
    return count;
}

static struct own {
    size_t length;
    char prefix[1024];
} own[4];
static uint32_t own_count;
static tm_lock own_lock;

void tm_own_add(const char *prefix) {
    size_t length = strlen(prefix);
    tm_lock_take(&own_lock);
    bool known = false;
    for (uint32_t i = 0; i < own_count; i++) known |= !strcmp(own[i].prefix, prefix);
    if (!known && length && length < sizeof own->prefix && own_count < sizeof own / sizeof *own) {
        memcpy(own[own_count].prefix, prefix, length + 1);
        own[own_count].length = length;
        __atomic_store_n(&own_count, own_count + 1, __ATOMIC_RELEASE);
    }
    tm_lock_drop(&own_lock);
}

bool tm_is_own(const char *url) {
    for (uint32_t i = 0, count = __atomic_load_n(&own_count, __ATOMIC_ACQUIRE); i < count; i++)
        if (!strncmp(url, own[i].prefix, own[i].length)) return true;
    return false;
}

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

/* The node of `frames` above the most recent ones of a traceback, as many as the limit has room for. */
static uint32_t above(uint32_t node, const uint32_t *frames, uint32_t count) {
    uint32_t older[MOST_NATIVE], room = tm_traceback_limit - count, most = room < MOST_NATIVE ? room : MOST_NATIVE, kept = 0;
    const tm_node_row *nodes = tm_node_rows();
    uint32_t at = node;
    for (; at && kept < most; at = nodes[at].parent) older[kept++] = nodes[at].frame;
    if (at && most == room) { /* the traceback is longer than there is room for */
        node = 0;
        while (kept) node = tm_node(node, older[--kept]);
    }
    while (count) node = tm_node(node, frames[--count]);
    return node;
}

/* Native code down to where the thread began, below what started its task, or what it is called. */
static uint32_t native_node(tm_thread *self, const uint64_t *fp) {
    uint32_t frames[MOST_NATIVE], most = tm_traceback_limit < MOST_NATIVE ? tm_traceback_limit : MOST_NATIVE;
    uint32_t count = tm_native_frames(fp, self->stack_high, self->stack_high, frames, most), task = tm_task_node(self, fp);
    if (!count) return task ? task : thread_node(self);
    return above(count == most ? 0 : task ? task : thread_node(self), frames, count);
}

uint32_t tm_traceback_anew(tm_thread *self, const uint64_t *fp) {
    uint32_t calls = ++self->calls;
    if (tm_unlikely(self->generation != tm_traces_generation)) {
        self->generation = tm_traces_generation;
        self->thread_node = 0;
    }
    if (tm_unlikely(calls == 8 || calls == 64 || calls == TM_STEADY_CALLS)) self->thread_node = 0;
    if (!tm_v8_ready && !(tm_jsc_ready && self->vm)) {
        uint32_t steady = __atomic_load_n(&tm_steady, __ATOMIC_RELAXED), node = thread_node(self);
        if (tm_unlikely(calls > TM_STEADY_CALLS) && !tm_v8_ready && !tm_jsc_ready) self->steady = steady;
        return node;
    }
    /* On a stack of the program's own making (a signal's, a coroutine's) nothing says how far it may be read. */
    if (tm_unlikely((uintptr_t)fp < self->stack_low || (uintptr_t)fp >= self->stack_high)) return thread_node(self);
    uint32_t node;
    if (tm_unlikely(tm_mixed_stacks) && !tm_jsc_ready)
        return tm_v8_traceback(self, fp, tm_traceback_limit, &node) == TM_V8_WALKED ? node : native_node(self, fp);
    if (tm_jsc_ready) return tm_jsc_traceback(self, fp, tm_traceback_limit);
    switch (tm_v8_traceback(self, fp, tm_traceback_limit, &node)) {
    case TM_V8_WALKED: return node;
    case TM_V8_NO_ISOLATE: return (node = tm_task_node(self, fp)) ? node : thread_node(self);
    case TM_V8_NO_JAVASCRIPT: break;
    }
    return (node = tm_task_node(self, fp)) ? node : tm_node(0, tm_frame_native(fp[1]));
}
