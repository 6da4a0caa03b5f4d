/* A Node-API addon that keeps memory. What it uses of Node-API is declared here: its header is part of Node.js. */
#include <stdint.h>
#include <stdlib.h>

typedef struct value *value;
typedef struct env *env;
typedef struct info *info;
typedef value function(env, info);

extern int napi_get_cb_info(env, info, size_t *, value *, value *, void **);
extern int napi_get_value_uint32(env, value, uint32_t *);
extern int napi_create_function(env, const char *, size_t, function *, void *, value *);
extern int napi_set_named_property(env, value, const char *, value);
extern int napi_call_function(env, value, value, size_t, const value *, value *);

void *volatile kept[4096];
static size_t kept_count;

/* keep(size, callback?): a block, and another one after the call. */
static value keep(env env, info info) {
    size_t count = 2;
    value arguments[2], this, result;
    uint32_t size = 0;
    if (napi_get_cb_info(env, info, &count, arguments, &this, NULL) || napi_get_value_uint32(env, arguments[0], &size)) abort();
    kept[kept_count++] = malloc(size);
    if (count > 1 && !napi_call_function(env, this, arguments[1], 0, NULL, &result)) kept[kept_count++] = malloc(size);
    return NULL;
}

__attribute__((visibility("default"))) value napi_register_module_v1(env env, value exports) {
    value function;
    if (napi_create_function(env, "keep", 4, keep, NULL, &function) || napi_set_named_property(env, exports, "keep", function)) abort();
    return exports;
}
