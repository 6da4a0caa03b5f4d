/*
 * The shim by itself, in a process without an engine: every function of the family, sizes kept exactly, threads,
 * forks. Run preloaded, or with the shim's path as its argument to have it hooked in at run time.
 *
 * Prints "ok NAME" or "not ok NAME: what was expected and found" a test.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../shim/tracemalloc.h"

static struct {
    __typeof__(&tracemalloc_status) status;
    __typeof__(&tracemalloc_start) start;
    __typeof__(&tracemalloc_sample) sample;
    __typeof__(&tracemalloc_stop) stop;
    __typeof__(&tracemalloc_clear) clear;
    __typeof__(&tracemalloc_memory) memory;
    __typeof__(&tracemalloc_reset_peak) reset_peak;
    __typeof__(&tracemalloc_mute) mute;
    __typeof__(&tracemalloc_snapshot) snapshot;
    __typeof__(&tracemalloc_release) release;
    __typeof__(&tracemalloc_save) save;
    __typeof__(&tracemalloc_track) track;
    __typeof__(&tracemalloc_untrack) untrack;
} shim;

static const char *current;
static int failures;
static bool failed;

#define EXPECT(condition, ...)                    \
    do {                                          \
        if (!(condition) && !failed) {            \
            failed = true;                        \
            failures++;                           \
            printf("not ok %s: ", current);       \
            printf(__VA_ARGS__);                  \
            printf(" (line %d)\n", __LINE__);     \
        }                                         \
    } while (0)

/* What a snapshot says about blocks of one size. */
static uint64_t blocks_of(uint64_t size) {
    const tm_image *image = shim.snapshot();
    if (!image) return UINT64_MAX;
    const double *sizes = (const double *)((const char *)image + image->row_size);
    const double *blocks = (const double *)((const char *)image + image->row_blocks);
    double sum = 0;
    for (uint64_t i = 0; i < image->row_count; i++)
        if (sizes[i] == (double)size) sum += blocks[i];
    shim.release(image);
    return (uint64_t)sum;
}

static uint64_t counter(int which) {
    const tm_image *image = shim.snapshot();
    uint64_t value = ((const uint64_t *)((const char *)image + image->counters))[which];
    shim.release(image);
    return value;
}

static void expect_blocks(uint64_t size, uint64_t count) {
    uint64_t found = blocks_of(size);
    EXPECT(found == count, "%lu blocks of %lu bytes expected, %lu found", count, size, found);
}

static volatile size_t too_many = SIZE_MAX / 2; /* volatile: compilers warn of what is done on purpose here */

/* Keeps the compiler from knowing what malloc returns. */
static void *volatile sink;
static void *opaque(void *block) {
    sink = block;
    return sink;
}

static void each_function(void) {
    void *a = opaque(malloc(1000003)), *b = opaque(calloc(1, 1000005)), *c = NULL;
    void *d = opaque(aligned_alloc(64, 1000064)), *e = opaque(memalign(256, 1000009));
    void *f = opaque(valloc(1000011)), *g = opaque(pvalloc(1000013));
    EXPECT(posix_memalign(&c, 4096, 1000007) == 0, "posix_memalign failed");
    void *h = opaque(realloc(NULL, 1000015)), *i = opaque(reallocarray(NULL, 3, 333339));
    uint64_t sizes[] = {1000003, 1000005, 1000007, 1000064, 1000009, 1000011, 1000013, 1000015, 1000017};
    for (size_t k = 0; k < 9; k++) expect_blocks(sizes[k], 1);
    EXPECT(malloc_usable_size(a) >= 1000003, "malloc_usable_size says %zu", malloc_usable_size(a));
    void *all[] = {a, b, c, d, e, f, g, h, i};
    for (size_t k = 0; k < 9; k++) free(all[k]);
    for (size_t k = 0; k < 9; k++) expect_blocks(sizes[k], 0);
}

