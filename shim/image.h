/* A snapshot of the tables as one piece of memory. */
#ifndef TM_IMAGE_H
#define TM_IMAGE_H

#include "tracemalloc.h"

/* Closes the gate only while the blocks are copied. */
const tm_image *tm_image_take(void);
/* Of one block, or of none where it is not known. */
const tm_image *tm_image_of(uint32_t domain, uintptr_t address);
void tm_image_release(const tm_image *image);

#endif
