/* What the shim exports to the runtime back ends, but for the engines. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "environment.h"
#include "hooks.h"
#include "image.h"
#include "js_heap.h"
#include "jsc.h"
#include "maps.h"
#include "mimalloc.h"
#include "output.h"
#include "sampling.h"
#include "side.h"
#include "slots.h"
#include "traces.h"
#include "unwind.h"
#include "v8.h"

static void show_to_libraries(void);
static void stop(void);

uint32_t tracemalloc_abi(void) { return TM_ABI_VERSION; }

static uint32_t starts;

uint32_t tracemalloc_status(void) {
    return (tm_here.gate != TM_GATE_OFF ? TM_STATUS_TRACING : 0) | (tm_preloaded ? TM_STATUS_PRELOADED : 0) |
           starts << TM_STATUS_STARTS;
}

int32_t tracemalloc_start(uint32_t nframe, uint32_t flags) {
    if (nframe < 1 || nframe > 65535) return TM_ERROR_STATE;
    int32_t result = TM_OK;
    tm_lock_take(&tm_here.control_lock);
    if (!tm_process_known()) {
        result = TM_ERROR_STATE;
    } else if (tm_here.gate == TM_GATE_OFF) {
        tm_hooks_resolve();
        if (!tm_traces_init()) {
            result = TM_ERROR_NO_MEMORY;
        } else {
            tm_traceback_limit = nframe;
            tm_mixed_stacks = flags & TM_START_MIXED;
            tm_plain_unless(TM_COUNTS, tm_allocated != NULL);
            tm_thread_install_fork_handlers();
            tm_gate_close();
            tm_traced_reset(true);
            tm_maps_start(flags & TM_START_MMAP);
            if (flags & TM_START_WITHOUT_NATIVE) tm_js_heap_alone();
            tm_gate_open(true);
            /* Of two that start at once, one at least sees the other. */
            if (tracemalloc_other(NULL, 0)) {
                stop();
                result = TM_ERROR_OTHER;
            } else {
                starts++;
                if (!tm_preloaded) tm_slots_patch();
                if (!(flags & TM_START_WITHOUT_NATIVE)) tm_mimalloc_install();
                show_to_libraries();
            }
        }
    }
    tm_lock_drop(&tm_here.control_lock);
    return result;
}

int32_t tracemalloc_sample(uint32_t bytes) {
    tm_lock_take(&tm_here.control_lock);
    bool tracing = tm_here.gate != TM_GATE_OFF;
    if (!tracing) {
        __atomic_store_n(&tm_sample_bytes, bytes > 1 ? bytes : 0, __ATOMIC_RELAXED);
        tm_plain_unless(TM_SAMPLES, bytes > 1);
        tracemalloc_mimalloc_sample(bytes > 1 ? bytes : 1);
    }
    tm_lock_drop(&tm_here.control_lock);
    return tracing ? TM_ERROR_STATE : TM_OK;
}

static void stop(void) {
    if (!tm_preloaded) tm_slots_restore();
    tm_mimalloc_remove();
    tm_gate_close();
    tm_js_heap_stop();
    tm_maps_start(false);
    tm_blocks_clear();
    tm_traces_clear();
    tm_jsc_sites_clear();
    tm_traced_reset(true);
    tm_gate_open(false);
}

int32_t tracemalloc_stop(void) {
    tm_lock_take(&tm_here.control_lock);
    if (tm_here.gate != TM_GATE_OFF) stop();
    tm_lock_drop(&tm_here.control_lock);
    return TM_OK;
}

struct other {
    char *path;
    int32_t size, length;
};

static bool take_other(const char *path, void *function, void *context) {
    struct other *other = context;
    uint32_t (*status)(void);
    memcpy(&status, &function, sizeof status);
    if (!(status() & TM_STATUS_TRACING)) return false;
    other->length = (int32_t)strlen(path);
    if (other->length < other->size) memcpy(other->path, path, (size_t)other->length + 1);
    return true;
}

int32_t tracemalloc_other(char *out, int32_t size) {
    struct other other = {out, size, 0};
    return tm_slots_others("tracemalloc_status", take_other, &other) ? other.length : 0;
}

int32_t tracemalloc_clear(void) {
    tm_lock_take(&tm_here.control_lock);
    bool tracing = tm_here.gate != TM_GATE_OFF;
    if (tracing) {
        tm_gate_close();
        tm_maps_clear();
        tm_blocks_clear();
        tm_js_heap_clear();
        tm_tree_clear();
        tm_traced_reset(true);
        tm_gate_open(true);
    }
    tm_lock_drop(&tm_here.control_lock);
    return tracing ? TM_OK : TM_ERROR_STATE;
}

void tracemalloc_memory(uint64_t out[4]) {
    memset(out, 0, 4 * sizeof *out);
    tm_lock_take(&tm_here.control_lock);
    if (tm_here.gate != TM_GATE_OFF) {
        tm_gate_close();
        tm_js_heap_settle();
        tm_traced_memory(&out[0], &out[1]);
        out[2] = tm_blocks_bytes() + tm_maps_bytes() + tm_traces_bytes() + tm_jsc_sites_bytes();
        out[3] = tm_traceback_limit;
        tm_gate_open(true);
    }
    tm_lock_drop(&tm_here.control_lock);
}

