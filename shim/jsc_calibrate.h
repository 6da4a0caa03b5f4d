/* The search for JavaScriptCore's layout; driven from JavaScript, step by step. */
#ifndef TM_JSC_CALIBRATE_H
#define TM_JSC_CALIBRATE_H

#include "tracemalloc.h"

#include <stdbool.h>

/* What a step returns: what was seen of the optimising tiers (1: DFG, 2: FTL), or this. */
#define TM_JSC_FAILED 0x80000000u

/* `arguments` are those of the native function as they are in memory, `fp` its frame. */
void tm_jsc_calibrate_begin(void);
uint32_t tm_jsc_calibrate_step(uint32_t step, const uint64_t *arguments, const uint64_t *fp, uintptr_t stack_high);
bool tm_jsc_calibrated(void);

#endif
