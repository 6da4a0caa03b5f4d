/* Code that keeps no frame pointers leaves anything in their register. Prints what was followed and must not be. */
#include <stdio.h>

#include "../../shim/v8.h"

int main(void) {
    uint64_t stack[8] = {0};
    uintptr_t low = (uintptr_t)stack, high = (uintptr_t)(stack + 8), pc = 0;
    const uint64_t bad[] = {0, 8, 0x10000, low, low - 8, low + 4, high - 8, high, high + 8, UINT64_MAX - 15, UINT64_MAX - 7};
    int failures = 0;
    for (size_t i = 0; i < 2 * sizeof bad / sizeof *bad; i++) {
        const uint64_t *fp = stack;
        bool direct = i % 2; /* or where libffi has it */
        stack[0] = direct ? bad[i / 2] : 1;
        stack[2] = direct ? 0 : bad[i / 2];
        if (!tm_next_frame(&fp, &pc, high)) continue;
        printf("from %#lx: %#lx\n", low, bad[i / 2]);
        failures++;
    }
    stack[0] = low + 48;
    stack[1] = 4711;
    const uint64_t *fp = stack;
    if (!tm_next_frame(&fp, &pc, high) || fp != stack + 6 || pc != 4711) printf("the last frame that fits is not reached\n"), failures++;
    return failures != 0;
}
