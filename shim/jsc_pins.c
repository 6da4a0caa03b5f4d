/*
 * Code that is kept from the collector until it is named: by what lies on the main thread's stack, where the shim was
 * preloaded, or else in references of Node-API's that are the thread's own. The engine holds what such a reference counts for
 * in a handle; for as long as code is to be kept, its address stands in one. The engine takes what is there as it is, where
 * it looks whether what is on a stack is live.
 */
#include <unistd.h>

#include "jsc.h"
#include "napi.h"

volatile uint64_t *tm_jsc_pins;
static uint32_t last_pin, last_unpinned; /* numbers from 1: the main thread's own */

#define HANDLES 2048 /* sites between two times that they are named: of more, the oldest may be lost */
#define REFERENCE_WORDS 16

typedef struct handles {
    uint64_t rest; /* what they hold when they hold no code */
    uint32_t used; /* since all were let go */
    napi_ref reference[HANDLES];
    volatile uint64_t *slot[HANDLES];
} handles;

static __thread handles *own_handles __attribute__((tls_model("initial-exec")));

static bool may_pin(void) { return tm_jsc_pins && tm_self && tm_self->id == getpid(); }

uint32_t tm_jsc_pin(uint64_t code, bool live) {
    if (may_pin()) {
        tm_jsc_pins[++last_pin % TM_JSC_PINS] = code;
        return last_pin;
    }
    if (own_handles && live) *own_handles->slot[own_handles->used++ % HANDLES] = code;
    return 0;
}

bool tm_jsc_is_pinned(uint32_t pin) { return pin > last_unpinned && last_pin - pin < TM_JSC_PINS && may_pin(); }

void tm_jsc_unpin(void) {
    if (may_pin()) {
        for (uint32_t i = 0; i < TM_JSC_PINS && i < last_pin - last_unpinned; i++) tm_jsc_pins[(last_pin - i) % TM_JSC_PINS] = 0;
        last_unpinned = last_pin;
    }
    if (!own_handles) return;
    for (uint32_t i = 0; i < HANDLES && i < own_handles->used; i++) *own_handles->slot[i] = own_handles->rest;
    own_handles->used = 0;
}

/* ---- handles ---- */

static bool word_at(uint64_t address, uint64_t *word) {
    return address >= 65536 && !(address >> 47) && !(address & 7) && os_read(address, word, 8);
}

/* Does a word of the reference lead to where its value is? */
static bool leads_to(napi_ref reference, uint32_t word, uint64_t value, uint64_t *slot) {
    uint64_t held;
    return word_at((uint64_t)reference + 8ul * word, slot) && word_at(*slot, &held) && held == value;
}

/* Is it where the engine looks when it is asked what the reference is to? */
static bool is_handle(napi_env env, napi_ref reference, volatile uint64_t *slot, napi_value value, napi_value other) {
    napi_value now = NULL;
    *slot = (uint64_t)other;
    bool seen = tm_napi.napi_get_reference_value(env, reference, &now) == NAPI_OK && now == other;
    *slot = (uint64_t)value;
    return seen;
}

/* In which word of a reference its handle is told: one that a reference which keeps nothing does not have. 0: in none. */
static uint32_t find_word(napi_env env, napi_ref strong, napi_ref weak, napi_value value, napi_value other) {
    for (uint32_t word = 1; word < REFERENCE_WORDS; word++) {
        uint64_t slot, unused;
        if (!leads_to(strong, word, (uint64_t)value, &slot) || leads_to(weak, word, (uint64_t)value, &unused)) continue;
        if (is_handle(env, strong, (volatile uint64_t *)slot, value, other)) return word;
    }
    return 0;
}

void tm_jsc_pins_make(napi_env env, napi_value value, napi_value other) {
    if (own_handles || may_pin()) return;
    handles *made = os_map(sizeof *made);
    napi_ref weak;
    if (!made || tm_napi.napi_create_reference(env, value, 0, &weak) != NAPI_OK) {
        if (made) os_unmap(made, sizeof *made);
        return;
    }
    made->rest = (uint64_t)value;
    uint32_t count = 0, word = 0;
    uint64_t page = 0;
    bool found = true;
    while (found && count < HANDLES) {
        napi_ref *reference = &made->reference[count];
        if (tm_napi.napi_create_reference(env, value, 1, reference) != NAPI_OK) break;
        if (!word) word = find_word(env, *reference, weak, value, other);
        /* References are all alike, and handles lie side by side: so many look-ups would take milliseconds. */
        uint64_t slot = word ? ((const uint64_t *)*reference)[word] : 0, held;
        found = slot && !(slot & 7) && (slot >> 12 == page || word_at(slot, &held));
        volatile uint64_t *handle = (volatile uint64_t *)slot;
        found = found && *handle == (uint64_t)value && is_handle(env, *reference, handle, value, other);
        made->slot[count++] = handle;
        page = slot >> 12;
    }
    tm_napi.napi_delete_reference(env, weak);
    if (found && count == HANDLES) {
        own_handles = made;
        return;
    }
    while (count) tm_napi.napi_delete_reference(env, made->reference[--count]);
    os_unmap(made, sizeof *made);
}

void tm_jsc_pins_drop(napi_env env) {
    handles *made = own_handles;
    if (!made) return;
    tm_jsc_unpin();
    own_handles = NULL;
    for (uint32_t i = 0; i < HANDLES; i++) tm_napi.napi_delete_reference(env, made->reference[i]);
    os_unmap(made, sizeof *made);
}
