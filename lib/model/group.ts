/**
 * The engine behind every statistic: it groups rows of traces by key and adds up their sizes and counts, without an
 * object for any trace. `Snapshot` runs it over the columns in memory, `lib/aggregate` over the batches of a stream.
 *
 *     const dictionary = new Dictionary();
 *     const newer = new Grouping("lineno", { filters, dictionary });
 *     newer.addFilenames(…);            // the tables first, in any number of pieces, each numbered on from the last
 *     newer.addFrames(…);
 *     newer.addNodes(…);                // without the root, as in a file
 *     newer.addTracebacks(…);
 *     newer.addTraces(…);               // rows that refer to what was added before
 *     newer.statistics();               // or newer.compareTo(older), where both have the same dictionary
 *
 * Memory grows with the tables, not with the rows. What is added is not kept and not checked: an index out of range is
 * the caller's mistake. Nothing may be added once the results were asked for.
 *
 * @module
 */
import { describe } from "./check.ts";
import type { SnapshotColumns } from "./columns.ts";
import { Dictionary } from "./dictionary.ts";
import type { DomainFilter } from "./domain_filter.ts";
import type { Filter } from "./filter.ts";
import { Frame } from "./frame.ts";
import { growFloat64, growUint32 } from "./grow.ts";
import type { KeyType } from "./key_type.ts";
import { RowMatcher } from "./match.ts";
import { Statistic } from "./statistic.ts";
import { StatisticDiff } from "./statistic_diff.ts";
import { lazyTraceback, Traceback, unknownFrame } from "./traceback.ts";

/** How to group. */
export interface GroupingOptions {
  /** Whether a trace counts for each frame of its traceback, as often as it is there, and not for the last alone. */
  readonly cumulative?: boolean;
  /** Which rows to take, as in {@linkcode Snapshot.filterTraces}. */
  readonly filters?: Iterable<Filter | DomainFilter>;
  /** Where keys get their numbers; groupings that are compared share one. */
  readonly dictionary?: Dictionary;
}

/** Sums by the number of a key; a key whose count is 0 does not occur. */
interface Sums {
  readonly size: Float64Array;
  readonly count: Float64Array;
}

/** Adds up rows of traces by key. */
export class Grouping {
  readonly #keyType: KeyType;
  readonly #cumulative: boolean;
  readonly #dictionary: Dictionary;
  readonly #matcher: RowMatcher;

  /** Numbers in the dictionary of the file names added. */
  #filenames: Uint32Array = Uint32Array.of();
  #filenameCount = 0;
  /** Numbers in the dictionary of the frames added; by file name, those of their file names. */
  #frames: Uint32Array = Uint32Array.of();
  #frameCount = 0;
  /** Keys of tracebacks by the node where they end. */
  #nodeKeys: Uint32Array = new Uint32Array(1);
  #nodeCount = 1;
  /** Parents of nodes; only when cumulative. */
  #nodeParents: Uint32Array = Uint32Array.of();
  /** Nodes where the tracebacks added end. */
  #tracebacks: Uint32Array = Uint32Array.of();
  #tracebackCount = 0;

  /** Sums by key; when cumulative, by the node where the traceback ends. */
  #size: Float64Array = Float64Array.of();
  #count: Float64Array = Float64Array.of();

  /**
   * @throws {RangeError} If `keyType` is unknown, or `"traceback"` and `cumulative`.
   * @throws {TypeError} If `filters` is no iterable of filters.
   */
  constructor(keyType: KeyType, options: GroupingOptions = {}) {
    const { cumulative = false, filters = [], dictionary = new Dictionary() } = options;
    checkKeyType(keyType, cumulative);
    this.#keyType = keyType;
    this.#cumulative = cumulative;
    this.#dictionary = dictionary;
    this.#matcher = new RowMatcher(filters);
    // By traceback, the root's key is the root. Otherwise it stands for what is not known.
    if (keyType !== "traceback") {
      this.#nodeKeys[0] = this.#frameKey(dictionary.filename(unknownFrame.filename), unknownFrame.lineno);
    }
  }

