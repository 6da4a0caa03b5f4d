/*
 * What programs do that allocators, and whoever stands before them, break at. Run preloaded, or with the shim's path behind
 * the test's name to have it hooked in at run time. Ends with 0, or says what was expected and ends with 1.
 *
 *   stress TEST [SHIM]       SCALE in the environment multiplies the work (1; 0 is the least)
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../shim/tracemalloc.h"
#include "expect.h"

static struct {
    __typeof__(&tracemalloc_status) status;
    __typeof__(&tracemalloc_start) start;
    __typeof__(&tracemalloc_stop) stop;
    __typeof__(&tracemalloc_clear) clear;
    __typeof__(&tracemalloc_memory) memory;
    __typeof__(&tracemalloc_snapshot) snapshot;
    __typeof__(&tracemalloc_release) release;
    __typeof__(&tracemalloc_track) track;
    __typeof__(&tracemalloc_output) output;
} shim;

static int scale = 1;

static uint64_t current(void) {
    uint64_t out[4];
    shim.memory(out);
    return out[0];
}

static uint64_t counter(int which) {
    const tm_image *image = shim.snapshot();
    EXPECT(image, "no snapshot");
    uint64_t value = ((const uint64_t *)((const char *)image + image->counters))[which];
    shim.release(image);
    return value;
}

static void expect_size(uint64_t before, uint64_t bytes) {
    uint64_t now = current();
    EXPECT(now - before == bytes, "%ld bytes expected, %ld found", (long)bytes, (long)(now - before));
}

static uint64_t blocks_of(uint64_t size) {
    const tm_image *image = shim.snapshot();
    EXPECT(image, "no snapshot");
    const double *sizes = (const double *)((const char *)image + image->row_size);
    const double *counts = (const double *)((const char *)image + image->row_blocks);
    double count = 0;
    for (uint64_t i = 0; i < image->row_count; i++) count += sizes[i] == (double)size ? counts[i] : 0;
    shim.release(image);
    return (uint64_t)count;
}

/* ---- many threads: blocks say how large they are, and are freed by whoever finds them ---- */

typedef struct block {
    size_t size;
} block;

enum { SLOTS = 8192 };
static block *shared[SLOTS];
static bool stopping;
#define STOPPING __atomic_load_n(&stopping, __ATOMIC_RELAXED)
#define SET_STOPPING(value) __atomic_store_n(&stopping, value, __ATOMIC_RELAXED)

static uint64_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static block *fresh_block(uint64_t *state) {
    size_t size = sizeof(block) + next_random(state) % 2000;
    block *b;
    switch (next_random(state) % 5) {
    case 0: b = calloc(1, size); break;
    case 1: b = realloc(malloc(size / 2 + 1), size); break;
    case 2: b = NULL, (void)!posix_memalign((void **)&b, 64, size); break;
    default: b = malloc(size);
    }
    EXPECT(b, "no memory");
    b->size = size;
    return b;
}

static void churn(uint64_t *state, int rounds) {
    for (int i = 0; i < rounds && !STOPPING; i++)
        free(__atomic_exchange_n(&shared[next_random(state) % SLOTS], fresh_block(state), __ATOMIC_ACQ_REL));
}

static void *short_life(void *seed) {
    uint64_t state = (uint64_t)seed;
    churn(&state, 500);
    return NULL;
}

/* Threads that start threads, so that they begin and end all the time. */
static void *long_life(void *seed) {
    uint64_t state = (uint64_t)seed * 77 + 1;
    for (int i = 0; i < 4 * scale + 1 && !STOPPING; i++) {
        pthread_t child;
        churn(&state, 500);
        if (pthread_create(&child, NULL, short_life, (void *)(uintptr_t)next_random(&state)) == 0) {
            churn(&state, 200);
            pthread_join(child, NULL);
        }
    }
    return NULL;
}

static uint64_t shared_bytes(void) {
    uint64_t bytes = 0;
    for (int i = 0; i < SLOTS; i++)
        if (shared[i]) bytes += shared[i]->size;
    return bytes;
}

static void free_shared(void) {
    for (int i = 0; i < SLOTS; i++) free(__atomic_exchange_n(&shared[i], NULL, __ATOMIC_ACQ_REL));
}

static pthread_t workers[64];

