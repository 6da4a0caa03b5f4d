#include "tasks.h"

#ifdef TM_TEST_PERTURB
#include <stdio.h>
#include <stdlib.h>
#endif
#include <string.h>

#include "blocks.h"
#include "traces.h"
#include "v8.h"

/*
 * A task begins with its state, a link, and a pointer to what can be done with it: seven functions, then the offsets in
 * the task of what ends it, of its scheduler, and of its number. No two tasks of a process have the same number. While a
 * thread is at work on a task, it keeps the number in its thread-local storage. tokio src/runtime/task/core.rs, raw.rs.
 */
#define TASK_ALIGN 128
#define ONE_REFERENCE 64 /* in the state, above its flags; src/runtime/task/state.rs */
#define MOST_REFERENCES (1u << 24)
#define MOST_HEADER_BYTES 256
#define MOST_TASK_BYTES (1u << 24)
#define FUNCTION_POLL 0
#define FUNCTIONS 7
enum { OFFSET_TRAILER = FUNCTIONS, OFFSET_SCHEDULER, OFFSET_ID, OFFSET_PLACE, TABLE_WORDS };

typedef struct task {
    uintptr_t at;
    uint64_t id;
    uintptr_t poll; /* the function that works on it */
    uint32_t work_offset, trailer_offset; /* where what there is to do stands, with a tag, and where it ends */
} task;

typedef enum task_kind {
    TASK_OTHER, /* not of JavaScript, as far as is known */
    TASK_LINE,  /* started by what has the node */
    TASK_QUEUE, /* the runtime's own, which works on what others have put into it */
} task_kind;

/* What a thread knows of the task with the number. */
typedef struct task_row {
    uint64_t id; /* 0: none */
    uint32_t node;
    uint32_t uses; /* how often it is taken for what it is before it is looked for again; 0: for good */
    task_kind kind;
    uintptr_t at, poll;
    uintptr_t queue_poll; /* the function that works on the queue */
} task_row;

#define TASK_ROWS 64
#define USES_NOT_FOUND 64

/* The calls of a queue's function from which what is in the queue is worked on: how they are told where the waker is. */
typedef struct call_site {
    uintptr_t pc;
    int32_t disp;
    bool from_fp, known;
} call_site;

#define CALL_SITES 16

typedef struct tm_tasks {
    uint32_t generation, incarnation;
    uint32_t looks, wait; /* while the place of the number is not known */
    task_row rows[TASK_ROWS];
    task_row queue; /* the thread's, if it has one: it is at work on it between all others */
    call_site sites[CALL_SITES];
    uint64_t waker; /* the last that was seen to have functions */
} tm_tasks;

static tm_tasks *tasks_of(tm_thread *self) {
    if (tm_unlikely(!self->tasks)) {
        self->tasks = os_map(sizeof *self->tasks);
        if (!self->tasks) return NULL;
    }
    tm_tasks *own = self->tasks;
    if (tm_unlikely(own->generation != tm_traces_generation || own->incarnation != self->incarnation)) {
        memset(own, 0, sizeof *own);
        own->generation = tm_traces_generation;
        own->incarnation = self->incarnation;
    }
    return own;
}

/* ---- recognising ---- */

static bool is_function(uintptr_t address) {
    tm_code_region region;
    return tm_code_region_known(address, &region) && region.kind == TM_CODE_LIBRARY;
}