uint64_t tracemalloc_mapped(void) { return os_mapped(); }

void tracemalloc_reset_peak(void) {
    tm_lock_take(&tm_here.control_lock);
    if (tm_here.gate != TM_GATE_OFF) {
        tm_gate_close();
        tm_traced_reset(false);
        tm_gate_open(true);
    }
    tm_lock_drop(&tm_here.control_lock);
}

void tracemalloc_mute(int32_t on) {
    tm_thread *self = tm_self ? tm_self : tm_thread_attach();
    if (!self) return;
    self->steady = 0;
    if (on) self->muted++;
    else if (self->muted) self->muted--;
}

int32_t tracemalloc_without_native(void) {
    tm_lock_take(&tm_here.control_lock);
    bool tracing = tm_here.gate != TM_GATE_OFF;
    if (tracing) {
        tm_js_heap_alone();
        tm_mimalloc_remove();
    }
    tm_lock_drop(&tm_here.control_lock);
    return tracing ? TM_OK : TM_ERROR_STATE;
}

const tm_image *tracemalloc_snapshot(void) {
    const tm_image *image = NULL;
    tm_lock_take(&tm_here.control_lock);
    if (tm_here.gate != TM_GATE_OFF) image = tm_image_take();
    tm_lock_drop(&tm_here.control_lock);
    return image;
}

const tm_image *tracemalloc_snapshot_of(uint32_t domain, uint64_t address) {
    const tm_image *image = NULL;
    tm_lock_take(&tm_here.control_lock);
    if (tm_here.gate != TM_GATE_OFF) image = tm_image_of(domain, (uintptr_t)address);
    tm_lock_drop(&tm_here.control_lock);
    return image;
}

uint64_t tracemalloc_address(const void *start) { return (uint64_t)(uintptr_t)start; }

int tracemalloc_track(unsigned domain, uintptr_t address, size_t size) {
    tm_thread *self = tm_enter();
    if (!self) return -2;
    if (self->muted) {
        tm_leave(self);
        return 0;
    }
    if (!domain && tm_sample_bytes && !tm_sampled(size)) {
        tm_leave(self);
        return 0;
    }
    uint32_t node = tm_traceback(self, __builtin_frame_address(0));
    bool kept = true;
    if (domain) kept = tm_tracked_put(self, domain, address, size, node);
    else tm_block_put(self, address, size, node);
    tm_leave(self);
    return kept ? 0 : -1;
}

/* A node, and which traces it is of; together they are exact as a double. */
#define NODE_BITS 27
#define GENERATION_BITS 26

static uint64_t generation_now(void) { return tm_traces_generation & ((1u << GENERATION_BITS) - 1); }

uint64_t tracemalloc_here(void) {
    tm_thread *self = tm_enter();
    if (!self) return 0;
    uint64_t here = self->muted ? 0 : generation_now() << NODE_BITS | tm_traceback(self, __builtin_frame_address(0));
    tm_leave(self);
    return here;
}

int tracemalloc_track_from(uint64_t here, unsigned domain, uintptr_t address, size_t size) {
    tm_thread *self = here ? tm_enter() : NULL;
    if (!self) return -2;
    int result = -2;
    if (here >> NODE_BITS == generation_now())
        result = tm_tracked_put(self, domain, address, size, (uint32_t)(here & TM_MOST_NODES)) ? 0 : -1;
    tm_leave(self);
    return result;
}

int tracemalloc_untrack(unsigned domain, uintptr_t address) {
    tm_thread *self = tm_enter();
    if (!self) return -2;
    uint64_t size;
    uint32_t node;
    if (domain) tm_tracked_take(self, domain, address);
    else tm_block_take(self, address, &size, &node);
    tm_leave(self);
    return 0;
}

