/* The side table: blocks of domains other than malloc's, and what does not fit an entry of the block table. */
#ifndef TM_SIDE_H
#define TM_SIDE_H

#include "thread.h"

#define TM_SIDE_FAILED UINT64_MAX

/* Returns the size that was there before, 0 if there was none, or TM_SIDE_FAILED when there is no memory. */
uint64_t tm_side_put(uint32_t domain, uintptr_t address, uint64_t size, uint32_t node);
bool tm_side_take(uint32_t domain, uintptr_t address, uint64_t *size, uint32_t *node);
bool tm_side_find(uint32_t domain, uintptr_t address, uint64_t *size, uint32_t *node);

/* The same for whoever tracks other memory by hand. False: no memory. */
bool tm_tracked_put(tm_thread *self, uint32_t domain, uintptr_t address, uint64_t size, uint32_t node);
bool tm_tracked_take(tm_thread *self, uint32_t domain, uintptr_t address);
/* All that begin between two addresses. */
void tm_tracked_drop(tm_thread *self, uint32_t domain, uintptr_t first, uintptr_t last);

typedef struct tm_side_block {
    uintptr_t address;
    uint64_t size;
    uint32_t node; /* 0: never used, or removed */
    uint32_t domain;
    bool used; /* ends no search, though it may have been removed */
} tm_side_block;

/* With the gate closed. All of the table, with its empty rows. */
const tm_side_block *tm_side_rows(size_t *capacity);
void tm_side_clear(void);
size_t tm_side_bytes(void);

#endif