  /** Adds file names. */
  addFilenames(filenames: readonly string[]): void {
    this.#matcher.addFilenames(filenames);
    this.#filenames = growUint32(this.#filenames, this.#filenameCount + filenames.length);
    for (let i = 0; i < filenames.length; i++) {
      this.#filenames[this.#filenameCount++] = this.#dictionary.filename(filenames[i]!);
    }
  }

  /** Adds frames: numbers of file names, lines. */
  addFrames(filename: Uint32Array, lineno: Uint32Array): void {
    this.#matcher.addFrames(filename, lineno);
    this.#frames = growUint32(this.#frames, this.#frameCount + filename.length);
    for (let i = 0; i < filename.length; i++) {
      this.#frames[this.#frameCount++] = this.#frameKey(this.#filenames[filename[i]!]!, lineno[i]!);
    }
  }

  /** Adds nodes, from number 1 on: numbers of their parents, of their frames. */
  addNodes(parent: Uint32Array, frame: Uint32Array): void {
    this.#matcher.addNodes(parent, frame);
    const end = this.#nodeCount + parent.length;
    const keys = this.#nodeKeys = growUint32(this.#nodeKeys, end);
    if (this.#cumulative) {
      this.#nodeParents = growUint32(this.#nodeParents, end);
      this.#nodeParents.set(parent, this.#nodeCount);
    }
    const byTraceback = this.#keyType === "traceback";
    for (let i = 0; i < parent.length; i++) {
      const last = this.#frames[frame[i]!]!;
      keys[this.#nodeCount++] = byTraceback ? this.#dictionary.node(keys[parent[i]!]!, last) : last;
    }
  }

  /** Adds tracebacks: numbers of the nodes where they end. */
  addTracebacks(node: Uint32Array): void {
    this.#tracebacks = growUint32(this.#tracebacks, this.#tracebackCount + node.length);
    this.#tracebacks.set(node, this.#tracebackCount);
    this.#tracebackCount += node.length;
  }

  /** Adds rows: domains, sizes of one block in bytes, numbers of blocks, numbers of tracebacks. */
  addTraces(domain: Uint32Array, size: Float64Array, count: Float64Array, traceback: Uint32Array): void {
    const length = this.#cumulative ? this.#nodeCount : this.#keyCount;
    const sizes = this.#size = growFloat64(this.#size, length);
    const counts = this.#count = growFloat64(this.#count, length);
    const nodes = this.#tracebacks;
    const keys = this.#nodeKeys;
    const matcher = this.#matcher.keepsAll ? undefined : this.#matcher;
    for (let i = 0; i < traceback.length; i++) {
      const node = nodes[traceback[i]!]!;
      if (matcher !== undefined && !matcher.keeps(domain[i]!, node)) continue;
      const target = this.#cumulative ? node : keys[node]!;
      const blocks = count[i]!;
      sizes[target]! += size[i]! * blocks;
      counts[target]! += blocks;
    }
  }

  /** Adds a whole snapshot. */
  addColumns(columns: SnapshotColumns): void {
    this.addFilenames(columns.filenames);
    this.addFrames(columns.frameFilename, columns.frameLineno);
    this.addNodes(columns.nodeParent.subarray(1), columns.nodeFrame.subarray(1));
    this.addTracebacks(columns.tracebackNode);
    this.addTraces(columns.traceDomain, columns.traceSize, columns.traceCount, columns.traceTraceback);
  }

  /** The groups, the largest first: by size, then count, then traceback. */
  statistics(): Statistic[] {
    const { size, count } = this.#sums();
    const rank = this.#rankKeys();
    const keys = presentKeys(count);
    keys.sort((a, b) => size[b]! - size[a]! || count[b]! - count[a]! || rank[b]! - rank[a]!);
    const traceback = this.#tracebackMaker();
    const statistics: Statistic[] = [];
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!;
      statistics.push(new Statistic(traceback(key), size[key]!, count[key]!));
    }
    return statistics;
  }