/* Libraries that are loaded from now on find what the shim exports for them; its malloc stands behind libc's then. */
static void show_to_libraries(void) {
    Dl_info info;
    tm_thread *self = tm_hide_begin();
    if (!tm_preloaded && dladdr((const void *)&tm_here.control_lock, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
    tm_hide_end(self);
}

uint64_t tracemalloc_copy(const tm_image *image, void *out, uint64_t most) {
    memcpy(out, image, image->bytes < most ? image->bytes : most);
    return image->bytes;
}

void tracemalloc_release(const tm_image *image) { tm_image_release(image); }

/* ---- preloaded: `tracemalloc run` says in the environment that tracing is to begin at once ---- */

#define PRELOAD_VARIABLE "TRACEMALLOC_PRELOAD=" /* the traceback limit, and perhaps ",allocated", ",mixed", ",mmap", ",without-native", or: */
#define SAMPLE_PREFIX ",sample="
#define LOADER_VARIABLE "LD_PRELOAD="
/*
 * Children are to be traced, too: the shim, the path of images, and what a runtime needs between `run` and what follows,
 * in lines. Then all three stay in the environment.
 */
#define FOLLOW_VARIABLE "TRACEMALLOC_FOLLOW="
/* Other variables that were set for this process alone, "NAME=VALUE" in lines. */
#define OWN_VARIABLE "TRACEMALLOC_OWN="

static char *find_variable(const char *prefix) {
    for (char **at = environ; at && *at; at++)
        if (!strncmp(*at, prefix, strlen(prefix))) return *at + strlen(prefix);
    return NULL;
}

/* Takes one variable out of the environment in place, as if it had never been set: children do not inherit it. */
static char *take_variable(const char *prefix) {
    char *found = find_variable(prefix);
    if (!found) return NULL;
    char **to = environ;
    for (char **from = environ; *from; from++)
        if (*from + strlen(prefix) != found) *to++ = *from;
    *to = NULL;
    return found;
}

/* LD_PRELOAD named the shim first; what the user had set stands behind it. */
static void give_back_loader_variable(char *value) {
    const char *rest = value ? strchr(value, ':') : NULL;
    if (!rest || !rest[1]) return;
    /* The variable's own text is shortened in place: "LD_PRELOAD=shim:others" → "LD_PRELOAD=others". */
    memmove(value, rest + 1, strlen(rest + 1) + 1);
    char **end = environ;
    while (*end) end++;
    end[0] = value - strlen(LOADER_VARIABLE); /* take_variable() left room for one */
    end[1] = NULL;
}

/*
 * A runtime that was started as any other program is started again with the agent. Only Deno has a way to be told by its
 * arguments, and only `run` takes them.
 */
static void start_again_with_agent(int count, char **arguments, const char *shim, size_t shim_length, const char *lines) {
    enum { MOST = 4096, MOST_LINES = 16, BYTES = 65536 };
    static char text[BYTES], permission[4096 + 16];
    char *all[MOST];
    const char *name = program_invocation_short_name;
    if (strcmp(name, "deno") || count < 3 || count > MOST - MOST_LINES || strcmp(arguments[1], "run") || strlen(lines) >= BYTES) return;
    strcpy(text, lines);
    bool all_allowed = false;
    for (int i = 2; i < count; i++) {
        if (!strncmp(arguments[i], "--preload=", 10) && strstr(arguments[i], "/agent.ts?shim=")) return; /* it has one */
        if (!strcmp(arguments[i], "-A") || !strcmp(arguments[i], "--allow-all")) all_allowed = true;
    }
    int used = 0;
    all[used++] = arguments[0];
    all[used++] = arguments[1];
    for (char *line = text; line && used < MOST_LINES;) {
        char *end = strchr(line, '\n');
        if (end) *end++ = 0;
        all[used++] = line;
        line = end;
    }
    if (!all_allowed && shim_length < 4096) {
        strcpy(permission, "--allow-ffi=");
        strncat(permission, shim, shim_length);
        all[used++] = permission;
    }
    for (int i = 2; i <= count; i++) all[used++] = arguments[i]; /* and the NULL */
    /* Not by the name of the link, which would become the process's. */
    static char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length > 0) execve(program, all, environ);
}

/* Images of children are named by their numbers, which the processes themselves put behind the path. */
static void follow(const char *settings, int count, char **arguments) {
    static char path[4096];
    const char *shim_end = strchr(settings, '\n'), *path_end = shim_end ? strchr(shim_end + 1, '\n') : NULL;
    if (!path_end || path_end - shim_end > (ptrdiff_t)sizeof path) return;
    start_again_with_agent(count, arguments, settings, (size_t)(shim_end - settings), path_end + 1);
    memcpy(path, shim_end + 1, (size_t)(path_end - shim_end) - 1);
    tm_output_of_children(path);
}

/* The C library hands constructors what it hands main(). */
__attribute__((constructor)) static void begin_preloaded(int count, char **arguments) {
    tm_hooks_resolve();
    if (!tm_preloaded) return;
    const char *followed = find_variable(FOLLOW_VARIABLE);
    const char *limit = followed ? find_variable(PRELOAD_VARIABLE) : take_variable(PRELOAD_VARIABLE);
    if (!limit) return;
    const char *own = take_variable(OWN_VARIABLE);
    if (own) tm_environment_own(own);
    uint32_t nframe = 0;
    for (; *limit >= '0' && *limit <= '9' && nframe <= 65535; limit++) nframe = nframe * 10 + (uint32_t)(*limit - '0');
    tm_count_allocated = strstr(limit, ",allocated") != NULL;
    const char *sample = strstr(limit, SAMPLE_PREFIX);
    if (sample) tracemalloc_sample((uint32_t)strtoul(sample + strlen(SAMPLE_PREFIX), NULL, 10));
    if (followed) follow(followed, count, arguments);
    else give_back_loader_variable(take_variable(LOADER_VARIABLE));
    tracemalloc_start(nframe, (strstr(limit, ",mixed") ? TM_START_MIXED : 0) | (strstr(limit, ",mmap") ? TM_START_MMAP : 0) |
                                  (strstr(limit, ",without-native") ? TM_START_WITHOUT_NATIVE : 0));
}
