import { checkWhole, describe, maxUint32 } from "./check.ts";
import { Frame } from "./frame.ts";
import { inspectAs, repr } from "./inspect.ts";
import { sourceLine } from "./source_lines.ts";

/**
 * Where memory was allocated: frames from the oldest to the most recent.
 *
 * It may be empty, where nothing could be found out; wherever a frame is needed then, it counts as `<unknown>:0`.
 *
 * @example Usage
 * ```ts
 * import { Frame, Traceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const traceback = new Traceback([new Frame("main.ts", 1), new Frame("cache.ts", 7)]);
 * assertEquals(traceback.at(-1)?.toString(), "cache.ts:7");
 * assertEquals(traceback.format(), ['  File "main.ts", line 1', '  File "cache.ts", line 7']);
 * ```
 */
export class Traceback {
  /** Frames, or how to get them when they are first asked for. */
  #frames: readonly Frame[] | (() => readonly Frame[]);

  /**
   * How many frames the whole stack had, of which the most recent were kept; `null` where that is not known. Not part
   * of what makes two tracebacks equal.
   */
  readonly totalNframe: number | null;

  /**
   * Makes a traceback.
   *
   * @param frames Frames from the oldest to the most recent.
   * @param totalNframe How many frames the whole stack had, a whole number below 4294967295.
   * @throws {TypeError} If an argument is of another type.
   * @throws {RangeError} If `totalNframe` is out of range.
   */
  constructor(frames: Iterable<Frame>, totalNframe: number | null = null) {
    // The columns hold this number plus one.
    if (totalNframe !== null) checkWhole("totalNframe", totalNframe, maxUint32 - 1);
    this.totalNframe = totalNframe;
    if (frames instanceof LazyFrames) {
      this.#frames = frames.make;
      return;
    }
    this.#frames = [...frames];
    for (const frame of this.#frames) {
      if (!(frame instanceof Frame)) throw new TypeError(`frames must be instances of Frame, not ${describe(frame)}`);
    }
  }

  #get(): readonly Frame[] {
    if (typeof this.#frames === "function") this.#frames = this.#frames();
    return this.#frames;
  }

  /** How many frames there are. */
  get length(): number {
    return this.#get().length;
  }

  /**
   * Gives one frame.
   *
   * @param index From 0 for the oldest frame on, or from -1 for the most recent one down.
   * @returns The frame, or undefined where there is none.
   */
  at(index: number): Frame | undefined {
    return this.#get().at(index);
  }

  /**
   * Gives some of the frames.
   *
   * @param start The first frame; negative: from the end.
   * @param end The frame after the last; negative: from the end.
   * @returns The frames between, as `Array.prototype.slice` counts them.
   */
  slice(start?: number, end?: number): Frame[] {
    return this.#get().slice(start, end);
  }

  /**
   * Looks for a frame.
   *
   * @param frame The frame to look for.
   * @returns Whether an equal frame is among these.
   */
  includes(frame: Frame): boolean {
    return this.#get().some((own) => own.equals(frame));
  }

  /**
   * Goes through the frames.
   *
   * @returns The frames from the oldest to the most recent.
   */
  [Symbol.iterator](): IterableIterator<Frame> {
    return this.#get()[Symbol.iterator]();
  }

  /**
   * Compares with anything.
   *
   * @param other Anything.
   * @returns Whether `other` is a traceback with equal frames.
   */
  equals(other: unknown): boolean {
    if (this === other) return true;
    if (!(other instanceof Traceback) || other.length !== this.length) return false;
    return this.compareTo(other) === 0;
  }

  /**
   * Orders tracebacks by their frames, the oldest first; one that another begins with comes before it.
   *
   * @param other The traceback to compare with.
   * @returns Less than 0, 0 or greater than 0, as this traceback comes before, equals or comes after `other`.
   */
  compareTo(other: Traceback): number {
    const own = this.#get();
    const others = other.#get();
    for (let i = 0; i < own.length && i < others.length; i++) {
      const order = own[i]!.compareTo(others[i]!);
      if (order !== 0) return order;
    }
    return own.length - others.length;
  }

  /**
   * Writes it as a line of text.
   *
   * @returns File name and line of the oldest frame, as in CPython: `a.ts:3`.
   */
  toString(): string {
    return `${this.at(0) ?? unknownFrame}`;
  }

  /**
   * Shows the frames as lines of text, each with its line of source below it where that can be read.
   *
   * @param limit How many of the most recent frames to show; if negative, how many of the most recent to leave out, as
   * CPython does. All if undefined or null.
   * @param mostRecentFirst Whether to begin with the most recent frame.
   * @returns Lines such as `  File "a.ts", line 3`, without line ends.
   */
  format(limit?: number | null, mostRecentFirst = false): string[] {
    let frames = this.#get();
    if (limit !== undefined && limit !== null) frames = limit > 0 ? frames.slice(-limit) : frames.slice(0, limit);
    if (mostRecentFirst) frames = frames.toReversed();
    const lines: string[] = [];
    for (const { filename, lineno } of frames) {
      lines.push(`  File "${filename}", line ${lineno}`);
      const line = sourceLine(filename, lineno);
      if (line !== "") lines.push(`    ${line}`);
    }
    return lines;
  }
}

/** What an empty traceback counts as, wherever a frame is needed. */
export const unknownFrame: Frame = new Frame("<unknown>", 0);

/** What {@linkcode lazyTraceback} hands to the constructor instead of frames. */
class LazyFrames {
  readonly make: () => readonly Frame[];

  constructor(make: () => readonly Frame[]) {
    this.make = make;
  }
}

/** A traceback whose frames are made when they are first asked for. */
export function lazyTraceback(make: () => readonly Frame[], totalNframe: number | null = null): Traceback {
  return new Traceback(new LazyFrames(make) as unknown as Iterable<Frame>, totalNframe);
}

inspectAs(Traceback, (traceback) => {
  const frames = traceback.slice().map(repr);
  const total = traceback.totalNframe === null ? "" : ` total_nframe=${traceback.totalNframe}`;
  // A tuple of one has a comma after it.
  return `<Traceback (${frames.join(", ")}${frames.length === 1 ? "," : ""})${total}>`;
});
