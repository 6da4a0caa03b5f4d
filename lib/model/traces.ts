import type { SnapshotColumns } from "./columns.ts";
import { Frame } from "./frame.ts";
import { inspectAs } from "./inspect.ts";
import { Trace } from "./trace.ts";
import { lazyTraceback, type Traceback } from "./traceback.ts";

/**
 * The traces of a {@linkcode Snapshot}, one for each block of memory. Traces are made when they are asked for: a
 * snapshot of ten million blocks is an ordinary one.
 *
 * Where blocks were sampled, a trace is there as often as the blocks that it stands for, rounded in sum.
 *
 * @example Usage
 * ```ts
 * import { Frame, Snapshot, Trace, Traceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const trace = new Trace(0, 64, new Traceback([new Frame("a.ts", 1)]));
 * const { traces } = new Snapshot([trace, trace], 1);
 * assertEquals(traces.length, 2);
 * assertEquals(traces.at(-1)?.size, 64);
 * ```
 */
export class Traces {
  readonly #columns: SnapshotColumns;
  /** Blocks up to and with each row, rounded; undefined where every row is one block. */
  readonly #ends: Float64Array | undefined;
  /** How many traces there are. */
  readonly length: number;

  /** @ignore Only snapshots make these. */
  constructor(columns: SnapshotColumns) {
    this.#columns = columns;
    const counts = columns.traceCount;
    if (counts.every((count) => count === 1)) this.length = counts.length;
    else {
      let end = 0;
      this.#ends = counts.map((count) => Math.round(end += count));
      this.length = Math.round(end);
    }
  }

  /**
   * Gives one trace.
   *
   * @param index From 0 on, or from -1 for the last one down.
   * @returns The trace, or undefined where there is none.
   */
  at(index: number): Trace | undefined {
    index = Math.trunc(index) || 0;
    if (index < 0) index += this.length;
    return index < 0 || index >= this.length ? undefined : this.#make(this.#rowOf(index));
  }

  /**
   * Looks for a trace.
   *
   * @param trace The trace to look for.
   * @returns Whether an equal trace is among these.
   */
  includes(trace: Trace): boolean {
    const { traceDomain, traceSize, traceTraceback, tracebackTotal } = this.#columns;
    const { domain, size, traceback } = trace;
    const total = totalOf(traceback);
    /** Tracebacks known to be others. */
    const others = new Set<number>();
    for (let row = 0; row < traceSize.length; row++) {
      if (traceSize[row] !== size || traceDomain[row] !== domain) continue;
      const number = traceTraceback[row]!;
      if (others.has(number)) continue;
      if (tracebackTotal[number] === total && tracebackOf(this.#columns, number).equals(traceback)) return true;
      others.add(number);
    }
    return false;
  }

  /**
   * Goes through the traces.
   *
   * @returns The traces one after the other.
   */
  *[Symbol.iterator](): IterableIterator<Trace> {
    let index = 0;
    for (let row = 0; row < this.#columns.traceSize.length; row++) {
      const end = this.#ends?.[row] ?? row + 1;
      const trace = this.#make(row);
      for (; index < end; index++) yield trace;
    }
  }

  /** The row that holds a block: the first one that ends after it. */
  #rowOf(index: number): number {
    const ends = this.#ends;
    if (ends === undefined) return index;
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (ends[middle]! > index) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #make(row: number): Trace {
    const { traceDomain, traceSize, traceTraceback } = this.#columns;
    return new Trace(traceDomain[row]!, traceSize[row]!, tracebackOf(this.#columns, traceTraceback[row]!));
  }
}

/** The traceback of a number. */
export function tracebackOf(columns: SnapshotColumns, number: number): Traceback {
  const total = columns.tracebackTotal[number]!;
  return lazyTraceback(() => framesOf(columns, columns.tracebackNode[number]!), total === 0 ? null : total - 1);
}

/** What the column of totals holds for a traceback. */
export function totalOf(traceback: Traceback): number {
  return traceback.totalNframe === null ? 0 : traceback.totalNframe + 1;
}

function framesOf({ filenames, frameFilename, frameLineno, nodeParent, nodeFrame }: SnapshotColumns, node: number) {
  const frames: Frame[] = [];
  for (; node !== 0; node = nodeParent[node]!) {
    const frame = nodeFrame[node]!;
    frames.push(new Frame(filenames[frameFilename[frame]!]!, frameLineno[frame]!));
  }
  return frames.reverse();
}

inspectAs(Traces, (traces) => `<Traces len=${traces.length}>`);
