/*
 * What a tracer adds to malloc and free. Run under one, or under none:
 *
 *   pairs churn THREADS DEPTH PAIRS        blocks freed at once: prints ns a pair, of each thread's own time
 *   pairs kept THREADS DEPTH PAIRS LIVE    a pair replaces one of LIVE blocks, any of them
 *   pairs table COUNT PAIRS                the floor: a hash table, without locks, grows to COUNT rows of 16 bytes: prints ns a row,
 *                                          and ns that a pair takes, which deletes one of them and inserts another
 *   pairs live COUNT                       COUNT blocks are made and kept, then a snapshot is taken, if the tracer is ours:
 *                                          prints ns a block, bytes of the tracer's a block, ms of the snapshot,
 *                                          and the longest ms that another thread was held up meanwhile, and as long after
 *
 * Built as a library it is called below JavaScript frames instead.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

/* Nanoseconds of the thread's own time that a malloc and its free take. */
double pairs_churn(int32_t pairs) {
    double start = now(CLOCK_THREAD_CPUTIME_ID);
    for (int32_t i = 0; i < pairs; i++) {
        char *volatile block = malloc(24 + (size_t)(i & 7) * 16);
        block[0] = 1;
        free(block);
    }
    return (now(CLOCK_THREAD_CPUTIME_ID) - start) / pairs;
}

/* The same with `live` blocks of 16 to 256 bytes, one of which makes room for the next. */
double pairs_kept(int32_t pairs, int32_t live) {
    uint32_t random = 1;
    char **blocks = malloc((size_t)live * sizeof *blocks);
    for (int32_t i = 0; i < live; i++) blocks[i] = malloc(16 + next_random(&random) % 241);
    double start = now(CLOCK_THREAD_CPUTIME_ID);
    for (int32_t i = 0; i < pairs; i++) {
        uint32_t at = next_random(&random) % (uint32_t)live;
        free(blocks[at]);
        blocks[at] = malloc(16 + next_random(&random) % 241);
        blocks[at][0] = 1;
    }
    double result = (now(CLOCK_THREAD_CPUTIME_ID) - start) / pairs;
    for (int32_t i = 0; i < live; i++) free(blocks[i]);
    free(blocks);
    return result;
}

static struct {
    int kept, depth;
    int32_t pairs, live;
} task;

static pthread_barrier_t together;

static __attribute__((noinline)) double at_depth(int depth) {
    volatile double result; /* no tail call */
    if (depth > 0) result = at_depth(depth - 1);
    else if (task.kept) result = pairs_kept(task.pairs, task.live);
    else result = pairs_churn(task.pairs);
    return result;
}

static void *run(void *result) {
    pthread_barrier_wait(&together);
    *(double *)result = at_depth(task.depth);
    return NULL;
}

/* ---- a hash table of addresses: open addressing, at most half full, what is behind a deleted row moves up ---- */

typedef struct row {
    uint64_t key, value;
} row;

static row *rows;
static size_t rows_mask;

static size_t home(uint64_t key) { return key * 0x9E3779B97F4A7C15ull >> 20 & rows_mask; }

static void insert(uint64_t key, uint64_t value) {
    size_t at = home(key);
    while (rows[at].key) at = (at + 1) & rows_mask;
    rows[at] = (row){key, value};
}

static uint64_t delete(uint64_t key) {
    size_t hole = home(key);
    while (rows[hole].key != key) hole = (hole + 1) & rows_mask;
    uint64_t value = rows[hole].value;
    for (size_t at = (hole + 1) & rows_mask; rows[at].key; at = (at + 1) & rows_mask)
        if (((at - home(rows[at].key)) & rows_mask) >= ((at - hole) & rows_mask)) {
            rows[hole] = rows[at];
            hole = at;
        }
    rows[hole] = (row){0, 0};
    return value;
}