static void reallocation(void) {
    void *a = opaque(malloc(2000003));
    a = opaque(realloc(a, 2000005));
    expect_blocks(2000003, 0);
    expect_blocks(2000005, 1);
    a = opaque(realloc(a, 203)); /* in place or not */
    expect_blocks(2000005, 0);
    void *volatile same = a; /* volatile: what fails leaves the block, which compilers do not believe */
    errno = 0;
    void *none = opaque(realloc(a, (size_t)PTRDIFF_MAX)); /* fails: the block is as it was */
    EXPECT(none == NULL && errno == ENOMEM, "a realloc that must fail gave %p, errno %d", none, errno);
    expect_blocks(203, 1);
    memset(same, 1, 203);
    errno = 0;
    none = opaque(reallocarray(same, too_many, 4));
    EXPECT(none == NULL && errno == ENOMEM, "a reallocarray that overflows gave %p, errno %d", none, errno);
    expect_blocks(203, 1);
    none = opaque(realloc(same, too_many - SIZE_MAX / 2)); /* of size 0: frees, in glibc */
    expect_blocks(203, 0);
    free(none);
    none = opaque(calloc(too_many, 4));
    EXPECT(none == NULL, "a calloc that overflows gave %p", none);
}

static void sizes_that_are_odd(void) {
    void *zero = opaque(malloc(0));
    void *huge = opaque(malloc(5ul << 30)); /* larger than 32 bits, and never touched */
    EXPECT(huge != NULL, "no 5 GiB of address space");
    expect_blocks(5ul << 30, 1);
    uint64_t before[4], after[4];
    shim.memory(before);
    huge = opaque(realloc(huge, 6ul << 30));
    shim.memory(after);
    EXPECT(after[0] - before[0] == 1ul << 30, "the size grew by %lu", after[0] - before[0]);
    free(huge);
    free(zero);
    shim.memory(after);
    EXPECT(before[0] - after[0] == 5ul << 30, "the size fell by %lu", before[0] - after[0]);
}

/* A page full of the smallest blocks, and every bucket size on the way there and back. */
static void many_blocks(void) {
    enum { COUNT = 200000 };
    static void *blocks[COUNT];
    uint64_t before[4], after[4];
    shim.memory(before);
    uint64_t bytes = 0;
    for (int i = 0; i < COUNT; i++) {
        size_t size = 1 + (size_t)(i * 7919) % (i % 100 == 0 ? 3000 : 24);
        blocks[i] = malloc(size);
        bytes += size;
    }
    shim.memory(after);
    EXPECT(after[0] - before[0] == bytes, "%lu bytes allocated, %lu counted", bytes, after[0] - before[0]);
    for (int i = 0; i < COUNT; i += 2) free(blocks[i]);
    for (int i = 1; i < COUNT; i += 2) free(blocks[i]);
    shim.memory(after);
    EXPECT(after[0] == before[0], "%ld bytes left", (long)(after[0] - before[0]));
}

/* Blocks at any address of two pages, and of any size: tables of every density, growing and shrinking. */
static void any_address(void) {
    enum { ADDRESSES = 8192, STEPS = 300000 };
    static const uintptr_t start = 0x3f0000000000;
    static uint64_t sizes[ADDRESSES]; /* 0: none there */
    static const uint64_t limits[] = {1, 1000, 1 << 20, (1ul << 28) - 3, 1ul << 28, 1ul << 33};
    uint64_t before[4], after[4], state = 1;
    int64_t bytes = 0;
    shim.memory(before);
    for (int i = 0; i < STEPS; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t random = state >> 20;
        /* Sparse at first, then dense, then sparse again; few are not at a multiple of 8. */
        size_t at = random % ADDRESSES & (random % 16 ? ~7ul : ~0ul);
        bool put = (random >> 13) % 100 < (i < STEPS / 3 ? 20u : i < STEPS / 3 * 2 ? 80u : 5u);
        bytes -= (int64_t)sizes[at];
        sizes[at] = put ? limits[(random >> 20) % 6] + (random >> 23) % 5 : 0;
        bytes += (int64_t)sizes[at];
        if (put) shim.track(0, start + at, sizes[at]);
        else shim.untrack(0, start + at);
    }
    shim.memory(after);
    EXPECT((int64_t)(after[0] - before[0]) == bytes, "%ld bytes expected, %ld found", bytes, (int64_t)(after[0] - before[0]));
    for (size_t i = 0; i < 6; i++) {
        uint64_t size = limits[i] + 3, count = 0;
        for (size_t at = 0; at < ADDRESSES; at++) count += sizes[at] == size;
        if (size > 1000) expect_blocks(size, count);
    }
    for (size_t at = 0; at < ADDRESSES; at++) shim.untrack(0, start + at);
    shim.memory(after);
    EXPECT(after[0] == before[0], "%ld bytes left", (int64_t)(after[0] - before[0]));
}

