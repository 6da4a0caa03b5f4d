/* What a platform must supply. Everything here may be called from inside malloc. */
#ifndef TM_PLATFORM_H
#define TM_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed pages, backed by memory only once touched; NULL when there are none. */
void *os_map(size_t bytes);
/* Aligned to its size, a power of 2 of at least 2 MiB, and backed by large pages where the system has them. */
void *os_map_large(size_t bytes);
void os_unmap(void *start, size_t bytes);
/* The pages read as zero again, and take no memory. */
void os_discard(void *start, size_t bytes);
/* The pages read as zero in the child of a fork, however it was made. False: not to be had. */
bool os_wipe_on_fork(void *start, size_t bytes);

/* Bytes of address space that the functions above have taken and not given back. */
size_t os_mapped(void);

/* Of mapped pages, how much is in memory. */
size_t os_bytes_in_memory(uintptr_t low, uintptr_t high);

/* Bytes that the process may still map; SIZE_MAX: there is no limit. */
size_t os_address_space_left(void);

/* Copies [from, from + bytes) if all of it is readable; never faults. */
bool os_read(uintptr_t from, void *to, size_t bytes);

/* What the system does not give of os_read() and, if asked for, of os_each_mapping(), and what to do; NULL: all is there. */
const char *os_missing(bool mappings);

int32_t os_thread_id(void);
bool os_thread_alive(int32_t id);
/* At most 15 bytes and a NUL. */
void os_thread_name(char out[16]);
/* The calling thread's stack: [low, high). */
void os_stack_bounds(uintptr_t *low, uintptr_t *high);
/* x86-64; it is asked for on every call. */
static inline uintptr_t os_thread_pointer(void) {
    uintptr_t pointer;
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
    return pointer;
}

/* After it returns, every other thread has passed a full memory barrier. False: not to be had. */
bool os_barrier_all(void);
void os_yield(void);
/* Sleeps while *word == value, for so long at the most (may wake early). */
void os_wait(const volatile uint32_t *word, uint32_t value, uint64_t milliseconds);
void os_wake_all(const volatile uint32_t *word);
uint64_t os_milliseconds(void);

typedef struct os_mapping {
    uintptr_t low, high;
    uint64_t file_offset;
    bool readable, writable, executable;
    bool file;       /* backed by a file */
    bool executable_image; /* that file is the program itself */
    bool special;    /* [stack], [vdso] and the like */
} os_mapping;

/* All mappings of the process in order of address. False when they cannot be read. */
bool os_each_mapping(void (*each)(const os_mapping *mapping, void *context), void *context);

/* What the program's own image takes of each thread's static thread-local storage: [pointer - bytes, pointer). */
size_t os_static_tls_bytes(void);

/*
 * The same open file by a number that the program hardly comes across: none of its standard streams, even where these are
 * closed, nor of those that it is given next. Closes `file`; negative: the error, or that `file` was none.
 */
int os_set_aside(int file);

/* What the process was started with, as it was then: strings with their NULs, as much as fits; how many bytes. */
size_t os_initial_arguments(char *out, size_t size);
size_t os_initial_environment(char *out, size_t size);

/* To be called in the child of a fork. */
void os_forked(void);

#endif
