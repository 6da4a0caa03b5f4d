#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "thread.h"

#define PATH_BYTES 4096
/* Milliseconds that the end of the process waits for its image at the most. */
#define LONGEST_END 30000
/* Milliseconds between looks at the traced memory. */
#define SIZE_INTERVAL 100
/* Milliseconds after an image of the program's own doing in which there is no other: the engine may be on its way out. */
#define SAVED_INTERVAL 5000

/* ---- settings: written before the process is published as their owner ---- */

static int32_t owner; /* the process they are of; 0: none */
static bool children; /* have images of their own */
static int32_t forked; /* this process, where it is the child of a fork */
static char output_path[PATH_BYTES];
static const void *head; /* what stands before an image in a file */
static uint64_t head_bytes;
static uint64_t every_milliseconds, every_bytes;
static bool has_writer;

static tm_lock file_lock; /* one file at a time */
static uint64_t saved_at; /* when the program itself wrote the image of its end; 0: it did not */
static bool ended;        /* the last image is written */

/* ---- files ---- */

static int32_t begin_file(const char *path, char unfinished[PATH_BYTES], int *file) {
    int length = snprintf(unfinished, PATH_BYTES, "%s.unfinished", path);
    if (length < 0 || length >= PATH_BYTES) return -ENAMETOOLONG;
    /* What was left there is no file of ours to write into, whoever it belongs to. */
    if (unlink(unfinished) && errno != ENOENT) return -errno;
    int opened = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (opened < 0) return -errno;
    *file = os_set_aside(opened);
    if (*file < 0) unlink(unfinished);
    return *file < 0 ? *file : TM_OK;
}

static int32_t end_file(const char *path, const char *unfinished, int file, bool ok) {
    int error = ok ? 0 : errno;
    if (close(file) && ok) ok = false, error = errno;
    if (ok && rename(unfinished, path)) ok = false, error = errno;
    if (!ok) unlink(unfinished);
    return ok ? TM_OK : -error;
}

int32_t tracemalloc_save(const char *path, const void *first, uint64_t first_bytes, const void *second, uint64_t second_bytes) {
    char unfinished[PATH_BYTES];
    int file;
    tm_lock_take(&file_lock);
    int32_t result = begin_file(path, unfinished, &file);
    if (result == TM_OK) {
        bool ok = tm_write_all(file, first, first_bytes) && tm_write_all(file, second, second_bytes);
        result = end_file(path, unfinished, file, ok);
    }
    if (result == TM_OK) saved_at = os_milliseconds();
    tm_lock_drop(&file_lock);
    return result;
}

static void write_image(const char *path) {
    char unfinished[PATH_BYTES];
    int file;
    tm_lock_take(&tm_here.control_lock);
    tm_lock_take(&file_lock);
    if (tm_here.gate != TM_GATE_OFF && begin_file(path, unfinished, &file) == TM_OK)
        end_file(path, unfinished, file, tm_write_all(file, head, head_bytes) && tm_image_write(file));
    tm_lock_drop(&file_lock);
    tm_lock_drop(&tm_here.control_lock);
}

/* ---- the writer: a thread of ours, which no lock of the program's stops, nor a handler that interrupts a hook ---- */

enum { DEMAND = 1, END = 2 };
static volatile uint32_t wanted;
static volatile uint32_t ends_served;
static volatile bool goes_on;    /* the process may, after what is taken for its end */
static volatile int32_t dies_by; /* a signal that is to end the process once its image is written */
static uint32_t demands;

static void want(uint32_t what) {
    __atomic_or_fetch(&wanted, what, __ATOMIC_RELEASE);
    os_wake_all(&wanted);
}

static void die_by(int signal_number) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t only;
    sigaction(signal_number, &action, NULL);
    sigemptyset(&only);
    sigaddset(&only, signal_number);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    kill(getpid(), signal_number);
}

static void serve_end(void) {
    if (!ended) write_image(output_path);
    ended = !goes_on;
    __atomic_add_fetch(&ends_served, 1, __ATOMIC_RELEASE);
    os_wake_all(&ends_served);
    if (dies_by) die_by(dies_by);
}

