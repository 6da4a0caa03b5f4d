#include "side.h"

static tm_side_block *rows;
static size_t capacity, used, live;
static tm_lock lock; /* one for all: such blocks are rare */

static size_t place(uint32_t domain, uintptr_t address) {
    return tm_hash64(address + (uint64_t)domain * 0xC2B2AE3D27D4EB4Full) >> 20;
}

static bool grow(void) {
    size_t wanted = 256;
    while (wanted < live * 4) wanted *= 2;
    tm_side_block *fresh = os_map(wanted * sizeof *fresh);
    if (!fresh) return false;
    for (size_t i = 0; i < capacity; i++) {
        if (!rows[i].node) continue;
        size_t at = place(rows[i].domain, rows[i].address) & (wanted - 1);
        while (fresh[at].used) at = (at + 1) & (wanted - 1);
        fresh[at] = rows[i];
    }
    if (rows) os_unmap(rows, capacity * sizeof *rows);
    rows = fresh;
    capacity = wanted;
    used = live;
    return true;
}

static tm_side_block *find(uint32_t domain, uintptr_t address) {
    if (!capacity) return NULL;
    size_t at = place(domain, address) & (capacity - 1);
    for (; rows[at].used; at = (at + 1) & (capacity - 1))
        if (rows[at].node && rows[at].address == address && rows[at].domain == domain) return &rows[at];
    return NULL;
}

uint64_t tm_side_put(uint32_t domain, uintptr_t address, uint64_t size, uint32_t node) {
    uint64_t before = 0;
    tm_lock_take(&lock);
    tm_side_block *block = find(domain, address);
    if (block) {
        before = block->size;
    } else if (used * 2 < capacity || grow()) {
        size_t at = place(domain, address) & (capacity - 1);
        while (rows[at].used) at = (at + 1) & (capacity - 1);
        block = &rows[at];
        *block = (tm_side_block){.address = address, .domain = domain, .used = true};
        used++;
        live++;
    }
    if (block) {
        block->size = size;
        block->node = node;
    }
    tm_lock_drop(&lock);
    return block ? before : TM_SIDE_FAILED;
}

static bool look(uint32_t domain, uintptr_t address, uint64_t *size, uint32_t *node, bool take) {
    tm_lock_take(&lock);
    tm_side_block *block = find(domain, address);
    if (block) {
        *size = block->size;
        *node = block->node;
        if (take) {
            block->node = 0;
            live--;
        }
    }
    tm_lock_drop(&lock);
    return block != NULL;
}

bool tm_side_take(uint32_t domain, uintptr_t address, uint64_t *size, uint32_t *node) {
    return look(domain, address, size, node, true);
}

bool tm_side_find(uint32_t domain, uintptr_t address, uint64_t *size, uint32_t *node) {
    return look(domain, address, size, node, false);
}

bool tm_tracked_put(tm_thread *self, uint32_t domain, uintptr_t address, uint64_t size, uint32_t node) {
    uint64_t before = tm_side_put(domain, address, size, node);
    if (before == TM_SIDE_FAILED) return false;
    tm_account(self, (int64_t)(size - before));
    return true;
}

bool tm_tracked_take(tm_thread *self, uint32_t domain, uintptr_t address) {
    uint64_t size;
    uint32_t node;
    if (!tm_side_take(domain, address, &size, &node)) return false;
    tm_account(self, -(int64_t)size);
    return true;
}

void tm_tracked_drop(tm_thread *self, uint32_t domain, uintptr_t first, uintptr_t last) {
    tm_lock_take(&lock);
    for (size_t i = 0; i < capacity; i++) {
        if (!rows[i].node || rows[i].domain != domain || rows[i].address < first || rows[i].address > last) continue;
        tm_account(self, -(int64_t)rows[i].size);
        rows[i].node = 0;
        live--;
    }
    tm_lock_drop(&lock);
}

const tm_side_block *tm_side_rows(size_t *count) {
    *count = capacity;
    return rows;
}

void tm_side_clear(void) {
    if (rows) os_unmap(rows, capacity * sizeof *rows);
    rows = NULL;
    capacity = used = live = 0;
}

size_t tm_side_bytes(void) { return capacity * sizeof *rows; }
