/* What the shim exports to the runtime back ends, but for the engines. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "hooks.h"
#include "image.h"
#include "mimalloc.h"
#include "slots.h"
#include "traces.h"
#include "unwind.h"
#include "v8.h"

static void show_to_libraries(void);

uint32_t tracemalloc_abi(void) { return TM_ABI_VERSION; }

uint32_t tracemalloc_status(void) {
    return (tm_gate != TM_GATE_OFF ? TM_STATUS_TRACING : 0) | (tm_preloaded ? TM_STATUS_PRELOADED : 0);
}

int32_t tracemalloc_start(uint32_t nframe) {
    if (nframe < 1 || nframe > 65535) return TM_ERROR_STATE;
    int32_t result = TM_OK;
    tm_lock_take(&tm_control_lock);
    if (tm_gate == TM_GATE_OFF) {
        tm_hooks_resolve();
        if (!tm_traces_init()) {
            result = TM_ERROR_NO_MEMORY;
        } else {
            tm_traceback_limit = nframe;
            tm_thread_install_fork_handlers();
            tm_gate_close();
            tm_traced_reset(true);
            tm_gate_open(true);
            if (!tm_preloaded) tm_slots_patch();
            tm_mimalloc_install(1);
            show_to_libraries();
        }
    }
    tm_lock_drop(&tm_control_lock);
    return result;
}

int32_t tracemalloc_stop(void) {
    tm_lock_take(&tm_control_lock);
    if (tm_gate != TM_GATE_OFF) {
        if (!tm_preloaded) tm_slots_restore();
        tm_mimalloc_remove();
        tm_gate_close();
        tm_blocks_clear();
        tm_traces_clear();
        tm_traced_reset(true);
        tm_gate_open(false);
    }
    tm_lock_drop(&tm_control_lock);
    return TM_OK;
}

int32_t tracemalloc_clear(void) {
    tm_lock_take(&tm_control_lock);
    bool tracing = tm_gate != TM_GATE_OFF;
    if (tracing) {
        tm_gate_close();
        tm_blocks_clear();
        tm_tree_clear();
        tm_traced_reset(true);
        tm_gate_open(true);
    }
    tm_lock_drop(&tm_control_lock);
    return tracing ? TM_OK : TM_ERROR_STATE;
}

void tracemalloc_memory(uint64_t out[4]) {
    memset(out, 0, 4 * sizeof *out);
    tm_lock_take(&tm_control_lock);
    if (tm_gate != TM_GATE_OFF) {
        tm_gate_close();
        tm_traced_memory(&out[0], &out[1]);
        out[2] = tm_blocks_bytes() + tm_traces_bytes();
        out[3] = tm_traceback_limit;
        tm_gate_open(true);
    }
    tm_lock_drop(&tm_control_lock);
}

void tracemalloc_reset_peak(void) {
    tm_lock_take(&tm_control_lock);
    if (tm_gate != TM_GATE_OFF) {
        tm_gate_close();
        tm_traced_reset(false);
        tm_gate_open(true);
    }
    tm_lock_drop(&tm_control_lock);
}

void tracemalloc_mute(int32_t on) {
    tm_thread *self = tm_self ? tm_self : tm_thread_attach();
    if (!self) return;
    if (on) self->muted++;
    else if (self->muted) self->muted--;
}

const tm_image *tracemalloc_snapshot(void) {
    const tm_image *image = NULL;
    tm_lock_take(&tm_control_lock);
    if (tm_gate != TM_GATE_OFF) image = tm_image_take();
    tm_lock_drop(&tm_control_lock);
    return image;
}

const tm_image *tracemalloc_snapshot_of(uint32_t domain, uint64_t address) {
    const tm_image *image = NULL;
    tm_lock_take(&tm_control_lock);
    if (tm_gate != TM_GATE_OFF) image = tm_image_of(domain, (uintptr_t)address);
    tm_lock_drop(&tm_control_lock);
    return image;
}

uint64_t tracemalloc_address(const void *start) { return (uint64_t)(uintptr_t)start; }

int tracemalloc_track(unsigned domain, uintptr_t address, size_t size) {
    tm_thread *self = tm_enter();
    if (!self) return -2;
    uint32_t node = tm_traceback(self, __builtin_frame_address(0));
    bool kept = true;
    if (domain) kept = tm_tracked_put(self, domain, address, size, node);
    else tm_block_put(self, address, size, node);
    tm_leave(self);
    return kept ? 0 : -1;
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
    if (!tm_preloaded && dladdr((const void *)&tm_control_lock, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
    tm_hide_end(self);
}

uint64_t tracemalloc_copy(const tm_image *image, void *out, uint64_t most) {
    memcpy(out, image, image->bytes < most ? image->bytes : most);
    return image->bytes;
}

void tracemalloc_release(const tm_image *image) { tm_image_release(image); }

static bool write_all(int file, const char *bytes, uint64_t count) {
    while (count) {
        ssize_t written = write(file, bytes, count);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes += written;
        count -= (uint64_t)written;
    }
    return true;
}

int32_t tracemalloc_save(const char *path, const void *first, uint64_t first_bytes, const void *second, uint64_t second_bytes) {
    char unfinished[4096];
    int length = snprintf(unfinished, sizeof unfinished, "%s.unfinished", path);
    if (length < 0 || length >= (int)sizeof unfinished) return -ENAMETOOLONG;
    int file = open(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) return -errno;
    bool ok = write_all(file, first, first_bytes) && write_all(file, second, second_bytes);
    int error = ok ? 0 : errno;
    if (close(file) && ok) ok = false, error = errno;
    if (ok && rename(unfinished, path)) ok = false, error = errno;
    if (!ok) unlink(unfinished);
    return ok ? TM_OK : -error;
}

/* ---- preloaded: `tracemalloc run` says in the environment that tracing is to begin at once ---- */

#define PRELOAD_VARIABLE "TRACEMALLOC_PRELOAD=" /* the traceback limit */
#define LOADER_VARIABLE "LD_PRELOAD="

/* Takes one variable out of the environment in place, as if it had never been set: children do not inherit it. */
static const char *take_variable(const char *prefix) {
    const char *found = NULL;
    char **to = environ;
    for (char **from = environ; from && *from; from++) {
        if (!found && !strncmp(*from, prefix, strlen(prefix))) found = *from + strlen(prefix);
        else *to++ = *from;
    }
    if (found) *to = NULL;
    return found;
}

static void give_back_loader_variable(const char *value);

__attribute__((constructor)) static void begin_preloaded(void) {
    tm_hooks_resolve();
    if (!tm_preloaded) return;
    const char *limit = take_variable(PRELOAD_VARIABLE);
    if (!limit) return;
    uint32_t nframe = 0;
    for (; *limit >= '0' && *limit <= '9' && nframe <= 65535; limit++) nframe = nframe * 10 + (uint32_t)(*limit - '0');
    give_back_loader_variable(take_variable(LOADER_VARIABLE));
    tracemalloc_start(nframe);
}

/* LD_PRELOAD named the shim first; what the user had set stands behind it. */
static void give_back_loader_variable(const char *value) {
    const char *rest = value ? strchr(value, ':') : NULL;
    if (!rest || !rest[1]) return;
    /* The variable's own text is shortened in place: "LD_PRELOAD=shim:others" → "LD_PRELOAD=others". */
    char *name = (char *)value - strlen(LOADER_VARIABLE);
    memmove((char *)value, rest + 1, strlen(rest + 1) + 1);
    char **end = environ;
    while (*end) end++;
    end[0] = name; /* take_variable() left room for one */
    end[1] = NULL;
}
