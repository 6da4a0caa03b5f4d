/*
 * Names call sites, at a safe point: on the thread they were seen on, in a native function that its JavaScript called.
 *
 * A frame is forged on the stack, of the CodeBlock and the call site index that were recorded, and for the moment in which
 * an Error is made, the engine's note of the newest frame is of the forged one. The Error's stack then begins with what the
 * engine says of the site: the functions inlined there, the author's file and line.
 */
#include <stdio.h>
#include <string.h>

#include "jsc.h"
#include "jsc_calibrate.h"
#include "napi.h"
#include "side.h"
#include "unwind.h"

/* ---- what a thread has ---- */

typedef struct tm_jsc_thread {
    napi_env env; /* who attached first; another copy of the library on the thread has one of its own */
    uint32_t users;
    uintptr_t vm;
    uint32_t next;       /* the first site that may be new */
    uint32_t generation; /* of the sites that the number is of */
    uint32_t own_domain; /* of what ends with the thread: tracemalloc_jsc_own() */
    uint64_t own_first, own_last;
    uint32_t lines; /* of plain, but for the first */
    char text[1 << 18], plain[1 << 18];
} tm_jsc_thread;

static __thread tm_jsc_thread *thread_state __attribute__((tls_model("initial-exec")));

void tracemalloc_jsc_hide(const char *path_prefix) { tm_own_add(path_prefix); }

uint32_t tracemalloc_jsc_unnamed(void) { return tm_jsc_unnamed; }

void tracemalloc_jsc_own(uint32_t domain, uint64_t first, uint64_t last) {
    if (!thread_state) return;
    thread_state->own_domain = domain;
    thread_state->own_first = first;
    thread_state->own_last = last;
}

/* The thread's environment ends before its VM does. */
static void forget_thread(void *argument) {
    (void)argument;
    tm_thread *self = tm_self;
    if (self) self->vm = 0;
    if (!thread_state) return;
    if (thread_state->own_domain && (self = tm_enter())) {
        tm_tracked_drop(self, thread_state->own_domain, thread_state->own_first, thread_state->own_last);
        tm_leave(self);
    }
    tm_jsc_pins_drop(thread_state->env);
    if (thread_state->vm) tm_jsc_sites_drop(thread_state->vm);
    os_unmap(thread_state, sizeof *thread_state);
    thread_state = NULL;
}

/* Without a VM where the layout is refused, or it is not found: false. What the thread owns is still dropped at its end. */
static bool attach(napi_env env, const uint64_t *fp) {
    tm_thread *self = tm_self ? tm_self : tm_thread_attach();
    if (!self) return false;
    if (thread_state) {
        thread_state->users++;
        self->vm = thread_state->vm;
        return self->vm;
    }
    uintptr_t vm = tm_jsc_ready ? tm_jsc_vm_of_caller(fp, self->stack_high) : 0;
    if (!self->frames) self->frames = tm_jsc_room();
    tm_jsc_thread *state = os_map(sizeof *state);
    if (!self->frames || !state) {
        if (state) os_unmap(state, sizeof *state);
        return false;
    }
    tm_jsc_forget_walks(self);
    state->env = env;
    state->vm = vm;
    state->users = 1;
    tm_napi.napi_add_env_cleanup_hook(env, forget_thread, state);
    thread_state = state;
    self->vm = vm;
    return vm;
}

static void detach(void) {
    if (!thread_state || !thread_state->users || --thread_state->users) return;
    if (tm_self) tm_self->vm = 0;
    tm_jsc_unpin();
}

/* ---- forged frames ---- */

#define MOST_LOCALS 4096 /* of inlined frames: their callees lie among the locals */

/* Asked for at the last: what allocates in the engine's heap can make it collect. */
static bool can_be_named(const tm_jsc_thread *state, const tm_jsc_site *site) {
    return tm_jsc_site_in_use(site, tm_jsc_epoch(state->vm)) ? tm_jsc_site_is_code(site) : tm_jsc_site_is_same(site);
}

