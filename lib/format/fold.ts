import type { TraceRows } from "./decoder.ts";

/** What one pass of the radix sort orders by: as many places to write to as stay in the first cache. */
const DIGIT_BITS = 11;
const DIGITS = 1 << DIGIT_BITS;
/** Rows after which folding by hash must have shown that rows are alike. */
const TRIAL = 1 << 16;

/**
 * The same traces in the order of traceback, domain and size, alike ones as one row.
 *
 * Rows with a count that is not whole stay by themselves, so that no weight is rounded. Rows that are in order
 * already are given back as they are.
 */
export function foldRows(rows: TraceRows): TraceRows {
  if (isFolded(rows)) return rows;
  return mergeNeighbours(sortRows(mergeAlike(rows)));
}

function isFolded({ domain, size, count, traceback }: TraceRows): boolean {
  for (let i = 1; i < size.length; i++) {
    const order = traceback[i]! - traceback[i - 1]! || domain[i]! - domain[i - 1]! || size[i]! - size[i - 1]!;
    if (order < 0) return false;
    if (order === 0 && (mergeable(count[i]!, count[i - 1]!) || fraction(count[i - 1]!) > fraction(count[i]!))) {
      return false;
    }
  }
  return true;
}

function mergeable(a: number, b: number): boolean {
  return Number.isInteger(a) && Number.isInteger(b) && a + b <= Number.MAX_SAFE_INTEGER;
}

/** 1 for a count that is not whole: such rows come after those with which they cannot be merged. */
function fraction(count: number): number {
  return Number.isInteger(count) ? 0 : 1;
}

/** Merges rows through a hash table, as far as that pays; the order is that of first occurrence. */
function mergeAlike(rows: TraceRows): TraceRows {
  const { domain, size, count, traceback } = rows;
  const length = size.length;
  let out = allocate(Math.min(length, 4096));
  let distinct = 0;
  // Row number + 1 in `out`; open addressing.
  let slots = new Uint32Array(16384);
  let mask = slots.length - 1;
  for (let i = 0; i < length; i++) {
    if (i === TRIAL && distinct > TRIAL / 2) return rows;
    const ofDomain = domain[i]!;
    const ofSize = size[i]!;
    const ofTraceback = traceback[i]!;
    const ofCount = count[i]!;
    // Rows that merge with none stay out of the table: alike ones would make ever longer searches.
    let slot = -1;
    if (Number.isInteger(ofCount)) {
      slot = hashRow(ofDomain, ofSize, ofTraceback) & mask;
      let found = slots[slot]!;
      while (
        found !== 0 &&
        (out.size[found - 1] !== ofSize || out.traceback[found - 1] !== ofTraceback ||
          out.domain[found - 1] !== ofDomain || !mergeable(out.count[found - 1]!, ofCount))
      ) {
        slot = slot + 1 & mask;
        found = slots[slot]!;
      }
      if (found !== 0) {
        out.count[found - 1]! += ofCount;
        continue;
      }
    }
    if (distinct === out.size.length) out = grow(out, Math.min(length, 2 * distinct));
    out.domain[distinct] = ofDomain;
    out.size[distinct] = ofSize;
    out.count[distinct] = ofCount;
    out.traceback[distinct] = ofTraceback;
    distinct++;
    if (slot >= 0) slots[slot] = distinct;
    if (2 * distinct > slots.length) {
      slots = rehash(out, distinct, 4 * slots.length);
      mask = slots.length - 1;
    }
  }
  return slice(out, distinct);
}

function hashRow(domain: number, size: number, traceback: number): number {
  let hash = Math.imul(traceback, 0x9e3779b1) ^ Math.imul(size >>> 0, 0x85ebca6b) ^ Math.imul(domain, 0xc2b2ae35);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return hash ^ hash >>> 13;
}

function rehash(rows: TraceRows, length: number, size: number): Uint32Array<ArrayBuffer> {
  const slots = new Uint32Array(size);
  for (let i = 0; i < length; i++) {
    if (!Number.isInteger(rows.count[i]!)) continue;
    let slot = hashRow(rows.domain[i]!, rows.size[i]!, rows.traceback[i]!) & size - 1;
    while (slots[slot] !== 0) slot = slot + 1 & size - 1;
    slots[slot] = i + 1;
  }
  return slots;
}

/** Sorts stably by traceback, domain, size, and whole counts before others, the least significant digit first. */
function sortRows(rows: TraceRows): TraceRows {
  const length = rows.size.length;
  const low = new Uint32Array(length);
  const high = new Uint32Array(length);
  const fractions = new Uint32Array(length);
  for (let i = 0; i < length; i++) {
    const size = rows.size[i]!;
    low[i] = size;
    high[i] = size / 0x1_0000_0000;
    fractions[i] = fraction(rows.count[i]!);
  }
  let order = new Uint32Array(length);
  for (let i = 0; i < length; i++) order[i] = i;
  let spare = new Uint32Array(length);
  const starts = new Uint32Array(DIGITS);
  for (const key of [fractions, low, high, rows.domain, rows.traceback]) {
    let all = 0;
    for (let i = 0; i < length; i++) all |= key[i]!;
    for (let shift = 0; shift < 32 && all >>> shift !== 0; shift += DIGIT_BITS) {
      starts.fill(0);
      for (let i = 0; i < length; i++) starts[key[i]! >>> shift & DIGITS - 1]!++;
      let sum = 0;
      for (let digit = 0; digit < DIGITS; digit++) {
        const here = starts[digit]!;
        starts[digit] = sum;
        sum += here;
      }
      for (let i = 0; i < length; i++) {
        const row = order[i]!;
        const digit = key[row]! >>> shift & DIGITS - 1;
        spare[starts[digit]!++] = row;
      }
      [order, spare] = [spare, order];
    }
  }
  const sorted = allocate(length);
  for (let i = 0; i < length; i++) {
    const row = order[i]!;
    sorted.domain[i] = rows.domain[row]!;
    sorted.size[i] = rows.size[row]!;
    sorted.count[i] = rows.count[row]!;
    sorted.traceback[i] = rows.traceback[row]!;
  }
  return sorted;
}

/** Merges alike rows that stand side by side, in place. */
function mergeNeighbours(rows: TraceRows): TraceRows {
  const { domain, size, count, traceback } = rows;
  let last = -1;
  for (let i = 0; i < size.length; i++) {
    if (
      last >= 0 && size[i] === size[last] && traceback[i] === traceback[last] && domain[i] === domain[last] &&
      mergeable(count[i]!, count[last]!)
    ) {
      count[last]! += count[i]!;
      continue;
    }
    last++;
    domain[last] = domain[i]!;
    size[last] = size[i]!;
    count[last] = count[i]!;
    traceback[last] = traceback[i]!;
  }
  return slice(rows, last + 1);
}

function allocate(length: number): TraceRows {
  return {
    domain: new Uint32Array(length),
    size: new Float64Array(length),
    count: new Float64Array(length),
    traceback: new Uint32Array(length),
  };
}

function grow(rows: TraceRows, length: number): TraceRows {
  const grown = allocate(length);
  grown.domain.set(rows.domain);
  grown.size.set(rows.size);
  grown.count.set(rows.count);
  grown.traceback.set(rows.traceback);
  return grown;
}

function slice(rows: TraceRows, length: number): TraceRows {
  return {
    domain: rows.domain.subarray(0, length),
    size: rows.size.subarray(0, length),
    count: rows.count.subarray(0, length),
    traceback: rows.traceback.subarray(0, length),
  };
}
