import { checkFinite } from "./check.ts";
import { formatInteger, formatSignedInteger, formatSize, formatSizeDiff } from "./format_number.ts";
import { inspectAs, repr } from "./inspect.ts";
import { checkTraceback, formatAverage } from "./statistic.ts";
import type { Traceback } from "./traceback.ts";

/**
 * How the memory of one group of blocks changed between two snapshots, as {@linkcode Snapshot.compareTo} counts it.
 *
 * @example Usage
 * ```ts
 * import { Frame, StatisticDiff, Traceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const diff = new StatisticDiff(new Traceback([new Frame("a.ts", 3)]), 8369152, 4534272, 71332, 39369);
 * assertEquals(diff.toString(), "a.ts:3: size=8173 KiB (+4428 KiB), count=71332 (+39369), average=117 B");
 * ```
 */
export class StatisticDiff {
  /** What the blocks have in common; a single frame unless they were grouped by traceback. */
  readonly traceback: Traceback;
  /** Bytes in the newer snapshot; 0 where the group is only in the older one. */
  readonly size: number;
  /** Bytes in the newer snapshot less those in the older one. */
  readonly sizeDiff: number;
  /** Blocks in the newer snapshot; 0 where the group is only in the older one. */
  readonly count: number;
  /** Blocks in the newer snapshot less those in the older one. */
  readonly countDiff: number;

  /**
   * Makes a difference.
   *
   * @param traceback What the blocks have in common.
   * @param size Bytes in the newer snapshot.
   * @param sizeDiff Bytes in the newer snapshot less those in the older one.
   * @param count Blocks in the newer snapshot.
   * @param countDiff Blocks in the newer snapshot less those in the older one.
   * @throws {TypeError} If an argument is of another type.
   * @throws {RangeError} If a number is not finite.
   */
  constructor(traceback: Traceback, size: number, sizeDiff: number, count: number, countDiff: number) {
    checkTraceback(traceback);
    checkFinite("size", size);
    checkFinite("sizeDiff", sizeDiff);
    checkFinite("count", count);
    checkFinite("countDiff", countDiff);
    this.traceback = traceback;
    this.size = size;
    this.sizeDiff = sizeDiff;
    this.count = count;
    this.countDiff = countDiff;
  }

  /**
   * Compares with anything.
   *
   * @param other Anything.
   * @returns Whether `other` is such a difference with an equal traceback and the same numbers.
   */
  equals(other: unknown): boolean {
    return other instanceof StatisticDiff && other.size === this.size && other.sizeDiff === this.sizeDiff &&
      other.count === this.count && other.countDiff === this.countDiff && other.traceback.equals(this.traceback);
  }

  /**
   * Writes it as a line of text.
   *
   * @returns Where, how much, how many and how large on average, with the changes.
   */
  toString(): string {
    const { traceback, size, sizeDiff, count, countDiff } = this;
    return `${traceback}: size=${formatSize(size)} (${formatSizeDiff(sizeDiff)}), ` +
      `count=${formatInteger(count)} (${formatSignedInteger(countDiff)})${formatAverage(size, count)}`;
  }
}

inspectAs(
  StatisticDiff,
  ({ traceback, size, sizeDiff, count, countDiff }) =>
    `<StatisticDiff traceback=${repr(traceback)} size=${formatInteger(size)} (${formatSignedInteger(sizeDiff)}) ` +
    `count=${formatInteger(count)} (${formatSignedInteger(countDiff)})>`,
);