static void start_workers(int count, void *(*work)(void *)) {
    SET_STOPPING(false);
    for (int i = 0; i < count; i++) EXPECT(!pthread_create(&workers[i], NULL, work, (void *)(uintptr_t)(i + 1)), "no thread");
}

static void join_workers(int count) {
    for (int i = 0; i < count; i++) pthread_join(workers[i], NULL);
}

static void stop_workers(int count) {
    SET_STOPPING(true);
    join_workers(count);
}

static void *until_stopped(void *seed) {
    uint64_t state = (uint64_t)seed * 99 + 1;
    while (!STOPPING) churn(&state, 100);
    return NULL;
}

/* What the C library keeps of a thread is its own: made once, so that it is there before and after. */
static void threads(void) {
    start_workers(64, short_life);
    join_workers(64);
    free_shared();
    uint64_t before = current();
    start_workers(64, long_life);
    for (int i = 0; i < 10; i++) shim.release(shim.snapshot());
    join_workers(64);
    uint64_t bytes = shared_bytes(), after = current();
    free_shared();
    uint64_t end = current();
    /* The C library keeps thread-local storage of threads that have ended, and not always of the same number. */
    EXPECT(after - end == bytes, "%lu bytes are live, %lu traced", bytes, after - end);
    EXPECT((int64_t)(end - before) < 64 * 1024, "%ld bytes are left", (long)(end - before));
    EXPECT(counter(TM_COUNT_LOST_MEMORY) == 0 && counter(TM_COUNT_LOST_THREAD) == 0, "calls were lost");
}

/* ---- on and off, while threads allocate ---- */

static void start_and_stop(void) {
    start_workers(3, until_stopped);
    for (int i = 0; i < (scale ? 1000 * scale : 50); i++) {
        EXPECT(shim.stop() == TM_OK, "stop");
        EXPECT(shim.start(1, 0) == TM_OK, "start");
        if (i % 100 == 0) shim.release(shim.snapshot()), shim.clear();
    }
    stop_workers(3);
    shim.clear();
    void *block = malloc(123457);
    expect_size(0, 123457);
    free(block);
    free_shared();
    expect_size(0, 0);
}

/* ---- signals whose handlers allocate, 10,000 a second, on every thread ---- */

static volatile sig_atomic_t handled;

static void on_signal(int number) {
    (void)number;
    int error = errno;
    free(realloc(malloc(40), 80));
    handled++;
    errno = error;
}

static void signal_storm(void) {
    /* Allocators themselves deadlock in a handler that interrupts them: what is interrupted here is the tracer's work alone. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec interval = {{0, 100000}, {0, 100000}};
    timer_t timer;
    uint64_t before = current();
    EXPECT(!timer_create(CLOCK_MONOTONIC, &event, &timer) && !timer_settime(timer, 0, &interval, NULL), "no timer");
    for (unsigned i = 0; handled < 5000 * scale + 500; i++) shim.track(16, 0x10000 + 64 * (i % 1000), 48);
    timer_delete(timer);
    for (unsigned i = 0; i < 1000; i++) shim.track(16, 0x10000 + 64 * i, 0);
    expect_size(before, 0);
    EXPECT(counter(TM_COUNT_LOST_NESTED) > 0, "no signal came inside the tracer");
    EXPECT(counter(TM_COUNT_LOST_MEMORY) == 0, "blocks were lost");
}

/* ---- processes ---- */

static void expect_child(pid_t child, int wanted) {
    int status = -1;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child, "no child");
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == wanted, "a child ended with 0x%x, not %d", status, wanted);
}

/*
 * AddressSanitizer's allocator does not prepare for a fork: the child waits for ever for a lock that another thread had.
 * So nobody forks while somebody is inside it; inside the tracer they may be.
 */
#ifdef __SANITIZE_ADDRESS__
#include "../../shim/hooks.h"

static pthread_rwlock_t in_allocator = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static struct tm_next allocator;

#define IN_ALLOCATOR(type, call)               \
    pthread_rwlock_rdlock(&in_allocator);      \
    type result = allocator.call;              \
    pthread_rwlock_unlock(&in_allocator);      \
    return result;