/* Is there a task at the address? Nothing is taken for granted of it, not even that it can be read. */
static bool read_task(uintptr_t at, task *out) {
    uint64_t head[3], table[TABLE_WORDS];
    if (!os_read(at, head, sizeof head)) return false;
    uint64_t references = head[0] / ONE_REFERENCE;
    if (!references || references > MOST_REFERENCES || head[1] % TASK_ALIGN || head[2] % 8) return false;
    if (!os_read(head[2], table, sizeof table)) return false;
    uint64_t trailer = table[OFFSET_TRAILER], scheduler = table[OFFSET_SCHEDULER], id = table[OFFSET_ID];
    if (scheduler < sizeof head || id < scheduler || id > MOST_HEADER_BYTES || trailer <= id || trailer > MOST_TASK_BYTES) return false;
    if ((trailer | scheduler | id) % 8) return false;
    for (int i = 0; i < FUNCTIONS; i++)
        if (!is_function(table[i])) return false;
    /* Some builds keep where in the source the task was started, behind the number. */
    uint64_t work = id + (table[OFFSET_PLACE] == id + 8 ? 16 : 8);
    if (trailer <= work) return false;
    *out = (task){at, 0, table[FUNCTION_POLL], (uint32_t)work, (uint32_t)trailer};
    return os_read(at + id, &out->id, sizeof out->id) && out->id;
}

static inline bool may_be_task(uint64_t word) { return word % TASK_ALIGN == 0 && word >= 0x10000 && word < 1ull << 47; }

/* Whoever works on a task has a pointer to it on the stack: what wakes it again. */
static bool find_on_stack(const tm_thread *self, const uint64_t *from, uint64_t id, task *out) {
    uint64_t rejected[4] = {0};
    unsigned next = 0;
    for (const uint64_t *at = from; (uintptr_t)at < self->stack_high; at++) {
        uint64_t size, word = *at;
        uint32_t node;
        if (tm_likely(!may_be_task(word))) continue;
        if (word == rejected[0] || word == rejected[1] || word == rejected[2] || word == rejected[3]) continue;
        if (tm_block_find(word, &size, &node) && read_task(word, out) && out->id == id && out->trailer_offset <= size) return true;
        rejected[next++ % 4] = word;
    }
    return false;
}

/* ---- where the number is kept ---- */

/*
 * The function that works on a task, or one that it calls, stores the number at a fixed distance from the thread pointer;
 * and there the number is, while the task is worked on.
 */
#define POLL_CODE_BYTES 512
#define CALLED_CODE_BYTES 192
#define MOST_PLACES 8
#define MOST_LOOKS 512
#define DENSE_LOOKS 16 /* of a thread; then: */
#define LOOKS_APART 256

static size_t tls_bytes; /* of the program, below the thread pointer; 0: there is nothing to look for */
static uint32_t looks;
static int32_t number_offset; /* from the thread pointer; 0: not known */
static tm_lock learning;

int32_t tm_tasks_offset(void) { return __atomic_load_n(&number_offset, __ATOMIC_ACQUIRE); }

static inline uint64_t number_at(int32_t offset) { return *(const volatile uint64_t *)(os_thread_pointer() + (uintptr_t)(intptr_t)offset); }

typedef struct places {
    int32_t offset[MOST_PLACES];
    uint32_t count;
} places;

static void add_place(places *found, int32_t offset) {
    if (offset >= 0 || offset % 8 || (uint32_t)-offset > tls_bytes) return;
    for (uint32_t i = 0; i < found->count; i++)
        if (found->offset[i] == offset) return;
    if (found->count < MOST_PLACES) found->offset[found->count++] = offset;
}

/* Where code stores words of thread-local storage, by the instruction mov %r64, %fs:disp32. */
static void find_stores(uintptr_t function, size_t bytes, bool and_called, places *found) {
    uint8_t code[POLL_CODE_BYTES];
    if (!is_function(function) || !os_read(function, code, bytes)) return;
    for (size_t i = 0; i + 9 <= bytes; i++) {
        int32_t disp;
        if (code[i] == 0x64 && (code[i + 1] & 0xfb) == 0x48 && code[i + 2] == 0x89 && (code[i + 3] & 0xc7) == 4 && code[i + 4] == 0x25) {
            memcpy(&disp, code + i + 5, sizeof disp);
            add_place(found, disp);
        } else if (and_called && code[i] == 0xe8) {
            memcpy(&disp, code + i + 1, sizeof disp);
            find_stores(function + i + 5 + (uintptr_t)(intptr_t)disp, CALLED_CODE_BYTES, false, found);
        }
    }
}

