/* The Node-API module: what tracemalloc.h exports, for JavaScript to call, and what the engines' parts add. */
#include <dlfcn.h>
#include <string.h>

#include "js_heap.h"
#include "napi.h"
#include "tracemalloc.h"

tm_napi_api tm_napi;

static bool find_api(void) {
    bool all = true;
#define FUNCTION(name, parameters)                         \
    {                                                      \
        void *symbol = dlsym(RTLD_DEFAULT, #name);         \
        memcpy(&tm_napi.name, &symbol, sizeof symbol);     \
        all &= symbol != NULL;                             \
    }
    TM_NAPI(FUNCTION)
#undef FUNCTION
    return all;
}

napi_value tm_napi_number(napi_env env, int64_t value) {
    napi_value result = NULL;
    tm_napi.napi_create_int64(env, value, &result);
    return result;
}

/* ---- control ---- */

/* A number, a bigint, or the address of a typed array's bytes; 0 for all else. */
static uint64_t word_of(napi_env env, napi_value argument) {
    int type, elements;
    size_t length, offset;
    void *data = NULL;
    napi_value buffer;
    int64_t number = 0;
    uint64_t whole = 0;
    bool lossless;
    if (tm_napi.napi_typeof(env, argument, &type) != NAPI_OK) return 0;
    switch (type) {
    case NAPI_NUMBER:
        tm_napi.napi_get_value_int64(env, argument, &number);
        return (uint64_t)number;
    case NAPI_BIGINT:
        tm_napi.napi_get_value_bigint_uint64(env, argument, &whole, &lossless);
        return whole;
    case NAPI_OBJECT:
        tm_napi.napi_get_typedarray_info(env, argument, &elements, &length, &data, &buffer, &offset);
        return (uint64_t)data;
    default:
        return 0;
    }
}

#define MOST_ARGUMENTS 6

static bool words_of(napi_env env, napi_callback_info info, uint64_t words[MOST_ARGUMENTS]) {
    napi_value arguments[MOST_ARGUMENTS];
    size_t count = MOST_ARGUMENTS;
    if (tm_napi.napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != NAPI_OK) return false;
    for (size_t i = 0; i < MOST_ARGUMENTS; i++) words[i] = i < count ? word_of(env, arguments[i]) : 0;
    return true;
}

/* By the names of tracemalloc.h; w: the arguments as words. */
#define CONTROL(CALL)                                                                                                   \
    CALL(abi, tracemalloc_abi())                                                                                        \
    CALL(status, tracemalloc_status())                                                                                  \
    CALL(start, tracemalloc_start((uint32_t)w[0], (uint32_t)w[1]))                                                      \
    CALL(sample, tracemalloc_sample((uint32_t)w[0]))                                                                    \
    CALL(stop, tracemalloc_stop())                                                                                      \
    CALL(clear, tracemalloc_clear())                                                                                    \
    CALL(other, tracemalloc_other(AT(0), (int32_t)w[1]))                                                                \
    CALL(memory, (tracemalloc_memory(AT(0)), 0))                                                                        \
    CALL(reset_peak, (tracemalloc_reset_peak(), 0))                                                                     \
    CALL(mute, (tracemalloc_mute((int32_t)w[0]), 0))                                                                    \
    CALL(snapshot, (uintptr_t)tracemalloc_snapshot())                                                                   \
    CALL(snapshot_of, (uintptr_t)tracemalloc_snapshot_of((uint32_t)w[0], w[1]))                                         \
    CALL(address, tracemalloc_address(AT(0)))                                                                           \
    CALL(copy, tracemalloc_copy(AT(0), AT(1), w[2]))                                                                    \
    CALL(release, (tracemalloc_release(AT(0)), 0))                                                                      \
    CALL(track, tracemalloc_track((unsigned)w[0], w[1], w[2]))                                                          \
    CALL(untrack, tracemalloc_untrack((unsigned)w[0], w[1]))                                                            \
    CALL(save, tracemalloc_save(AT(0), AT(1), w[2], AT(3), w[4]))                                                       \
    CALL(output, tracemalloc_output(AT(0), AT(1), w[2], w[3], w[4], (int32_t)w[5]))                                     \
    CALL(output_done, (tracemalloc_output_done(), 0))                                                                   \
    CALL(v8_hide, (tracemalloc_v8_hide(AT(0)), 0))                                                                      \
    CALL(v8_begin, tracemalloc_v8_begin(AT(0)))                                                                         \
    CALL(v8_check, tracemalloc_v8_check(AT(0)))                                                                         \
    CALL(v8_probe, tracemalloc_v8_probe((int32_t)w[0]))                                                                 \
    CALL(v8_end, tracemalloc_v8_end((int32_t)w[0]))                                                                     \
    CALL(v8_frames, tracemalloc_v8_frames(AT(0), (int32_t)w[1]))                                                        \
    CALL(v8_option, tracemalloc_v8_option(AT(0)))                                                                       \
    CALL(v8_report, tracemalloc_v8_report(AT(0), (int32_t)w[1]))                                                        \
    CALL(js_heap_watch, tracemalloc_js_heap_watch())                                                                    \
    CALL(js_heap_learn, tracemalloc_js_heap_learn(AT(0)))                                                               \
    CALL(js_heap_began, tracemalloc_js_heap_began((uint32_t)w[0]))                                                      \
    CALL(js_heap_known, tracemalloc_js_heap_known())                                                                    \
    CALL(js_heap_verify, tracemalloc_js_heap_verify())                                                                  \
    CALL(js_heap_verify_end, (tracemalloc_js_heap_verify_end(), 0))                                                     \
    CALL(js_heap_verified, tracemalloc_js_heap_verified(AT(0), (int32_t)w[1]))                                          \
    CALL(js_heap_judge, (tracemalloc_js_heap_judge((int32_t)w[0], (uint32_t)w[1]), 0))                                  \
    CALL(js_heap_start, tracemalloc_js_heap_start((uint32_t)w[0], (uint32_t)w[1]))                                      \
    CALL(js_heap_end, (tracemalloc_js_heap_end(), 0))                                                                   \
    CALL(js_heap_state, tracemalloc_js_heap_state())                                                                    \
    CALL(js_heap_unsampled, tracemalloc_js_heap_unsampled())

#define AT(i) ((void *)(uintptr_t)w[i])
#define CALL(name, expression)                                              \
    static napi_value call_##name(napi_env env, napi_callback_info info) {  \
        uint64_t w[MOST_ARGUMENTS];                                         \
        if (!words_of(env, info, w)) return NULL;                           \
        return tm_napi_number(env, (int64_t)(expression));                  \
    }