static void serve_demand(void) {
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s.on-demand.%u", output_path, ++demands);
    if (length > 0 && length < PATH_BYTES) write_image(path);
}

/* Has it been long enough, or has the size changed enough, since the last image? */
static bool is_due(uint64_t since, int64_t size) {
    uint64_t now = os_milliseconds();
    if (ended || (saved_at && now - saved_at < SAVED_INTERVAL)) return false;
    int64_t change = tm_traced_roughly() - size;
    return (every_milliseconds && now - since >= every_milliseconds) ||
           (every_bytes && (uint64_t)(change < 0 ? -change : change) >= every_bytes);
}

static uint64_t until_next_look(uint64_t since) {
    uint64_t left = UINT64_MAX, passed = os_milliseconds() - since;
    if (every_milliseconds) left = passed < every_milliseconds ? every_milliseconds - passed : 1;
    return every_bytes && left > SIZE_INTERVAL ? SIZE_INTERVAL : left;
}

static void *write_for_ever(void *unused) {
    (void)unused;
    tracemalloc_mute(1);
    uint64_t since = os_milliseconds();
    int64_t size = tm_traced_roughly();
    for (;;) {
        os_wait(&wanted, 0, until_next_look(since));
        uint32_t now = __atomic_exchange_n(&wanted, 0, __ATOMIC_ACQUIRE);
        if (now & END) serve_end();
        if (now & DEMAND && !ended) serve_demand();
        if (is_due(since, size)) {
            write_image(output_path);
            since = os_milliseconds();
            size = tm_traced_roughly();
        }
    }
    return NULL;
}

static void after_fork_in_child(void) {
    forked = getpid();
    file_lock = 0;
    ended = false;
    saved_at = 0;
}

static bool start_writer(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    tm_thread *self = tm_hide_begin();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals are its own threads' */
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool ok = false;
    /* What threads of the program have as their own storage comes out of the stack. */
    for (size_t bytes = 256 * 1024; !ok && bytes <= 8 * 1024 * 1024; bytes *= 4) {
        pthread_attr_setstacksize(&attributes, bytes);
        ok = pthread_create(&thread, &attributes, write_for_ever, NULL) == 0;
    }
    if (ok) pthread_setname_np(thread, "tracemalloc");
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    tm_hide_end(self);
    return ok;
}

/* ---- the end ---- */

static void end_of_child(int32_t process) {
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s.%d", output_path, process);
    if (length > 0 && length < PATH_BYTES) write_image(path);
    ended = true;
}

void tm_output_end(void) {
    if (!owner || ended || (tm_self && tm_self->busy)) return;
    int error = errno;
    int32_t process = getpid();
    /* The child of a fork has no writer. That of a vfork is another process, but its memory is its parent's. */
    if (process != owner || !has_writer) {
        if (children && (process == forked || process == owner)) end_of_child(process);
    } else {
        uint32_t before = ends_served;
        uint64_t begun = os_milliseconds();
        want(END);
        while (ends_served == before && os_milliseconds() - begun < LONGEST_END) os_wait(&ends_served, before, SIZE_INTERVAL);
    }
    errno = error;
}

void tm_output_likely_end(void) {
    goes_on = true;
    tm_output_end();
    goes_on = false;
}

void tm_output_exit(void) {
    if (!saved_at) tm_output_end();
    /* The signal was there before the exit; its image is written, or was saved by the program. */
    if (dies_by && owner == getpid()) die_by(dies_by);
}

/* A program that returns from main() does not call exit() itself. */
__attribute__((destructor)) static void at_exit(void) { tm_output_exit(); }

/* ---- signals ---- */

/* Runtimes that take a signal over may still call who had it before: it is no longer ours to act on. */
static bool is_ours(int signal_number, void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction now;
    return owner == getpid() && !sigaction(signal_number, NULL, &now) && now.sa_sigaction == handler;
}

static void on_demand(int signal_number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    if (is_ours(signal_number, on_demand)) want(DEMAND);
}

/* Was it sent by the program itself, which is not to go on behind that, and does this thread hold nothing of ours? */
static bool can_wait(const siginfo_t *info) {
    return info->si_pid == owner && !(tm_self && tm_self->busy) && !__atomic_load_n(&tm_here.control_lock, __ATOMIC_RELAXED);
}