/* A shim built with TM_TEST_PERTURB finds the place wrong, as $TM_PERTURB says ("tasks_number 8"). */
static int32_t perturbed(int32_t offset) {
#ifdef TM_TEST_PERTURB
    const char *setting = getenv("TM_PERTURB");
    int by;
    if (setting && sscanf(setting, "tasks_number %d", &by) == 1) return offset + by;
#endif
    return offset;
}

/* Is it known from a task which the calling thread seems to be at work on? */
static bool learn_from(const task *task) {
    places found = {.count = 0};
    int32_t only = 0;
    find_stores(task->poll, POLL_CODE_BYTES, true, &found);
    for (uint32_t i = 0; i < found.count; i++) {
        if (number_at(found.offset[i]) != task->id) continue;
        if (only) return false;
        only = found.offset[i];
    }
    if (only) __atomic_store_n(&number_offset, perturbed(only), __ATOMIC_RELEASE);
    return only != 0;
}

#define MOST_SEEN 64

/* Looks at the tasks that the stack leads to. */
static void look(const tm_thread *self, const uint64_t *from) {
    uint64_t seen[MOST_SEEN];
    uint32_t count = 0;
    looks++;
    for (const uint64_t *at = from; (uintptr_t)at < self->stack_high && count < MOST_SEEN; at++) {
        if (!may_be_task(*at)) continue;
        bool again = false;
        for (uint32_t i = 0; i < count && !again; i++) again = seen[i] == *at;
        if (again) continue;
        seen[count++] = *at;
        task found;
        if (read_task(*at, &found) && learn_from(&found)) return;
    }
}

/* In the hook: not often where there is nothing to be seen. */
static __attribute__((noinline)) void learn(tm_thread *self, const uint64_t *fp) {
    tm_tasks *own = tasks_of(self);
    if (!own || (own->wait && own->wait--)) return;
    if (++own->looks > DENSE_LOOKS) own->wait = LOOKS_APART;
    if (__atomic_load_n(&looks, __ATOMIC_RELAXED) >= MOST_LOOKS || __atomic_exchange_n(&learning, 1, __ATOMIC_ACQUIRE)) return;
    if (!number_offset) look(self, fp);
    tm_lock_drop(&learning);
}

void tm_tasks_prepare(void) {
    tls_bytes = os_static_tls_bytes();
    const uint64_t *fp = __builtin_frame_address(0);
    if (tm_self && (uintptr_t)fp >= tm_self->stack_low && (uintptr_t)fp < tm_self->stack_high) learn(tm_self, fp);
}

/* ---- whose a task is ---- */

/* Of a traceback, what begins with its most recent line of JavaScript; 0: there is none, as far as is known. */
static uint32_t script_node(uint32_t node) {
    const tm_node_row *nodes = tm_node_rows();
    const tm_frame_row *frames = tm_frame_rows();
    if (node >= tm_node_count()) return 0;
    while (node && frames[nodes[node].frame].kind == TM_FRAME_NATIVE) node = nodes[node].parent;
    return node && frames[nodes[node].frame].kind == TM_FRAME_SCRIPT ? node : 0;
}

/* What is done by a trait object's functions: how it is dropped, its size and alignment, and the first function. Rust's. */
static bool read_trait(uint64_t table, uint64_t *size, uintptr_t *first) {
    uint64_t words[4];
    if (table % 8 || !may_be_task(table & ~127ull) || !os_read(table, words, sizeof words)) return false;
    if (words[0] && !is_function(words[0])) return false;
    if (!words[1] || words[1] > MOST_TASK_BYTES || !words[2] || words[2] & (words[2] - 1) || words[2] > 4096) return false;
    *size = words[1];
    *first = words[3];
    return is_function(words[3]);
}

#define MOST_BOXED_WORDS 7 /* of a task whose work stands in a block of its own */

