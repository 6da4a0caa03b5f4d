/* A snapshot of the tables as one piece of memory. */
#ifndef TM_IMAGE_H
#define TM_IMAGE_H

#include <stdbool.h>

#include "tracemalloc.h"

/* Closes the gate only while the blocks are copied. */
const tm_image *tm_image_take(void);
/* Of one block, or of none where it is not known. */
const tm_image *tm_image_of(uint32_t domain, uintptr_t address);
/* Writes one into a file, also where there is no memory for one; one call at a time. False: errno says why. */
bool tm_image_write(int file);
/* All of it, though the system may take less at a time. False: errno says why. */
bool tm_write_all(int file, const char *bytes, uint64_t count);
void tm_image_release(const tm_image *image);

#endif
