/*
 * The shim as a Node-API module, which runtimes load by process.dlopen(): functions that JavaScript calls, where there is no
 * FFI (Node.js) or where it does not do (values of the engine, JavaScript called from native code).
 *
 * Node-API is declared here as far as it is needed (node_api.h), and found in the program when the module is loaded.
 */
#ifndef TM_NAPI_H
#define TM_NAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void *napi_env, *napi_value, *napi_ref, *napi_handle_scope, *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env env, napi_callback_info info);
enum { NAPI_OK = 0 };
enum { NAPI_NUMBER = 3, NAPI_OBJECT = 6, NAPI_EXTERNAL = 8, NAPI_BIGINT = 9 }; /* what napi_typeof() says */

#define TM_NAPI(FUNCTION)                                                                                              \
    FUNCTION(napi_create_function, (napi_env, const char *, size_t, napi_callback, void *, napi_value *))              \
    FUNCTION(napi_set_named_property, (napi_env, napi_value, const char *, napi_value))                                \
    FUNCTION(napi_get_named_property, (napi_env, napi_value, const char *, napi_value *))                              \
    FUNCTION(napi_get_cb_info, (napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **))          \
    FUNCTION(napi_typeof, (napi_env, napi_value, int *))                                                               \
    FUNCTION(napi_get_value_uint32, (napi_env, napi_value, uint32_t *))                                                \
    FUNCTION(napi_get_value_int64, (napi_env, napi_value, int64_t *))                                                  \
    FUNCTION(napi_get_value_bigint_uint64, (napi_env, napi_value, uint64_t *, bool *))                                 \
    FUNCTION(napi_get_typedarray_info, (napi_env, napi_value, int *, size_t *, void **, napi_value *, size_t *))       \
    FUNCTION(napi_create_int64, (napi_env, int64_t, napi_value *))                                                     \
    FUNCTION(napi_create_error, (napi_env, napi_value, napi_value, napi_value *))                                      \
    FUNCTION(napi_create_string_utf8, (napi_env, const char *, size_t, napi_value *))                                  \
    FUNCTION(napi_get_value_string_utf8, (napi_env, napi_value, char *, size_t, size_t *))                             \
    FUNCTION(napi_create_reference, (napi_env, napi_value, uint32_t, napi_ref *))                                      \
    FUNCTION(napi_delete_reference, (napi_env, napi_ref))                                                              \
    FUNCTION(napi_get_reference_value, (napi_env, napi_ref, napi_value *))                                             \
    FUNCTION(napi_get_undefined, (napi_env, napi_value *))                                                             \
    FUNCTION(napi_call_function, (napi_env, napi_value, napi_value, size_t, const napi_value *, napi_value *))         \
    FUNCTION(napi_open_handle_scope, (napi_env, napi_handle_scope *))                                                  \
    FUNCTION(napi_close_handle_scope, (napi_env, napi_handle_scope))                                                   \
    FUNCTION(napi_is_exception_pending, (napi_env, bool *))                                                            \
    FUNCTION(napi_get_and_clear_last_exception, (napi_env, napi_value *))                                              \
    FUNCTION(napi_add_env_cleanup_hook, (napi_env, void (*)(void *), void *))

typedef struct tm_napi_api {
#define FUNCTION(name, parameters) int (*name) parameters;
    TM_NAPI(FUNCTION)
#undef FUNCTION
} tm_napi_api;

extern tm_napi_api tm_napi;

/* What a module exports; the last of a list has no name. */
typedef struct tm_napi_function {
    const char *name;
    napi_callback call;
} tm_napi_function;

/* A number of JavaScript's, exact up to 2^53; NULL (undefined) if there is none to be had. */
napi_value tm_napi_number(napi_env env, int64_t value);

/* jsc_pins.c: makes room for the calling thread's pins, with two functions that stay; and gives it back. */
void tm_jsc_pins_make(napi_env env, napi_value value, napi_value other);
void tm_jsc_pins_drop(napi_env env);

/* jsc_resolve.c */
extern const tm_napi_function tm_jsc_functions[];

#endif