/*
 * A task is its starter's, unless what there is to do stands in a block of its own that was somebody else's: the runtime has
 * made a queue for itself, and whoever is the first to use it starts its task. Where there is such a block, its address is
 * the first in the task, behind a tag; a trait object's is followed by that of its functions.
 */
static void judge(const task *task, uint32_t node, task_row *row) {
    uint32_t starter = script_node(node), block_node;
    row->at = task->at;
    row->poll = task->poll;
    row->uses = 0;
    if (!starter) return;
    uint64_t words[MOST_BOXED_WORDS + 1] = {0}, bytes = task->trailer_offset - task->work_offset, block_size, size = 0;
    if (bytes <= 8 * MOST_BOXED_WORDS) {
        if (!os_read(task->at + task->work_offset, words, bytes)) return;
        const uint64_t *block = words, *end = words + bytes / 8;
        while (block < end && (*block < 0x10000 || !(uint32_t)*block)) block++;
        bool known = block < end && tm_block_find(*block, &block_size, &block_node);
        uint32_t maker = known ? script_node(block_node) : 0;
        if (block < end && maker != starter) {
            if (!maker && read_trait(block[1], &size, &row->queue_poll) && (!known || size == block_size)) row->kind = TASK_QUEUE;
            return;
        }
    }
    row->node = node;
    row->kind = TASK_LINE;
}

static __attribute__((noinline)) void find_row(const tm_thread *self, tm_tasks *own, const uint64_t *fp, uint64_t id, task_row *row) {
    task found;
    uint64_t size;
    uint32_t node;
    *row = (task_row){.id = id, .kind = TASK_OTHER, .uses = USES_NOT_FOUND};
    if (find_on_stack(self, fp, id, &found) && tm_block_find(found.at, &size, &node)) judge(&found, node, row);
    if (row->kind == TASK_QUEUE) own->queue = *row;
}

static inline const task_row *row_of(const tm_thread *self, tm_tasks *own, const uint64_t *fp, uint64_t id) {
    if (own->queue.id == id) return &own->queue;
    task_row *row = &own->rows[id % TASK_ROWS];
    if (tm_unlikely(row->id != id || (row->uses && --row->uses == 0))) find_row(self, own, fp, id, row);
    return row;
}

/* ---- what is in a queue ---- */

#define MOST_FRAMES 4096
#define MOST_FUNCTION_BYTES 0x10000
#define MOST_ARGUMENT_BYTES 32 /* of code between where the argument is made and the call */

/*
 * Was the call before pc given the address of something in its caller's frame as its second or third argument? By the
 * instructions lea disp(%rbp) or disp(%rsp) to %rsi or %rdx, the last before the call.
 */
static call_site read_call(uintptr_t pc) {
    uint8_t code[MOST_ARGUMENT_BYTES + 8];
    call_site site = {.pc = pc};
    if (!os_read(pc - sizeof code, code, sizeof code)) return site;
    for (int i = (int)sizeof code - 6; i >= 0 && !site.known; i--) {
        const uint8_t *c = code + i;
        if (c[0] != 0x48 || c[1] != 0x8d) continue;
        uint8_t base = c[2] & 7, into = c[2] >> 3 & 7, mode = c[2] >> 6;
        if ((into != 2 && into != 6) || (mode != 1 && mode != 2) || (base != 5 && (base != 4 || c[3] != 0x24))) continue;
        const uint8_t *disp = c + (base == 4 ? 4 : 3);
        if (disp + (mode == 1 ? 1 : 4) > code + sizeof code - 2) continue;
        if (mode == 1) site.disp = (int8_t)*disp;
        else memcpy(&site.disp, disp, sizeof site.disp);
        site.from_fp = base == 5;
        site.known = true;
    }
    return site;
}

static const call_site *site_of(tm_tasks *own, uintptr_t pc) {
    call_site *site = &own->sites[pc % CALL_SITES];
    if (tm_unlikely(site->pc != pc)) *site = read_call(pc);
    return site;
}

