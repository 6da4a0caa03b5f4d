/* Names of native code. Allocates, and reads files: not for hooks. */
#ifndef TM_SYMBOLS_H
#define TM_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

/*
 * "library!symbol", where a symbol covers the address that is returned to, or "library+0xoffset"; its length. Symbols are
 * those that the library exports, or else those of its symbol table; demangled: Rust's, and those of C++ if the process has the means.
 */
size_t tm_symbol_name(uintptr_t pc, char *out, size_t size);
/* Gives back what was read for the names. */
void tm_symbols_forget(void);

#endif
