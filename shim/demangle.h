/* Names of Rust's functions, as its authors know them. */
#ifndef TM_DEMANGLE_H
#define TM_DEMANGLE_H

#include <stdbool.h>
#include <stddef.h>

/* False: the name is none of Rust's, is not understood, or does not fit; `out` is undefined then. */
bool tm_demangle_rust(const char *name, char *out, size_t size);

#endif