/* The text of a new Error's stack; with a site, as if that had made it. False: it could not be had, or the site is lost. */
static bool stack_text(tm_jsc_thread *state, const tm_jsc_site *site, uint64_t callee, char *text, size_t most, bool *lost) {
    napi_env env = state->env;
    napi_value message, error, stack;
    size_t length = 0;
    *lost = false;
    if (tm_napi.napi_create_string_utf8(env, "", 0, &message) != NAPI_OK) return false;
    if (site && (*lost = !can_be_named(state, site))) return false;
    uint64_t *note = (uint64_t *)(state->vm + (uintptr_t)tm_jsc.vm_top), top = *note;
    /* Locals below, then the frame: the caller's, where that goes on, what was found, and arguments that are nothing. */
    uint64_t forged[MOST_LOCALS + 32];
    uint64_t *frame = forged + MOST_LOCALS;
    if (site) {
        for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) forged[i] = callee;
        const uint64_t *real = (const uint64_t *)top;
        frame[0] = top;
        frame[1] = real[1];
        frame[tm_jsc.frame_code / 8] = site->code;
        frame[tm_jsc.frame_callee / 8] = callee;
        frame[tm_jsc.frame_count / 8] = (uint64_t)site->index << 32 | 1;
        __atomic_store_n(note, (uint64_t)frame, __ATOMIC_SEQ_CST);
    }
    bool made = tm_napi.napi_create_error(env, NULL, message, &error) == NAPI_OK;
    if (site) __atomic_store_n(note, top, __ATOMIC_SEQ_CST);
    __asm__ volatile("" ::"r"(forged) : "memory"); /* what lies there is kept from the collector until here */
    return made && tm_napi.napi_get_named_property(env, error, "stack", &stack) == NAPI_OK &&
           tm_napi.napi_get_value_string_utf8(env, stack, text, most, &length) == NAPI_OK && length < most - 1;
}

static bool starts_with(const char *text, const char *prefix) { return !strncmp(text, prefix, strlen(prefix)); }

/* A line number or a column, before `end`; moves to the colon before it. 0: there is none. */
static uint32_t number_before(const char *start, const char **end) {
    const char *at = *end;
    uint64_t number = 0, weight = 1;
    while (at > start && at[-1] >= '0' && at[-1] <= '9' && weight < 10000000000ull) {
        number += (uint64_t)(*--at - '0') * weight;
        weight *= 10;
    }
    if (at == *end || at == start || at[-1] != ':' || number > UINT32_MAX) return 0;
    *end = at - 1;
    return (uint32_t)number;
}

static uint32_t script_of(const char *url, size_t length, bool internal) {
    uint32_t name = tm_string(url, length);
    if (name == UINT32_MAX) return UINT32_MAX;
    uint32_t found = tm_script_find(0, 0, name, internal);
    if (found != UINT32_MAX) return found;
    tm_script script = {.url = name, .flags = internal ? TM_SCRIPT_INTERNAL : 0, .text_length = internal};
    return tm_script_add(&script);
}

/* A line of a stack, read. */
typedef struct place {
    const char *url;
    size_t length; /* 0: not understood */
    uint32_t line, column;
    bool native;
} place;

static bool is(const char *text, size_t length, const char *word) { return length == strlen(word) && !memcmp(text, word, length); }

/* A path, a URL, or the name of what has neither. */
static bool begins_place(const char *text) {
    if (*text == '/' || *text == '[' || *text == '<') return true;
    const char *at = text;
    while ((*at >= 'a' && *at <= 'z') || *at == '-') at++;
    return at > text && (*at == ':' || *at == ')');
}

/* Names and paths may have brackets in them: the first that begins a place for certain, or else the last. */
static const char *find_place(const char *text, const char *end) {
    const char *last = NULL;
    for (const char *at = text; at + 2 < end; at++) {
        if (!starts_with(at, " (")) continue;
        last = at + 2;
        if (begins_place(last)) break;
    }
    return last;
}

/*
 * "NAME (PLACE)" or "PLACE", where a place is PATH:LINE:COLUMN. Code that eval() or Function() made has the URL of the
 * file that called them, and lines of its own.
 */
static place read_place(const char *text, const char *end) {
    place place = {text, 0, 0, 0, false};
    if (end > text && end[-1] == ')') {
        const char *within = find_place(text, end);
        if (!within) return place;
        place.url = within;
        end--;
    }
    place.column = number_before(place.url, &end);
    if (place.column) {
        place.line = number_before(place.url, &end);
        if (!place.line) place.line = place.column, place.column = 0;
    }
    place.length = (size_t)(end - place.url);
    place.native = is(place.url, place.length, "native") || is(place.url, place.length, "unknown");
    if (starts_with(place.url, "file:")) place.url = "<eval>", place.length = strlen(place.url);
    return place;
}

static bool is_internal(const char *url) {
    return starts_with(url, "node:") || starts_with(url, "bun:") || starts_with(url, "internal:") || starts_with(url, "builtin:") ||
           tm_is_own(url);
}

