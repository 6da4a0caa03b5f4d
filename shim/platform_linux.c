/* platform.h on Linux x86-64. System calls are made directly: errno belongs to the program. */
#include "platform.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <link.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if !defined(__linux__) || !defined(__x86_64__) || !defined(__LP64__)
#error "the shim knows Linux on x86-64 only"
#endif

static inline long call6(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define CALL3(n, a, b, c) call6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define FAILED(result) ((unsigned long)(result) > -4096ul)

#ifdef __SANITIZE_THREAD__ /* which must know of memory that is someone else's now */
#define MAP(...) ((long)mmap(__VA_ARGS__))
#define UNMAP(start, bytes) munmap(start, bytes)
#else
#define MAP(start, bytes, protection, flags, file, offset) \
    call6(SYS_mmap, start, (long)(bytes), protection, flags, file, offset)
#define UNMAP(start, bytes) CALL3(SYS_munmap, start, bytes, 0)
#endif

static size_t mapped;

void *os_map(size_t bytes) {
    long address = MAP(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (FAILED(address)) return NULL;
    __atomic_fetch_add(&mapped, bytes, __ATOMIC_RELAXED);
    return (void *)address;
}

void os_unmap(void *start, size_t bytes) {
    UNMAP(start, bytes);
    __atomic_fetch_sub(&mapped, bytes, __ATOMIC_RELAXED);
}

size_t os_mapped(void) { return __atomic_load_n(&mapped, __ATOMIC_RELAXED); }

void *os_map_large(size_t bytes) {
    char *start = os_map(2 * bytes);
    if (!start) return NULL;
    size_t before = -(uintptr_t)start & (bytes - 1);
    if (before) os_unmap(start, before);
    os_unmap(start + before + bytes, bytes - before);
    CALL3(SYS_madvise, start + before, bytes, MADV_HUGEPAGE);
    return start + before;
}

/* Filters may refuse any call. A page that is only read takes no memory. */
void os_discard(void *start, size_t bytes) {
    if (!FAILED(CALL3(SYS_madvise, start, bytes, MADV_DONTNEED))) return;
    for (uint64_t *word = start, *end = word + bytes / sizeof *word; word < end; word++)
        if (*word) *word = 0;
}

bool os_wipe_on_fork(void *start, size_t bytes) { return !FAILED(CALL3(SYS_madvise, start, bytes, MADV_WIPEONFORK)); }

size_t os_bytes_in_memory(uintptr_t low, uintptr_t high) {
    unsigned char pages[512];
    size_t bytes = 0;
    while (low < high) {
        size_t count = (high - low) / 4096 < sizeof pages ? (high - low) / 4096 : sizeof pages;
        if (!count) break;
        if (!FAILED(CALL3(SYS_mincore, low, count * 4096, pages)))
            for (size_t i = 0; i < count; i++) bytes += pages[i] & 1 ? 4096 : 0;
        low += count * 4096;
    }
    return bytes;
}

static int32_t process_id;

void os_forked(void) { process_id = 0; }

bool os_read(uintptr_t from, void *to, size_t bytes) {
    if (from < 4096 || from >= (1ull << 47)) return false;
    int32_t pid = __atomic_load_n(&process_id, __ATOMIC_RELAXED);
    if (!pid) {
        pid = (int32_t)CALL3(SYS_getpid, 0, 0, 0);
        __atomic_store_n(&process_id, pid, __ATOMIC_RELAXED);
    }
    struct iovec local = {to, bytes}, remote = {(void *)from, bytes};
    return call6(SYS_process_vm_readv, pid, (long)&local, 1, (long)&remote, 1, 0) == (long)bytes;
}

/* Where it is refused, one that no other thread has meanwhile: each has its control block in a page of its own. */
int32_t os_thread_id(void) {
    long id = CALL3(SYS_gettid, 0, 0, 0);
    return FAILED(id) ? -1 - (int32_t)(os_thread_pointer() >> 12 & INT32_MAX >> 1) : (int32_t)id;
}

bool os_thread_alive(int32_t id) { return CALL3(SYS_tgkill, CALL3(SYS_getpid, 0, 0, 0), id, 0) != -ESRCH; }

void os_thread_name(char out[16]) {
    memset(out, 0, 16);
    CALL3(SYS_prctl, PR_GET_NAME, out, 0);
}

/* ---- files ---- */

/* At the end of the first 64: for a number behind these the kernel makes a larger table, which takes 10 ms where there are threads. */
#define ASIDE 58

int os_set_aside(int file) {
    if (file < 0) return file;
    struct rlimit limit;
    bool much = !FAILED(CALL3(SYS_getrlimit, RLIMIT_NOFILE, &limit, 0)) && limit.rlim_cur > ASIDE;
    long aside = CALL3(SYS_fcntl, file, F_DUPFD_CLOEXEC, much ? ASIDE : STDERR_FILENO + 1);
    if (FAILED(aside) && file > STDERR_FILENO) return file;
    CALL3(SYS_close, file, 0, 0);
    return (int)aside;
}

static int open_to_read(const char *path) {
    return os_set_aside((int)call6(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0));
}

/* ---- /proc/self/maps, without stdio ---- */

static const char *hex(const char *text, const char *end, uint64_t *value) {
    uint64_t result = 0;
    for (; text < end; text++) {
        unsigned digit = (unsigned char)*text;
        if (digit - '0' < 10) digit -= '0';
        else if ((digit | 32) - 'a' < 6) digit = (digit | 32) - 'a' + 10;
        else break;
        result = result << 4 | digit;
    }
    *value = result;
    return text;
}

static const char *skip_field(const char *text, const char *end) {
    while (text < end && *text != ' ') text++;
    while (text < end && *text == ' ') text++;
    return text;
}

static bool parse_mapping(const char *line, const char *end, os_mapping *mapping, uint64_t *inode, uint64_t *device) {
    uint64_t low, high, offset, major, minor;
    const char *p = hex(line, end, &low);
    if (p >= end || *p++ != '-') return false;
    p = hex(p, end, &high);
    if (end - p < 6 || *p++ != ' ') return false;
    mapping->readable = p[0] == 'r';
    mapping->writable = p[1] == 'w';
    mapping->executable = p[2] == 'x';
    p = skip_field(p, end);
    p = hex(p, end, &offset);
    p = skip_field(p, end);
    p = hex(p, end, &major);
    if (p < end) p++;
    p = hex(p, end, &minor);
    p = skip_field(p, end);
    uint64_t number = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) number = number * 10 + (uint64_t)(*p - '0');
    while (p < end && *p == ' ') p++;
    mapping->low = low;
    mapping->high = high;
    mapping->file_offset = offset;
    mapping->file = number != 0;
    mapping->special = p < end && *p == '[';
    *inode = number;
    *device = major << 32 | minor;
    return true;
}

bool os_each_mapping(void (*each)(const os_mapping *, void *), void *context) {
    int file = open_to_read("/proc/self/maps");
    if (file < 0) return false;
    /* The program's image is known by the file at its entry point. */
    uintptr_t entry = getauxval(AT_ENTRY);
    uint64_t image_inode = 0, image_device = 0;
    bool ok = true;
    /* Two passes: the image's other mappings may come before the one with the entry point. */
    for (int pass = 0; pass < 2 && ok; pass++) {
        CALL3(SYS_lseek, file, 0, SEEK_SET);
        char buffer[512]; /* stacks can be small: of a line with a long path the beginning is enough */
        size_t filled = 0;
        bool rest = false; /* of such a line comes next */
        for (;;) {
            long got = CALL3(SYS_read, file, buffer + filled, sizeof buffer - filled);
            if (FAILED(got)) {
                ok = false;
                break;
            }
            filled += (size_t)got;
            size_t used = 0;
            for (;;) {
                char *line = buffer + used, *end = memchr(line, '\n', filled - used);
                bool cut = !end && !used && filled == sizeof buffer, skip = rest;
                if (!end && !cut) break;
                if (cut) end = buffer + filled;
                used = cut ? filled : (size_t)(end - buffer) + 1;
                rest = cut;
                if (skip) continue;
                os_mapping mapping;
                uint64_t inode, device;
                memset(&mapping, 0, sizeof mapping);
                if (!parse_mapping(line, end, &mapping, &inode, &device)) continue;
                if (pass == 0) {
                    if (entry >= mapping.low && entry < mapping.high) image_inode = inode, image_device = device;
                } else {
                    mapping.executable_image = inode && inode == image_inode && device == image_device;
                    each(&mapping, context);
                }
            }
            if (!got) break;
            memmove(buffer, buffer + used, filled - used);
            filled -= used;
        }
    }
    CALL3(SYS_close, file, 0, 0);
    return ok;
}

size_t os_address_space_left(void) {
    struct rlimit limit;
    if (FAILED(CALL3(SYS_getrlimit, RLIMIT_AS, &limit, 0)) || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
    int file = open_to_read("/proc/self/statm");
    if (file < 0) return limit.rlim_cur;
    char text[32]; /* the first number is the pages mapped */
    long got = CALL3(SYS_read, file, text, sizeof text);
    CALL3(SYS_close, file, 0, 0);
    size_t used = 0;
    for (long i = 0; i < got && text[i] >= '0' && text[i] <= '9'; i++) used = used * 10 + (size_t)(text[i] - '0');
    return used * 4096 < limit.rlim_cur ? limit.rlim_cur - used * 4096 : 0;
}

const char *os_missing(bool mappings) {
    static const uint64_t word = 1;
    uint64_t copy;
    if (!os_read((uintptr_t)&word, &copy, sizeof copy)) return "process_vm_readv is refused (a filter of seccomp?): allow it";
    int file = mappings ? open_to_read("/proc/self/maps") : 0;
    if (file < 0) return "/proc/self/maps cannot be read: mount /proc";
    if (mappings) CALL3(SYS_close, file, 0, 0);
    return NULL;
}

/* ---- stacks ---- */

struct bounds {
    uintptr_t inside, low;
};

static void find_low(const os_mapping *mapping, void *context) {
    struct bounds *bounds = context;
    if (bounds->inside >= mapping->low && bounds->inside < mapping->high) bounds->low = mapping->low;
}

void os_stack_bounds(uintptr_t *low, uintptr_t *high) {
    /*
     * pthread_getattr_np() is not to be used: it reallocates while it holds the thread's lock, and Rust
     * calls it at the start of a thread. glibc puts the thread's control block at the top of its stack.
     */
    extern void *__libc_stack_end;
    if (os_thread_id() == (int32_t)CALL3(SYS_getpid, 0, 0, 0)) {
        struct rlimit limit;
        uintptr_t span = 1ul << 30;
        if (!FAILED(CALL3(SYS_getrlimit, RLIMIT_STACK, &limit, 0)) && limit.rlim_cur < span) span = limit.rlim_cur;
        *high = (uintptr_t)__libc_stack_end;
        *low = *high - span; /* grows on demand: from the stack pointer up it is mapped */
        return;
    }
    *high = os_thread_pointer();
    struct bounds bounds = {*high - 1, *high};
    os_each_mapping(find_low, &bounds);
    *low = bounds.low;
}

/* ---- waiting ---- */

bool os_barrier_all(void) {
    static int registered; /* 1: yes, -1: refused */
    if (!__atomic_load_n(&registered, __ATOMIC_RELAXED)) {
        long result = CALL3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
        __atomic_store_n(&registered, FAILED(result) ? -1 : 1, __ATOMIC_RELAXED);
    }
    if (registered < 0) return false;
    return !FAILED(CALL3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
}

void os_yield(void) { CALL3(SYS_sched_yield, 0, 0, 0); }

void os_wait(const volatile uint32_t *word, uint32_t value, uint64_t milliseconds) {
    uint64_t seconds = milliseconds / 1000;
    struct timespec limit = {seconds < INT32_MAX ? (time_t)seconds : INT32_MAX, (long)(milliseconds % 1000) * 1000000};
    long result = call6(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)value, (long)&limit, 0, 0);
    if (result != -EPERM && result != -ENOSYS && result != -EACCES) return;
    limit = (struct timespec){0, 10000000}; /* a filter refuses it: whoever waits looks again and again */
    if (*word == value) CALL3(SYS_nanosleep, &limit, NULL, 0);
}

void os_wake_all(const volatile uint32_t *word) { CALL3(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX); }

uint64_t os_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what the process was started with ---- */

static size_t read_file(const char *path, char *out, size_t size) {
    int file = open_to_read(path);
    if (file < 0) return 0;
    size_t bytes = 0;
    while (bytes < size) {
        long got = CALL3(SYS_read, file, out + bytes, size - bytes);
        if (FAILED(got) || !got) break;
        bytes += (size_t)got;
    }
    CALL3(SYS_close, file, 0, 0);
    return bytes;
}

size_t os_initial_arguments(char *out, size_t size) { return read_file("/proc/self/cmdline", out, size); }
size_t os_initial_environment(char *out, size_t size) { return read_file("/proc/self/environ", out, size); }

/* ---- thread-local storage of the program ---- */

static int find_tls(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            size_t align = info->dlpi_phdr[i].p_align ? info->dlpi_phdr[i].p_align : 1;
            *(size_t *)context = (info->dlpi_phdr[i].p_memsz + align - 1) & ~(align - 1);
        }
    return 1; /* the first object is the program */
}

size_t os_static_tls_bytes(void) {
    size_t bytes = 0;
    dl_iterate_phdr(find_tls, &bytes);
    return bytes;
}
