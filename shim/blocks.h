/*
 * The block table: address → (traceback node, size).
 *
 * A directory has one word for each 4 KiB page of the heap; the word points to a bucket with the blocks that
 * begin in that page, and its lowest bit is the bucket's lock. Neighbouring blocks share a bucket, so the
 * program's own locality is the table's. 8 bytes a block and one for its offset, 10 to 20 in all.
 */
#ifndef TM_BLOCKS_H
#define TM_BLOCKS_H

#include "thread.h"

/* Marks a block that is none of the program's, of size 0, so that its end is seen: it is taken, and never visited. */
#define TM_NODE_MARK UINT32_MAX

/* Records a block; replaces one at the same address, which the tracer must have missed the end of. */
void tm_block_put(tm_thread *self, uintptr_t address, uint64_t size, uint32_t node);
/* Forgets the block, if it is known. */
bool tm_block_take(tm_thread *self, uintptr_t address, uint64_t *size, uint32_t *node);

bool tm_block_find(uintptr_t address, uint64_t *size, uint32_t *node);

/* The same for domains other than malloc's. False: no memory. */
bool tm_tracked_put(tm_thread *self, uint32_t domain, uintptr_t address, uint64_t size, uint32_t node);
bool tm_tracked_take(tm_thread *self, uint32_t domain, uintptr_t address);
bool tm_tracked_find(uint32_t domain, uintptr_t address, uint64_t *size, uint32_t *node);

typedef void tm_block_visitor(uint32_t domain, uintptr_t address, uint64_t size, uint32_t node, void *context);

/* With the gate closed. */
void tm_blocks_each(tm_block_visitor *each, void *context);
uint64_t tm_blocks_count(void);
void tm_blocks_clear(void);
size_t tm_blocks_bytes(void);
uint64_t tm_blocks_lost(void);

#endif
