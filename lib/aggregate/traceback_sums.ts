import type { SnapshotColumns } from "../model/columns.ts";
import { Dictionary } from "../model/dictionary.ts";
import type { DomainFilter } from "../model/domain_filter.ts";
import type { Filter } from "../model/filter.ts";
import { growFloat64, growUint32 } from "../model/grow.ts";
import { RowMatcher } from "../model/match.ts";
import { PairTable } from "../model/pair_table.ts";
import { unknownFrame } from "../model/traceback.ts";
import type { BatchTarget } from "./source.ts";

/**
 * Bytes and blocks by traceback and domain, the most bytes first: what exports and reports are made from. Frames and
 * nodes are as in {@linkcode SnapshotColumns}; an empty traceback is the one frame `<unknown>:0`. They hold what rows need and nothing else.
 */
export interface TracebackTable {
  readonly filenames: readonly string[];
  readonly frameFilename: Uint32Array;
  readonly frameLineno: Uint32Array;
  /** Node 0 is the root; each other one comes after its parent. */
  readonly nodeParent: Uint32Array;
  readonly nodeFrame: Uint32Array;
  /** Rows: the node where the traceback ends, the domain, bytes and blocks. No two have the same node and domain. */
  readonly node: Uint32Array;
  readonly domain: Uint32Array;
  readonly size: Float64Array;
  readonly count: Float64Array;
  /** Bytes and blocks of the same rows in the older of two snapshots; `null` where there is but one. */
  readonly older: { readonly size: Float64Array; readonly count: Float64Array } | null;
}

/** Adds up rows of traces by traceback and domain. Memory grows with the number of those, not with that of traces. */
export class TracebackSums implements BatchTarget {
  readonly #dictionary: Dictionary;
  /** Rows: node, domain. */
  readonly #rows: PairTable;
  readonly #older: TracebackSums | null;
  readonly #matcher: RowMatcher;
  /** Numbers in the dictionary by those in the snapshot. */
  #filenames: Uint32Array = Uint32Array.of();
  #filenameCount = 0;
  #frames: Uint32Array = Uint32Array.of();
  #frameCount = 0;
  #nodes: Uint32Array = new Uint32Array(1);
  #nodeCount = 1;
  /** Nodes of the snapshot where the tracebacks end. */
  #tracebacks: Uint32Array = Uint32Array.of();
  #tracebackCount = 0;
  #size: Float64Array = Float64Array.of();
  #count: Float64Array = Float64Array.of();

  /**
   * @param filters Which rows to take, as in {@linkcode Snapshot.filterTraces}.
   * @param older What was added up over an older snapshot, to be shown beside.
   */
  constructor(filters: Iterable<Filter | DomainFilter> = [], older: TracebackSums | null = null) {
    this.#matcher = new RowMatcher(filters);
    this.#older = older;
    this.#dictionary = older === null ? new Dictionary() : older.#dictionary;
    this.#rows = older === null ? new PairTable() : older.#rows;
    const unknown = this.#dictionary.frame(this.#dictionary.filename(unknownFrame.filename), unknownFrame.lineno);
    this.#nodes[0] = this.#dictionary.node(0, unknown);
  }

  /** Adds file names, numbered on from those added before. */
  addFilenames(filenames: readonly string[]): void {
    this.#matcher.addFilenames(filenames);
    this.#filenames = growUint32(this.#filenames, this.#filenameCount + filenames.length);
    for (const name of filenames) this.#filenames[this.#filenameCount++] = this.#dictionary.filename(name);
  }

  /** Adds frames: numbers of file names, lines. */
  addFrames(filename: Uint32Array, lineno: Uint32Array): void {
    this.#matcher.addFrames(filename, lineno);
    this.#frames = growUint32(this.#frames, this.#frameCount + filename.length);
    for (let i = 0; i < filename.length; i++) {
      this.#frames[this.#frameCount++] = this.#dictionary.frame(this.#filenames[filename[i]!]!, lineno[i]!);
    }
  }

