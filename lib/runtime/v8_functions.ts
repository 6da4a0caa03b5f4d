/**
 * The js-heap domain where the shim does not know V8's records: V8's own profile of its samples, which knows the function
 * that made an object and not the line.
 *
 * The profile comes when the program returns to its event loop, so that there is one ready when it is needed only if it was
 * asked for before: it is, from time to time.
 */
import type inspector from "node:inspector";
import { setTimeout } from "node:timers";
import type { FunctionProfile, ProfiledRow } from "./backend.ts";

/** As deep as V8 records stacks. */
const mostFrames = 128;

/** Milliseconds from one profile to the next, and how many times as long as the last one took, at least. */
const firstPause = 50, pause = 1000, share = 50;

export class FunctionSampler {
  readonly #session: inspector.Session;
  readonly #interval: number;
  #latest: FunctionProfile | undefined;
  #state: "on" | "ended" | "off" = "on";
  /** Of the sampling: clearing begins a new one. */
  #run = 0;

  constructor(session: inspector.Session, interval: number) {
    this.#session = session;
    this.#interval = interval;
    this.#begin();
    this.#askAgain(firstPause);
  }

  get state(): "on" | "ended" | "off" {
    return this.#state;
  }

  /** The latest there is; and asks for a newer one. */
  profile(): FunctionProfile | undefined {
    this.#ask();
    return this.#latest;
  }

  clear(): void {
    this.#session.post("HeapProfiler.stopSampling");
    this.#begin();
  }

  close(): void {
    this.#state = "off";
    this.#session.post("HeapProfiler.stopSampling");
  }

  #begin(): void {
    this.#run++;
    this.#latest = undefined;
    const parameters = { samplingInterval: this.#interval, stackDepth: mostFrames };
    this.#session.post("HeapProfiler.enable");
    this.#session.post("HeapProfiler.startSampling", parameters as object);
  }

  #askAgain(milliseconds: number): void {
    const ask = () => {
      if (this.#state !== "on") return;
      const before = performance.now();
      this.#ask();
      this.#askAgain(Math.max(pause, share * (performance.now() - before)));
    };
    setTimeout(ask, milliseconds).unref();
  }

  #ask(): void {
    const takenAt = Date.now(), run = this.#run;
    this.#session.post("HeapProfiler.getSamplingProfile", (error, result) => {
      if (this.#state !== "on" || run !== this.#run) return;
      if (error) this.#state = "ended";
      else this.#latest = { takenAt, rows: rowsOf(result.profile as unknown as Profile, this.#interval) };
    });
  }
}

/** As V8 gives it; its own types have no samples. */
export interface Profile {
  readonly head: ProfileNode;
  readonly samples: readonly { readonly size: number; readonly nodeId: number }[];
}

export interface ProfileNode {
  readonly id: number;
  /** Lines and columns from 0; -1: what is no function of a script. */
  readonly callFrame: {
    readonly functionName: string;
    readonly url: string;
    readonly lineNumber: number;
    readonly columnNumber: number;
  };
  readonly children: readonly ProfileNode[];
}

/** How many there are of each size. */
export type Sizes = Map<number, number>;

/** By node, and by what V8 gives for the size of a sample. */
export function sizesByNode(samples: Profile["samples"]): Map<number, Sizes> {
  const sizes = new Map<number, Sizes>();
  for (const { size, nodeId } of samples) {
    const ofNode: Sizes = sizes.get(nodeId) ?? new Map();
    sizes.set(nodeId, ofNode.set(size, (ofNode.get(size) ?? 0) + 1));
  }
  return sizes;
}

function rowsOf({ head, samples }: Profile, interval: number): ProfiledRow[] {
  const totals = sizesByNode(samples);
  const rows: ProfiledRow[] = [];
  const visit = ({ id, callFrame, children }: ProfileNode, below: ProfiledRow["frames"]) => {
    const { url, lineNumber, columnNumber } = callFrame;
    const frames = lineNumber < 0 ? below : [...below, { url, line: lineNumber + 1, column: columnNumber + 1 }];
    for (const [total, times] of totals.get(id) ?? []) {
      const { size, count } = splitTotal(total, interval);
      rows.push({ frames, size, count: count * times });
    }
    for (const child of children) visit(child, frames);
  };
  visit(head, []);
  return rows;
}

/**
 * V8 gives an object's size times how many it stands for, rounded: the smallest size for which that is so, for most
 * objects are small, and how many.
 */
export function splitTotal(total: number, interval: number): { size: number; count: number } {
  if (interval > 1) {
    for (let size = 8; size < total; size += 8) {
      const count = Math.floor(-1 / Math.expm1(-size / interval) + 0.5);
      if (size * count === total) return { size, count };
      // Larger objects stand for no less.
      if (size > 2 * interval && count === 1) break;
    }
  }
  return { size: total, count: 1 };
}