static void *guarded_malloc(size_t size) { IN_ALLOCATOR(void *, malloc(size)) }
static void *guarded_calloc(size_t count, size_t size) { IN_ALLOCATOR(void *, calloc(count, size)) }
static void *guarded_realloc(void *block, size_t size) { IN_ALLOCATOR(void *, realloc(block, size)) }
static int guarded_posix_memalign(void **out, size_t alignment, size_t size) { IN_ALLOCATOR(int, posix_memalign(out, alignment, size)) }
static void guarded_free(void *block) {
    pthread_rwlock_rdlock(&in_allocator);
    allocator.free(block);
    pthread_rwlock_unlock(&in_allocator);
}

static void before_fork(void) { pthread_rwlock_wrlock(&in_allocator); }
static void after_fork(void) { pthread_rwlock_unlock(&in_allocator); }
static void after_fork_in_child(void) {
    static const pthread_rwlock_t fresh = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
    in_allocator = fresh;
}

static void guard_allocator(void) {
    allocator = tm_next;
    tm_next.malloc = guarded_malloc;
    tm_next.calloc = guarded_calloc;
    tm_next.realloc = guarded_realloc;
    tm_next.posix_memalign = guarded_posix_memalign;
    tm_next.free = guarded_free;
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
}
#else
static void guard_allocator(void) {}
#endif

/* In the middle of what other threads allocate; with exec and without. */
static void forks(void) {
    extern char **environ;
    guard_allocator();
    start_workers(4, until_stopped);
    char *arguments[] = {"true", NULL};
    for (int i = 0; i < 60 * scale + 5; i++) {
        pid_t child = fork();
        if (child == 0) {
            uint64_t before = current();
            void *block = malloc(1000003);
            bool right = current() - before == 1000003;
            free(block);
            right &= current() == before;
            pthread_t thread;
            right &= !pthread_create(&thread, NULL, short_life, (void *)7ul) && !pthread_join(thread, NULL);
            if (i % 2) exit(right ? 5 : 6);
            _exit(right ? 5 : 6);
        }
        expect_child(child, 5);
        if ((child = fork()) == 0) execv("/bin/true", arguments), _exit(1);
        expect_child(child, 0);
        if ((child = vfork()) == 0) execv("/bin/true", arguments), _exit(1);
        expect_child(child, 0);
        if ((child = vfork()) == 0) _exit(9);
        expect_child(child, 9);
        EXPECT(!posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ), "no posix_spawn");
        expect_child(child, 0);
    }
    stop_workers(4);
    uint64_t bytes = shared_bytes(), before = current();
    free_shared();
    expect_size(before, -bytes);
}

/* ---- libraries that come and go ---- */

static void *open_and_close(void *path) {
    for (int i = 0; i < 200 * scale + 20; i++) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol = library ? dlsym(library, "library_block") : NULL;
        EXPECT(symbol, "%s", dlerror());
        void *(*make)(size_t);
        memcpy(&make, &symbol, sizeof symbol);
        free(make(3001));
        dlclose(library);
    }
    return NULL;
}