  /**
   * The groups of this and of an older grouping with the same dictionary and key type, the greatest change first: by
   * size of the change of size, then size, size of the change of count, count, traceback.
   */
  compareTo(older: Grouping): StatisticDiff[] {
    if (older.#dictionary !== this.#dictionary || older.#keyType !== this.#keyType) {
      throw new TypeError("older must be a grouping by the same key type with the same dictionary");
    }
    const length = this.#keyCount;
    const { size, count } = extend(this.#sums(), length);
    const old = extend(older.#sums(), length);
    const sizeDiff = size.map((value, key) => value - old.size[key]!);
    const countDiff = count.map((value, key) => value - old.count[key]!);
    const rank = this.#rankKeys();
    const keys = presentKeys(count.map((value, key) => value === 0 ? old.count[key]! : value));
    const { abs } = Math;
    keys.sort((a, b) =>
      abs(sizeDiff[b]!) - abs(sizeDiff[a]!) || size[b]! - size[a]! ||
      abs(countDiff[b]!) - abs(countDiff[a]!) || count[b]! - count[a]! || rank[b]! - rank[a]!
    );
    const traceback = this.#tracebackMaker();
    const differences: StatisticDiff[] = [];
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!;
      differences.push(new StatisticDiff(traceback(key), size[key]!, sizeDiff[key]!, count[key]!, countDiff[key]!));
    }
    return differences;
  }

  /** The key of a frame, or of a file name where lines do not matter. */
  #frameKey(filename: number, lineno: number): number {
    return this.#keyType === "filename" ? filename : this.#dictionary.frame(filename, lineno);
  }

  /** How many keys have a number. */
  get #keyCount(): number {
    const { filenames, frames, nodes } = this.#dictionary;
    return { filename: filenames.length, lineno: frames.length, traceback: nodes.length }[this.#keyType];
  }

  #sums(): Sums {
    if (!this.#cumulative) return { size: this.#size, count: this.#count };
    const length = this.#keyCount;
    const sums = { size: new Float64Array(length), count: new Float64Array(length) };
    const { size: nodeSize, count: nodeCount } = extend({ size: this.#size, count: this.#count }, this.#nodeCount);
    const add = (node: number) => {
      const key = this.#nodeKeys[node]!;
      sums.size[key]! += nodeSize[node]!;
      sums.count[key]! += nodeCount[node]!;
    };
    // Empty tracebacks, before others are added to the root.
    add(0);
    // Children come after their parents, so that each sum is complete when it is added to the parent's.
    for (let node = this.#nodeCount - 1; node > 0; node--) {
      add(node);
      const parent = this.#nodeParents[node]!;
      nodeSize[parent]! += nodeSize[node]!;
      nodeCount[parent]! += nodeCount[node]!;
    }
    return sums;
  }

  #rankKeys(): Uint32Array {
    switch (this.#keyType) {
      case "filename":
        return this.#dictionary.rankFilenames();
      case "lineno":
        return this.#dictionary.rankFrames();
      case "traceback":
        return this.#dictionary.rankNodes();
    }
  }

  #tracebackMaker(): (key: number) => Traceback {
    const dictionary = this.#dictionary;
    switch (this.#keyType) {
      case "filename":
        return (key) => new Traceback([new Frame(dictionary.filenames[key]!, 0)]);
      case "lineno":
        return (key) => new Traceback([dictionary.makeFrame(key)]);
      case "traceback":
        return (key) => lazyTraceback(() => dictionary.makeFrames(key));
    }
  }
}

/** Throws a `RangeError` unless statistics can be grouped so. */
export function checkKeyType(keyType: KeyType, cumulative: boolean): void {
  if (keyType !== "filename" && keyType !== "lineno" && keyType !== "traceback") {
    const found = typeof keyType === "string" ? JSON.stringify(keyType) : describe(keyType);
    throw new RangeError(`keyType must be "filename", "lineno" or "traceback", not ${found}`);
  }
  if (cumulative && keyType === "traceback") {
    throw new RangeError('cumulative statistics need the keyType "filename" or "lineno", not "traceback"');
  }
}

/** Copies of sums for so many keys; arrays that grow may be longer. */
function extend(sums: Sums, length: number): Sums {
  const size = new Float64Array(length);
  const count = new Float64Array(length);
  size.set(sums.size.subarray(0, length));
  count.set(sums.count.subarray(0, length));
  return { size, count };
}

function presentKeys(count: Float64Array): Uint32Array {
  const keys = new Uint32Array(count.length);
  let present = 0;
  for (let key = 0; key < count.length; key++) if (count[key] !== 0) keys[present++] = key;
  return keys.subarray(0, present);
}