static void peak(void) {
    uint64_t m[4];
    shim.clear();
    shim.memory(m);
    EXPECT(m[0] == 0 && m[1] == 0, "after clear: %lu, %lu", m[0], m[1]);
    void *a = opaque(malloc(3000001));
    free(opaque(malloc(100001)));
    shim.memory(m);
    EXPECT(m[0] == 3000001 && m[1] == 3100002, "%lu, peak %lu", m[0], m[1]);
    shim.reset_peak();
    shim.memory(m);
    EXPECT(m[0] == 3000001 && m[1] == 3000001, "after reset: %lu, peak %lu", m[0], m[1]);
    free(a);
    free(opaque(malloc(17)));
    shim.memory(m);
    EXPECT(m[0] == 0 && m[1] == 3000001, "at the end: %lu, peak %lu", m[0], m[1]);
}

static void muted(void) {
    void *before = opaque(malloc(4000003));
    shim.mute(1);
    void *during = opaque(malloc(4000005));
    before = opaque(realloc(before, 4000007)); /* the program's, though it grows now */
    shim.mute(0);
    expect_blocks(4000005, 0);
    expect_blocks(4000007, 1);
    free(during);
    shim.mute(1);
    free(before);
    shim.mute(0);
    expect_blocks(4000007, 0);
}

/* ---- threads: blocks freed by others than those who made them, while snapshots are taken ---- */

enum { THREADS = 16, ROUNDS = 20000, SLOTS = 4096 };
static void *shared[SLOTS];