static void libraries(void) {
    const char *path = getenv("STRESS_LIBRARY");
    EXPECT(path, "STRESS_LIBRARY is not set");
    start_workers(2, until_stopped);
    pthread_t others[2];
    for (int i = 0; i < 2; i++) pthread_create(&others[i], NULL, open_and_close, (void *)path);
    for (int i = 0; i < 20; i++) shim.release(shim.snapshot());
    for (int i = 0; i < 2; i++) pthread_join(others[i], NULL);
    stop_workers(2);
    free_shared();
    /* What a library allocates is traced. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol = dlsym(library, "library_block");
    void *(*make)(size_t);
    memcpy(&make, &symbol, sizeof symbol);
    uint64_t before = current();
    void *block = make(54321);
    expect_size(before, 54321);
    free(block);
    dlclose(library);
}

/* ---- threads that end while the tables are taken, and allocate while they do ---- */

static pthread_key_t last_words;

static void at_thread_end(void *block) {
    free(block);
    void *more = malloc(222);
    static __thread int again;
    if (again++ < 3) pthread_setspecific(last_words, more); /* comes back */
    else free(more);
}

static void *ends_soon(void *unused) {
    pthread_setspecific(last_words, malloc(111));
    if (unused == (void *)3ul) pthread_exit(malloc(0));
    return NULL;
}

static void *ever_new(void *seed) {
    (void)seed;
    while (!STOPPING) {
        pthread_t thread;
        void *result = NULL;
        if (!pthread_create(&thread, NULL, ends_soon, (void *)(uintptr_t)(rand() % 5))) pthread_join(thread, &result);
        free(result);
    }
    return NULL;
}

static void thread_ends(void) {
    pthread_key_create(&last_words, at_thread_end);
    start_workers(8, ever_new);
    for (int i = 0; i < 200 * scale + 20; i++) {
        shim.release(shim.snapshot());
        current();
    }
    stop_workers(8);
    EXPECT(counter(TM_COUNT_LOST_THREAD) == 0, "threads without a record");
}

/* ---- stacks that are small ---- */

static void *on_small_stack(void *result) {
    void *block = malloc(7001);
    *(bool *)result = block != NULL;
    block = realloc(block, 9001);
    free(block);
    free(calloc(3, 333));
    return NULL;
}

static void on_small_alternate(int number) {
    (void)number;
    free(malloc(55));
    handled++;
}

/* Room for a handler beside what the system itself puts there; sanitizers make frames larger. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HANDLER_BYTES 32768
#else
#define HANDLER_BYTES 3072
#endif

static void *with_small_alternate(void *unused) {
    (void)unused;
    /* Below it there is a page that nobody may touch. */
    size_t bytes = (size_t)sysconf(_SC_MINSIGSTKSZ) + HANDLER_BYTES, pages = (bytes + 4095) & ~4095ul;
    char *memory = mmap(NULL, 4096 + pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED && !mprotect(memory, 4096, PROT_NONE), "no guarded stack");
    stack_t stack = {.ss_sp = memory + 4096, .ss_size = bytes};
    EXPECT(!sigaltstack(&stack, NULL), "no sigaltstack");
    /* The thread's first call ever is made on that stack. */
    raise(SIGUSR1);
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    size_t unused_bytes = 0;
    while (unused_bytes < bytes && !memory[4096 + unused_bytes]) unused_bytes++;
    if (getenv("STRESS_VERBOSE")) printf("%zu of %zu bytes left\n", unused_bytes, bytes);
    munmap(memory, 4096 + pages);
    return NULL;
}

static void small_stacks(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    EXPECT(!pthread_attr_setstacksize(&attributes, 16384), "no stack of 16 KiB");
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        bool result = false;
        EXPECT(!pthread_create(&thread, &attributes, on_small_stack, &result), "no thread");
        pthread_join(thread, NULL);
        EXPECT(result, "no block");
    }
    struct sigaction action = {.sa_handler = on_small_alternate, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, with_small_alternate, NULL);
        pthread_join(thread, NULL);
    }
    EXPECT(handled == 50, "%d signals", (int)handled);
}

/* ---- when there is no memory ---- */

static void no_address_space(void) {
    enum { COUNT = 400000 };
    static void *blocks[COUNT];
    /* A heap that is there already, and stays, and from then on hardly anything more. */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    for (int i = 0; i < 40000; i++) blocks[i] = malloc(600);
    for (int i = 0; i < 40000; i++) free(blocks[i]);
    shim.clear();
    uint64_t before = current(), lost_before = counter(TM_COUNT_LOST_MEMORY), had = blocks_of(24);
    char text[64] = "";
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file && fgets(text, sizeof text, file), "no statm");
    fclose(file);
    struct rlimit limit = {strtoul(text, NULL, 10) * 4096, RLIM_INFINITY};
    EXPECT(!setrlimit(RLIMIT_AS, &limit), "no limit");
    int made = 0;
    while (made < COUNT && (blocks[made] = malloc(24))) made++;
    shim.release(shim.snapshot()); /* perhaps there is none, but nothing comes to harm */
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_AS, &limit);
    uint64_t lost = counter(TM_COUNT_LOST_MEMORY) - lost_before, left = (uint64_t)made - lost;
    EXPECT(blocks_of(24) - had == left, "%d blocks, %lu lost, and %lu found", made, lost, blocks_of(24) - had);
    expect_size(before, 24 * left);
    for (int i = 0; i < made; i++) memset(blocks[i], 1, 24), free(blocks[i]);
    expect_size(before, 0);
    void *after = malloc(98765);
    uint64_t with = current();
    free(after);
    EXPECT(with - current() == 98765, "tracing does not go on");
    printf("%d blocks, %lu lost\n", made, lost);
}

/* ---- the end of a process ---- */

