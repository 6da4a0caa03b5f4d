/* A library as one might find it: an object with memory of its own, to be closed by whoever opened it. */
#include <stdint.h>
#include <stdlib.h>

typedef struct thumbnail {
    uint32_t width, height;
    uint8_t *pixels;
} thumbnail;

void thumbnail_close(thumbnail *t) {
    if (t) free(t->pixels);
    free(t);
}

thumbnail *thumbnail_open(const uint8_t *image, uint32_t bytes, uint32_t width, uint32_t height) {
    thumbnail *t = malloc(sizeof *t);
    if (!t) return NULL;
    *t = (thumbnail){width, height, malloc((size_t)width * height * 4)};
    if (!t->pixels || !bytes) {
        thumbnail_close(t);
        return NULL;
    }
    for (uint32_t i = 0; i < width * height * 4; i++) t->pixels[i] = image[(uint64_t)i * bytes / (width * height * 4)];
    return t;
}

/* 0: nothing is to be seen on it. */
uint32_t thumbnail_contrast(const thumbnail *t) {
    uint8_t low = 255, high = 0;
    for (uint32_t i = 0; i < t->width * t->height * 4; i++) {
        if (t->pixels[i] < low) low = t->pixels[i];
        if (t->pixels[i] > high) high = t->pixels[i];
    }
    return high > low ? high - low : 0;
}