/*
 * A fault, or a signal from outside. Whatever this thread holds, the writer may need: only after a fault, when it cannot go
 * on, and where it holds nothing it waits here.
 */
static void on_end(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    if (owner != getpid()) {
        die_by(signal_number);
    } else if (is_ours(signal_number, on_end)) {
        if (info->si_code > 0 || signal_number == SIGABRT || can_wait(info)) {
            tm_output_end();
            die_by(signal_number);
        } else {
            dies_by = signal_number;
            want(END);
        }
    }
}

/* Only where nobody else handles the signal. */
static bool handle(int signal_number, void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return !sigaction(signal_number, NULL, &before) && before.sa_handler == SIG_DFL &&
           !sigaction(signal_number, &action, NULL);
}

/*
 * Runtimes handle faults: they may be WebAssembly's, or tell of a stack that is full. Who had the signal before goes first;
 * where it then leaves the fault to the system, which ends the process, or to another, it is not to come again unseen.
 */
static struct sigaction before_us[NSIG];

static void on_fault(int signal_number, siginfo_t *info, void *context) {
    struct sigaction ours, *before = &before_us[signal_number], now;
    sigaction(signal_number, NULL, &ours);
    before->sa_sigaction(signal_number, info, context);
    if (sigaction(signal_number, NULL, &now)) return;
    if (now.sa_handler == SIG_DFL) {
        tm_output_end();
    } else if (now.sa_sigaction != on_fault && ours.sa_sigaction == on_fault && now.sa_flags & SA_SIGINFO) {
        *before = now;
        sigaction(signal_number, &ours, NULL);
    }
}

static void handle_fault(int signal_number) {
    struct sigaction action, *before = &before_us[signal_number];
    if (sigaction(signal_number, NULL, before)) return;
    if (before->sa_handler == SIG_DFL) {
        handle(signal_number, on_end);
    } else if (before->sa_flags & SA_SIGINFO) {
        action = *before;
        action.sa_sigaction = on_fault;
        sigaction(signal_number, &action, NULL);
    }
}

/* ---- settings ---- */

static void install_fork_handler(void) {
    static bool installed;
    if (installed) return;
    installed = true;
    tm_thread *self = tm_hide_begin();
    pthread_atfork(NULL, NULL, after_fork_in_child);
    tm_hide_end(self);
}

int32_t tracemalloc_output(const char *path, const void *first, uint64_t first_bytes, uint64_t milliseconds, uint64_t bytes,
                           int32_t signal_number) {
    if (tm_here.gate == TM_GATE_OFF || has_writer || strlen(path) >= PATH_BYTES) return TM_ERROR_STATE;
    void *copy = os_map(first_bytes + 1);
    if (!copy) return TM_ERROR_NO_MEMORY;
    memcpy(copy, first, first_bytes);
    head = copy;
    head_bytes = first_bytes;
    strcpy(output_path, path);
    every_milliseconds = milliseconds;
    every_bytes = bytes;
    owner = getpid();
    install_fork_handler();
    has_writer = start_writer();
    if (!has_writer) {
        owner = 0;
        return TM_ERROR_NO_MEMORY;
    }
    static const int ends[] = {SIGABRT, SIGALRM, SIGFPE, SIGHUP, SIGILL,  SIGINT,
                               SIGQUIT, SIGSYS,  SIGTERM, SIGTRAP, SIGXCPU, SIGXFSZ};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends[i] != signal_number) handle(ends[i], on_end);
    handle_fault(SIGSEGV);
    handle_fault(SIGBUS);
    return !signal_number || handle(signal_number, on_demand) ? TM_OK : TM_ERROR_SIGNAL;
}

void tracemalloc_output_done(void) { ended = true; }

void tm_output_of_children(const char *path) {
    if (strlen(path) >= PATH_BYTES) return;
    static const char no_head[8];
    strcpy(output_path, path);
    if (!head_bytes) head = no_head, head_bytes = sizeof no_head;
    children = true;
    owner = getpid();
    install_fork_handler();
}
