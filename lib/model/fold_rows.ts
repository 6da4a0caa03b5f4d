import { startsOf } from "./starts_of.ts";

/** Rows of traces, as in {@linkcode SnapshotColumns}. */
export interface TraceRows {
  readonly domain: Uint32Array;
  readonly size: Float64Array;
  readonly count: Float64Array;
  readonly traceback: Uint32Array;
}

/**
 * The same traces in the order of traceback, domain and size, alike ones as one row.
 *
 * Rows with a count that is not whole stay by themselves, so that no weight is rounded. Rows that are in order
 * already are given back as they are. Takes memory for the greatest number of a traceback, too.
 */
export function foldRows(rows: TraceRows): TraceRows {
  return isFolded(rows) ? rows : sortRows(mergeAlike(rows));
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

/**
 * Merges alike rows; the others stay in the order of nothing but their traceback.
 *
 * Rows are many, those of one traceback few. So rows are first dealt out to their tracebacks, which reads every column
 * from its start to its end and writes it once, and then the rows of a traceback are looked up in a table that stays
 * in the first cache.
 */
function mergeAlike(rows: TraceRows): TraceRows {
  const rowCounts = countKeys(rows.traceback, greatest(rows.traceback) + 1);
  const ends = startsOf(rowCounts);
  const places = new Uint32Array(rows.traceback.length);
  for (let i = 0; i < places.length; i++) places[i] = ends[rows.traceback[i]!]!++;
  const sizes = dealFloat64(rows.size, places);
  const counts = dealFloat64(rows.count, places);
  const domains = dealUint32(rows.domain, places);
  const { domain, size, count, traceback } = allocate(sizes.length);
  /** Numbers of merged rows plus 1; those up to `from` are of tracebacks before and mean nothing. */
  const slots = new Uint32Array(slotsFor(greatest(rowCounts)));
  let to = 0;
  for (let ofTraceback = 0; ofTraceback < ends.length; ofTraceback++) {
    const from = to;
    const end = ends[ofTraceback]!;
    const mask = slotsFor(rowCounts[ofTraceback]!) - 1;
    for (let i = end - rowCounts[ofTraceback]!; i < end; i++) {
      const ofDomain = domains[i]!;
      const ofSize = sizes[i]!;
      const ofCount = counts[i]!;
      if (Number.isInteger(ofCount)) {
        let slot = hashRow(ofDomain, ofSize) & mask;
        let row = slots[slot]! - 1;
        while (row >= from && (size[row] !== ofSize || domain[row] !== ofDomain)) {
          slot = slot + 1 & mask;
          row = slots[slot]! - 1;
        }
        if (row >= from && count[row]! + ofCount <= Number.MAX_SAFE_INTEGER) {
          count[row]! += ofCount;
          continue;
        }
        slots[slot] = to + 1;
      }
      domain[to] = ofDomain;
      size[to] = ofSize;
      count[to] = ofCount;
      traceback[to++] = ofTraceback;
    }
  }
  return {
    domain: domain.subarray(0, to),
    size: size.subarray(0, to),
    count: count.subarray(0, to),
    traceback: traceback.subarray(0, to),
  };
}

/** A power of 2, so that of the slots for so many rows at least half stay empty. */
function slotsFor(rows: number): number {
  return 2 ** (33 - Math.clz32(rows));
}

function hashRow(domain: number, size: number): number {
  let hash = Math.imul(size >>> 0, 0x9e3779b1) ^ Math.imul(size / 2 ** 32, 0x85ebca6b) ^ Math.imul(domain, 0xc2b2ae35);
  hash = Math.imul(hash ^ hash >>> 15, 0x2c1b3c6d);
  return hash ^ hash >>> 13;
}

/** The values, each at its new place. A column of which all values are the same stays the one that it is. */
function dealFloat64(values: Float64Array, places: Uint32Array): Float64Array {
  let same = 1;
  while (same < values.length && values[same] === values[0]) same++;
  if (same >= values.length) return values;
  const dealt = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) dealt[places[i]!] = values[i]!;
  return dealt;
}

/** Likewise: with one function for both types, JavaScriptCore takes several times as long. */
function dealUint32(values: Uint32Array, places: Uint32Array): Uint32Array {
  let same = 1;
  while (same < values.length && values[same] === values[0]) same++;
  if (same >= values.length) return values;
  const dealt = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) dealt[places[i]!] = values[i]!;
  return dealt;
}

/** Sorts the rows of each traceback, which stand together: by domain, by size, and what cannot be merged last. */
function sortRows(rows: TraceRows): TraceRows {
  const { traceback } = rows;
  for (let start = 0, end = 0; start < traceback.length; start = end) {
    while (end < traceback.length && traceback[end] === traceback[start]) end++;
    shellSort(rows, start, end);
  }
  return rows;
}

/**
 * Distances for Shell's sort: Ciura's (Best Increments for the Average Case of Shellsort, 2001), then 2.25 times as far
 * each time.
 */
const gaps = [1, 4, 10, 23, 57, 132, 301, 701];
while (gaps[gaps.length - 1]! < 2 ** 31) gaps.push(Math.floor(2.25 * gaps[gaps.length - 1]!));

/** Most tracebacks have a few rows, which are then simply inserted among those before them; it needs no memory. */
function shellSort({ domain, size, count }: TraceRows, start: number, end: number): void {
  let level = 0;
  while (gaps[level + 1]! < (end - start) / 2) level++;
  for (; level >= 0; level--) {
    const gap = gaps[level]!;
    for (let i = start + gap; i < end; i++) {
      const ofDomain = domain[i]!;
      const ofSize = size[i]!;
      const ofCount = count[i]!;
      let to = i;
      for (let before = to - gap; before >= start; before -= gap) {
        const order = domain[before]! - ofDomain || size[before]! - ofSize ||
          fraction(count[before]!) - fraction(ofCount);
        if (order <= 0) break;
        domain[to] = domain[before]!;
        size[to] = size[before]!;
        count[to] = count[before]!;
        to = before;
      }
      domain[to] = ofDomain;
      size[to] = ofSize;
      count[to] = ofCount;
    }
  }
}

/** How often every key below `limit` occurs. */
function countKeys(keys: Uint32Array, limit: number): Uint32Array<ArrayBuffer> {
  const counts = new Uint32Array(limit);
  for (let i = 0; i < keys.length; i++) counts[keys[i]!]!++;
  return counts;
}

function greatest(values: Uint32Array): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) if (values[i]! > most) most = values[i]!;
  return most;
}

function allocate(length: number): TraceRows {
  return {
    domain: new Uint32Array(length),
    size: new Float64Array(length),
    count: new Float64Array(length),
    traceback: new Uint32Array(length),
  };
}