static void *kept_at_exit;

static void at_exit(void) {
    kept_at_exit = realloc(kept_at_exit, 777);
    free(malloc(1));
}

__attribute__((destructor)) static void at_unloading(void) {
    free(kept_at_exit);
    free(malloc(2));
}

static void ends(void) {
    for (int way = 0; way < 4; way++) {
        pid_t child = fork();
        if (child == 0) {
            atexit(at_exit);
            start_workers(4, until_stopped);
            usleep(2000);
            if (way == 0) exit(21);
            if (way == 1) _exit(21);
            if (way == 2) quick_exit(21);
            free_shared(); /* while others go on */
            exit(21);
        }
        expect_child(child, 21);
    }
}

/* ---- forks that no library is told of, while other threads are in the tracer; the allocator's own locks are free ---- */

static void *track_until_stopped(void *seed) {
    for (unsigned i = 0; !STOPPING; i++) shim.track(16 + (unsigned)(uintptr_t)seed, 0x10000 + 64 * (i % 500), 48);
    return NULL;
}

static void *control_until_stopped(void *unused) {
    (void)unused;
    while (!STOPPING) {
        shim.release(shim.snapshot());
        shim.clear();
        EXPECT(shim.stop() == TM_OK && shim.start(1, 0) == TM_OK, "stop and start");
    }
    return NULL;
}

static int in_raw_child(void *block) {
    alarm(30);
    free(realloc(block, 2003));
    free(malloc(1009));
    bool right = !(shim.status() & TM_STATUS_TRACING) && !shim.snapshot() && current() == 0 && shim.track(16, 64, 48) == -2;
    right &= shim.start(1, 0) == TM_ERROR_STATE && shim.clear() == TM_ERROR_STATE && shim.stop() == TM_OK;
    pid_t child = fork();
    if (child == 0) _exit(5);
    expect_child(child, 5);
    return right ? 5 : 6;
}

static void raw_forks(void) {
    pid_t (*fork_without_handlers)(void);
    void *symbol = dlsym(RTLD_DEFAULT, "_Fork");
    memcpy(&fork_without_handlers, &symbol, sizeof symbol);
    start_workers(3, track_until_stopped);
    pthread_t control;
    EXPECT(!pthread_create(&control, NULL, control_until_stopped, NULL), "no thread");
    for (int i = 0; i < 200 * scale + 20; i++) {
        void *block = malloc(1013);
        pid_t child = i % 2 && fork_without_handlers ? fork_without_handlers() : (pid_t)syscall(SYS_fork);
        if (child == 0 && i % 4 < 2) _exit(in_raw_child(block));
        if (child == 0) exit(in_raw_child(block));
        expect_child(child, 5);
        free(block);
    }
    stop_workers(3);
    pthread_join(control, NULL);
    uint64_t before = current();
    void *block = malloc(12345);
    expect_size(before, 12345);
    free(block);
}

/* ---- a system that refuses the tracer's calls, one at a time, and only the tracer's ---- */

static uintptr_t shim_low, shim_high;

static int find_shim(struct dl_phdr_info *info, size_t size, void *address) {
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, high = low + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD || (uintptr_t)address < low || (uintptr_t)address >= high) continue;
        shim_low = low;
        shim_high = high;
        return 1;
    }
    return 0;
}

static void refuse(int call, int error) {
#define WORD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define FIELD(field) WORD(offsetof(struct seccomp_data, field))
#define UNLESS(condition, value, skip) BPF_JUMP(BPF_JMP | condition | BPF_K, value, 0, skip)
    struct sock_filter filter[] = {
        FIELD(nr),
        UNLESS(BPF_JEQ, (uint32_t)call, 6),
        FIELD(instruction_pointer), /* its low half */
        UNLESS(BPF_JGE, (uint32_t)shim_low, 4),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)shim_high, 3, 0),
        WORD(offsetof(struct seccomp_data, instruction_pointer) + 4),
        UNLESS(BPF_JEQ, (uint32_t)(shim_low >> 32), 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    EXPECT(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "no filter");
}