static void table_of(size_t count, size_t pairs) {
    /* Keys as blocks of 144 bytes would be. */
    const uint64_t base = 0x7f0000000000, step = 144;
    rows_mask = 1023;
    rows = calloc(rows_mask + 1, sizeof *rows);
    double start = now(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < count; i++) {
        if (2 * i > rows_mask) {
            row *old = rows;
            size_t old_rows = rows_mask + 1;
            rows_mask = 2 * old_rows - 1;
            rows = calloc(rows_mask + 1, sizeof *rows);
            for (size_t j = 0; j < old_rows; j++)
                if (old[j].key) insert(old[j].key, old[j].value);
            free(old);
        }
        insert(base + i * step, i);
    }
    double each = (now(CLOCK_THREAD_CPUTIME_ID) - start) / (double)count;
    uint32_t random = 1;
    uint64_t *keys = malloc(count * sizeof *keys), sum = 0;
    for (size_t i = 0; i < count; i++) keys[i] = base + i * step;
    start = now(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < pairs; i++) {
        uint64_t *key = &keys[next_random(&random) % count];
        sum += delete(*key);
        *key = base + (count + i) * step;
        insert(*key, sum);
    }
    printf("%.1f %.1f\n", each, (now(CLOCK_THREAD_CPUTIME_ID) - start) / (double)pairs);
}

/* ---- many live blocks ---- */

__attribute__((weak)) void tracemalloc_memory(uint64_t out[4]);
__attribute__((weak)) const void *tracemalloc_snapshot(void);
__attribute__((weak)) void tracemalloc_release(const void *image);

static volatile enum { BEFORE, TAKING, TAKEN, END } phase;

/* The longest that a pair took while the snapshot was taken, and in as long a time after it: what the machine alone does. */
static void *held_up(void *context) {
    double *longest = context, before = now(CLOCK_MONOTONIC);
    for (int at; (at = phase) != END;) {
        free(malloc(100));
        double after = now(CLOCK_MONOTONIC);
        if (after - before > longest[at]) longest[at] = after - before;
        before = after;
    }
    return NULL;
}

static void many_live(size_t count) {
    char **blocks = malloc(count * sizeof *blocks);
    memset(blocks, 0, count * sizeof *blocks);
    uint64_t before[4] = {0}, after[4] = {0};
    if (tracemalloc_memory) tracemalloc_memory(before);
    uint32_t random = 1;
    double start = now(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < count; i++) blocks[i] = malloc(16 + next_random(&random) % 241);
    double each = (now(CLOCK_THREAD_CPUTIME_ID) - start) / (double)count;
    double snapshot = 0, longest[END] = {0};
    if (tracemalloc_snapshot) {
        tracemalloc_memory(after);
        pthread_t other;
        pthread_create(&other, NULL, held_up, longest);
        start = now(CLOCK_MONOTONIC);
        phase = TAKING;
        const void *image = tracemalloc_snapshot();
        phase = TAKEN;
        snapshot = now(CLOCK_MONOTONIC) - start;
        struct timespec as_long = {(time_t)(snapshot / 1e9), (long)((uint64_t)snapshot % 1000000000)};
        nanosleep(&as_long, NULL);
        phase = END;
        pthread_join(other, NULL);
        tracemalloc_release(image);
    }
    printf("%.1f %.1f %.1f %.3f %.3f\n", each, (double)(after[2] - before[2]) / (double)count, snapshot / 1e6,
           longest[TAKING] / 1e6, longest[TAKEN] / 1e6);
}

int main(int count, char **arguments) {
    if (count == 3 && !strcmp(arguments[1], "live")) {
        many_live((size_t)atol(arguments[2]));
        return 0;
    }
    if (count == 4 && !strcmp(arguments[1], "table")) {
        table_of((size_t)atol(arguments[2]), (size_t)atol(arguments[3]));
        return 0;
    }
    if (count < 5) return 2;
    int threads = atoi(arguments[2]);
    task.kept = !strcmp(arguments[1], "kept");
    task.depth = atoi(arguments[3]);
    task.pairs = atoi(arguments[4]);
    task.live = count > 5 ? atoi(arguments[5]) : 0;
    pthread_barrier_init(&together, NULL, (unsigned)threads);
    pthread_t others[64];
    double results[64], sum = 0;
    for (int i = 1; i < threads && i < 64; i++) pthread_create(&others[i], NULL, run, &results[i]);
    run(&results[0]);
    for (int i = 1; i < threads && i < 64; i++) pthread_join(others[i], NULL);
    for (int i = 0; i < threads; i++) sum += results[i];
    printf("%.2f\n", sum / threads);
    return 0;
}