static void *churn(void *seed) {
    uint64_t state = (uint64_t)seed * 2654435761u + 1;
    for (int i = 0; i < ROUNDS; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        size_t slot = state >> 33 & (SLOTS - 1), size = 1 + (state >> 50 & 1023);
        void *fresh = i % 5 ? malloc(size) : realloc(malloc(size / 2 + 1), size);
        free(__atomic_exchange_n(&shared[slot], fresh, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static void threads(void) {
    pthread_t ids[THREADS];
    uint64_t before[4], after[4];
    for (int i = 0; i < THREADS; i++) pthread_create(&ids[i], NULL, churn, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < 20; i++) {
        const tm_image *image = shim.snapshot();
        EXPECT(image != NULL, "no snapshot");
        const double *sizes = (const double *)((const char *)image + image->row_size);
        for (uint64_t k = 0; k < image->row_count; k++) EXPECT(sizes[k] >= 0 && sizes[k] < 1e10, "a torn size: %g", sizes[k]);
        shim.release(image);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(ids[i], NULL);
    shim.memory(before);
    uint64_t bytes = 0;
    for (int i = 0; i < SLOTS; i++) {
        if (!shared[i]) continue;
        /* The size that was asked for is not known here: what is traced must be within the allocator's rounding. */
        bytes += malloc_usable_size(shared[i]);
        free(shared[i]);
        shared[i] = NULL;
    }
    shim.memory(after);
    uint64_t traced = before[0] - after[0];
    EXPECT(traced <= bytes && traced > bytes / 2, "%lu bytes were live, %lu traced", bytes, traced);
    EXPECT(counter(TM_COUNT_LOST_MEMORY) == 0, "blocks were lost");
}

/* A snapshot is of one moment, though blocks come and go while it is taken. */
enum { MOVING = 50000 };
static volatile bool moving;

static void *move(void *unused) {
    static void *blocks[MOVING];
    uint32_t random = 1;
    for (int i = 0; i < MOVING; i++) blocks[i] = malloc(777);
    for (moving = true; moving;) {
        random = random * 1664525 + 1013904223;
        void **slot = &blocks[(random >> 8) % MOVING], *old = *slot;
        *slot = malloc(777);
        free(old);
    }
    for (int i = 0; i < MOVING; i++) free(blocks[i]);
    return unused;
}

static void one_moment(void) {
    pthread_t mover;
    pthread_create(&mover, NULL, move, NULL);
    while (!moving) sched_yield();
    for (int i = 0; i < 50; i++) {
        uint64_t found = blocks_of(777);
        EXPECT(found == MOVING || found == MOVING + 1, "%lu blocks of %d", found, MOVING);
    }
    for (int i = 0; i < 30; i++) { /* nothing at first, and much more by the time it is written */
        shim.clear();
        const tm_image *image = shim.snapshot();
        EXPECT(image && image->row_domain + 4 * image->row_count <= image->counters, "an image larger than it says");
        shim.release(image);
    }
    moving = false;
    pthread_join(mover, NULL);
    expect_blocks(777, 0);
}

static void *one_block(void *unused) {
    (void)unused;
    return malloc(5000003);
}

/* Threads that come and go: their records are used again, and what they allocated stays theirs. */
static void short_threads(void) {
    for (int i = 0; i < 300; i++) {
        pthread_t id;
        void *block;
        pthread_create(&id, NULL, one_block, NULL);
        pthread_join(id, &block);
        if (i < 299) free(block);
        else sink = block;
    }
    expect_blocks(5000003, 1);
    free(sink);
    expect_blocks(5000003, 0);
    EXPECT(counter(TM_COUNT_LOST_THREAD) == 0, "threads without a record");
}

/* ---- signals and forks ---- */

static volatile sig_atomic_t signals;

static void on_signal(int number) {
    (void)number;
    free(malloc(100)); /* not allowed, but done */
    signals++;
}

static void signal_handlers(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 1000; i++) {
        free(opaque(malloc(64)));
        raise(SIGUSR1);
    }
    EXPECT(signals == 1000, "%d signals", (int)signals);
    EXPECT(counter(TM_COUNT_LOST_NESTED) == 0, "calls were lost though no hook was interrupted");
}

static void forks(void) {
    void *kept = opaque(malloc(6000003));
    pthread_t id;
    pthread_create(&id, NULL, churn, (void *)77ul);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            void *own = opaque(malloc(6000005));
            bool right = blocks_of(6000003) == 1 && blocks_of(6000005) == 1;
            free(own);
            pthread_t other;
            right &= pthread_create(&other, NULL, one_block, NULL) == 0 && pthread_join(other, &own) == 0;
            right &= blocks_of(5000003) == 1 && blocks_of(6000005) == 0;
            _exit(right ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with status 0x%x", i, status);
    }
    pthread_join(id, NULL);
    for (int i = 0; i < SLOTS; i++) free(shared[i]), shared[i] = NULL;
    expect_blocks(6000003, 1);
    expect_blocks(6000005, 0);
    free(kept);
}

/* ---- on, off, on ---- */

static void stop_and_start(void) {
    void *a = opaque(malloc(7000003));
    EXPECT(shim.start(3, 0) == TM_OK, "start while tracing is no error");
    uint64_t m[4];
    shim.memory(m);
    EXPECT(m[3] == 1, "the limit changed to %lu", m[3]);
    EXPECT(shim.stop() == TM_OK, "stop");
    EXPECT(!(shim.status() & TM_STATUS_TRACING), "still tracing");
    EXPECT(shim.snapshot() == NULL, "a snapshot while not tracing");
    void *b = opaque(malloc(7000005));
    EXPECT(shim.start(0, 0) == TM_ERROR_STATE && shim.start(65536, 0) == TM_ERROR_STATE, "a limit out of range was taken");
    EXPECT(shim.start(1, 0) == TM_OK, "start");
    expect_blocks(7000003, 0);
    expect_blocks(7000005, 0);
    free(a); /* not known any more */
    free(b);
    void *c = opaque(malloc(7000007));
    expect_blocks(7000007, 1);
    free(c);
}

static void saving(void) {
    char folder[] = "/tmp/tracemalloc-test-XXXXXX", path[128], text[16] = "";
    EXPECT(mkdtemp(folder) != NULL, "mkdtemp");
    snprintf(path, sizeof path, "%s/file", folder);
    EXPECT(shim.save(path, "abc", 3, "defg", 4) == TM_OK, "save");
    FILE *file = fopen(path, "r");
    EXPECT(file && fread(text, 1, 15, file) == 7 && !strcmp(text, "abcdefg"), "the file holds \"%s\"", text);
    if (file) fclose(file);
    unlink(path);
    rmdir(folder);
    EXPECT(shim.save(path, "a", 1, "b", 1) == -ENOENT, "saving into no folder");
}

/* ---- sampling: estimates, from the same random numbers in every run; the bounds are four standard deviations and more ---- */

enum { SAMPLED = 100000, SAMPLING_THREADS = 4 };
static void *sampled[SAMPLED];

static void expect_about(uint64_t size, double expected) {
    double found = (double)blocks_of(size);
    EXPECT(found > expected * 0.88 && found < expected * 1.12, "about %g blocks of %lu bytes expected, %g found", expected, size, found);
}

static void *fill(void *part) {
    for (size_t i = (uintptr_t)part; i < SAMPLED; i += SAMPLING_THREADS) sampled[i] = malloc(1000);
    return NULL;
}

static void sampling(void) {
    uint64_t m[4];
    void *large[50];
    EXPECT(shim.sample(65536) == TM_ERROR_STATE, "the interval was changed while tracing");
    shim.stop();
    EXPECT(shim.sample(65536) == TM_OK && shim.start(1, 0) == TM_OK, "start");
    pthread_t ids[SAMPLING_THREADS];
    for (uintptr_t i = 0; i < SAMPLING_THREADS; i++) pthread_create(&ids[i], NULL, fill, (void *)i);
    for (int i = 0; i < SAMPLING_THREADS; i++) pthread_join(ids[i], NULL);
    for (int i = 0; i < 50; i++) large[i] = malloc(2000003);
    expect_about(1000, SAMPLED);
    expect_blocks(2000003, 50); /* none is missed */
    shim.memory(m);
    double expected = SAMPLED * 1000.0 + 50 * 2000003.0;
    EXPECT((double)m[0] > expected * 0.9 && (double)m[0] < expected * 1.1, "%lu bytes, not about %g", m[0], expected);
    EXPECT(m[1] >= m[0], "the peak is %lu, the current size %lu", m[1], m[0]);
    for (size_t i = 0; i < SAMPLED; i += 2) sampled[i] = realloc(sampled[i], 3000);
    expect_about(1000, SAMPLED / 2);
    expect_about(3000, SAMPLED / 2);
    for (size_t i = 0; i < SAMPLED; i++) free(sampled[i]);
    expect_blocks(1000, 0);
    expect_blocks(3000, 0);
    shim.clear();
    shim.memory(m);
    EXPECT(m[0] == 0 && m[1] == 0, "after clear: %lu, %lu", m[0], m[1]);
    expect_blocks(2000003, 0);
    for (int i = 0; i < 50; i++) free(large[i]);
    shim.memory(m);
    EXPECT(m[0] == 0, "%lu bytes left", m[0]);
    shim.stop();
    EXPECT(shim.sample(1) == TM_OK && shim.start(1, 0) == TM_OK, "start");
    large[0] = opaque(malloc(1));
    EXPECT(blocks_of(1) > 0, "not every block is recorded again");
    free(large[0]);
}

static void load(const char *path) {
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : RTLD_DEFAULT;
    if (path && !library) {
        printf("not ok loading: %s\n", dlerror());
        exit(1);
    }
#define LOAD(name)                                                   \
    do {                                                             \
        void *symbol = dlsym(library, "tracemalloc_" #name);         \
        if (!symbol) {                                               \
            printf("not ok loading: no tracemalloc_" #name "\n");    \
            exit(1);                                                 \
        }                                                            \
        memcpy(&shim.name, &symbol, sizeof symbol);                  \
    } while (0)
    LOAD(status);
    LOAD(start);
    LOAD(sample);
    LOAD(stop);
    LOAD(clear);
    LOAD(memory);
    LOAD(reset_peak);
    LOAD(mute);
    LOAD(snapshot);
    LOAD(release);
    LOAD(save);
    LOAD(track);
    LOAD(untrack);
}

static void preloading(bool preloaded) {
    uint32_t expected = preloaded ? TM_STATUS_TRACING | TM_STATUS_PRELOADED | 1u << TM_STATUS_STARTS : 0;
    EXPECT(shim.status() == expected, "status %u, not %u", shim.status(), expected);
    EXPECT(!getenv("TRACEMALLOC_PRELOAD"), "TRACEMALLOC_PRELOAD is still set");
    const char *rest = getenv("LD_PRELOAD"), *wanted = getenv("EXPECT_LD_PRELOAD");
    EXPECT(wanted ? rest && !strcmp(rest, wanted) : !rest, "LD_PRELOAD is %s", rest ? rest : "not set");
    if (!preloaded) EXPECT(shim.start(1, 0) == TM_OK, "start");
}

#define RUN(test, ...)                          \
    do {                                        \
        current = #test;                        \
        failed = false;                         \
        test(__VA_ARGS__);                      \
        if (!failed) printf("ok %s\n", current); \
        fflush(stdout);                         \
    } while (0)

int main(int count, char **arguments) {
    const char *path = count > 1 ? arguments[1] : NULL;
    load(path);
    RUN(preloading, path == NULL);
    RUN(each_function);
    RUN(reallocation);
    RUN(sizes_that_are_odd);
    RUN(many_blocks);
    RUN(any_address);
    RUN(peak);
    RUN(muted);
    RUN(threads);
    RUN(one_moment);
    RUN(short_threads);
    RUN(signal_handlers);
    RUN(forks);
    RUN(stop_and_start);
    RUN(saving);
    RUN(sampling);
    return failures ? 1 : 0;
}