static void go_on_without(int call, int error, const char *path) {
    alarm(60);
    shim.stop();
    refuse(call, error);
    int32_t started = shim.start(1, 0);
    /* Without memory for its tables there is nothing to trace. */
    if (started == TM_ERROR_NO_MEMORY && call == SYS_mmap) exit(5);
    EXPECT(started == TM_OK, "call %d: start says %d", call, started);
    start_workers(3, until_stopped);
    for (int i = 0; i < 3; i++) {
        shim.release(shim.snapshot());
        shim.clear();
        EXPECT(shim.stop() == TM_OK && shim.start(1, 0) == TM_OK, "call %d: stop and start", call);
    }
    if (error == EPERM) EXPECT(shim.output(path, "12345678", 8, 5, 0, 0) == TM_OK, "call %d: output", call);
    stop_workers(3);
    free_shared();
    uint64_t before = current();
    void *block = malloc(12345), *large = malloc(1 << 27);
    expect_size(before, 12345 + (1 << 27));
    free(block);
    free(large);
    expect_size(before, 0);
    exit(5);
}

static void refusals(void) {
    static const int calls[] = {SYS_mmap,   SYS_munmap, SYS_madvise, SYS_mincore, SYS_process_vm_readv, SYS_gettid,    SYS_getpid,
                                SYS_tgkill, SYS_prctl,  SYS_openat,  SYS_lseek,   SYS_read,             SYS_close,     SYS_fcntl,
                                SYS_futex,  SYS_nanosleep, SYS_getrlimit, SYS_membarrier, SYS_sched_yield};
    const char *path = getenv("STRESS_OUTPUT");
    EXPECT(path, "STRESS_OUTPUT is not set");
    void *address;
    memcpy(&address, &shim.start, sizeof address);
    EXPECT(dl_iterate_phdr(find_shim, address) && shim_high >> 32 == shim_low >> 32, "the shim is not found");
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int again = 0; again < 2; again++) {
            pid_t child = fork();
            if (child == 0) go_on_without(calls[i], again ? ENOSYS : EPERM, path);
            int status = -1;
            waitpid(child, &status, 0);
            EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 5, "without call %d: 0x%x", calls[i], status);
            if (!again && calls[i] != SYS_mmap) EXPECT(!unlink(path), "without call %d: no image", calls[i]);
        }
}

/* ---- a program that closes all descriptors that it does not know, and its standard streams, while images are written ---- */

static void descriptors(void) {
    const char *path = getenv("STRESS_OUTPUT");
    char own[4096], text[65] = "";
    EXPECT(path && snprintf(own, sizeof own, "%s.own", path) < (int)sizeof own, "STRESS_OUTPUT is not set");
    enum { COUNT = 20000 };
    static void *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) blocks[i] = malloc(16 + (size_t)i);
    EXPECT(shim.output(path, "12345678", 8, 1, 0, 0) == TM_OK, "output");
    for (int i = 0; i < 1000 * scale + 100; i++) {
        close(0);
        close(1);
        syscall(SYS_close_range, 3, ~0u, 0);
        int file = open(own, O_RDWR | O_CREAT | O_TRUNC, 0600), words = sprintf(text, "%064d", i);
        EXPECT(file >= 0 && write(file, text, (size_t)words) == words, "the program's own file");
        usleep((unsigned)(i * 7919 % 300));
        char back[128];
        ssize_t got = pread(file, back, sizeof back, 0);
        EXPECT(got == words && !memcmp(back, text, (size_t)words), "something was written into the program's file: %zd bytes", got);
        close(file);
    }
    for (int i = 0; i < COUNT; i++) free(blocks[i]);
    unlink(own);
}

/* ---- another copy of the shim ---- */

static void *start_other(void *start) {
    int32_t (*other_start)(uint32_t, uint32_t);
    memcpy(&other_start, start, sizeof other_start);
    return (void *)(intptr_t)other_start(1, 0);
}