  /** Adds nodes, from number 1 on: numbers of their parents, of their frames. */
  addNodes(parent: Uint32Array, frame: Uint32Array): void {
    this.#matcher.addNodes(parent, frame);
    this.#nodes = growUint32(this.#nodes, this.#nodeCount + parent.length);
    for (let i = 0; i < parent.length; i++) {
      // As a parent, node 0 is the root and not the traceback that is not known.
      const above = parent[i] === 0 ? 0 : this.#nodes[parent[i]!]!;
      this.#nodes[this.#nodeCount++] = this.#dictionary.node(above, this.#frames[frame[i]!]!);
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
    const matcher = this.#matcher.keepsAll ? undefined : this.#matcher;
    for (let i = 0; i < traceback.length; i++) {
      const node = this.#tracebacks[traceback[i]!]!;
      if (matcher !== undefined && !matcher.keeps(domain[i]!, node)) continue;
      const row = this.#rows.intern(this.#nodes[node]!, domain[i]!);
      this.#size = growFloat64(this.#size, row + 1);
      this.#count = growFloat64(this.#count, row + 1);
      this.#size[row]! += size[i]! * count[i]!;
      this.#count[row]! += count[i]!;
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

  /** What was added up, and beside it what was over the older snapshot. */
  table(): TracebackTable {
    const older = this.#older;
    const { first, second, length } = this.#rows;
    const rank = this.#dictionary.rankNodes();
    const size = (row: number) => this.#size[row] ?? 0, count = (row: number) => this.#count[row] ?? 0;
    const oldSize = (row: number) => older === null ? 0 : older.#size[row] ?? 0;
    const oldCount = (row: number) => older === null ? 0 : older.#count[row] ?? 0;
    const order = new Uint32Array(length).map((_, row) => row)
      .filter((row) => count(row) !== 0 || oldCount(row) !== 0)
      .sort((a, b) =>
        size(b) - size(a) || count(b) - count(a) || oldSize(b) - oldSize(a) || oldCount(b) - oldCount(a) ||
        rank[first[a]!]! - rank[first[b]!]! || second[a]! - second[b]!
      );
    const tables = tablesOf(this.#dictionary, order.map((row) => first[row]!));
    return {
      ...tables,
      domain: order.map((row) => second[row]!),
      size: Float64Array.from(order, size),
      count: Float64Array.from(order, count),
      older: older && { size: Float64Array.from(order, oldSize), count: Float64Array.from(order, oldCount) },
    };
  }
}

type Tables = Pick<
  TracebackTable,
  "filenames" | "frameFilename" | "frameLineno" | "nodeParent" | "nodeFrame" | "node"
>;

/** What of a dictionary the tracebacks that end at some nodes need, numbered anew in the same order. */
function tablesOf(dictionary: Dictionary, nodes: Uint32Array): Tables {
  const { filenames, frameFilename, frameLineno, nodeParent, nodeFrame } = dictionary.columns();
  const usedNodes = new Uint8Array(nodeParent.length), usedFrames = new Uint8Array(frameFilename.length);
  const usedFilenames = new Uint8Array(filenames.length);
  usedNodes[0] = 1;
  for (let node of nodes) {
    for (; usedNodes[node] === 0; node = nodeParent[node]!) {
      const frame = nodeFrame[node]!;
      usedNodes[node] = 1;
      usedFrames[frame] = 1;
      usedFilenames[frameFilename[frame]!] = 1;
    }
  }
  const [nodesKept, newNode] = renumber(usedNodes);
  const [framesKept, newFrame] = renumber(usedFrames);
  const [filenamesKept, newFilename] = renumber(usedFilenames);
  return {
    filenames: Array.from(filenamesKept, (filename) => filenames[filename]!),
    frameFilename: framesKept.map((frame) => newFilename[frameFilename[frame]!]!),
    frameLineno: framesKept.map((frame) => frameLineno[frame]!),
    nodeParent: nodesKept.map((node) => newNode[nodeParent[node]!]!),
    nodeFrame: nodesKept.map((node) => newFrame[nodeFrame[node]!]!),
    node: nodes.map((node) => newNode[node]!),
  };
}

/** The numbers of what is used, and the place among them of each number. */
function renumber(used: Uint8Array): [kept: Uint32Array, places: Uint32Array] {
  const kept = new Uint32Array(used.length), places = new Uint32Array(used.length);
  let length = 0;
  for (let i = 0; i < used.length; i++) {
    places[i] = length;
    if (used[i] === 1) kept[length++] = i;
  }
  return [kept.subarray(0, length), places];
}