static uint32_t frame_of(const place *place, uint32_t tiers) {
    if (!place->length) return tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_POSITION, 0, 0, tiers);
    bool internal = is_internal(place->url);
    uint32_t script = script_of(place->url, place->length, internal);
    if (script == UINT32_MAX) return tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_MEMORY, 0, 0, tiers);
    return tm_frame(TM_FRAME_SCRIPT, script, place->line, place->column, tiers) | (internal ? TM_FRAME_INTERNAL : 0);
}

#define MOST_INLINED 64

/* What stands before the lines of the real stack, but for native code. -1: it is not of the form that is known. */
static int places_of(const char *text, const char *plain, place places[MOST_INLINED]) {
    const char *at = strchr(text, '\n'), *rest = strchr(plain, '\n');
    if (!at) return -1;
    size_t length = strlen(at), rest_length = rest ? strlen(rest) : 0;
    if (length < rest_length || (rest && strcmp(at + length - rest_length, rest))) return -1;
    const char *stop = at + length - rest_length;
    int count = 0;
    while (at < stop) {
        const char *line = at + 1, *end = strchr(line, '\n');
        if (!end || end > stop) end = stop;
        if (!starts_with(line, "    at ") || count == MOST_INLINED) return -1;
        places[count] = read_place(line + strlen("    at "), end);
        count += !places[count].native;
        at = end;
    }
    return count;
}

/* ---- resolution ---- */

#define MOST_HELD 4096

/* The code of new sites, as many as are held; 0 where it is gone. What is in use stays so by lying on the stack here. */
static uint32_t hold(const tm_jsc_thread *state, uint32_t generation, uint64_t held[MOST_HELD]) {
    uint32_t count = 0;
    tm_jsc_site site;
    for (uint32_t at = state->next; count < MOST_HELD && tm_jsc_site_next(generation, state->vm, &at, &site); at++)
        held[count++] = can_be_named(state, &site) ? site.code : 0;
    return count;
}

/* Stacks of so many lines are told by all engines whole, and with a site's before them. */
#define SURELY_WHOLE 64

enum { SITE_LOST = -1, NOT_NOW = -2 };

static int frames_of_site(tm_jsc_thread *state, const tm_jsc_site *site, uint64_t callee, uint32_t frames[MOST_INLINED]) {
    place places[MOST_INLINED];
    bool lost, had = stack_text(state, site, callee, state->text, sizeof state->text, &lost);
    if (lost) return SITE_LOST;
    int count = had ? places_of(state->text, state->plain, places) : -1;
    if (count < 0 && state->lines > SURELY_WHOLE) return NOT_NOW;
    if (count < 0) places[0].length = 0, count = 1;
    /* Another thread may stop it at any time; but not be waited for by the engine, which was asked before. */
    tm_thread *self = tm_enter();
    if (!self) return SITE_LOST;
    for (int i = 0; i < count; i++) frames[i] = frame_of(&places[i], site->tier | (i < count - 1 ? TM_TIER_INLINED : 0u));
    tm_leave(self);
    return count;
}

/* Reads what the stack is without a forged frame. False: not now. */
static bool begin(tm_jsc_thread *state) {
    bool lost;
    if (!stack_text(state, NULL, 0, state->plain, sizeof state->plain, &lost)) return false;
    state->lines = 0;
    for (const char *at = state->plain; (at = strchr(at, '\n')); at++) state->lines++;
    return true;
}

static uint32_t resolve(tm_jsc_thread *state, uint64_t callee) {
    uint32_t generation = tm_jsc_sites_generation(), named = 0;
    if (state->generation != generation) {
        state->generation = generation;
        state->next = 0;
    }
    volatile uint64_t held[MOST_HELD];
    uint32_t count = 0;
    bool all = true, begun = false;
    while (all && (count = hold(state, generation, (uint64_t *)held))) {
        tm_jsc_site site;
        for (uint32_t i = 0; i < count && tm_jsc_site_next(generation, state->vm, &state->next, &site); i++, state->next++) {
            napi_handle_scope scope;
            bool opened = tm_napi.napi_open_handle_scope(state->env, &scope) == NAPI_OK;
            all = opened && (begun = begun || begin(state));
            if (all) {
                uint32_t frames[MOST_INLINED];
                int frame_count = held[i] ? frames_of_site(state, &site, callee, frames) : SITE_LOST;
                all = frame_count != NOT_NOW;
                if (all) tm_jsc_site_resolve(generation, state->next, frame_count < 0 ? NULL : frames, (uint16_t)frame_count);
                named += frame_count >= 0;
            }
            /* The engine ends the process when it finds one open. */
            if (opened) tm_napi.napi_close_handle_scope(state->env, scope);
            if (!all) break;
        }
    }
    if (all) {
        tm_jsc_unpin();
        tm_jsc_unnamed = 0;
    }
    return named;
}

