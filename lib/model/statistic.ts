import { checkFinite, describe } from "./check.ts";
import { formatInteger, formatSize } from "./format_number.ts";
import { inspectAs, repr } from "./inspect.ts";
import { Traceback } from "./traceback.ts";

/**
 * How much memory the blocks of one group hold, as {@linkcode Snapshot.statistics} counts it.
 *
 * @example Usage
 * ```ts
 * import { Frame, Statistic, Traceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const statistic = new Statistic(new Traceback([new Frame("a.ts", 3)]), 4971520, 39328);
 * assertEquals(statistic.toString(), "a.ts:3: size=4855 KiB, count=39328, average=126 B");
 * ```
 */
export class Statistic {
  /** What the blocks have in common; a single frame unless they were grouped by traceback. */
  readonly traceback: Traceback;
  /** Bytes of all blocks; an estimate, and not always whole, where blocks were sampled. */
  readonly size: number;
  /** How many blocks; likewise. */
  readonly count: number;

  /**
   * Makes a statistic.
   *
   * @param traceback What the blocks have in common.
   * @param size Bytes of all blocks.
   * @param count How many blocks.
   * @throws {TypeError} If an argument is of another type.
   * @throws {RangeError} If a number is not finite.
   */
  constructor(traceback: Traceback, size: number, count: number) {
    checkTraceback(traceback);
    checkFinite("size", size);
    checkFinite("count", count);
    this.traceback = traceback;
    this.size = size;
    this.count = count;
  }

  /**
   * Compares with anything.
   *
   * @param other Anything.
   * @returns Whether `other` is a statistic with an equal traceback, the same size and the same count.
   */
  equals(other: unknown): boolean {
    return other instanceof Statistic && other.size === this.size && other.count === this.count &&
      other.traceback.equals(this.traceback);
  }

  /**
   * Writes it as a line of text.
   *
   * @returns Where, how much, how many and how large on average.
   */
  toString(): string {
    const { traceback, size, count } = this;
    return `${traceback}: size=${formatSize(size)}, count=${formatInteger(count)}${formatAverage(size, count)}`;
  }
}

inspectAs(
  Statistic,
  ({ traceback, size, count }) =>
    `<Statistic traceback=${repr(traceback)} size=${formatInteger(size)} count=${formatInteger(count)}>`,
);

/** The end of a statistic's text; there is no average of nothing. */
export function formatAverage(size: number, count: number): string {
  return count === 0 ? "" : `, average=${formatSize(size / count)}`;
}

/** Throws unless `traceback` is one. */
export function checkTraceback(traceback: unknown): void {
  if (!(traceback instanceof Traceback)) {
    throw new TypeError(`traceback must be a Traceback, not ${describe(traceback)}`);
  }
}
