/*
 * The program's own mimalloc by its code: which instructions take a block from a page's list and which give one back, what
 * stands before them, and how the way to them is led through the shim and back again (mimalloc_code.c).
 *
 * mimalloc's short way to a block is compiled into its callers: a page by size, the first block of its list. Where the
 * list is empty they all go the long way, to one function, or to another one for blocks that are to be aligned. Of the
 * short ways the one conditional jump is made unconditional, so that the long ones see every block; there an instruction
 * at the beginning becomes a jump to the shim.
 */
#ifndef TM_MIMALLOC_CODE_H
#define TM_MIMALLOC_CODE_H

#include "platform.h"

/* What the shim does in the program's stead. Each may call the original. */
typedef struct tm_mimalloc_hooks {
    void *(*generic)(uintptr_t theap, size_t size, uintptr_t flags, uintptr_t page_out);
    void *(*aligned)(uintptr_t theap, size_t size, size_t alignment, size_t offset, uintptr_t zero, uintptr_t usable_out);
    void *(*reallocate)(uintptr_t theap, void *block, size_t size, uintptr_t zero);
    void (*freed)(void *block);   /* it is about to be given back */
    void (*page)(uintptr_t page); /* it is new, or about to go: whatever blocks are in it are none any more */
} tm_mimalloc_hooks;

/* The originals, once found. */
typedef struct tm_mimalloc_originals {
    void *(*generic)(uintptr_t theap, size_t size, uintptr_t flags, uintptr_t page_out);
    void *(*aligned)(uintptr_t theap, size_t size, size_t alignment, size_t offset, uintptr_t zero, uintptr_t usable_out);
    void *(*reallocate)(uintptr_t theap, void *block, size_t size, uintptr_t zero);
} tm_mimalloc_originals;
extern tm_mimalloc_originals tm_mimalloc_next;

/* What the instructions say of a page; bytes. */
enum { TM_MI_FREE = 8, TM_MI_COUNTS = 16, TM_MI_BLOCK_SIZE = 0x20, TM_MI_START = 0x28, TM_MI_RESERVED = 0x32 };
#define TM_MI_ONE_BLOCK 0x10001ull /* added to the counts when a block is taken */
#define TM_MI_SMALL 1024           /* the largest block of the short way */

/* Finds all of it and prepares the ways, or says what is missing. Changes nothing of the program. */
bool tm_mimalloc_code_find(const tm_mimalloc_hooks *hooks, const char **failure);
/* With the gate closed, so that the process is not forked meanwhile. False: the code may not be written to. */
bool tm_mimalloc_code_patch(void);
void tm_mimalloc_code_restore(void);
/* How many instructions are changed. */
int tm_mimalloc_code_count(void);

#endif
