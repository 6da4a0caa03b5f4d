/* The tables of tracebacks, filled up: with as little address space as a container may have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../../shim/hooks.h"
#include "../../shim/traces.h"
#include "expect.h"

static void limit_address_space(size_t more) {
    char text[64] = "";
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file && fgets(text, sizeof text, file), "no statm");
    fclose(file);
    struct rlimit limit = {more == RLIM_INFINITY ? more : strtoul(text, NULL, 10) * 4096 + more, RLIM_INFINITY};
    EXPECT(!setrlimit(RLIMIT_AS, &limit), "no limit");
}

static void fill_nodes(void) {
    uint32_t frame = tm_frame(TM_FRAME_SCRIPT, 0, 1, 1, 0), memory = tm_node(0, tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_MEMORY, 0, 0, 0));
    uint32_t parent = tm_node(0, frame), last = parent, made = 0;
    EXPECT(parent != memory, "it is full already");
    for (;; made++) {
        uint32_t next = tm_node(last, frame);
        if (next == last) break; /* the parent stands for it */
        EXPECT(next == tm_node(last, frame), "a node was made twice");
        last = next;
    }
    EXPECT(made > 1000, "only %u nodes", made);
    EXPECT(tm_node(0, frame) == parent, "a node that is there is not found any more");
    uint32_t other = tm_frame(TM_FRAME_SCRIPT, 0, 2, 2, 0);
    EXPECT(tm_node(0, other) == memory, "a traceback without a parent is not \"out of memory\"");
}

static void fill_frames(void) {
    uint32_t full = tm_frame(TM_FRAME_UNKNOWN, TM_UNKNOWN_MEMORY, 0, 0, 0), first = tm_frame(TM_FRAME_SCRIPT, 1, 1, 1, 0), line = 2;
    while (tm_frame(TM_FRAME_SCRIPT, 1, line, 1, 0) != full) line++;
    EXPECT(line > 1000, "only %u frames", line);
    EXPECT(tm_frame(TM_FRAME_SCRIPT, 1, 1, 1, 0) == first, "a frame that is there is not found any more");
}

static void fill_strings(void) {
    char text[64];
    uint32_t first = tm_string("first", 5), count = 0;
    while (tm_string(text, (size_t)snprintf(text, sizeof text, "string %u", count)) != UINT32_MAX) count++;
    EXPECT(count > 1000, "only %u strings", count);
    EXPECT(tm_string("first", 5) == first, "a string that is there is not found any more");
}

int main(void) {
    static void *keep[64];
    limit_address_space(1 << 20);
    EXPECT(tracemalloc_start(25, 0) == TM_ERROR_NO_MEMORY, "it started without memory");
    EXPECT(!(tracemalloc_status() & TM_STATUS_TRACING), "it traces without memory");
    EXPECT((keep[0] = tm_hook_malloc(100)), "the program has no memory either");
    limit_address_space(192ul << 20);
    EXPECT(tracemalloc_start(25, 0) == TM_OK, "it did not start");
    fill_nodes();
    fill_frames();
    fill_strings();
    uint64_t before[4], after[4];
    tracemalloc_memory(before);
    for (int i = 1; i < 64; i++) keep[i] = tm_hook_malloc(1001);
    tracemalloc_memory(after);
    EXPECT(after[0] - before[0] == 63 * 1001, "blocks are lost with the tables full");
    limit_address_space(RLIM_INFINITY);
    const tm_image *image = tracemalloc_snapshot();
    EXPECT(image && image->row_count >= 1, "no snapshot");
    tracemalloc_release(image);
    EXPECT(tracemalloc_stop() == TM_OK && tracemalloc_start(25, 0) == TM_OK, "it does not start again");
    for (int i = 0; i < 64; i++) tm_hook_free(keep[i]);
    return 0;
}