/*
 * What is worked on by the call is told what wakes it, by a pointer to {&waker, &waker, nothing}; the waker is {functions,
 * data}, and while the call lasts, the data lives. Rust's core::task::Context and RawWaker. 0: it is not such a call.
 */
static uint64_t waker_data(const tm_thread *self, tm_tasks *own, uintptr_t pc, const uint64_t *callee, const uint64_t *frame) {
    const call_site *site = site_of(own, pc);
    if (!site->known) return 0;
    const uint64_t *context = (const uint64_t *)((site->from_fp ? (uintptr_t)frame : (uintptr_t)(callee + 2)) + (uintptr_t)(intptr_t)site->disp);
    if (context < callee + 2 || (uintptr_t)(context + 3) > (uintptr_t)frame || (uintptr_t)context % 8) return 0;
    const uint64_t *waker = (const uint64_t *)context[0];
    if (context[1] != context[0] || context[2] || (uintptr_t)waker % 8) return 0;
    if (waker < callee + 2 || (uintptr_t)waker > self->stack_high - 16) return 0;
    if (tm_unlikely(waker[0] != own->waker)) {
        uint64_t functions[4];
        if (waker[0] % 8 || !os_read(waker[0], functions, sizeof functions)) return 0;
        for (int i = 0; i < 4; i++)
            if (!is_function(functions[i])) return 0;
        own->waker = waker[0];
    }
    return waker[1];
}

/* Is the address of code in the function? It does not reach the other one. */
static inline bool is_in(uintptr_t pc, uintptr_t function, uintptr_t other) {
    return pc > function && pc - function < MOST_FUNCTION_BYTES && (other <= function || pc < other);
}

static inline bool holds(const uint64_t *from, const uint64_t *to, uint64_t word) {
    for (; from < to; from++)
        if (*from == word) return true;
    return false;
}

/*
 * The queue's function, called by the task's, works on something: that is a block with two reference counts before what
 * the waker leads to (Rust's Arc), allocated by whoever put it into the queue.
 */
static uint32_t queued_node(const tm_thread *self, tm_tasks *own, const task_row *row, const uint64_t *fp) {
    const uint64_t *frame = fp, *callee = NULL, *below;
    uintptr_t pc = 0, callee_pc;
    int left = MOST_FRAMES;
    do {
        below = callee;
        callee = frame;
        callee_pc = pc;
        if (!left-- || !tm_next_frame(&frame, &pc, self->stack_high)) return 0;
    } while (!is_in(pc, row->poll, row->queue_poll) || !holds(callee + 2, frame, row->at));
    /* It is the frame of the task's function; callee's code goes on at callee_pc, when what it called, below, returns. */
    if (!below || !is_in(callee_pc, row->queue_poll, row->poll)) return 0;
    uint64_t data = waker_data(self, own, callee_pc, below, callee), size;
    uint32_t node;
    if (data < 0x10000 || data % 8 || !tm_block_find(data - 16, &size, &node) || size <= 16) return 0;
    const uint64_t *counts = (const uint64_t *)(data - 16);
    if (!counts[0] || counts[0] > MOST_REFERENCES || !counts[1] || counts[1] > MOST_REFERENCES) return 0;
    return script_node(node) ? node : 0;
}

uint32_t tm_task_node(tm_thread *self, const uint64_t *fp) {
    int32_t offset = tm_tasks_offset();
    if (tm_unlikely(!offset)) {
        if (tls_bytes) learn(self, fp);
        return 0;
    }
    uint64_t id = number_at(offset);
    if (!id) return 0;
    tm_tasks *own = tasks_of(self);
    if (tm_unlikely(!own)) return 0;
    const task_row *row = row_of(self, own, fp, id);
    if (row->kind == TASK_LINE) return row->node;
    return row->kind == TASK_QUEUE && tm_v8.frame_pointers ? queued_node(self, own, row, fp) : 0;
}