CONTROL(CALL)
#undef CALL

static const tm_napi_function control_functions[] = {
#define CALL(name, expression) {#name, call_##name},
    CONTROL(CALL)
#undef CALL
        {NULL, NULL}};

/* ---- objects of V8's heap ---- */

#define MOST_VALUES 2

/* A value of Node-API's is where V8 keeps the object's address. Those that are missing are undefined. */
static bool values_of(napi_env env, napi_callback_info info, napi_value values[MOST_VALUES]) {
    size_t count = MOST_VALUES;
    return tm_napi.napi_get_cb_info(env, info, &count, values, NULL, NULL) == NAPI_OK && count > 0;
}

static napi_value call_learn_handle(napi_env env, napi_callback_info info) {
    napi_value values[MOST_VALUES];
    if (values_of(env, info, values)) tm_js_heap_learn_handle((uintptr_t)values[0]);
    return NULL;
}

static napi_value call_learn_integer(napi_env env, napi_callback_info info) {
    napi_value values[MOST_VALUES];
    uint32_t digits;
    if (values_of(env, info, values) && tm_napi.napi_get_value_uint32(env, values[1], &digits) == NAPI_OK)
        tm_js_heap_learn_integer((uintptr_t)values[0], digits);
    return NULL;
}

static napi_value call_learn_map(napi_env env, napi_callback_info info) {
    napi_value values[MOST_VALUES];
    if (values_of(env, info, values)) tm_js_heap_learn_map((uintptr_t)values[0]);
    return NULL;
}

static napi_value call_record_of(napi_env env, napi_callback_info info) {
    napi_value values[MOST_VALUES];
    return tm_napi_number(env, values_of(env, info, values) ? (int64_t)tm_js_heap_record_of((uintptr_t)values[0]) : 0);
}

static napi_value call_verify(napi_env env, napi_callback_info info) {
    napi_value values[MOST_VALUES];
    return tm_napi_number(env, values_of(env, info, values) ? tm_js_heap_verify_object((uintptr_t)values[0]) : TM_ERROR_STATE);
}

static napi_value call_is_pointer(napi_env env, napi_callback_info info) {
    napi_value values[MOST_VALUES];
    int type = 0;
    if (values_of(env, info, values)) tm_napi.napi_typeof(env, values[0], &type);
    return tm_napi_number(env, type == NAPI_EXTERNAL);
}

static const tm_napi_function object_functions[] = {
    {"learnHandle", call_learn_handle}, {"learnInteger", call_learn_integer}, {"learnMap", call_learn_map},
    {"recordOf", call_record_of},       {"verify", call_verify},            {"isPointer", call_is_pointer},       {NULL, NULL}};

/* ---- the module ---- */

static void add(napi_env env, napi_value exports, const tm_napi_function *functions) {
    for (; functions->name; functions++) {
        napi_value function;
        if (tm_napi.napi_create_function(env, functions->name, strlen(functions->name), functions->call, NULL, &function) == NAPI_OK)
            tm_napi.napi_set_named_property(env, exports, functions->name, function);
    }
}

TM_EXPORT napi_value napi_register_module_v1(napi_env env, napi_value exports);
TM_EXPORT int32_t node_api_module_get_api_version_v1(void);

int32_t node_api_module_get_api_version_v1(void) { return 8; }

napi_value napi_register_module_v1(napi_env env, napi_value exports) {
    if (!find_api()) return exports;
    add(env, exports, control_functions);
    add(env, exports, object_functions);
    add(env, exports, tm_jsc_functions);
    return exports;
}