static void copies(void) {
    const char *path = getenv("STRESS_OTHER");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    EXPECT(library, "STRESS_OTHER: %s", dlerror());
    void *start_symbol = dlsym(library, "tracemalloc_start"), *stop_symbol = dlsym(library, "tracemalloc_stop");
    void *other_symbol = dlsym(library, "tracemalloc_other"), *result;
    int32_t (*other_start)(uint32_t, uint32_t), (*other_stop)(void), (*other_other)(char *, int32_t);
    memcpy(&other_start, &start_symbol, sizeof other_start);
    memcpy(&other_stop, &stop_symbol, sizeof other_stop);
    memcpy(&other_other, &other_symbol, sizeof other_other);
    char name[4096];
    EXPECT(other_other(name, sizeof name) > 0 && strstr(name, "libtracemalloc.so"), "the first is not seen");
    EXPECT(other_start(1, 0) == TM_ERROR_OTHER, "the second has started");
    uint64_t before = current();
    void *block = malloc(54323);
    expect_size(before, 54323);
    free(block);
    EXPECT(shim.stop() == TM_OK && other_other(name, sizeof name) == 0, "stop");
    EXPECT(other_start(1, 0) == TM_OK && shim.start(1, 0) == TM_ERROR_OTHER, "the first has started beside the second");
    EXPECT(other_stop() == TM_OK && shim.start(1, 0) == TM_OK, "start");
    /* Both at once: never are both at it. */
    for (int i = 0; i < 200 * scale + 20; i++) {
        pthread_t thread;
        shim.stop();
        EXPECT(!pthread_create(&thread, NULL, start_other, &start_symbol), "no thread");
        int32_t first = shim.start(1, 0);
        pthread_join(thread, &result);
        int32_t second = (int32_t)(intptr_t)result;
        EXPECT((first == TM_OK || first == TM_ERROR_OTHER) && (second == TM_OK || second == TM_ERROR_OTHER), "%d and %d", first, second);
        EXPECT(first != TM_OK || second != TM_OK, "both have started");
        other_stop();
    }
    shim.start(1, 0);
    before = current();
    expect_size(before, 0);
    block = malloc(54321);
    expect_size(before, 54321);
    free(block);
}

/* ---- whatever happens until standard input ends: calls are interrupted by a debugger, among others ---- */

static void until_told(void) {
    char byte;
    start_workers(3, until_stopped);
    printf("begun\n");
    fflush(stdout);
    struct pollfd input = {0, POLLIN, 0};
    while (poll(&input, 1, 1) <= 0 || read(0, &byte, 1) > 0) {
        shim.release(shim.snapshot());
        shim.clear();
    }
    stop_workers(3);
    free_shared();
    shim.clear();
    void *block = malloc(54323);
    expect_size(0, 54323);
    free(block);
}

/* ---- images of followed processes: run with TRACEMALLOC_FOLLOW ---- */

static void followed(void) {
    start_workers(4, until_stopped);
    for (int i = 0; i < 8; i++) {
        pid_t child = fork();
        if (child == 0) {
            static void *volatile kept;
            kept = malloc(1999917);
            if (i % 2) exit(kept ? 5 : 6);
            _exit(kept ? 5 : 6);
        }
        expect_child(child, 5);
        printf("%d\n", (int)child);
    }
    stop_workers(4);
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"threads", threads},         {"start_and_stop", start_and_stop}, {"signal_storm", signal_storm},
    {"forks", forks},             {"libraries", libraries},           {"thread_ends", thread_ends},
    {"small_stacks", small_stacks}, {"no_address_space", no_address_space}, {"ends", ends}, {"followed", followed},
    {"raw_forks", raw_forks},     {"refusals", refusals},             {"descriptors", descriptors}, {"until_told", until_told},
    {"copies", copies},
};

static void load(const char *path) {
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : RTLD_DEFAULT;
    EXPECT(library || !path, "%s", dlerror());
#define LOAD(name)                                              \
    do {                                                        \
        void *symbol = dlsym(library, "tracemalloc_" #name);    \
        EXPECT(symbol, "no tracemalloc_" #name);                \
        memcpy(&shim.name, &symbol, sizeof symbol);             \
    } while (0)
    LOAD(status);
    LOAD(start);
    LOAD(stop);
    LOAD(clear);
    LOAD(memory);
    LOAD(snapshot);
    LOAD(release);
    LOAD(track);
    LOAD(output);
}

int main(int count, char **arguments) {
    EXPECT(count > 1, "no test is named");
    if (getenv("SCALE")) scale = atoi(getenv("SCALE"));
    load(count > 2 ? arguments[2] : NULL);
    if (count > 2) EXPECT(shim.start(1, 0) == TM_OK, "start");
    EXPECT(shim.status() & TM_STATUS_TRACING, "not tracing");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!strcmp(tests[i].name, arguments[1])) {
            tests[i].run();
            return 0;
        }
    EXPECT(false, "no test %s", arguments[1]);
}