/* ---- the module ---- */

#define FRAME ((const uint64_t *)__builtin_frame_address(0))

static size_t arguments_of(napi_env env, napi_callback_info info, napi_value arguments[8]) {
    size_t count = 8;
    memset(arguments, 0, 8 * sizeof *arguments);
    return tm_napi.napi_get_cb_info(env, info, &count, arguments, NULL, NULL) == NAPI_OK ? count : 0;
}

static napi_value call_calibrate(napi_env env, napi_callback_info info) {
    napi_value arguments[8];
    uint64_t words[8];
    size_t count = arguments_of(env, info, arguments);
    uint32_t step = 0;
    tm_thread *self = tm_self ? tm_self : tm_thread_attach();
    if (!self || !count || tm_napi.napi_get_value_uint32(env, arguments[0], &step) != NAPI_OK) return NULL;
    if (step == TM_JSC_STEP_IDLE) return NULL;
    for (size_t i = 0; i < 8; i++) words[i] = (uint64_t)arguments[i];
    if (step == TM_JSC_STEP_HOT || step == TM_JSC_STEP_COLD)
        for (size_t i = 1; i < 3; i++) {
            uint32_t value = UINT32_MAX;
            tm_napi.napi_get_value_uint32(env, arguments[i], &value);
            words[i] = value;
        }
    uint32_t seen = tm_jsc_calibrate_step(step, words, FRAME, self->stack_high);
    if (step == TM_JSC_STEP_ENTER && seen != TM_JSC_FAILED) {
        napi_value undefined, result;
        if (tm_napi.napi_get_undefined(env, &undefined) == NAPI_OK) tm_napi.napi_call_function(env, undefined, arguments[1], 0, NULL, &result);
    }
    return tm_napi_number(env, seen);
}

static napi_value call_attach(napi_env env, napi_callback_info info) {
    napi_value arguments[8];
    bool attached = attach(env, FRAME);
    if (attached && thread_state->env == env && arguments_of(env, info, arguments) == 2)
        tm_jsc_pins_make(env, arguments[0], arguments[1]);
    return tm_napi_number(env, attached);
}

static napi_value call_detach(napi_env env, napi_callback_info info) {
    (void)env, (void)info;
    detach();
    return NULL;
}

/* Frames are forged on it, and the engine makes an Error; programs may have used nearly all that the engine lets them. */
#define STACK_NEEDED (512ul << 10)

static napi_value call_resolve(napi_env env, napi_callback_info info) {
    napi_value arguments[8];
    if (!arguments_of(env, info, arguments) || !thread_state || !thread_state->vm) return tm_napi_number(env, 0);
    if (!tm_self || (uintptr_t)FRAME - tm_self->stack_low < STACK_NEEDED) return tm_napi_number(env, 0);
    napi_env first = thread_state->env;
    thread_state->env = env;
    uint32_t named = resolve(thread_state, (uint64_t)arguments[0]);
    thread_state->env = first;
    bool pending = false;
    napi_value error;
    if (tm_napi.napi_is_exception_pending(env, &pending) == NAPI_OK && pending) tm_napi.napi_get_and_clear_last_exception(env, &error);
    return tm_napi_number(env, named);
}

const tm_napi_function tm_jsc_functions[] = {
    {"calibrate", call_calibrate}, {"attach", call_attach}, {"detach", call_detach}, {"resolve", call_resolve}, {NULL, NULL}};

/* Threads of one process share the shim, and what one of them finds. */
enum { NOT_YET, CALIBRATING, DONE };
static uint32_t calibration;

int32_t tracemalloc_jsc_begin(void) {
    uint32_t before = NOT_YET;
    if (!__atomic_compare_exchange_n(&calibration, &before, CALIBRATING, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return before == DONE ? TM_ERROR_STATE : TM_ERROR_BUSY;
    tm_jsc_calibrate_begin();
    return TM_OK;
}

int32_t tracemalloc_jsc_end(void) {
    tm_jsc_ready = tm_jsc_calibrated();
    tm_steady_change();
    __atomic_store_n(&calibration, DONE, __ATOMIC_SEQ_CST);
    return tm_jsc_ready ? TM_OK : TM_ERROR_CALIBRATION;
}
