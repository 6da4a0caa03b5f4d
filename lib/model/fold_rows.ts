import { startsOf } from "./starts_of.ts";

/** Rows of traces, as in {@linkcode SnapshotColumns}. */
export interface TraceRows {
  readonly domain: Uint32Array;
  readonly size: Float64Array;
  readonly count: Float64Array;
  readonly traceback: Uint32Array;
}

/** The most buckets that rows are dealt out to at once: their ends stay in the second cache. */
const MAX_BUCKETS = 2 ** 18;
/** Rows that are remembered to merge later ones with them: 768 KiB. */
const RECENT = 2 ** 15;
/** Rows of which half must have been merged by then for going on to pay. */
const TRIAL = 2 ** 16;
/** So many different sizes of one traceback are found one by one; more are sorted. */
const FEW = 24;

/**
 * The same traces in the order of traceback, domain and size, alike ones as one row.
 *
 * Rows with a count that is not whole stay by themselves, so that no weight is rounded. Rows that are in order
 * already are given back as they are.
 */
export function foldRows(rows: TraceRows): TraceRows {
  if (isFolded(rows)) return rows;
  const fewer = mergeRecent(rows);
  return new Folder(fewer, orderBy(fewer.traceback, orderBy(fewer.domain, null))).fold();
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
 * Merges rows with alike ones that came not long before: what a program allocates over and over becomes few rows,
 * before the others make it expensive.
 */
function mergeRecent(rows: TraceRows): TraceRows {
  const { domain, size, count, traceback } = rows;
  const length = size.length;
  const recent = allocate(RECENT);
  let out = allocate(4096);
  let outLength = 0;
  let merged = 0;
  const emit = (ofDomain: number, ofSize: number, ofCount: number, ofTraceback: number) => {
    if (outLength === out.size.length) out = grow(out, 2 * outLength);
    out.domain[outLength] = ofDomain;
    out.size[outLength] = ofSize;
    out.count[outLength] = ofCount;
    out.traceback[outLength++] = ofTraceback;
  };
  for (let i = 0; i < length; i++) {
    const ofDomain = domain[i]!;
    const ofSize = size[i]!;
    const ofCount = count[i]!;
    const ofTraceback = traceback[i]!;
    if (i === TRIAL && merged < TRIAL / 2) return rows;
    const slot = hashRow(ofDomain, ofSize, ofTraceback) & RECENT - 1;
    // A slot with the count 0 is empty.
    const before = recent.count[slot]!;
    if (
      recent.size[slot] === ofSize && recent.traceback[slot] === ofTraceback && recent.domain[slot] === ofDomain &&
      mergeable(before, ofCount)
    ) {
      recent.count[slot] = before + ofCount;
      merged++;
      continue;
    }
    if (before !== 0) emit(recent.domain[slot]!, recent.size[slot]!, before, recent.traceback[slot]!);
    recent.domain[slot] = ofDomain;
    recent.size[slot] = ofSize;
    recent.count[slot] = ofCount;
    recent.traceback[slot] = ofTraceback;
  }
  for (let slot = 0; slot < RECENT; slot++) {
    const left = recent.count[slot]!;
    if (left !== 0) emit(recent.domain[slot]!, recent.size[slot]!, left, recent.traceback[slot]!);
  }
  return slice(out, outLength);
}

function hashRow(domain: number, size: number, traceback: number): number {
  let hash = Math.imul(traceback, 0x9e3779b1) ^ Math.imul(size >>> 0, 0x85ebca6b) ^ Math.imul(domain, 0xc2b2ae35);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return hash ^ hash >>> 13;
}

/**
 * Sorts rows stably by a key, on top of the order that they have.
 *
 * @param before The numbers of the rows in the order that they have; `null` for that in which they stand.
 */
function orderBy(key: Uint32Array, before: Uint32Array | null): Uint32Array | null {
  let most = 0;
  for (let i = 0; i < key.length; i++) most = Math.max(most, key[i]!);
  let order = before;
  // As a rule there are fewer keys than buckets, and this is done once.
  for (let unit = 1; unit <= most; unit *= MAX_BUCKETS) {
    const buckets = Math.min(MAX_BUCKETS, Math.floor(most / unit) + 1);
    order = deal(
      order,
      key.length,
      buckets,
      most < MAX_BUCKETS ? key : key.map((value) => Math.floor(value / unit) % MAX_BUCKETS),
    );
  }
  return order;
}

/** Sorts rows stably by a key below `buckets`. */
function deal(before: Uint32Array | null, length: number, buckets: number, key: Uint32Array): Uint32Array {
  const counts = new Uint32Array(buckets);
  for (let i = 0; i < length; i++) counts[key[i]!]!++;
  const next = startsOf(counts);
  const order = new Uint32Array(length);
  for (let i = 0; i < length; i++) {
    const row = before === null ? i : before[i]!;
    order[next[key[row]!]!++] = row;
  }
  return order;
}

/** Folds the rows of every traceback and domain, which stand side by side in an order. */
class Folder {
  readonly #rows: TraceRows;
  readonly #order: Uint32Array | null;
  readonly #out: TraceRows;
  #length = 0;

  constructor(rows: TraceRows, order: Uint32Array | null) {
    this.#rows = rows;
    this.#order = order;
    this.#out = allocate(rows.size.length);
  }

  fold(): TraceRows {
    const { domain, size, count, traceback } = this.#rows;
    const order = this.#order;
    const length = size.length;
    const sizes = gather(size, order);
    const counts = gather(count, order);
    for (let start = 0; start < length;) {
      const first = order === null ? start : order[start]!;
      const ofTraceback = traceback[first]!;
      const ofDomain = domain[first]!;
      let end = start;
      for (; end < length; end++) {
        const row = order === null ? end : order[end]!;
        if (traceback[row] !== ofTraceback || domain[row] !== ofDomain) break;
      }
      const from = this.#length;
      if (!this.#foldFew(sizes, counts, start, end)) {
        this.#foldMany(sizes.subarray(start, end), counts.subarray(start, end));
      }
      const { domain: outDomain, traceback: outTraceback } = this.#out;
      for (let i = from; i < this.#length; i++) {
        outDomain[i] = ofDomain;
        outTraceback[i] = ofTraceback;
      }
      start = end;
    }
    return slice(this.#out, this.#length);
  }

  /** Keeps the sizes seen so far in order; gives up where they are many, or a count is not like the others. */
  #foldFew(sizes: Float64Array, counts: Float64Array, start: number, end: number): boolean {
    const { size, count } = this.#out;
    const from = this.#length;
    let to = from;
    for (let i = start; i < end; i++) {
      const ofSize = sizes[i]!;
      const ofCount = counts[i]!;
      let at = to;
      while (at > from && size[at - 1]! > ofSize) at--;
      if (at > from && size[at - 1] === ofSize) {
        if (!mergeable(count[at - 1]!, ofCount)) return false;
        count[at - 1]! += ofCount;
        continue;
      }
      if (to - from === FEW) return false;
      for (let k = to; k > at; k--) {
        size[k] = size[k - 1]!;
        count[k] = count[k - 1]!;
      }
      size[at] = ofSize;
      count[at] = ofCount;
      to++;
    }
    this.#length = to;
    return true;
  }

  #foldMany(sizes: Float64Array, counts: Float64Array): void {
    const { size, count } = this.#out;
    let sortedCounts = counts;
    if (counts.every((value) => value === 1)) {
      sizes.sort();
    } else {
      const order = Uint32Array.from(sizes, (_, i) => i);
      order.sort((a, b) => sizes[a]! - sizes[b]! || fraction(counts[a]!) - fraction(counts[b]!));
      sortedCounts = gather(counts, order);
      sizes = gather(sizes, order);
    }
    const from = this.#length;
    let last = from - 1;
    for (let i = 0; i < sizes.length; i++) {
      if (last >= from && size[last] === sizes[i] && mergeable(count[last]!, sortedCounts[i]!)) {
        count[last]! += sortedCounts[i]!;
        continue;
      }
      last++;
      size[last] = sizes[i]!;
      count[last] = sortedCounts[i]!;
    }
    this.#length = last + 1;
  }
}

/** The values in an order; always a copy. */
function gather(values: Float64Array, order: Uint32Array | null): Float64Array {
  if (order === null) return values.slice();
  const gathered = new Float64Array(order.length);
  for (let i = 0; i < order.length; i++) gathered[i] = values[order[i]!]!;
  return gathered;
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
