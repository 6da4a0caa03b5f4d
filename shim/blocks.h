/*
 * The block table: address → (traceback node, size).
 *
 * A directory has one word for each 4 KiB page of the heap; it points to a bucket with the blocks that begin in that
 * page, 8 bytes a block, in lines of the processor's cache: which line follows from the block's place in the page, so that it
 * is known as soon as the directory's word is. The word also holds the bucket's lock: threads meet only within a page.
 * block_pages.h has how it lies in memory.
 */
#ifndef TM_BLOCKS_H
#define TM_BLOCKS_H

#include "thread.h"
#include "traces.h"

/* Marks a block that is none of the program's, of size 0, so that its end is seen: it is taken, and never visited. */
#define TM_NODE_MARK ((uint32_t)TM_MOST_NODES)

/* Records a block; replaces one at the same address, which the tracer must have missed the end of. */
void tm_block_put(tm_thread *self, uintptr_t address, uint64_t size, uint32_t node);
/* The same with a block in a place of the thread's nursery, which is emptied; nothing, if another thread has emptied it. */
struct tm_place;
void tm_block_settle(tm_thread *self, struct tm_place *from, uintptr_t address, uint64_t size, uint32_t node);
/* Forgets the block, if it is known. */
bool tm_block_take(tm_thread *self, uintptr_t address, uint64_t *size, uint32_t *node);

bool tm_block_find(uintptr_t address, uint64_t *size, uint32_t *node);

typedef void tm_block_visitor(uint32_t domain, uint64_t size, uint32_t node, void *context);

/*
 * All blocks, of every domain, as they are at one moment: tm_blocks_freeze() with the gate closed. The gate is open
 * again while tm_blocks_each_frozen() goes through them: whoever changes a page before its turn saves what is in it
 * first. The calling thread is hidden all the while. False: there was no memory, and not all were visited.
 */
bool tm_blocks_freeze(void);
bool tm_blocks_each_frozen(tm_block_visitor *each, void *context);

/* With the gate closed. */
void tm_blocks_each(tm_block_visitor *each, void *context);
uint64_t tm_blocks_count(void);
void tm_blocks_clear(void);
size_t tm_blocks_bytes(void);
uint64_t tm_blocks_lost(void);

#endif
