import type { SnapshotColumns } from "./columns.ts";
import { compareStrings } from "./compare_strings.ts";
import { Frame } from "./frame.ts";
import { PairTable } from "./pair_table.ts";
import { startsOf } from "./starts_of.ts";

/** What stands for the frame of the root, so that no other node is taken for it. */
const rootFrame = 0xffff_ffff;

/**
 * Numbers file names, frames and nodes so that equal ones have the same number, wherever they come from: several
 * snapshots, the batches of a stream, or objects. What refers to a number comes after it, so that its tables can be
 * those of {@linkcode SnapshotColumns}.
 */
export class Dictionary {
  /** File names by number. */
  readonly filenames: string[] = [];
  /** Frames by number: file name, line. */
  readonly frames: PairTable = new PairTable();
  /** Nodes by number: parent, frame. Node 0 is the empty root. */
  readonly nodes: PairTable = new PairTable();
  readonly #numbers = new Map<string, number>();

  constructor() {
    this.nodes.intern(0, rootFrame);
  }

  /** The number of a file name. */
  filename(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.filenames.length;
      this.filenames.push(name);
      this.#numbers.set(name, number);
    }
    return number;
  }

  /** The number of a frame, from the number of its file name and its line. */
  frame(filename: number, lineno: number): number {
    return this.frames.intern(filename, lineno);
  }

  /** The number of the node that extends another by a more recent frame. */
  node(parent: number, frame: number): number {
    return this.nodes.intern(parent, frame);
  }

  /** The tables as a snapshot has them; copies. */
  columns(): Pick<SnapshotColumns, "filenames" | "frameFilename" | "frameLineno" | "nodeParent" | "nodeFrame"> {
    const nodeFrame = this.nodes.second.slice(0, this.nodes.length);
    nodeFrame[0] = 0;
    return {
      filenames: this.filenames.slice(),
      frameFilename: this.frames.first.slice(0, this.frames.length),
      frameLineno: this.frames.second.slice(0, this.frames.length),
      nodeParent: this.nodes.first.slice(0, this.nodes.length),
      nodeFrame,
    };
  }

  /** The frame of a number. */
  makeFrame(frame: number): Frame {
    return new Frame(this.filenames[this.frames.first[frame]!]!, this.frames.second[frame]!);
  }

  /** The frames from the root to a node. */
  makeFrames(node: number): Frame[] {
    const frames: Frame[] = [];
    for (; node !== 0; node = this.nodes.first[node]!) frames.push(this.makeFrame(this.nodes.second[node]!));
    return frames.reverse();
  }

  /** The place of each file name in the order by code point. */
  rankFilenames(): Uint32Array {
    const { filenames } = this;
    return ranks(filenames.length, (a, b) => compareStrings(filenames[a]!, filenames[b]!));
  }

  /** The place of each frame in the order of {@linkcode Frame.compareTo}. */
  rankFrames(): Uint32Array {
    const { first, second, length } = this.frames;
    const filenames = this.rankFilenames();
    return ranks(length, (a, b) => filenames[first[a]!]! - filenames[first[b]!]! || second[a]! - second[b]!);
  }

  /** The place of each node in the order of {@linkcode Traceback.compareTo}: the tree walked with children in order. */
  rankNodes(): Uint32Array {
    const { first: parents, second: frames, length } = this.nodes;
    const frameRanks = this.rankFrames();
    // All but the root by parent, and among the same parent by frame: two stable counting sorts.
    const byFrame = countingSort(
      new Uint32Array(length - 1).map((_, i) => i + 1),
      (node) => frameRanks[frames[node]!]!,
      this.frames.length,
    );
    const order = countingSort(byFrame, (node) => parents[node]!, length);
    const nextChild = startsOf(countKeys(order, (node) => parents[node]!, length));
    const places = new Uint32Array(length);
    // The walk goes down to the next child of `node`, or up when there is none left.
    let place = 0;
    for (let node = 0;;) {
      const child = order[nextChild[node]!];
      if (child !== undefined && parents[child] === node) {
        nextChild[node]! += 1;
        places[child] = ++place;
        node = child;
      } else if (node === 0) return places;
      else node = parents[node]!;
    }
  }
}

/** The place of each of the numbers below `length` in an order. */
function ranks(length: number, compare: (a: number, b: number) => number): Uint32Array {
  const places = new Uint32Array(length);
  places.map((_, i) => i).sort(compare).forEach((number, place) => places[number] = place);
  return places;
}

/** Sorts stably by a key below `limit`. */
function countingSort(
  values: Uint32Array<ArrayBuffer>,
  key: (value: number) => number,
  limit: number,
): Uint32Array<ArrayBuffer> {
  const next = startsOf(countKeys(values, key, limit));
  const sorted = new Uint32Array(values.length);
  for (const value of values) sorted[next[key(value)]!++] = value;
  return sorted;
}

/** How many values have each key below `limit`. */
function countKeys(
  values: Uint32Array<ArrayBuffer>,
  key: (value: number) => number,
  limit: number,
): Uint32Array<ArrayBuffer> {
  const counts = new Uint32Array(limit);
  for (const value of values) counts[key(value)]! += 1;
  return counts;
}
